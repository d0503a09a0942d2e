"""The file of a `fastcap.runtime.memory.Memory`: an npz archive without pickles, checked before it is believed.

Letters: P pictures, A width of their vectors as a model gives them, D as they are kept, G different n-grams, E n-grams
of all pictures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastcap.runtime.npz import as_text, read_npz, refused, text_of, write_npz

__all__ = ["MAX_MEMORY_BYTES", "MAX_WORDS", "empty_arrays", "read_arrays", "write_arrays"]

MAX_WORDS = 60_000  # the numbers above are for words of a candidate that the memory does not know
MAX_MEMORY_BYTES = 2**28  # of the unpacked arrays: about a million pictures

ARRAYS = {
    "directions": (np.float32, 2),
    "vectors": (np.int8, 2),
    "scales": (np.float32, 1),
    "words": (np.uint8, 1),
    "ngrams": (np.uint8, 2),
    "frequencies": (np.uint32, 1),
    "counts": (np.uint16, 1),
    "ids": (np.uint8, 2),
    "weights": (np.uint8, 1),
}
"""The arrays of a file, their types and numbers of axes.

`directions`: (A, D), by which vectors are multiplied before they are kept and compared; D is 0 where they are kept as
they are. `vectors`: (P, D or A), to be multiplied with `scales` (P,). `words`: UTF-8, one a line. `ngrams`: up to four
numbers of words, counted from 1, with 16 bits each, the first word lowest, as one number; sorted. `frequencies`: how
many pictures have each. `counts`: the n-grams of each picture. `ids`: their rows in `ngrams`; `weights`: theirs, 255
for 1. Of `ngrams` and `ids`, each less the one before it, the bytes are laid out as rows, the lowest first, which packs
them better."""


def empty_arrays() -> dict[str, np.ndarray]:
    """The arrays of a memory without pictures, as `read_arrays` gives them."""
    arrays = {name: np.zeros((0,) * axes, kind) for name, (kind, axes) in ARRAYS.items() if name != "words"}
    return {**arrays, "ngrams": np.zeros(0, np.uint64), "ids": np.zeros(0, np.uint32)}


def write_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    words: Mapping[str, int],
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write what `read_arrays` reads, the same bytes for the same content; `texts` by their names in the archive."""
    ids, counts = arrays["ids"], arrays["counts"]
    starts = (np.cumsum(counts, dtype=np.int64) - counts)[counts > 0]
    differences = np.diff(ids, prepend=ids[:1] * 0)
    differences[starts] = ids[starts]
    packed = {
        **arrays,
        "ids": _bytes(differences),
        "ngrams": _bytes(np.diff(arrays["ngrams"], prepend=np.zeros(1, np.uint64))),
        "words": as_text(words),
    }
    write_npz(path, {name: packed[name] for name in ARRAYS}, texts)


def read_arrays(
    path: str | os.PathLike[str], texts: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, int], list[str]]:
    """The arrays by name, `ngrams` as numbers (G,) and `ids` as rows of them (E,); the number of each word; and the
    texts of these names.

    Raises:
        ModelFileError: the file is none, damaged, or larger than `MAX_MEMORY_BYTES` when unpacked.
    """
    with refused(path, "a memory of captioned pictures"):
        arrays, read = read_npz(Path(path), ARRAYS, MAX_MEMORY_BYTES, texts)
        names = text_of(arrays.pop("words"))
        words = {word: number for number, word in enumerate(names, start=1)}
        ids, counts = _numbers(arrays["ids"], np.uint32).astype(np.int64), arrays["counts"]
        arrays["ngrams"] = np.cumsum(_numbers(arrays["ngrams"], np.uint64), dtype=np.uint64)
        before = np.concatenate([[0], np.cumsum(ids)])
        starts = np.cumsum(counts, dtype=np.int64) - counts
        arrays["ids"] = before[1:] - np.repeat(before[np.minimum(starts, len(ids))], counts)[: len(ids)]
        _check(arrays, words, len(names))
        return {**arrays, "ids": arrays["ids"].astype(np.uint32)}, words, read


def _bytes(numbers: np.ndarray) -> np.ndarray:
    """Numbers (E,) as bytes (size of a number, E), the lowest first."""
    return np.ascontiguousarray(numbers.astype(numbers.dtype.newbyteorder("<")).view(np.uint8).reshape(
        len(numbers), numbers.dtype.itemsize).T)  # fmt: skip


def _numbers(rows: np.ndarray, kind: type[np.unsignedinteger[Any]]) -> np.ndarray:
    """The inverse of `_bytes`. Raises ValueError for another number of rows."""
    dtype = np.dtype(kind).newbyteorder("<")
    if len(rows) != dtype.itemsize:
        raise ValueError(f"{len(rows)} bytes a number; expected {dtype.itemsize}")
    return np.ascontiguousarray(rows.T).view(dtype).reshape(-1).astype(kind)


def _check(arrays: dict[str, np.ndarray], words: dict[str, int], lines: int) -> None:
    """Raise ValueError where arrays do not fit one another."""
    pictures, ngrams, ids = len(arrays["vectors"]), arrays["ngrams"], arrays["ids"]
    parts = ngrams.view(np.uint16) if len(ngrams) else np.zeros(1, np.uint16)
    directions, width = arrays["directions"], arrays["vectors"].shape[1]
    for fits, told in (
        (directions.shape[1] == width if directions.size else len(directions) == width, "directions of other vectors"),
        (np.isfinite(directions).all(), "directions that are no numbers"),
        (len(words) == lines and len(words) <= MAX_WORDS, "words occur twice, or are too many"),
        (len(arrays["scales"]) == len(arrays["counts"]) == pictures, "scales or counts are not one a picture"),
        (np.isfinite(arrays["scales"]).all() and (arrays["scales"] >= 0).all(), "scales are no sizes"),
        (len(arrays["frequencies"]) == len(ngrams), "frequencies are not one an n-gram"),
        ((arrays["frequencies"] >= 1).all() and (arrays["frequencies"] <= pictures).all(), "frequencies out of range"),
        ((ngrams[1:] > ngrams[:-1]).all() and parts.max() <= len(words), "n-grams out of order, or of no words"),
        (len(ids) == len(arrays["weights"]) == arrays["counts"].sum(dtype=np.int64), "counts do not sum up"),
        (not len(ids) or (ids.min() >= 0 and ids.max() < len(ngrams)), "ids of no n-gram"),
    ):
        if not fits:
            raise ValueError(told)
