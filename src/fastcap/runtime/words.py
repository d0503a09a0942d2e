"""Which words people would use of a picture, by its vector: one logistic model a word, fitted to captioned pictures
(`fastcap.release.words`). `fastcap.runtime.ranking` chooses among candidates by it.

It tells candidates apart better than the captions of the nearest pictures do (`fastcap.runtime.memory`): a picture has
few neighbours, and a word many pictures.

Letters: W words, A width of a picture's vector, K candidates.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from fastcap.errors import ConfigError, many
from fastcap.runtime.npz import as_text, read_npz, refused, text_of, write_npz
from fastcap.runtime.text import caption_words

__all__ = ["MAX_BYTES", "PictureWords"]

MAX_BYTES = 2**26  # of the unpacked arrays: about half a million words
ARRAYS = {
    "words": (np.uint8, 1),
    "rows": (np.int8, 2),
    "scales": (np.float32, 1),
    "offsets": (np.float32, 1),
    "idf": (np.float32, 1),
}
"""The arrays of a file, their types and numbers of axes. `words`: UTF-8, one a line. A word is used with the
probability `sigmoid(scales * rows @ vector + offsets)`; `rows` (W, A), the others (W,)."""


class PictureWords:
    """A vocabulary whose words are more or less likely, depending on the picture. Threads may share it.

    Args:
        words: W different ones, as `fastcap.runtime.text.caption_words` gives them.
        weights: (W, A), kept in 8 bits. A word is used with the probability `sigmoid(weights @ vector + offsets)`.
        offsets: (W,).
        idf: (W,), how much each counts: minus the logarithm of the share of pictures whose captions use it.

    Raises:
        ConfigError: these do not fit one another, or are not finite.
    """

    def __init__(self, words: Sequence[str], weights: np.ndarray, offsets: np.ndarray, idf: np.ndarray) -> None:
        weights = np.asarray(weights, np.float32)
        scales = np.abs(weights).max(axis=-1, initial=0) / 127
        rows = np.rint(weights / np.maximum(scales, 1e-12)[..., None])
        arrays = {"rows": rows.astype(np.int8), "scales": scales, "offsets": offsets, "idf": idf}
        try:
            self._take(words, {name: np.asarray(array, ARRAYS[name][0]) for name, array in arrays.items()})
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def _take(self, words: Sequence[str], arrays: dict[str, np.ndarray]) -> None:
        rows, *numbers = (arrays[name] for name in ("rows", "scales", "offsets", "idf"))
        if len({*words}) != len(words) or rows.ndim != 2 or {len(each) for each in (rows, *numbers)} != {len(words)}:
            raise ValueError(f"{len(words)} words, rows {rows.shape}; needed: different words, a row for each")
        if not all(np.isfinite(each).all() for each in numbers):
            raise ValueError("scales, offsets or idf are no numbers")
        self._arrays = arrays
        self._rows, (scales, offsets, idf) = rows, numbers
        self._facts = np.stack([scales, offsets, idf.astype(np.float64) ** 2], axis=1)
        self._numbers = {word: number for number, word in enumerate(words)}

    def __len__(self) -> int:
        """W."""
        return len(self._numbers)

    @property
    def words(self) -> list[str]:
        """The words, in order."""
        return list(self._numbers)

    @property
    def width(self) -> int:
        """A, the width of the vectors."""
        return int(self._rows.shape[1])

    def probabilities(self, vector: np.ndarray) -> np.ndarray:
        """How likely each word is in a caption of the picture with this vector (A,): (W,)."""
        products, facts = self._told(vector, np.arange(len(self._rows)))
        return 1 / (1 + np.exp(-np.clip(facts[:, 0] * products + facts[:, 1], -60, 60)))

    def score(self, vector: np.ndarray, candidates: Sequence[str]) -> np.ndarray:
        """Two things about each candidate for the picture with this vector (A,): (K, 2).

        *information*, the second, is the length of the candidate's vector of idf, an entry for each word that it uses
        and that is known; *expected*, the first, is the mean product of that vector, made a unit vector, with what a
        person's caption has of it: the part of CIDEr-D that single words decide. Alone, *expected* prefers rare words
        that fit and frequent ones that always do; beside *information* a ranking can say what a word has to be worth.

        Raises:
            ConfigError: the vector is of another width.
        """
        known = self._numbers
        used = [
            [known[word] for word in dict.fromkeys(caption_words(text)) if word in known]
            for text in many(candidates, "candidates")
        ]
        numbers = list(dict.fromkeys(chain.from_iterable(used)))  # candidates share most of their words
        products, facts = self._told(vector, np.array(numbers, np.intp))
        weights, worth = {}, {}
        for number, product, (scale, offset, weight) in zip(numbers, products.tolist(), facts.tolist(), strict=True):
            weights[number] = weight
            worth[number] = weight / (1 + math.exp(-min(max(scale * product + offset, -60.0), 60.0)))
        scores = []
        for each in used:
            information = math.sqrt(sum([weights[number] for number in each]))
            scores.append((sum([worth[number] for number in each]) / max(information, 1e-9), information))
        return np.array(scores, np.float64).reshape(-1, 2)

    def _told(self, vector: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The products of the rows of N words with a vector, (N,), and their scales, offsets and squares of idf,
        (N, 3)."""
        if np.shape(vector) != (self.width,):
            raise ConfigError(f"the vector has the shape {np.shape(vector)}; needed: ({self.width},)")
        rows = self._rows.take(numbers, 0).astype(np.float32)
        return rows @ np.asarray(vector, np.float32), self._facts.take(numbers, 0)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an npz archive without pickles, the same bytes for the same content."""
        write_npz(path, {"words": as_text(self._numbers), **self._arrays})

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> PictureWords:
        """Read what `save` wrote.

        Raises:
            ModelFileError: the file is none, damaged, or larger than `MAX_BYTES` when unpacked.
        """
        read = cls.__new__(cls)
        with refused(path, "the words of pictures"):
            arrays, _ = read_npz(Path(path), ARRAYS, MAX_BYTES)
            read._take(text_of(arrays.pop("words")), arrays)
        return read
