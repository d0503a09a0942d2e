"""Where a caption mentions a protected attribute of a person."""

from __future__ import annotations

from typing import NamedTuple

from fastcap.runtime.grammar import sentences

__all__ = ["CATEGORIES", "Mention", "mentions"]

CATEGORIES = ("gender", "sexual_orientation", "race_ethnicity", "nationality", "religion", "disability", "age")
"""The protected attributes that are told apart."""


class Mention(NamedTuple):
    """A phrase that mentions a protected attribute: offsets in code points, the end exclusive; the text between them;
    one of CATEGORIES. A word that mentions two attributes has two mentions at the same place."""

    start: int
    end: int
    text: str
    category: str


def mentions(text: str) -> list[Mention]:
    """The mentions of a caption, in the order of their places and then of CATEGORIES."""
    found, at = [], 0
    for sentence in sentences(text):
        for place, (gap, word) in enumerate(zip(sentence.gaps, sentence.words, strict=False)):
            at += len(gap)
            if place in sentence.gendered:
                found.append(Mention(at, at + len(word), word, "gender"))
            at += len(word)
    return found
