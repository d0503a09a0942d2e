"""The weights of a ranking choose the candidates that people's captions say are good, of pictures never seen, too."""

from __future__ import annotations

import numpy as np
import pytest

from fastcap.errors import DataError
from fastcap.evaluation.ranking import FOLDS, Judged, cross_fitted, fit_weights
from fastcap.runtime.contract import Weights

TELLING = np.array([1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0])  # of the fields of `Weights`
ALL = Weights._fields


def pictures(count: int, noise: float = 0.0, seed: int = 0) -> list[Judged]:
    """Pictures with two to six candidates, whose gains are a linear score, and chance."""
    drawn = np.random.default_rng(seed)
    judged = []
    for _ in range(count):
        features = drawn.normal(size=(drawn.integers(2, 7), len(ALL))) * [1, 1, 0.1, 5, 1, 2, 1] + 9
        judged.append(Judged(features, features @ TELLING + noise * drawn.normal(size=len(features))))
    return judged


def gain(judged: list[Judged], weights: np.ndarray) -> float:
    return float(np.mean([gains[(features @ weights).argmax()] for features, gains in judged]))


@pytest.mark.parametrize("used", [("log_p", "similarity"), ALL])
def test_the_best_candidates_are_found_of_other_pictures_as_well(used):
    weights = fit_weights(pictures(300, noise=0.1), used)
    others = pictures(300, seed=1)
    best = float(np.mean([gains.max() for _, gains in others]))
    first = float(np.mean([gains[0] for _, gains in others]))
    assert gain(others, weights) > best - 0.05 * (best - first)


def test_a_feature_that_is_not_used_has_no_weight():
    weights = Weights(*fit_weights(pictures(100), ("similarity",)))
    assert weights.similarity > 0 and {*weights[:2], *weights[3:]} == {0}


def test_where_nothing_tells_candidates_apart_no_weight_is_large():
    drawn = np.random.default_rng(0)
    judged = [Judged(drawn.normal(size=(4, len(ALL))), drawn.normal(size=4) * 0.01) for _ in range(300)]
    assert np.abs(fit_weights(judged, ALL)).max() < 0.2


def test_bad_candidates_do_not_decide():
    """The best of three is told by the first feature; the worst, which is never chosen, speaks against it."""
    table = np.zeros((3, len(ALL)))
    table[:, ALL.index("log_p")], table[2, ALL.index("expected")] = [1, 0, 5], -9
    judged = [Judged(table, np.array([60.0, 50.0, 0.0])) for _ in range(50)]
    assert gain(judged, fit_weights(judged)) == 60


def test_every_picture_gets_weights_that_were_fitted_without_it():
    judged = pictures(23, noise=0.5)
    found = dict(cross_fitted(judged, ALL))
    assert sorted(found) == list(range(23))
    for place in (0, 7, 22):
        others = [judged[other] for other in range(23) if other % FOLDS != place % FOLDS]
        np.testing.assert_array_equal(found[place], fit_weights(others, ALL))


def test_pictures_whose_candidates_are_equally_good_teach_nothing():
    with pytest.raises(DataError, match="no picture has two candidates of different worth"):
        fit_weights([Judged(np.ones((1, 5)), np.ones(1)), Judged(np.zeros((3, 5)), np.ones(3))])
