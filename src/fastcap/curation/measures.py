"""How biased captions are: who is mentioned, what a rewriting changed, and what is said of men and of women."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fastcap.curation.bias import CATEGORIES, Mention, mentions
from fastcap.curation.genders import Gender, of_caption, of_picture, without_gender
from fastcap.curation.nouns import is_person_noun
from fastcap.evaluation.stem import stem
from fastcap.runtime import english
from fastcap.runtime.grammar import base_form

__all__ = [
    "Association",
    "Change",
    "Mentioned",
    "Said",
    "associations",
    "change",
    "content_words",
    "mentioned",
    "pictures_by_gender",
    "said_of",
]

_WORD = re.compile(r"[^\W\d_]{3,}")
_Z = 1.96  # two-sided 95 %


@dataclass(frozen=True)
class Mentioned:
    """A category: in how many captions it is mentioned, their share of all, and the most frequent phrases."""

    captions: int
    share: float
    phrases: tuple[tuple[str, int], ...]


def mentioned(captions: Sequence[Sequence[Mention]], top: int = 10) -> dict[str, Mentioned]:
    """Each of CATEGORIES with what captions say of it, by the mentions of each."""
    counts: Counter[str] = Counter()
    phrases: dict[str, Counter[str]] = {category: Counter() for category in CATEGORIES}
    for found in captions:
        counts.update({mention.category for mention in found})
        for mention in found:
            phrases[mention.category][mention.text.lower()] += 1
    share = 1 / max(1, len(captions))
    return {
        category: Mentioned(counts[category], counts[category] * share, tuple(phrases[category].most_common(top)))
        for category in CATEGORIES
    }


@dataclass(frozen=True)
class Change:
    """What a rewriting did to the mentions of a category: captions with one before and after, mentions that went and
    that came, and captions that still have one."""

    before: int
    after: int
    removed: int
    added: int
    left: int


def change(originals: Sequence[str], rewritten: Sequence[str]) -> dict[str, Change]:
    """Each of CATEGORIES with what changed between captions and their rewritten forms, in the same order.

    Raises ValueError for lists of different lengths.
    """
    totals = {category: [0, 0, 0, 0, 0] for category in CATEGORIES}
    for original, text in zip(originals, rewritten, strict=True):
        was = Counter((mention.category, mention.text.lower()) for mention in mentions(original))
        is_now = Counter((mention.category, mention.text.lower()) for mention in mentions(text))
        for category, total in totals.items():
            before = {key: n for key, n in was.items() if key[0] == category}
            after = {key: n for key, n in is_now.items() if key[0] == category}
            gone = sum(max(0, n - after.get(key, 0)) for key, n in before.items())
            came = sum(max(0, n - before.get(key, 0)) for key, n in after.items())
            for at, value in enumerate((bool(before), bool(after), gone, came, bool(before) and bool(after))):
                total[at] += value
    return {category: Change(*total) for category, total in totals.items()}


def content_words(caption: str) -> dict[str, str]:
    """Objects and activities of a caption: word by stem, without people, attributes and words that only join."""
    said: dict[str, str] = {}
    text = without_gender(caption)
    spans = [(mention.start, mention.end) for mention in mentions(text)]
    for match in _WORD.finditer(text):
        word = match.group().lower()
        is_verb = word in english.VERBS or base_form(word) in english.VERBS  # "who cooks", and not "two cooks"
        if word in english.FUNCTION_WORDS or word in english.ADJECTIVES or (is_person_noun(word) and not is_verb):
            continue
        if not any(start <= match.start() < end for start, end in spans):
            said.setdefault(stem(word), word)
    return said


@dataclass(frozen=True)
class Association:
    """A word, and in how many pictures of women and of men it is said; `ratio` of its shares, women to men, with the
    bounds of its 95 % interval (Katz et al. 1978; half a picture is added to each count)."""

    word: str
    women: int
    men: int
    ratio: float
    low: float
    high: float

    @property
    def strength(self) -> float:
        """How far the interval's nearer bound is from 1, in logarithms; 0 where 1 is within it."""
        return max(0.0, math.log(self.low), -math.log(self.high))


def pictures_by_gender(captions: Iterable[Sequence[str]]) -> list[Gender]:
    """The gender of the people in each picture, by its captions."""
    return [of_picture([of_caption(mentions(text)) for text in texts]) for texts in captions]


@dataclass(frozen=True)
class Said:
    """What a model says of the pictures of one gender: how many there are, and in how many of its captions the people
    have that gender, the other one, or none that is certain."""

    pictures: int
    same: int
    other: int
    none: int


def said_of(genders: Sequence[Gender], model: Sequence[str]) -> dict[str, Said]:
    """How often a model's captions give people the gender that people's captions give them, by that gender."""
    found = {}
    stated = [of_caption(mentions(caption)) for caption in model]
    for gender in ("woman", "man"):
        said = [one for one, true in zip(stated, genders, strict=True) if true == gender]
        same = sum(one == gender for one in said)
        none = said.count("")
        found[gender] = Said(len(said), same, len(said) - same - none, none)
    return found


def associations(captions: Sequence[Sequence[str]], genders: Sequence[Gender], minimum: int = 10) -> list[Association]:
    """Who cooks, who skates: words by how much more often they are said of women's or of men's pictures, in that
    order.

    Pictures are counted, not captions, which are five of one scene. `genders`: of each picture, as `pictures_by_gender`
    gives them. `minimum`: pictures that a word must be said of (10: below, the interval says nothing). Words are
    grouped by their stem. Of a hundred words without any difference, five intervals leave out 1 all the same.
    """
    said: dict[Gender, Counter[str]] = {"woman": Counter(), "man": Counter()}
    forms: dict[str, Counter[str]] = {}
    for texts, gender in zip(captions, genders, strict=True):
        if not gender:
            continue
        words: set[str] = set()
        for text in texts:
            for root, word in content_words(text).items():
                words.add(root)
                forms.setdefault(root, Counter())[word] += 1
        said[gender].update(words)
    n_women, n_men = (sum(gender == one for gender in genders) for one in ("woman", "man"))
    if not (n_women and n_men):
        return []
    found = []
    for root, spellings in forms.items():
        women, men = said["woman"][root], said["man"][root]
        if women + men < minimum:
            continue
        a, b = women + 0.5, men + 0.5
        ratio = (a / (n_women + 0.5)) / (b / (n_men + 0.5))
        error = math.sqrt(max(0.0, 1 / a - 1 / (n_women + 0.5) + 1 / b - 1 / (n_men + 0.5)))
        low, high = ratio * math.exp(-_Z * error), ratio * math.exp(_Z * error)
        found.append(Association(spellings.most_common(1)[0][0], women, men, ratio, low, high))
    return sorted(found, key=lambda one: (-one.strength, one.word))


def as_json(measured: Any) -> Any:
    """Dataclasses of this package as dictionaries, fit for `json.dumps`; numbers to four places."""
    if hasattr(measured, "__dataclass_fields__"):
        return {name: as_json(getattr(measured, name)) for name in measured.__dataclass_fields__}
    if isinstance(measured, dict):
        return {key: as_json(value) for key, value in measured.items()}
    if isinstance(measured, (list, tuple)):
        return [as_json(value) for value in measured]
    return round(measured, 4) if isinstance(measured, float) else measured
