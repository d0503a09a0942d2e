"""Calibration: whether a caption is as good as its confidence says.

A picture can be described in many ways, so no caption is simply correct. What can be counted is its support: the share
of its content words that at least one reference contains as well. A calibrated confidence of 0.7 means that, over many
captions, 70 % of the content words are supported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fastcap.errors import DataError, listed
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.evaluation.stem import stem

__all__ = ["calibration_error", "fit_alignment", "fit_calibration", "reliability", "support"]

BINS = 10
SMALLEST_SCALE = 0.05
FUNCTION_WORDS = frozenset(
    """
    a an the this that these those some and or but nor of in on at to with by for from into onto over under up down out
    off near next through across along around is are was were be been being am has have having do does doing it its he
    she they them him her his their there here as while who which what where when one other another each very
    """.split()  # noqa: SIM905 (a word a line buries the file)
)


def support(caption: str, references: Sequence[str]) -> float:
    """The share of a caption's content words that a reference contains, compared by stem: 0 to 1; 0 if it has none.

    Raises DataError for references that are no list of texts.
    """
    words = {stem(word) for word in ptb_tokens(caption) if word not in FUNCTION_WORDS}
    known = {
        stem(word) for reference in listed(references, "references", error=DataError) for word in ptb_tokens(reference)
    }
    return len(words & known) / len(words) if words else 0.0


def fit_calibration(confidences: Sequence[float], supports: Sequence[float]) -> tuple[float, float]:
    """Scale and offset of `sigmoid(scale * logit(confidence) + offset)`, fitted to the supports by maximum likelihood
    (Platt 1999, here with shares in place of classes).

    Raises:
        ValueError: fewer than two confidences, or not as many as supports.
        DataError: they are no lists of numbers.
    """
    confidences, supports = numbers(confidences, "confidences"), numbers(supports, "supports")
    if len(confidences) != len(supports) or len(confidences) < 2:
        raise ValueError(f"{len(confidences)} confidences and {len(supports)} supports; needed: as many, 2 or more")
    p = np.clip(np.asarray(confidences, np.float64), 1e-6, 1 - 1e-6)
    x = np.stack([np.log(p / (1 - p)), np.ones(len(p))], axis=1)
    y = np.asarray(supports, np.float64)
    fitted = maximise(x, y, np.array([1.0, 0.0]), free=[0, 1])
    if fitted[0] < SMALLEST_SCALE:  # a smaller scale would level or reverse the order of captions
        fitted = maximise(x, y, np.array([SMALLEST_SCALE, 0.0]), free=[1])
    scale, offset = np.clip(fitted, [SMALLEST_SCALE, -30], [30, 30])
    return float(scale), float(offset)


def fit_alignment(own: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Scale and offset of `sigmoid(scale * cosine + offset)`, fitted by maximum likelihood to separate the cosines of
    pictures with their `own` texts from those with the texts of `other` pictures.

    Raises:
        ValueError: there are no cosines of one kind.
        DataError: they are no lists of numbers.
    """
    own, other = numbers(own, "cosines of own texts"), numbers(other, "cosines of other texts")
    if not len(own) or not len(other):
        raise ValueError(f"{len(own)} cosines of own texts and {len(other)} of others; needed: 1 or more of each")
    middle = np.median(own), np.median(other)  # Newton's method starts near the answer: half way between the two
    scale = 4 / max(float(middle[0] - middle[1]), 0.05)
    x = np.stack([np.concatenate([own, other]), np.ones(len(own) + len(other))], axis=1)
    y = np.concatenate([np.ones(len(own)), np.zeros(len(other))])
    fitted = maximise(x, y, np.array([scale, -scale * sum(middle) / 2]), free=[0, 1])
    return max(float(fitted[0]), SMALLEST_SCALE), float(fitted[1])


def maximise(x: np.ndarray, y: np.ndarray, start: np.ndarray, free: list[int]) -> np.ndarray:
    """The logistic regression of y (N,) on x (N, 2) by Newton's method; only the `free` parameters are fitted.

    A small ridge penalty keeps parameters at the start where the data do not determine them.
    """
    parameters, ridge = start.copy(), 1e-3 * np.eye(len(free))
    for _ in range(50):
        q = 1 / (1 + np.exp(-np.clip(x @ parameters, -30, 30)))
        gradient = x[:, free].T @ (q - y) + ridge @ (parameters - start)[free]
        curvature = x[:, free].T @ (x[:, free] * (q * (1 - q))[:, None]) + ridge
        step = np.linalg.solve(curvature, gradient)
        parameters[free] -= step / max(1.0, float(np.linalg.norm(step)))
    return parameters


def reliability(confidences: Sequence[float], supports: Sequence[float]) -> list[tuple[float, float, int]]:
    """Mean confidence, mean support and number of captions in each of ten equal ranges of confidence, empty ones left
    out. Raises DataError for what is no list of numbers, or if there are not as many of both."""
    confidences, supports = numbers(confidences, "confidences"), numbers(supports, "supports")
    if len(confidences) != len(supports):
        raise DataError(f"{len(confidences)} confidences and {len(supports)} supports; needed: as many of both")
    c, s = np.asarray(confidences, np.float64), np.asarray(supports, np.float64)
    bins = np.minimum((c * BINS).astype(int), BINS - 1)
    return [
        (float(c[bins == i].mean()), float(s[bins == i].mean()), int((bins == i).sum()))
        for i in range(BINS)
        if (bins == i).any()
    ]


def calibration_error(confidences: Sequence[float], supports: Sequence[float]) -> float:
    """Expected calibration error (Naeini et al. 2015): the mean distance of confidence and support, by ranges.

    Raises DataError as `reliability` does, and for no captions.
    """
    confidences = numbers(confidences, "confidences")
    if not confidences:
        raise DataError("got no confidences; needed: at least one")
    return sum(n * abs(c - s) for c, s, n in reliability(confidences, supports)) / len(confidences)


def numbers(values: Iterable[float], what: str) -> list[float]:
    """Many numbers. Raises DataError for anything else."""
    return listed(values, what, (float, int, np.floating, np.integer), DataError)
