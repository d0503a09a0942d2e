"""What counts as a mention of a protected attribute, and that the matcher finds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastcap.curation.bias import CATEGORIES, mentions

LETTERS = {
    "g": "gender",
    "o": "sexual_orientation",
    "r": "race_ethnicity",
    "n": "nationality",
    "f": "religion",
    "d": "disability",
    "a": "age",
}
HERE = Path(__file__).parent


def marked(path: Path) -> list[tuple[str, set[tuple[int, int, str]]]]:
    """Sentences without their marks, and the spans that were marked."""
    cases = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        text, spans = "", set()
        for part in re.split(r"(\[[^]|]+\|[a-z]+\])", line):
            if part.startswith("["):
                phrase, letters = part[1:-1].split("|")
                spans |= {(len(text), len(text) + len(phrase), LETTERS[letter]) for letter in letters}
                text += phrase
            else:
                text += part
        cases.append((text, spans))
    return cases


def measured(cases: list[tuple[str, set[tuple[int, int, str]]]]) -> tuple[float, float, list[str]]:
    """Precision, recall, and the sentences that are not as marked."""
    right = said = due = 0
    wrong = []
    for text, spans in cases:
        found = {(mention.start, mention.end, mention.category) for mention in mentions(text)}
        right, said, due = right + len(found & spans), said + len(found), due + len(spans)
        if found != spans:
            missing = [(text[start:end], category) for start, end, category in sorted(spans - found)]
            extra = [(text[start:end], category) for start, end, category in sorted(found - spans)]
            wrong.append(f"{text}  MISSING {missing} EXTRA {extra}")
    return right / said, right / due, wrong
