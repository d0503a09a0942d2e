"""Questions and answers about pictures, made of what people's captions agree on, by rules.

| kind | a question | from |
| --- | --- | --- |
| existence | "is there a dog?" yes, no | a caption names it; of another picture none names it or anything like it |
| number | "how many dogs are there?" 2 | two captions name it, one or more count it, none differently |
| colour | "what color is the ball?" red | two captions name it, one or more give it a colour, none another |
| activity | "what is the boy doing?" riding bike | two captions say so |
| place | "where is the cat?" couch | two captions say so |
| attribute | "is the ball red?" yes, no | as colour and number; no of another one in the same picture |
| object | "what animal is this?" horse | two captions name it, none another; of what is ridden, as activity |

For each object there are as many "yes" as "no". Of the other kinds, the most frequent answer to the same question is
cut to as many as the second has: what remains is not told by the question alone. People are asked for no colour.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fastcap.curation.attributes import asked_twice
from fastcap.curation.existence import AGREEING, existence
from fastcap.curation.nouns import is_person_noun, singular
from fastcap.curation.objects import ObjectCounts
from fastcap.curation.phrases import Phrase
from fastcap.curation.pictures import Picture, Question, named, phrased
from fastcap.curation.question_words import (
    BACKGROUND,
    COLOURLESS,
    FURNITURE,
    NOT_COUNTED,
    OBJECTS_OF,
    PLACES,
    PLAIN_ACTIVITIES,
    WORN,
)
from fastcap.curation.recognition import ASKED_FOR, recognised, ridden
from fastcap.errors import ConfigError, DataError
from fastcap.runtime import english

__all__ = ["KINDS", "questions_from_captions"]


def questions_from_captions(
    captions: Sequence[tuple[Path, Sequence[str]]], *, seed: int = 0, kinds: Sequence[str] = (), limit: int = 0
) -> list[Question]:
    """Questions about pictures, in the order of the pictures; the same for the same captions and seed.

    Args:
        captions: of each picture, by people; those that agree count, so that pictures with a single one get none.
        kinds: of `KINDS`; all by default.
        limit: most questions; of existence whole pairs of a "yes" and a "no" are left out. 0 for all.

    Raises:
        ConfigError: an unknown kind.
        DataError: no question can be made.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}")
    counts = ObjectCounts(texts for _, texts in captions)
    pictures = [
        Picture(image, texts, map(named, names))
        for (image, texts), names in zip(captions, counts.by_picture, strict=True)
    ]
    units: list[list[Question]] = []  # what is kept or left out together
    for number, (kind, make) in enumerate(KINDS.items()):
        if not kinds or kind in kinds:
            units += make(pictures, np.random.default_rng([seed, number]))
    if limit and sum(map(len, units)) > limit:
        rng = np.random.default_rng([seed, len(KINDS)])
        kept: list[Question] = []
        for place in rng.permutation(len(units)):
            if len(kept) + len(units[place]) <= limit:
                kept += units[place]
    else:
        kept = [question for unit in units for question in unit]
    if not kept:
        raise DataError("no question can be made of these captions; needed: pictures with two or more that agree")
    place_of = {picture.image: place for place, picture in enumerate(pictures)}
    order = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(kept, key=lambda q: (place_of[q.image], order[q.kind], q.text))


# --- the other kinds: what a picture's captions agree on ----------------------------------------------------


def numbers(picture: Picture) -> Iterator[tuple[str, str]]:
    """Things and their number, where captions agree and none may mean another."""
    told: dict[str, list[int]] = defaultdict(list)
    telling: dict[str, set[int]] = defaultdict(set)
    for place, phrases in enumerate(picture.phrases):
        for phrase in phrases:
            told[named(phrase.noun)].append(counted(phrase))
            telling[named(phrase.noun)].add(place)
    for noun, counts in told.items():
        head, exact = singular(noun), {count for count in counts if count != VAGUE}
        if noun in NOT_COUNTED or head in NOT_COUNTED or len(exact) != 1 or len(telling[noun]) < AGREEING:
            continue
        (number,), is_person = exact, is_person_noun(noun)
        if number == 1 and (
            VAGUE in counts or is_person or len(counts) < AGREEING + 1 or is_among_others(picture, noun)
        ):
            continue
        if is_person and not picture.people <= {noun, f"{noun}s", noun.replace("man", "men")}:
            continue
        if 1 <= number <= 6:
            yield noun, str(number)


VAGUE = -1


def counted(phrase: Phrase) -> int:
    """How many things a phrase names; `VAGUE` for a plural without a number, 0 for what may be any number."""
    if phrase.lead in english.NUMBERS:
        return english.COUNTS.get(phrase.lead, 0) if phrase.is_plural else 0
    if phrase.is_plural:
        return VAGUE
    return 1 if phrase.lead in ("a", "an", "one", "the") else 0


def is_among_others(picture: Picture, noun: str) -> bool:
    """Whether captions say something of several: a herd, others, another."""
    several = english.words("herd group flock pack bunch other others another several many row line lot lots pair "
                            "couple multiple various few some all each both family crowd animal animals")  # fmt: skip
    return not several.isdisjoint(picture.words) or any(word in picture.words for word in (f"{noun}s", f"{noun}es"))


def colours(picture: Picture) -> Iterator[tuple[str, str]]:
    """Things and their colour, where captions agree and none names the thing with another or in the plural. Of animals
    and clothes two have to say it: these have several colours, those several people."""
    told: dict[str, list[str]] = defaultdict(list)
    telling: dict[str, set[int]] = defaultdict(set)
    for place, (words, phrases) in enumerate(zip(picture.captions, picture.phrases, strict=True)):
        for phrase in phrases:
            noun = named(phrase.noun)
            telling[noun].add(place)
            after = words[phrase.end] if phrase.end < len(words) else ""
            said = [word.replace("grey", "gray") for word in phrase.adjectives if word in english.COLOURS]
            compound = len(phrase.nouns) > 1 and phrase.nouns[0] in english.COLOURS
            if phrase.is_plural and noun not in ("shorts", "pants", "jeans"):
                told[noun].append("several")
            elif said and not compound and after not in ("and", "or"):
                told[noun].append(" and ".join(sorted(set(said))))
    for noun, said in told.items():
        several = noun in WORN or noun in english.ANIMALS
        if (len(said) if several else len(telling[noun])) < AGREEING or len(set(said)) > 1 or said[0] == "several":
            continue
        if noun in COLOURLESS or is_person_noun(noun) or said[0].count(" and ") > 1 or len(noun) < 3:
            continue
        yield noun, said[0]


def activities(picture: Picture) -> Iterator[tuple[str, str]]:
    """Somebody, the only one of this name, and what they do."""
    told: dict[str, Counter[str]] = defaultdict(Counter)
    named_so: dict[str, set[bool]] = defaultdict(set)
    for words, phrases in zip(picture.captions, picture.phrases, strict=True):
        for phrase in phrases:
            named_so[phrase.noun].add(phrase.is_plural)
        if phrases and (does := activity_of(words, phrases)):
            told[phrases[0].nouns[-1]][does] += 1
    agreed = sum(told.values(), Counter())
    for subject, done in told.items():
        does = max(done, key=lambda each: (agreed[each], each))
        alone = len(named_so[singular(subject)]) == 1
        if agreed[does] >= AGREEING and alone and (is_person_noun(subject) or singular(subject) in english.ANIMALS):
            yield subject, does
            return  # one of a picture: "the boy" and "the child" are one


def activity_of(words: Sequence[str], phrases: Sequence[Phrase]) -> str:
    """What the first of a caption's phrases does, "" where that is not clear: a verb in -ing behind it, or behind
    what it wears or is beside."""
    at, rest = phrases[0].end, list(phrases[1:])
    while at < len(words):
        word = words[at]
        if word in ("in", "with", "wearing", "on") and rest and rest[0].start == at + 1:
            at = rest.pop(0).end
        elif word in ("is", "are", "who", "that", "and", ","):
            at += 1
        else:
            break
    if at >= len(words):
        return ""
    verb = words[at]
    if verb in OBJECTS_OF and rest and rest[0].start <= at + 2:
        thing = named(rest[0].noun)
        if thing in OBJECTS_OF[verb]:
            return f"{verb} {thing}"
    return verb if verb in PLAIN_ACTIVITIES and verb not in OBJECTS_OF else ""


def places(picture: Picture) -> Iterator[tuple[str, str]]:
    """What the captions begin with, and where it is."""
    told: dict[str, Counter[str]] = defaultdict(Counter)
    numbers_of: dict[str, set[bool]] = defaultdict(set)
    for words, phrases in zip(picture.captions, picture.phrases, strict=True):
        for phrase in phrases:
            numbers_of[phrase.noun].add(phrase.is_plural)
        if phrases and phrases[0].start <= 1 and (place := place_of_first(words, phrases)):
            told[phrases[0].nouns[-1]][place] += 1
    agreed = sum(told.values(), Counter())
    for subject, where in sorted(told.items(), key=lambda item: -item[1].total()):
        place = max(where, key=lambda each: (agreed[each], each))
        noun = singular(subject)
        if agreed[place] < AGREEING or noun in PLACES | FURNITURE | NOT_PLACED or len(numbers_of[noun]) > 1:
            continue
        yield subject, place
        return


NOT_PLACED = BACKGROUND - english.words(
    "hat bowl plate cup bag chair toy bottle basket person adult vehicle animal glass"
)
ON = english.words("on in at across along through into inside over")


def place_of_first(words: Sequence[str], phrases: Sequence[Phrase]) -> str:
    """Where a caption's first phrase is: the first phrase after it that names a place, behind a preposition. What is on
    furniture has to stand before it at once: "a man with a cup on a table" is not on it."""
    first, *rest = phrases
    for place, phrase in enumerate(rest):
        noun = named(phrase.noun)
        if words[phrase.start - 1] not in ON or phrase.is_plural:
            continue
        if noun in PLACES:
            return "living room" if phrase.name == "living room" else noun if noun not in ("room", "court") else (
                phrase.name if len(phrase.nouns) > 1 else "")  # fmt: skip
        if noun in FURNITURE and place == 0 and phrase.start - first.end <= 4:
            return noun
    return ""


def asked_evenly(
    kind: str, told: Callable[[Picture], Iterable[tuple[str, str]]]
) -> Callable[[Sequence[Picture], np.random.Generator], list[list[Question]]]:
    """Makes questions of what pictures tell, each thing's answers evened out."""

    def make(pictures: Sequence[Picture], rng: np.random.Generator) -> list[list[Question]]:
        plurals = plural_forms(pictures)
        made = []
        for picture in pictures:
            for about, answer in told(picture):
                shown = plurals.get(about, "") if kind == "number" else about
                if shown:
                    made.append(phrased(picture.image, kind, about, shown, answer, rng))
        return [[question] for question in evened(made, lambda question: question.about, rng)]

    return make


def plural_forms(pictures: Sequence[Picture]) -> dict[str, str]:
    """The plural of each noun as it is written most often."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for picture in pictures:
        for phrase in (phrase for phrases in picture.phrases for phrase in phrases if phrase.is_plural):
            if named(phrase.noun) == phrase.noun:
                seen[phrase.noun][phrase.nouns[-1]] += 1
    return {noun: max(sorted(forms), key=forms.__getitem__) for noun, forms in seen.items()}


def evened(
    questions: Sequence[Question], key: Callable[[Question], Hashable], rng: np.random.Generator
) -> list[Question]:
    """The questions without some of those whose answer their group, by `key`, mostly has: it keeps as many of the most
    frequent answer as of the second. Of a group with one answer a single question stays."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        groups[key(question)].append(place)
    kept: list[int] = []
    for places_ in groups.values():
        counts = Counter(questions[place].answer for place in places_).most_common(2)
        most = counts[1][1] if len(counts) > 1 else 1
        left: Counter[str] = Counter()
        for place in rng.permutation(places_).tolist():
            if left[questions[place].answer] < most:
                left[questions[place].answer] += 1
                kept.append(place)
    return [questions[place] for place in sorted(kept)]


def objects(pictures: Sequence[Picture], rng: np.random.Generator) -> list[list[Question]]:
    """Questions for the name of a thing, evened out as others are."""
    made = []
    for picture in pictures:
        for what, name in recognised(picture):
            form = ASKED_FOR[what][rng.integers(len(ASKED_FOR[what]))]
            made.append(Question(picture.image, "object", what, form, name))
        for subject, verb, thing in ridden(activities(picture)):
            text = phrased(picture.image, "activity", verb, subject, thing, rng).text.replace("doing", verb)
            made.append(Question(picture.image, "object", verb, text, thing))
    return [[question] for question in evened(made, lambda question: question.about, rng)]


KINDS: Mapping[str, Callable[[Sequence[Picture], np.random.Generator], list[list[Question]]]] = {
    "existence": existence,
    "number": asked_evenly("number", numbers),
    "colour": asked_evenly("colour", colours),
    "activity": asked_evenly("activity", activities),
    "place": asked_evenly("place", places),
    "attribute": asked_twice(colours, numbers, plural_forms),
    "object": objects,
}
"""What makes the questions of each kind."""
