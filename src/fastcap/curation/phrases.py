"""Noun phrases of a caption: "two small brown dogs", its number, its adjectives and its nouns, by classes of words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastcap.curation.nouns import singular
from fastcap.curation.objects import ADJECTIVES, WORD, word_kind
from fastcap.runtime import english
from fastcap.runtime.grammar import base_form

__all__ = ["Phrase", "noun_phrases", "words_of"]

_LEADS = english.DETERMINERS | english.NUMBERS


@dataclass(frozen=True)
class Phrase:
    """A noun phrase: words `start` to `end` of a caption.

    Attributes:
        lead: its article, pronoun or number; "" for none.
        adjectives: in order, with an "and" between them where it stands there.
        nouns: a compound's words, the last as it is written.
    """

    start: int
    end: int
    lead: str
    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]

    @property
    def noun(self) -> str:
        """The last noun in the singular."""
        return singular(self.nouns[-1])

    @property
    def name(self) -> str:
        """The last two nouns, in the singular: "fire hydrant", and "hot dog", which is no dog."""
        before = self.nouns[-2:-1] or tuple(word for word in self.adjectives[-1:] if word == "hot")
        return " ".join([*before, self.noun])

    @property
    def is_plural(self) -> bool:
        """Whether it names several: by its ending."""
        return self.nouns[-1] != self.noun


def words_of(caption: str) -> list[str]:
    """The words and marks of a caption in lower case."""
    return WORD.findall(caption.lower())


def noun_phrases(words: Sequence[str]) -> Iterator[Phrase]:
    """The noun phrases among the words of a caption, in order.

    A noun that is also a verb counts after an article or adjective, and as the last part of a compound where a verb
    would have another form: "a street sign", but not "a dog barks".
    """
    at = 0
    while at < len(words):
        start = at
        lead = words[at] if words[at] in _LEADS else ""
        at += bool(lead)
        adjectives: list[str] = []
        while at < len(words) and (words[at] in ADJECTIVES or _joins(words, at, adjectives)):
            adjectives.append(words[at])
            at += 1
        nouns: list[str] = []
        while at < len(words) and _goes_on(words[at], nouns, bool(lead or adjectives)):
            nouns.append(words[at])
            at += 1
        if nouns:
            yield Phrase(start, at, lead, tuple(adjectives), tuple(nouns))
        at = max(at, start + 1)


def _joins(words: Sequence[str], at: int, adjectives: Sequence[str]) -> bool:
    """Whether "and" or a comma stands between two adjectives."""
    return bool(adjectives) and words[at] in ("and", ",") and at + 1 < len(words) and words[at + 1] in ADJECTIVES


def _goes_on(word: str, nouns: Sequence[str], is_led: bool) -> bool:
    kind = word_kind(word)
    if kind in ("noun", "other"):
        return kind == "noun"
    if not nouns:
        return is_led
    is_base = (base_form(word) or word) == word
    return is_base and not _is_plural(nouns[-1])


def _is_plural(noun: str) -> bool:
    return singular(noun) != noun
