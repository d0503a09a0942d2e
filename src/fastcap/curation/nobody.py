"""Phrases with a word for an attribute that are about nobody: "no man's land", "king crab", "the Dallas Cowboys"."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from fastcap.curation.terms import TERMS

__all__ = ["phrases_about_nobody"]


def _by_word() -> dict[str, list[str]]:
    """The phrases of nobody.txt by each term in them, so that only a few are tried on a caption."""
    lines = Path(__file__).with_name("nobody.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, list[str]] = {}
    for phrase in (phrase for line in lines if not line.startswith("#") for phrase in line.split()):
        phrase = phrase.replace("wom[ae]n", "(?:woman|women)").replace("m[ae]n", "(?:man|men)")
        names: set[str] = set()
        letters = re.sub(r"\\w[+*]?", "", phrase)
        for word in re.findall("[a-zé]+", letters):
            forms = {word, word + "s", word.removesuffix("s"), word.removesuffix("es")}
            names |= forms & TERMS.keys()
        for name in names:
            found.setdefault(name, []).append(phrase)
    return found


_BY_WORD = _by_word()


@functools.cache
def _compiled(phrase: str) -> re.Pattern[str]:
    spaced = phrase.replace("_?", "[ -]?").replace("_", "[ -]+")
    return re.compile(rf"(?<![\w'’-])(?:{spaced})(?!(?!['’]s\b)[\w'’+-]*\w)", re.IGNORECASE)


def phrases_about_nobody(text: str, words: set[str]) -> dict[int, int]:
    """Where such phrases start and end in a text of which `words` are the words in lower case."""
    spans: dict[int, int] = {}
    for word in sorted(words & _BY_WORD.keys()):
        for phrase in _BY_WORD[word]:
            for match in _compiled(phrase).finditer(text):
                spans[match.start()] = max(match.end(), spans.get(match.start(), 0))
    return spans
