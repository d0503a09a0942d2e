"""How often each training image is drawn: all alike, or by the weights that `fastcap data report` suggests."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastcap.config import DataConfig
from fastcap.errors import DataError

__all__ = ["epoch_order", "read_weights"]


def epoch_order(
    eligible: NDArray[np.int64], weights: NDArray[np.float64] | None, seed: Sequence[int]
) -> NDArray[np.int64]:
    """The images of an epoch, as many as are eligible, in the order in which they are drawn; it follows from `seed`.

    Without weights each stands there once. With weights each stands there as often as its share of their sum says, or
    once more, by systematic resampling (Kitagawa 1996): of all ways to draw by weights the one that varies least.
    """
    rng = np.random.default_rng(seed)
    if weights is None:
        return rng.permutation(eligible)
    sums = np.cumsum(weights[eligible])
    places = (rng.random() + np.arange(len(eligible))) / len(eligible) * sums[-1]
    drawn = np.minimum(np.searchsorted(sums, places, side="right"), len(eligible) - 1)
    return rng.permutation(eligible[drawn])


def read_weights(data: DataConfig, paths: Sequence[Path]) -> NDArray[np.float64] | None:
    """The weight of each training image, in the file `data.weights`; None if there is no such file in the recipe.

    The file has the columns `image` and `probability`, and a picture's path in it begins at the folder of its data set,
    at `data.root` or at the root of the file system. Of several rows of a picture the last counts.

    Raises:
        DataError: no such table, a number that is none, or a training image without a row.
    """
    if not data.weights:
        return None
    table = Path(data.weights)
    folders = [Path(data.root), *(Path(data.root) / dataset.root for dataset in data.train)]
    known: dict[Path, float] = {}
    try:
        with table.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                weight = float(row["probability"])
                if not 0 <= weight < float("inf"):
                    raise ValueError(f"row {number} has the probability {weight}")
                known |= dict.fromkeys((folder / row["image"] for folder in folders), weight)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{table} is no table of images and probabilities ({error}); setting data.weights") from error
    missing = [path for path in paths if path not in known]
    if missing:
        raise DataError(
            f"{table} has no row for {len(missing)} of {len(paths)} training images, the first {missing[0]}; setting "
            "data.weights"
        )
    weights = np.array([known[path] for path in paths])
    if not weights.sum() > 0:
        raise DataError(f"{table} gives every training image the probability 0; setting data.weights")
    return weights
