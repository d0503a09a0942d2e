"""The Porter2 (Snowball English) stemmer: `skateboarding`, `skateboards` -> `skateboard`.

Source: Porter, "Snowball: A language for stemming algorithms", 2001, the English stemmer. METEOR counts two
words with one stem as a match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from fastcap.errors import DataError, one_text

__all__ = ["stem"]

SPECIAL = {
    "skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl",
    "gently": "gentl", "ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl",
    "sky": "sky", "news": "news", "howe": "howe", "atlas": "atlas", "cosmos": "cosmos", "bias": "bias",
    "andes": "andes",
}  # fmt: skip
FINISHED_AFTER_PLURAL = {"inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed"}

DOUBLES = ("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")
STEP_2 = {
    "tional": "tion", "enci": "ence", "anci": "ance", "abli": "able", "entli": "ent", "izer": "ize",
    "ization": "ize", "ational": "ate", "ation": "ate", "ator": "ate", "alism": "al", "aliti": "al",
    "alli": "al", "fulness": "ful", "ousli": "ous", "ousness": "ous", "iveness": "ive", "iviti": "ive",
    "biliti": "ble", "bli": "ble", "ogi": "og", "fulli": "ful", "lessli": "less", "li": "",
}  # fmt: skip
STEP_3 = {
    "tional": "tion", "ational": "ate", "alize": "al", "icate": "ic", "iciti": "ic", "ical": "ic", "ful": "",
    "ness": "", "ative": "",
}  # fmt: skip
STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ism", "ate", "iti",
    "ous", "ive", "ize", "ion",
)  # fmt: skip

VOWEL = re.compile("[aeiouy]")
REGION = re.compile("[aeiouy][^aeiouy]")
SHORT_SYLLABLE = re.compile("(?:[^aeiouy][aeiouy][^aeiouywxY]|^[aeiouy][^aeiouy])$")


def stem(word: str) -> str:
    """The stem of a lower-case English word. Raises DataError for what is no text."""
    return _stem(one_text(word, "the word", DataError))


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    if len(word) <= 2:
        return word
    if word in SPECIAL:
        return SPECIAL[word]
    word = word.removeprefix("'")
    word = re.sub("(^|[aeiouy])y", r"\1Y", word)  # Y is a consonant
    prefix = re.match("gener|commun|arsen", word)
    r1 = prefix.end() if prefix else _region(word, 0)
    r2 = _region(word, r1)

    word = re.sub("('s'|'s|')$", "", word)
    word = _step_1a(word)
    if word in FINISHED_AFTER_PLURAL:
        return word
    word = _step_1b(word, r1)
    if len(word) > 2 and word[-1] in "yY" and not VOWEL.match(word[-2]):
        word = word[:-1] + "i"
    word = _step_2(word, r1)
    word = _step_3(word, r1, r2)
    word = _step_4(word, r2)
    word = _step_5(word, r1, r2)
    return word.lower()


def _region(word: str, start: int) -> int:
    """The start of the part after the first consonant that follows a vowel."""
    match = REGION.search(word, start)
    return match.end() if match else len(word)


def _step_1a(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and VOWEL.search(word[:-2]):
        return word[:-1]
    return word


def _step_1b(word: str, r1: int) -> str:
    suffix = _longest(word, ("eed", "eedly", "ed", "edly", "ing", "ingly"))
    base = word.removesuffix(suffix)
    if not suffix:
        return word
    if suffix in ("eed", "eedly"):
        return base + "ee" if len(base) >= r1 else word
    if not VOWEL.search(base):
        return word
    if base.endswith(("at", "bl", "iz")):
        return base + "e"
    if base.endswith(DOUBLES):
        return base[:-1]
    if r1 >= len(base) and SHORT_SYLLABLE.search(base):
        return base + "e"
    return base


def _step_2(word: str, r1: int) -> str:
    suffix = _longest(word, STEP_2)
    base = word.removesuffix(suffix)
    if not suffix or len(base) < r1:
        return word
    if (suffix == "ogi" and not base.endswith("l")) or (suffix == "li" and base[-1:] not in tuple("cdeghkmnrt")):
        return word
    return base + STEP_2[suffix]


def _step_3(word: str, r1: int, r2: int) -> str:
    suffix = _longest(word, STEP_3)
    base = word.removesuffix(suffix)
    if not suffix or len(base) < (r2 if suffix == "ative" else r1):
        return word
    return base + STEP_3[suffix]


def _step_4(word: str, r2: int) -> str:
    suffix = _longest(word, STEP_4)
    base = word.removesuffix(suffix)
    if not suffix or len(base) < r2 or (suffix == "ion" and not base.endswith(("s", "t"))):
        return word
    return base


def _step_5(word: str, r1: int, r2: int) -> str:
    base = word[:-1]
    if word.endswith("e") and (len(base) >= r2 or (len(base) >= r1 and not SHORT_SYLLABLE.search(base))):
        return base
    return base if word.endswith("ll") and len(base) >= r2 else word


def _longest(word: str, suffixes: Iterable[str]) -> str:
    return max((suffix for suffix in suffixes if word.endswith(suffix)), key=len, default="")
