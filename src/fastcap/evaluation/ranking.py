"""The weights by which candidates are ranked (`fastcap.runtime.ranking`), fitted to what people said.

What counts is the candidate that comes first. So the weights are those of a softmax over a picture's candidates whose
expected gain is the largest, as in minimum risk training (Och 2003; Smith and Eisner 2006); ridge regression of the
gains, which also explains the differences between bad candidates, chose worse ones (benchmarks/choosing.py).

A weight is never measured on pictures that it was fitted to. Where there are no others, these are left out in `FOLDS`
parts, in turn.

Letters: P pictures, K candidates of a picture, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fastcap.errors import DataError
from fastcap.evaluation.bleu import sentence_bleu
from fastcap.runtime.contract import Weights

__all__ = ["BLEU_SHARE", "FOLDS", "USED", "Judged", "cross_fitted", "fit_weights", "worth"]

FOLDS = 5
USED = ("log_p", "words", "expected", "information")
"""Features that a ranking weighs; `similarity`, where there is a memory, beside them. The others gave nothing."""
BLEU_SHARE = 0.5
"""What BLEU-4 counts beside CIDEr-D in what a candidate is worth. Without it weights chose captions of less BLEU-4 than
the network's own, being longer; a whole one costs CIDEr (docs/log.md)."""
DECAY = 0.01  # CIDEr points (x 100) that a weight of 1, for a feature of variance 1, has to bring
STEPS = 200


class Judged(NamedTuple):
    """The candidates of one picture: `features` (K, F) and how good each is, `gains` (K,), such as by `worth`."""

    features: np.ndarray
    gains: np.ndarray


def worth(cider: float, candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """What a candidate is worth, in points of 100: its CIDEr-D, 0 to 10, and a share of BLEU-4. The candidate and what
    people say are tokens."""
    return 100 * (cider + BLEU_SHARE * sentence_bleu(candidate, references))


def fit_weights(
    pictures: Sequence[Judged], used: Sequence[str] = USED, names: Sequence[str] = Weights._fields
) -> np.ndarray:
    """Weights (F,) of the linear score whose first candidates are best; 0 for features that are not among `used`.

    Args:
        names: of the F features.

    Raises:
        DataError: no picture has two candidates of different gain.
    """
    columns = [list(names).index(name) for name in used]
    several = [picture for picture in pictures if len({*picture.gains.tolist()}) > 1]
    if not several:
        raise DataError(
            "no picture has two candidates of different worth; needed: some to fit the weights of a ranking to"
        )
    most = max(len(picture.gains) for picture in several)
    x, y = np.zeros((len(several), most, len(columns))), np.zeros((len(several), most))
    there = np.zeros((len(several), most), bool)
    for row, (features, gains) in enumerate(several):
        x[row, : len(gains)] = (features - features.mean(axis=0))[:, columns]
        y[row, : len(gains)], there[row, : len(gains)] = gains, True
    scales = np.maximum(x[there].std(axis=0), 1e-9)
    weights = np.zeros(len(names))
    weights[columns] = _ascend(x / scales, y, there) / scales
    return weights


def _ascend(x: np.ndarray, y: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The weights (F,) of x (P, K, F) with the largest expected y (P, K) less a decay, from 0 uphill by BFGS."""

    def value(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = np.where(there, x @ weights, -np.inf)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        mean = (p * y).sum(axis=1)
        slope = ((p * (y - mean[:, None]))[..., None] * x).sum(axis=(0, 1)) / len(y)
        return float(mean.mean() - DECAY * weights @ weights), slope - 2 * DECAY * weights

    weights, inverse = np.zeros(x.shape[2]), np.eye(x.shape[2])
    now, slope = value(weights)
    for _ in range(STEPS):
        direction, length = inverse @ slope, 1.0
        while (new := value(weights + length * direction))[0] < now + 1e-4 * length * direction @ slope:
            length /= 2
            if length < 1e-6:
                return weights
        step, change = length * direction, slope - new[1]
        weights = weights + step
        if new[0] - now < 1e-7:
            return weights
        if step @ change > 1e-12:
            left = np.eye(len(step)) - np.outer(step, change) / (step @ change)
            inverse = left @ inverse @ left.T + np.outer(step, step) / (step @ change)
        now, slope = new
    return weights


def cross_fitted(
    pictures: Sequence[Judged],
    used: Sequence[str] = USED,
    folds: int = FOLDS,
    names: Sequence[str] = Weights._fields,
) -> Iterator[tuple[int, np.ndarray]]:
    """The place of each picture, and weights (F,) fitted to the pictures of the other folds."""
    for fold in range(folds):
        weights = fit_weights([picture for place, picture in enumerate(pictures) if place % folds != fold], used, names)
        yield from ((place, weights) for place in range(fold, len(pictures), folds))
