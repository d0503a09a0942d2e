"""A caption as words: each with its place, what stands before it and, if it is one, the term that it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fastcap.curation.nobody import phrases_about_nobody
from fastcap.curation.terms import TERMS, Term

__all__ = ["Token", "tokens"]

_APOSTROPHES = str.maketrans("’‘‑", "''-")
_ATOM = re.compile(r"[^\W_]+(?:['’.&][^\W_]+)*\+?")
_SPACES = re.compile(r"[\s-]+")
_CLITIC = re.compile(r"'(?:ll|d|ve|re|m)$")
_OWNER = re.compile(r"['’]s$", re.IGNORECASE)


def _phrases() -> dict[str, list[tuple[str, ...]]]:
    starts: dict[str, list[tuple[str, ...]]] = {}
    for term in TERMS:
        first, *rest = term.split()
        if rest:
            starts.setdefault(first, []).append((first, *rest))
    return {first: sorted(phrases, key=len, reverse=True) for first, phrases in starts.items()}


_PHRASES = _phrases()
"""Terms of several words by the first of them, the longest first."""


@dataclass(frozen=True)
class Token:
    """A word or a fixed phrase of a text: its place, what it looks like in lower case with spaces for hyphens, whether
    an owner's mark follows it, what stands before it, and the term that it is, if any."""

    start: int
    end: int
    text: str
    lower: str
    owner: bool
    gap: str
    term: Term | None
    nobody: bool = False

    @property
    def is_capital(self) -> bool:
        return self.text[:1].isupper()


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text: words with their hyphens, but for terms and phrases of several words, which are one."""
    plain = text.translate(_APOSTROPHES).lower()
    if len(plain) != len(text):  # a letter whose lower case is two
        plain = "".join(
            letter.lower() if len(letter.lower()) == 1 else letter for letter in text.translate(_APOSTROPHES)
        )
    atoms = [match.span() for match in _ATOM.finditer(plain)]
    words = [plain[start:end] for start, end in atoms]
    parts = {part for word in words for part in (word, _OWNER.sub("", word))}
    nobody = phrases_about_nobody(text, parts)
    at, done = 0, 0
    while at < len(atoms):
        start = atoms[at][0]
        term, is_nobody = None, start in nobody
        if is_nobody:
            last = next((i for i in range(len(atoms) - 1, at - 1, -1) if atoms[i][0] < nobody[start]), at)
        else:
            found = _term_end(plain, atoms, words, at)
            last = at if found is None else found
            if found is None:
                while last + 1 < len(atoms) and plain[atoms[last][1] : atoms[last + 1][0]] == "-":
                    last += 1
        end, owner = _without_clitic(plain, start, atoms[last][1])
        if not is_nobody:
            spaced = _SPACES.sub(" ", plain[start:end])
            term = TERMS.get(spaced)
        lower = spaced if term else plain[start:end]
        yield Token(start, end, text[start:end], lower, owner, text[done:start], term, is_nobody)
        mark = re.match(r"'s?(?!\w)", plain[end:]) if owner else None
        done = end + (mark.end() if mark else 0)
        at = last + 1


def _without_clitic(plain: str, start: int, end: int) -> tuple[int, bool]:
    """Where a word ends without its 's, 'll and the like, and whether it is an owner's."""
    word = plain[start:end]
    if word.endswith("+") and _SPACES.sub(" ", word) not in TERMS:
        return end - 1, False
    if "'" in word and word not in TERMS:
        if clitic := _OWNER.search(word):
            return start + clitic.start(), True
        if clitic := _CLITIC.search(word):
            return start + clitic.start(), False
    quoted = "'" in plain[:start].replace("'s", "")
    return end, word.endswith("s") and not quoted and bool(re.match(r"'(?=\s|$)", plain[end:]))


def _term_end(plain: str, atoms: list[tuple[int, int]], words: list[str], at: int) -> int | None:
    """The last atom of the longest term of several words that begins at one; None if none does."""
    if at and plain[atoms[at][0] - 1] == "-":
        return None
    for phrase in _PHRASES.get(words[at], ()):
        last = at + len(phrase) - 1
        if last >= len(atoms):
            continue
        ends = (words[last], _OWNER.sub("", words[last]), words[last].removesuffix("+"))
        if tuple(words[at:last]) != phrase[:-1] or phrase[-1] not in ends:
            continue
        gaps = (plain[atoms[i][1] : atoms[i + 1][0]] for i in range(at, last))
        followed = last + 1 < len(atoms) and plain[atoms[last][1] : atoms[last + 1][0]] == "-"
        if not followed and all(gap == "-" or gap.isspace() for gap in gaps):
            return last
    return None
