"""Is it in a picture? "Yes" where captions name it, and as often "no" about another picture that surely lacks it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from fastcap.curation.nouns import is_person_noun
from fastcap.curation.pictures import Picture, Question, phrased
from fastcap.curation.question_words import BACKGROUND, GROUPS_OF_WORDS, SAME, SPORTS
from fastcap.runtime import english

__all__ = ["AGREEING", "existence", "surely_has", "surely_lacks"]

AGREEING = 2
"""Captions that have to say the same."""
FREQUENT = 10
"""Pictures in which an object must be named to be asked for: rarer names are often slips."""
MOST_OF_ONE = 1500
"""Most "yes" of one object: a third of all pictures has a man, and questions for him alone would teach little."""
MOST_OF_PICTURE = 4
"""Most "yes" of one picture."""
NEAR = 0.6
"""Share of "no" for which a picture is sought that is like that of the "yes": with another of its objects; for people,
with other people."""
DRAWN = 40
"""Pictures that are looked at for a "no"."""

PEOPLE = {
    "man": english.words("woman women lady ladies girl girls female"),
    "woman": english.words("man men guy guys boy boys male"),
    "child": english.words("man woman lady guy"),
    "boy": english.words("man woman lady guy"),
    "girl": english.words("man woman lady guy"),
    "baby": english.words("man woman lady guy"),
}
"""People who are asked for, and by which names people of a picture may go for a "no" to be sure."""

RELATED: dict[str, frozenset[str]] = {
    first: frozenset(word for group in GROUPS_OF_WORDS if group[0] == first for word in group)
    for first in {group[0] for group in GROUPS_OF_WORDS}
}
"""Words of which each says that an object may be there, or is."""


def existence(pictures: Sequence[Picture], rng: np.random.Generator) -> list[list[Question]]:
    """Pairs of a "yes" and a "no" about the same object of two pictures."""
    frequent = Counter(name for picture in pictures for name in picture.counts)
    asked = {name for name, n in frequent.items() if n >= FREQUENT and may_be_asked(name)}
    holding: dict[str, list[int]] = defaultdict(list)
    for place, picture in enumerate(pictures):
        for name in picture.objects:
            holding[name].append(place)
    yes: dict[str, list[int]] = defaultdict(list)
    per_picture: Counter[int] = Counter()
    balance = np.zeros(len(pictures))
    taken: set[tuple[int, str]] = set()
    for place in rng.permutation(len(pictures)).tolist():
        sure = sorted(name for name in pictures[place].counts if name in asked and surely_has(pictures[place], name))
        sure = [name for name in sure if not any(name != other and name in other.split() for other in sure)]
        for name in rng.permutation(sure).tolist():
            if per_picture[place] < MOST_OF_PICTURE and len(yes[name]) < MOST_OF_ONE:
                yes[name].append(place)
                per_picture[place] += 1
                balance[place] -= 1
    pairs = []
    for name in sorted(yes):
        for place in yes[name]:
            shared = sorted(PEOPLE[name] & holding.keys() if name in PEOPLE else pictures[place].objects - {name})
            near = holding[shared[rng.integers(len(shared))]] if shared and rng.random() < NEAR else []
            other = lacking(name, pictures, near, balance, taken, rng)
            if other is None:
                other = lacking(name, pictures, range(len(pictures)), balance, taken, rng)
            if other is not None:
                balance[other] += 1
                taken.add((other, name))
                pairs.append([
                    phrased(pictures[at].image, "existence", name, name, answer, rng)
                    for at, answer in ((place, "yes"), (other, "no"))
                ])  # fmt: skip
    return pairs


def may_be_asked(name: str) -> bool:
    """Whether one may ask for an object: its absence from captions tells something, and it is a thing."""
    last = name.rpartition(" ")[2]
    if name in PEOPLE:
        return True
    if {name, *name.split()} & (BACKGROUND | SPORTS) or last in SAME or is_person_noun(last):
        return False
    return len(last) > 2 and not last.endswith("ing") and last not in english.VERBS | english.COLOURS


def surely_has(picture: Picture, name: str) -> bool:
    """Whether two captions name an object; or one does, and none what it may be taken for. What is a boy to two people
    and a man to three is neither."""
    if name in PEOPLE:
        return picture.counts[name] >= AGREEING + 1 or PEOPLE[name].isdisjoint(picture.words)
    if picture.counts[name] >= AGREEING:
        return True
    others = RELATED.get(name, frozenset()) | RELATED.get(name.rpartition(" ")[2], frozenset())
    return (others - {name, *name.split()}).isdisjoint(picture.words)


def lacking(
    name: str,
    pictures: Sequence[Picture],
    places: Sequence[int],
    balance: np.ndarray,
    taken: set[tuple[int, str]],
    rng: np.random.Generator,
) -> int | None:
    """Of some pictures drawn from `places`, one that surely lacks an object, with the fewest "no" so far."""
    if not len(places):
        return None
    drawn = {int(places[at]) for at in rng.integers(len(places), size=DRAWN)}
    sure = [at for at in sorted(drawn) if (at, name) not in taken and surely_lacks(pictures[at], name)]
    return min(sure, key=lambda at: balance[at]) if sure else None


def surely_lacks(picture: Picture, name: str) -> bool:
    """Whether no caption names an object, what it is part or kind of, or anything that sounds like it."""
    if len(picture.captions) < AGREEING:
        return False
    if name in PEOPLE:
        return name not in picture.words and picture.people <= PEOPLE[name]
    for word in name.split():
        if word in picture.words or (len(word) >= 4 and word[:4] in picture.beginnings):
            return False
    return all(RELATED.get(word, frozenset()).isdisjoint(picture.words) for word in (name, name.rpartition(" ")[2]))
