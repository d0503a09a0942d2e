"""Confidence that means something: support, its fit, and its error, each by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.evaluation.calibration import calibration_error, fit_calibration, reliability, support
from fastcap.runtime.contract import Calibration


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A dog runs on the grass.", 1),  # "running" has the stem of "runs"; grass is in the second reference
        ("A dog runs on the beach.", 2 / 3),
        ("A cat sleeps.", 0),
        ("It is on the.", 0),
        ("", 0),
    ],
)
def test_support_is_the_share_of_content_words_that_people_used(caption, expected):
    assert support(caption, ["A brown dog running.", "green grass"]) == pytest.approx(expected)


def test_the_error_by_hand():
    confidences, supports = [0.12, 0.18, 0.95, 1.0], [0.0, 0.5, 1.0, 0.8]
    assert reliability(confidences, supports) == [
        pytest.approx((0.15, 0.25, 2)),
        pytest.approx((0.975, 0.9, 2)),
    ]
    assert calibration_error(confidences, supports) == pytest.approx((2 * 0.1 + 2 * 0.075) / 4)


def test_a_fit_recovers_what_made_the_data_and_brings_the_error_down():
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.05, 0.9, 4000)
    truth = [Calibration(1.7, 0.8).confidence(p) for p in raw]
    supports = rng.binomial(4, truth) / 4
    scale, offset = fit_calibration(raw, supports)
    assert (scale, offset) == (pytest.approx(1.7, abs=0.15), pytest.approx(0.8, abs=0.1))
    fitted = [Calibration(scale, offset).confidence(p) for p in raw]
    assert calibration_error(fitted, supports) < 0.02 < calibration_error(raw, supports)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.data())
def test_a_fit_never_reverses_the_order_of_captions(raw, data):
    supports = data.draw(st.lists(st.floats(0, 1), min_size=len(raw), max_size=len(raw)))
    fitted = Calibration(*fit_calibration(raw, supports))
    values = [fitted.confidence(p) for p in sorted(raw)]
    assert values == sorted(values)
    assert all(0 <= value <= 1 for value in values)


def test_a_fit_needs_two_captions():
    with pytest.raises(ValueError, match="needed: as many, 2 or more"):
        fit_calibration([0.5], [1.0])
