"""What captions are like as texts: how long, how varied, how much alike, and how far annotators agree."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastcap.curation.objects import entropy, gini
from fastcap.evaluation.diversity import diversity
from fastcap.evaluation.stem import stem
from fastcap.runtime import english
from fastcap.runtime.lint import lint

__all__ = ["Agreement", "Fidelity", "content_words", "language_figures", "word_fidelity", "words_of"]

Fidelity = Callable[[Sequence[str], Sequence[str]], list[float]]
"""Compares original captions with transformed ones."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_OPENING = 3  # words that make a caption's opening
_LISTED = 15  # openings and words in a report


def words_of(caption: str) -> list[str]:
    """The words of a caption in lower case."""
    return _WORD.findall(caption.lower())


def content_words(caption: str) -> list[str]:
    """What a caption is about: the stems of its words but those of grammar."""
    return [stem(word) for word in words_of(caption) if word not in english.FUNCTION_WORDS]


def language_figures(captions: Sequence[str]) -> dict[str, Any]:
    """Counts and shares of a list of captions.

    `length`: mean, quantiles (0, 5, 50, 95 and 100 %) and `histogram`, in words. `vocabulary`, `used_once`,
    `entropy_bits` and `gini` of how words are distributed; `distinct_1`, `distinct_2`, `repetition_rate` as
    `evaluation.diversity` has them. `repeated`: the share of captions that stand more than once; `repeated_texts`: the
    most frequent of those. `boilerplate`: the share of captions that begin with one of `openings`, the three words with
    which most begin. `lint`: how many captions break each rule of `fastcap lint`.
    """
    tokens = {str(number): words_of(caption) for number, caption in enumerate(captions)}
    lengths = sorted(map(len, tokens.values())) or [0]
    words = Counter(word for row in tokens.values() for word in row)
    texts = Counter(" ".join(row) for row in tokens.values())
    openings = Counter(" ".join(row[:_OPENING]) for row in tokens.values() if len(row) > _OPENING)
    variety = diversity(tokens)
    n = max(1, len(captions))
    return {
        "captions": len(captions),
        "length": {
            "mean": round(sum(lengths) / len(lengths), 2),
            "quantiles": [lengths[min(len(lengths) - 1, int(q * len(lengths)))] for q in (0, 0.05, 0.5, 0.95, 1)],
            "histogram": dict(sorted(Counter(lengths).items())),
        },
        "vocabulary": len(words),
        "used_once": sum(count == 1 for count in words.values()),
        "entropy_bits": round(entropy(words.values()), 3),
        "gini": round(gini(list(words.values())), 4),
        **{name: round(variety[name], 4) for name in ("distinct_1", "distinct_2", "repetition_rate")},
        "repeated": round(sum(count for count in texts.values() if count > 1) / n, 4),
        "repeated_texts": [list(item) for item in texts.most_common(_LISTED) if item[1] > 1],
        "boilerplate": round(sum(count for _, count in openings.most_common(_LISTED)) / n, 4),
        "openings": [list(item) for item in openings.most_common(_LISTED)],
        "lint": dict(Counter(finding.rule for caption in captions for finding in lint(caption)).most_common()),
    }


class Agreement:
    """How close captions of one picture are: cosines of their content words, weighted by how rare these are.

    Args:
        pictures: the captions of each picture; document frequencies are counted over them.
    """

    def __init__(self, pictures: Iterable[Sequence[str]]) -> None:
        self._words = [[Counter(content_words(caption)) for caption in captions] for captions in pictures]
        frequency = Counter(word for rows in self._words for word in set().union(*rows))
        n = max(1, len(self._words))
        self._weights = {word: math.log(n / count) + 0.1 for word, count in frequency.items()}

    def closest(self) -> list[list[float | None]]:
        """For each caption of each picture its cosine, 0 to 1, with the closest other one of that picture; None where
        there is no other."""
        return [self._closest(rows) for rows in self._words]

    def _closest(self, rows: Sequence[Mapping[str, int]]) -> list[float | None]:
        vectors = [self._vector(row) for row in rows]
        if len(vectors) < 2:
            return [None] * len(vectors)
        cosines = [[_dot(a, b) for b in vectors] for a in vectors]
        return [max(row[:at] + row[at + 1 :]) for at, row in enumerate(cosines)]

    def _vector(self, row: Mapping[str, int]) -> dict[str, float]:
        vector = {word: self._weights[word] for word in row}
        norm = math.sqrt(sum(value * value for value in vector.values()))
        return {word: value / norm for word, value in vector.items()} if norm else {}


def _dot(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    return sum(value * b[word] for word, value in a.items() if word in b)


def word_fidelity(originals: Sequence[str], transformed: Sequence[str]) -> list[float]:
    """How much of each original caption the transformed one keeps, 0 to 1: the F-score of their content words."""
    found = []
    for old, new in zip(originals, transformed, strict=True):
        a, b = Counter(content_words(old)), Counter(content_words(new))
        both = sum((a & b).values())
        found.append(2 * both / (sum(a.values()) + sum(b.values())) if a and b else float(a == b))
    return found
