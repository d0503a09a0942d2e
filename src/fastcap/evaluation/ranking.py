"""The weights by which candidates are ranked (`fastcap.runtime.ranking`), fitted to what people said.

A weight is never measured on pictures that it was fitted to: `folds` parts of them are left out in turn.

Letters: K candidates of a picture, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fastcap.errors import DataError
from fastcap.runtime.contract import Weights

__all__ = ["FOLDS", "Judged", "cross_fitted", "fit_weights"]

FOLDS = 5
RIDGE = 1e-3  # relative to the features' variance: decides only between features that say the same


class Judged(NamedTuple):
    """The candidates of one picture: `features` (K, F) and how good each is, `gains` (K,), CIDEr-D against people."""

    features: np.ndarray
    gains: np.ndarray


def fit_weights(pictures: Sequence[Judged], used: Sequence[bool] | None = None) -> np.ndarray:
    """Weights (F,) of the linear score that comes nearest to the differences between a picture's candidates in gain, by
    ridge regression. `used`: features that may have a weight; by default all, in the order of `Weights`.

    Raises:
        DataError: no picture has two candidates that differ.
    """
    allowed = np.ones(len(Weights._fields), bool) if used is None else np.array(used, bool)
    several = [picture for picture in pictures if len(picture.gains) > 1]
    if not several:
        raise DataError("no picture has two candidates; needed: some to fit the weights of their ranking to")
    x = np.concatenate([features - features.mean(axis=0) for features, _ in several])[:, allowed]
    y = np.concatenate([gains - gains.mean() for _, gains in several])
    scales = np.maximum(x.std(axis=0), 1e-9)
    x = x / scales
    weights = np.zeros(len(allowed))
    weights[allowed] = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y) / scales
    return weights


def cross_fitted(
    pictures: Sequence[Judged], used: Sequence[bool] | None = None, folds: int = FOLDS
) -> Iterator[tuple[int, np.ndarray]]:
    """The place of each picture, and weights (F,) fitted to the pictures of the other folds."""
    for fold in range(folds):
        weights = fit_weights([picture for place, picture in enumerate(pictures) if place % folds != fold], used)
        yield from ((place, weights) for place in range(fold, len(pictures), folds))
