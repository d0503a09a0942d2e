"""What is it? Animals, sports, rooms, and what somebody holds or rides, where captions agree on one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastcap.curation.existence import AGREEING
from fastcap.curation.nouns import singular
from fastcap.curation.pictures import Picture, named
from fastcap.runtime import english

__all__ = ["ASKED_FOR", "recognised", "ridden"]

ASKED_FOR: Mapping[str, tuple[str, ...]] = {
    "animal": ("what animal is this?", "what animal is in the picture?", "what kind of animal do you see?"),
    "sport": ("what sport is this?", "what sport is being played?", "which sport does the picture show?"),
    "room": ("what room is this?", "which room is this?", "in what room was this taken?"),
}
"""How each is asked for."""

ROOMS = {"kitchen": "kitchen", "bathroom": "bathroom", "restroom": "bathroom", "bedroom": "bedroom",
         "office": "office"}  # fmt: skip
SPORTS = {
    **{name: name for name in ("tennis", "baseball", "basketball", "volleyball", "hockey", "golf", "rugby", "soccer")},
    **dict.fromkeys(("surfing", "surfer", "surfboard", "surf"), "surfing"),
    **dict.fromkeys(("skiing", "skier", "ski"), "skiing"),
    **dict.fromkeys(("snowboarding", "snowboarder", "snowboard"), "snowboarding"),
    **dict.fromkeys(("skateboarding", "skateboarder", "skateboard"), "skateboarding"),
}
"""Words by which a sport is known. American football is left out: people of other countries call soccer so."""
BREEDS = frozenset({"retriever", "terrier", "shepherd", "greyhound", "collie", "spaniel", "labrador", "bulldog",
                    "dachshund", "husky", "hound", "pitbull", "beagle", "mutt", "poodle"})  # fmt: skip
VAGUE = frozenset({"animal", "cub", "calf", "ram", "seal", "crane"})
"""What is no animal's name, or a thing's, too."""


def recognised(picture: Picture) -> Iterator[tuple[str, str]]:
    """What is asked for, of `ASKED_FOR`, and its name."""
    for what, one_of in (("animal", animal_of), ("sport", SPORTS.get), ("room", ROOMS.get)):
        told = [{name for word in words if (name := one_of(word))} for words in picture.captions]
        names = set().union(*told)
        if len(names) == 1 and sum(map(bool, told)) >= AGREEING and "football" not in picture.words:
            yield what, names.pop()


def animal_of(word: str) -> str | None:
    """The animal that a word names."""
    name = named(singular(word))
    if name in BREEDS:
        return "dog"
    return name if name in english.ANIMALS - VAGUE else None


def ridden(activities: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Of what somebody does: who, the verb, and the thing that is ridden, thrown or played."""
    for subject, does in activities:
        verb, _, thing = does.partition(" ")
        if thing:
            yield subject, verb, thing
