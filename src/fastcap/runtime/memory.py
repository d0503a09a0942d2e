"""A memory of captioned pictures: how much a sentence is like what people said of similar pictures.

It holds the pictures' vectors in 8 bits and, for each picture, the n-grams of its captions weighed as CIDEr-D weighs
them (Vedantam, Zitnick, Parikh, CVPR 2015); no sentence as it was written. `fastcap.runtime.ranking` chooses among
candidates by it.

Letters: P pictures, A width of their vectors, G different n-grams, E n-grams of all pictures, K candidates.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np

from fastcap.errors import ConfigError, many
from fastcap.runtime.memory_file import MAX_WORDS, empty_arrays, read_arrays, write_arrays
from fastcap.runtime.text import caption_words

__all__ = ["NEIGHBOURS", "SHARPNESS", "Memory"]

NEIGHBOURS = 30  # pictures whose captions are compared with
SHARPNESS = 40.0  # a picture whose cosine is higher by 1/40 counts e times as much
LONGEST = 4  # words of an n-gram, as in CIDEr-D
SCALE = 10.0  # of CIDEr-D: a caption that says what all others say has 10
_BITS = 16  # of a word's number within an n-gram's key
_FULL = 255  # the largest weight, which stands for 1


class Memory:
    """Pictures that can be compared with, empty at first. Threads may share it as long as nothing is added.

    Example:
        >>> memory = Memory()
        >>> memory.add(vectors, [["A dog runs.", "A brown dog on grass."], ["Two men sit."]])  # doctest: +SKIP
        >>> memory.similarity(vectors[0], ["A dog runs on grass.", "A man sits."])  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._arrays = empty_arrays()
        self._words: dict[str, int] = {}
        self._prepare()

    def __len__(self) -> int:
        """The number of pictures."""
        return len(self._arrays["vectors"])

    @property
    def width(self) -> int:
        """A, the width of the vectors."""
        return int(self._arrays["directions"].shape[0])

    def add(self, vectors: np.ndarray, captions: Sequence[Sequence[str]]) -> None:
        """Take more pictures: unit vectors (P, A), as `Captioner.embed_images` gives them, and the captions of each.

        An n-gram weighs more, the fewer pictures have it, among all that the memory holds when it is added; so one call
        with all pictures gives other weights than a call for each.

        Raises:
            ConfigError: the vectors do not fit the captions or those that are there, or a picture has no caption.
        """
        vectors = np.asarray(vectors, np.float32)
        if vectors.ndim != 2 or len(vectors) != len(many(captions, "captions")) or not np.isfinite(vectors).all():
            raise ConfigError(f"vectors are {vectors.dtype} {vectors.shape}; needed: a finite one for each of "
                              f"{len(captions)} pictures")  # fmt: skip
        if len(self) and vectors.shape[1] != self.width:
            raise ConfigError(f"vectors have {vectors.shape[1]} numbers; those of this memory have {self.width}")
        for texts in captions:
            if not many(texts, "captions of a picture"):
                raise ConfigError("a picture has no caption; needed: one or more")
        counted = [[self._counted(text) for text in texts] for texts in captions]
        old = self._arrays
        seen = [np.unique(np.concatenate([keys for keys, _ in texts])) for texts in counted]
        keys, index = np.unique(np.concatenate([old["ngrams"], *seen]), return_inverse=True)
        frequencies = np.bincount(index[len(old["ngrams"]) :], minlength=len(keys))
        frequencies[index[: len(old["ngrams"])]] += old["frequencies"]
        idf = math.log(len(self) + len(captions)) - np.log(frequencies)
        entries = [_weighed(texts, keys, idf) for texts in counted]
        if not len(self):
            old = {**old, "directions": np.zeros((vectors.shape[1], 0), np.float32)}
        vectors = _turned(vectors, old["directions"])
        rounded = _rounded(vectors)
        self._arrays = {
            "directions": old["directions"],
            "vectors": np.concatenate([old["vectors"].reshape(-1, vectors.shape[1]), rounded["vectors"]]),
            "scales": np.concatenate([old["scales"], rounded["scales"]]),
            "ngrams": keys,
            "frequencies": frequencies.astype(np.uint32),
            "counts": np.concatenate([old["counts"], np.array([len(ids) for ids, _ in entries], np.uint16)]),
            "ids": np.concatenate([index[old["ids"]], *(ids for ids, _ in entries)]).astype(np.uint32),
            "weights": np.concatenate([old["weights"], *(weights for _, weights in entries)]),
        }
        self._prepare()

    def smaller(self, entries: int, least: int, width: int) -> Memory:
        """A copy that takes less space.

        Args:
            entries: the n-grams of each picture that count most, at most so many, are kept; 1 or more.
            least: n-grams that fewer pictures have are not.
            width: of the vectors, the part in so many directions is kept, in which they differ most.
        """
        held = self._arrays
        common = held["frequencies"] >= least
        order = np.argsort(-(held["weights"] * np.sqrt(self._idf[held["ids"]])), kind="stable")
        owner = np.repeat(np.arange(len(self)), held["counts"])
        order = order[common[held["ids"][order]]]
        order = order[np.argsort(owner[order], kind="stable")]
        counts = np.bincount(owner[order], minlength=len(self))
        rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = np.sort(order[rank < entries])
        used = np.unique(held["ids"][chosen])
        words = np.unique(held["ngrams"][used].view(np.uint16))
        words = words[words > 0]
        renumbered = np.zeros(MAX_WORDS + 1, np.uint16)
        renumbered[words] = np.arange(1, len(words) + 1)
        ngrams = renumbered[held["ngrams"][used].view(np.uint16)].view(np.uint64)  # numbers keep their order, keys too
        copy = Memory()
        names = list(self._words)
        copy._words = {names[word - 1]: number for number, word in enumerate(words.tolist(), start=1)}
        copy._arrays = {
            **held,
            "ngrams": ngrams,
            "frequencies": held["frequencies"][used],
            "counts": np.minimum(counts, entries).astype(np.uint16),
            "ids": np.searchsorted(used, held["ids"][chosen]).astype(np.uint32),
            "weights": _coarse(held["weights"][chosen]),
            **self._narrow(width),
        }
        copy._prepare()
        return copy

    def _narrow(self, width: int) -> dict[str, np.ndarray]:
        """`directions`, `vectors` and `scales` of at most so many directions."""
        held = self._arrays
        if width >= held["vectors"].shape[1]:
            return {}
        turn = np.linalg.svd(self._matrix, full_matrices=False)[2][:width].T
        directions = held["directions"] @ turn if held["directions"].size else turn
        return {"directions": np.ascontiguousarray(directions, np.float32), **_rounded(_turned(self._matrix, turn))}

    def similarity(
        self,
        vector: np.ndarray,
        candidates: Sequence[str],
        neighbours: int = NEIGHBOURS,
        sharpness: float = SHARPNESS,
    ) -> np.ndarray:
        """How much each candidate is like what is said of the pictures nearest to a vector (A,): (K,), from 0 to 10.

        It is the mean of its CIDEr-D with the captions of each of the `neighbours` nearest as the references, weighed
        by `exp(sharpness * cosine)`; but that a repeated n-gram may count again, and another length costs nothing. All
        0 in an empty memory.

        Raises:
            ConfigError: the vector is not of this memory's width.
        """
        if not len(self._idf):  # no picture, or none of whose n-grams is kept
            return np.zeros(len(candidates))
        if np.shape(vector) != (self.width,):
            raise ConfigError(f"the vector has the shape {np.shape(vector)}; those of this memory ({self.width},)")
        said = self._said(*self._nearest(vector, neighbours), sharpness)
        keys, values, owner = self._parts(many(candidates, "candidates"))
        place, known = self._find(keys)
        return SCALE / LONGEST * np.bincount(owner, values * known * said[place], minlength=len(candidates))

    def nearest(self, vector: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
        """The rows of the pictures nearest to a vector (A,), in no order; all of them if there are no more."""
        return self._nearest(vector, neighbours)[0]

    def consensus(self, candidates: Sequence[str]) -> np.ndarray:
        """How much each candidate is like the others: (K,), its mean similarity with them, from 0 to 10; 0 for one
        alone. It is the expected gain where each of them is as likely to be right (minimum Bayes risk, Kumar and Byrne
        2004)."""
        total: list[dict[int, float]] = [{} for _ in candidates]
        for key, value, one in zip(*(part.tolist() for part in self._parts(candidates)), strict=True):
            total[one][key] = value
        scores = np.zeros(len(candidates))
        for one in range(len(candidates)):
            for other in range(one):
                small, large = sorted((total[one], total[other]), key=len)
                likeness = SCALE / LONGEST * sum(value * large.get(key, 0.0) for key, value in small.items())
                scores[[one, other]] += likeness
        return scores / max(len(candidates) - 1, 1)

    def closest(self, vector: np.ndarray, neighbours: int = NEIGHBOURS) -> list[tuple[int, float]]:
        """The rows of the pictures nearest to a vector (A,) and their cosines, the nearest first."""
        if not len(self):
            return []
        rows, cosines = self._nearest(vector, neighbours)
        order = np.argsort(-cosines, kind="stable")
        return list(zip(rows[order].tolist(), cosines[order].tolist(), strict=True))

    @property
    def vectors(self) -> np.ndarray:
        """The pictures' unit vectors as they are kept, (P, D) float32."""
        return self._matrix

    def save(self, path: str | os.PathLike[str], texts: Mapping[str, str] | None = None) -> None:
        """Write the memory as an npz archive without pickles, the same bytes for the same content; with it `texts`."""
        write_arrays(path, self._arrays, self._words, texts)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Memory:
        """Read what `save` wrote.

        Raises:
            ModelFileError: the file is none, damaged, or larger than `MAX_MEMORY_BYTES` when unpacked.
        """
        return cls.open_with(path)[0]

    @classmethod
    def open_with(cls, path: str | os.PathLike[str], texts: Sequence[str] = ()) -> tuple[Memory, list[str]]:
        """As `open`, and the texts that were saved under these names."""
        memory = cls()
        memory._arrays, memory._words, read = read_arrays(path, texts)
        memory._prepare()
        return memory, read

    # --- n-grams ---------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """What similarity needs, computed once."""
        held = self._arrays
        self._matrix = held["vectors"].astype(np.float32) * held["scales"][:, None]
        self._starts = np.concatenate([[0], np.cumsum(held["counts"], dtype=np.int64)])
        self._unknown_idf = math.log(max(len(self), 1))
        self._idf = self._unknown_idf - np.log(np.maximum(held["frequencies"], 1))

    def _counted(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The n-grams of a caption as keys, and how often each occurs; new words get numbers."""
        tally = _tally([self._learnt(word) for word in caption_words(text)])
        return np.array([*tally], np.uint64), np.array([*tally.values()], np.int64)

    def _learnt(self, word: str) -> int:
        """The number of a word; a new one gets the next, as long as there are any."""
        if len(self._words) >= MAX_WORDS:
            return self._words.get(word, MAX_WORDS + 1)
        return self._words.setdefault(word, len(self._words) + 1)

    def _parts(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The n-grams of all candidates: their keys; their tf-idf, of length 1 for each candidate and number of words;
        and the place of the candidate."""
        strangers: dict[str, int] = {}

        def number(word: str) -> int:
            known = self._words.get(word)
            return known or MAX_WORDS + 1 + strangers.setdefault(word, len(strangers)) % (2**_BITS - MAX_WORDS - 1)

        tallies = [_tally([number(word) for word in caption_words(text)]) for text in texts]
        keys, counts = (
            np.array([each for tally in tallies for each in of(tally)], np.uint64) for of in (dict.keys, dict.values)
        )
        owner = np.repeat(np.arange(len(tallies)), [len(tally) for tally in tallies])
        place, known = self._find(keys)
        tf_idf = counts * np.where(known, self._idf[place] if len(self._idf) else 0.0, self._unknown_idf)
        return keys, tf_idf / _norms(keys, tf_idf, owner), owner

    def _find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of keys in the table, and whether they are there."""
        table = self._arrays["ngrams"]
        place = np.minimum(np.searchsorted(table, keys), max(len(table) - 1, 0))
        return place, (table[place] == keys) if len(table) else np.zeros(len(keys), bool)

    def _nearest(self, vector: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the nearest pictures, and their cosines."""
        cosines = self._matrix @ _turned(vector[None], self._arrays["directions"])[0]
        if neighbours >= len(cosines):
            return np.arange(len(cosines)), cosines
        rows = np.argpartition(cosines, -neighbours)[-neighbours:]
        return rows, cosines[rows]

    def _said(self, rows: np.ndarray, cosines: np.ndarray, sharpness: float) -> np.ndarray:
        """The weights (G,) that n-grams have in the captions of some pictures, on the weighed average."""
        held = self._arrays
        shares = np.exp(sharpness * (cosines - cosines.max()))
        counts = held["counts"][rows].astype(np.int64)
        before = np.cumsum(counts) - counts
        where = np.arange(counts.sum()) + np.repeat(self._starts[rows] - before, counts)
        weights = held["weights"][where] * np.repeat(shares / (_FULL * shares.sum()), counts)
        return np.bincount(held["ids"][where], weights, minlength=len(held["ngrams"]))


def _turned(vectors: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Unit vectors (P, A) in the directions (A, D), made unit vectors again; as they are if there are none."""
    if not directions.size:
        return vectors
    turned = vectors @ directions
    return turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-9)


def _rounded(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """`vectors` and `scales` of 8 bits."""
    scales = np.maximum(np.abs(vectors).max(axis=1, initial=0), 1e-9) / 127
    return {"vectors": np.rint(vectors / scales[:, None]).astype(np.int8), "scales": scales.astype(np.float32)}


def _coarse(weights: np.ndarray) -> np.ndarray:
    """Weights (E,) with one of some twenty values, each a quarter larger than the one before: they pack better."""
    steps = np.rint(np.log(_FULL / np.maximum(weights, 1)) / math.log(1.25))
    return np.maximum(np.rint(_FULL / 1.25**steps), 1).astype(np.uint8)


def _tally(words: Sequence[int]) -> dict[int, int]:
    """How often each n-gram of numbered words occurs, by its key: Python is faster than NumPy at a few dozen."""
    tally: dict[int, int] = {}
    for first in range(len(words)):
        key = 0
        for n, word in enumerate(words[first : first + LONGEST]):
            key |= word << _BITS * n
            tally[key] = tally.get(key, 0) + 1
    return tally


def _norms(keys: np.ndarray, tf_idf: np.ndarray, owner: np.ndarray | int = 0) -> np.ndarray:
    """For each n-gram the length of the vector of all of its owner's that have as many words; 1 where that is 0."""
    group = owner * LONGEST + sum((keys >> np.uint64(_BITS * n) > 0).astype(np.int64) for n in range(1, LONGEST))
    norms = np.sqrt(np.bincount(group, tf_idf**2))
    return np.where(norms > 0, norms, 1.0)[group]


def _weighed(
    texts: Sequence[tuple[np.ndarray, np.ndarray]], table: np.ndarray, idf: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams of a picture's captions as rows of the table, and their mean tf-idf, each caption's of length 1, in
    8 bits."""
    places = [np.searchsorted(table, keys) for keys, _ in texts]
    parts = []
    for place, (keys, counts) in zip(places, texts, strict=True):
        tf_idf = counts * idf[place]
        parts.append(tf_idf / _norms(keys, tf_idf))
    ids, index = np.unique(np.concatenate(places), return_inverse=True)
    weights = np.rint(_FULL / len(texts) * np.bincount(index, np.concatenate(parts), minlength=len(ids)))
    return ids[weights > 0], weights[weights > 0].astype(np.uint8)
