"""Whom a pronoun means: a person, or an animal, a ship or a doll."""

from __future__ import annotations

import re

from fastcap.curation.nouns import OF_ANIMALS, YOUNG_ANIMALS, is_animal, is_only_animal
from fastcap.curation.parsing import Parse
from fastcap.curation.terms import gender_of
from fastcap.runtime import english

__all__ = ["means_animal"]

_SHIPS = english.words("""
    ship boat sailboat yacht schooner steamer ferry vessel frigate galleon liner trawler tugboat tug submarine warship
    clipper ketch sloop barge brig cutter icebreaker lifeboat dinghy engine locomotive
""")
_TOYS = english.words("""
    snowman snowmen mermaid mermaids doll dolls puppet puppets marionette robot robots scarecrow ragdoll teddy figurine
    figurines dummy
""")
_BREEDS = english.words("dane danes shepherd shepherds")
_NOBODY = re.compile(r"snow|gingerbread|lego|toy|doll|barbie|playmobil|scarecrow|nutcracker")
_SHE = english.words("she her hers herself")


def means_animal(parse: Parse, place: int) -> bool:
    """Whether a pronoun of a person stands for an animal, a ship or a toy: by what was named before it in its sentence,
    else in the one before, else after it. A tail, paws or cubs are an animal's; else people come first."""
    start = _start(parse, place)
    pronoun = parse.tokens[place].lower
    people, animals = _candidates(parse, start, place, pronoun)
    after = parse.near(place, 1)
    word = after.lower if after else ""
    if animals and word in OF_ANIMALS:
        return True
    is_object = pronoun == "him" or (pronoun == "her" and (after is None or word in english.AFTER_OBJECT))
    if animals and is_object and len(people) == 1 and people[0] > animals[-1]:
        return True  # "the horse kicks; a groom holds him"
    if people and not (word in YOUNG_ANIMALS and animals and animals[-1] > people[-1]):
        return False
    if animals:
        return True
    if start > 0:
        people, animals = _candidates(parse, _start(parse, start - 1), start, pronoun)
        if people or animals:
            return not people
    if any(_is_named(parse, at) for at in range(start, place)):
        return False
    owned = parse.head(place) if pronoun in ("his", "her") else None  # "Frida and her monkeys"
    people, animals = _candidates(parse, (place if owned is None else owned) + 1, len(parse.tokens), pronoun)
    return bool(animals) and not (people and people[0] < animals[0])


def _is_named(parse: Parse, place: int) -> bool:
    """Whether a word looks like a name."""
    token = parse.tokens[place]
    known = token.term or token.nobody or token.lower in english.FUNCTION_WORDS
    return token.is_capital and not known and not parse.is_headline and parse.is_somebody(place)


def _start(parse: Parse, place: int) -> int:
    """The first place of a sentence."""
    while place > 0 and not re.search(r"[.!?]", parse.tokens[place].gap):
        place -= 1
    return place


def _candidates(parse: Parse, start: int, stop: int, pronoun: str) -> tuple[list[int], list[int]]:
    """Places of people, and of animals, ships and toys, that a pronoun may mean."""
    people, animals = [], []
    for at in range(start, stop):
        token = parse.tokens[at]
        is_ship = token.lower in _SHIPS and pronoun in _SHE
        is_toy = token.lower in _TOYS or (token.nobody and bool(_NOBODY.search(token.lower)))
        last = token.lower.rpartition(" ")[2]
        is_kind = token.nobody and (last in _BREEDS or is_animal(last))  # "a queen bee", "a Great Dane"
        if is_ship or is_toy or is_kind or parse.is_animal(at):
            owns_noun = at + 1 < stop and not parse.tokens[at + 1].gap.strip() and parse.is_person(at + 1)
            if not owns_noun or token.owner or parse.is_third_person(at + 1):
                animals.append(at)
            continue
        somebody = parse.is_person(at) or (token.term is not None and token.term.use == "pronoun")
        is_gendered = token.term is not None and "gender" in token.term.categories
        disagrees = is_gendered and gender_of(token.lower) == ("man" if pronoun in _SHE else "woman")
        if somebody and not disagrees and not parse.is_third_person(at) and not _is_of_an_animal(parse, at):
            people.append(at)
    return people, animals


def _is_of_an_animal(parse: Parse, at: int) -> bool:
    """Whether a noun for people or a pronoun is about an animal: "a mother duck", "his owner" of a dog's."""
    token, after, before = parse.tokens[at], parse.near(at, 1), parse.near(at, -1)
    if after and not token.owner and is_only_animal(after.lower):
        return True
    if token.term and token.term.use == "pronoun":
        return any(map(parse.is_animal, range(at))) and not any(map(parse.is_person, range(at)))
    return token.lower in YOUNG_ANIMALS and before is not None and before.lower in ("its", "his", "her")
