"""Is the ball red? Are there two dogs? "Yes" as captions say, and "no" of a picture where it is another."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from fastcap.curation.pictures import Picture, Question, phrased
from fastcap.runtime.english import words

__all__ = ["asked_twice"]

CONFUSED = tuple(map(words, (
    "tan brown beige orange gold golden yellow khaki", "gray silver white black navy", "red maroon pink orange purple",
    "blue navy turquoise teal purple lavender gray", "green teal turquoise khaki", "white beige tan silver",
)))  # fmt: skip
"""Colours of which one may be said of another; none is asked for where another of its row was said."""
WORDS_OF = {"2": "two", "3": "three", "4": "four", "5": "five", "6": "six"}


def asked_twice(
    colours: Callable[[Picture], Iterable[tuple[str, str]]],
    numbers: Callable[[Picture], Iterable[tuple[str, str]]],
    plurals: Callable[[Sequence[Picture]], dict[str, str]],
) -> Callable[[Sequence[Picture], np.random.Generator], list[list[Question]]]:
    """Makes pairs of a "yes" and a "no" to the same question about two pictures, of what these functions tell of each:
    as often as a ball is red, it is asked whether one is that is not, so that the question alone tells nothing."""

    def make(pictures: Sequence[Picture], rng: np.random.Generator) -> list[list[Question]]:
        forms, pairs = plurals(pictures), []
        for kind, told in (("colour", colours), ("number", numbers)):
            facts = [(picture, about, answer) for picture in pictures for about, answer in told(picture)]
            facts = [fact for fact in facts if kind == "colour" or (fact[2] in WORDS_OF and fact[1] in forms)]
            needed: dict[str, Counter[str]] = defaultdict(Counter)
            having: dict[tuple[str, str], list[Picture]] = defaultdict(list)
            lacking: dict[tuple[str, str], list[Picture]] = defaultdict(list)
            for picture, about, answer in facts:
                needed[about][answer] += 1
                having[about, answer].append(picture)
            for place in rng.permutation(len(facts)).tolist():
                picture, about, answer = facts[place]
                if wrong := most_needed(needed[about], answer):
                    needed[about][wrong] -= 1
                    lacking[about, wrong].append(picture)
            for (about, value), others in sorted(lacking.items()):
                shown, those = about if kind == "colour" else forms[about], having[about, value]
                chosen = rng.permutation(len(those))[: len(others)].tolist()
                for at, other in zip(chosen, others, strict=True):
                    sides = ((those[at], "yes"), (other, "no"))
                    pairs.append([asked(picture, kind, shown, value, says, rng) for picture, says in sides])
        return pairs

    return make


def most_needed(needed: Counter[str], answer: str) -> str:
    """The answer for which a "no" is lacking most, of those that surely are another; "" if there is none."""
    others = [other for other, number in needed.items() if number > 0 and surely_another(other, answer)]
    return max(sorted(others), key=needed.__getitem__, default="")


def surely_another(one: str, other: str) -> bool:
    """Whether nobody would call the one colour or number the other."""
    mine, theirs = set(one.split(" and ")), set(other.split(" and "))
    return mine.isdisjoint(theirs) and not any(mine & row and theirs & row for row in CONFUSED)


def asked(picture: Picture, kind: str, shown: str, value: str, says: str, rng: np.random.Generator) -> Question:
    """A question for one value."""
    form = "attribute" if kind == "colour" else "amount"
    question = phrased(picture.image, form, shown, shown, says, rng)
    return replace(question, kind="attribute", text=question.text.replace("{c}", WORDS_OF.get(value, value)))
