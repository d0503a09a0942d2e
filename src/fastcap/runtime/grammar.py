"""Sentences as words with what stands between them, and the few inflections that neutral wording needs."""

from __future__ import annotations

import re

from fastcap.errors import one_text
from fastcap.runtime import english
from fastcap.runtime.gendered import GENDERED, NAMES, PLURALS, THINGS, gendered_compound

__all__ = [
    "WORD",
    "Sentence",
    "base_form",
    "gendered_words",
    "in_case_of",
    "is_participle",
    "neutral_of",
    "owner",
    "sentences",
    "singular_of",
    "sounds_as_vowel",
]

WORD = re.compile(r"([Mm][Aa]['’][Aa][Mm](?![^\W\d_])|[^\W\d_]+)")
_THINGS = re.compile(rf"(?<![^\W\d_])(?:{THINGS})(?![^\W\d_])", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?…]['\"”’)\]]*\s|\n")
_ABBREVIATIONS = english.words("mr mrs ms mx dr st jr sr prof vs")
_CLITICS = ("s", "re", "ve", "ll", "d")


class Sentence:
    """Words, the gaps before each and after the last, and the places of the words that are gendered."""

    def __init__(self, words: list[str], gaps: list[str]) -> None:
        self.words, self.gaps = words, gaps
        self.lower = [word.lower() for word in words]
        longer = [word for word in words if len(word) > 3]
        self.is_headline = len(longer) > 2 and all(word[0].isupper() for word in longer)  # capitals tell of no name
        candidates = [place for place, word in enumerate(self.lower) if word in GENDERED or gendered_compound(word)]
        if candidates:
            things = self._things()
            candidates = [place for place in candidates if place not in things and self._is_gendered(place)]
        self.gendered = candidates

    def __str__(self) -> str:
        return "".join(gap + word for gap, word in zip(self.gaps, [*self.words, ""], strict=True))

    def before(self, place: int) -> str:
        """The word before in lower case, if only space is between; else nothing."""
        return self.lower[place - 1] if place > 0 and self.gaps[place].isspace() else ""

    def after(self, place: int) -> str:
        """The word after in lower case, if only space is between; else nothing."""
        return self.lower[place + 1] if place + 1 < len(self.words) and self.gaps[place + 1].isspace() else ""

    def has_apostrophe(self, place: int) -> bool:
        """Whether an apostrophe, perhaps with a space before it, is all that stands before a word."""
        return 0 < place < len(self.words) and self.gaps[place].lstrip() in ("'", "’")

    def clitic(self, place: int) -> str:
        """What follows an apostrophe after a word: the s of "he's"."""
        contracted = self.has_apostrophe(place + 1) and self.lower[place + 1] in _CLITICS
        return self.lower[place + 1] if contracted else ""

    def owner_mark(self, place: int) -> str:
        """ "s" after an apostrophe, or the mere apostrophe of a plural owner; else nothing."""
        if self.clitic(place) == "s":
            return "s"
        quoted = any(
            gap.endswith(("'", "‘")) and (at == 0 or gap[:-1].endswith(" ")) and not self.clitic(at - 1)
            for at, gap in enumerate(self.gaps[: place + 1])
        )
        gap = self.gaps[place + 1].lstrip()
        owned = place + 1 < len(self.words) and gap[:1] in ("'", "’") and gap[1:].isspace() and not quoted
        return "'" if owned else ""

    def is_name(self, place: int) -> bool:
        """Whether a word is capitalised where usual spelling would not."""
        word = self.words[place]
        return place > 0 and word[0].isupper() and not self.is_headline and not (word.isupper() and len(word) > 1)

    def _things(self) -> set[int]:
        """Places of words in phrases that are about nobody."""
        ends, at = [], 0
        for gap, word in zip(self.gaps, self.words, strict=False):
            at += len(gap) + len(word)
            ends.append(at)
        spans = [match.span() for match in _THINGS.finditer(str(self))]
        return {place for place, end in enumerate(ends) for start, stop in spans if start < end <= stop}

    def _is_gendered(self, place: int) -> bool:
        """Whether a word of the list is meant as such where it stands."""
        word, lower, before, after = self.words[place], self.lower[place], self.before(place), self.after(place)
        if lower in NAMES and self.is_name(place) and before and self.words[place - 1][0].isupper():
            return before in GENDERED or before in english.ADJECTIVES or before in english.FUNCTION_WORDS
        if lower == "earl":
            return after == "of" or not self.is_name(place)
        if lower == "miss":
            return word[0].isupper() and bool(after) and self.words[place + 1][0].isupper() and not self.is_headline
        if lower == "ms":
            return word == "Ms"
        if lower == "gal":
            return not self.gaps[place].rstrip()[-1:].isdigit()
        if lower in ("mummy", "mummies"):
            return before in english.POSSESSIVES or before == "s"
        if lower in ("son", "sons"):
            return "&" not in self.gaps[place]
        if lower in ("mans", "groom", "grooms"):  # "grooms a horse"
            noun = before in english.DETERMINERS or before in english.ADJECTIVES or before in ("of", "and")
            return noun or not (
                after in english.DETERMINERS or after in english.PRONOUNS or after in ("dogs", "horses")
            )
        if lower == "man":
            return not (before in ("to", "who", "they", "can", "will") and after in english.DETERMINERS)
        return True


def sentences(text: str) -> list[Sentence]:
    """The sentences of a text; joined as they are, they are the text."""
    parts = WORD.split(one_text(text, "the text"))
    words, gaps = parts[1::2], parts[0::2]
    starts = [0]
    for place in range(1, len(words)):
        if _SENTENCE_END.search(gaps[place]) and words[place - 1].lower() not in _ABBREVIATIONS:
            starts.append(place)
    return [
        Sentence(words[start:end], [*gaps[start:end], gaps[end] if end == len(words) else ""])
        for start, end in zip(starts, [*starts[1:], len(words)], strict=True)
    ]


def gendered_words(text: str) -> list[str]:
    """The gendered words of a text, in order, as they are written there."""
    return [sentence.words[place] for sentence in sentences(text) for place in sentence.gendered]


def base_form(word: str) -> str | None:
    """The plural of a verb's third person, "run" of "runs"; None if the word does not look like one."""
    if word in english.PLURAL_AUXILIARIES:
        return english.PLURAL_AUXILIARIES[word]
    if word in english.IRREGULAR_VERBS:
        return english.IRREGULAR_VERBS[word]
    if len(word) < 4 or word.endswith(("ss", "us", "is")) or not word.endswith("s") or word in english.NOT_VERBS:
        return None
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes", "oes")):
        return word[:-2]
    return word[:-1]


def is_participle(word: str) -> bool:
    """Whether a word looks like a past participle."""
    return word in english.PARTICIPLES or (word.endswith("ed") and word not in english.NOUNS_IN_ED)


def neutral_of(word: str) -> str | None:
    """What to say instead of a word in lower case; None if it states no gender."""
    if gendered_compound(word):
        return word[:-5] + ("people" if word.endswith("women") else "person")
    return GENDERED.get(word)


def singular_of(word: str) -> str:
    """What to say instead of one of those whom a gendered noun names."""
    if word.endswith("women") and gendered_compound(word):
        return word[:-5] + "person"
    return PLURALS.get(word) or neutral_of(word) or word


def owner(noun: str) -> str:
    """The possessive of a noun."""
    return noun + ("'" if noun.endswith("s") else "'s")


def sounds_as_vowel(word: str) -> bool:
    """Whether "an" stands before a word rather than "a"."""
    if word.startswith(("hour", "honest", "honor", "honour", "heir")):
        return True
    return word[:1] in "aeiou" and not word.startswith(("uni", "us", "eu", "one", "once", "ute", "uku"))


def in_case_of(model: str, word: str) -> str:
    """A word in the case of another: capitals, a capital first letter, or as it is."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word
