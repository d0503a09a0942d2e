"""Ages in numbers, "an eight-year-old", "in her sixties", and who sits in a wheelchair: mentions of several words."""

from __future__ import annotations

import re

from fastcap.curation.nouns import is_person_noun
from fastcap.curation.parsing import Parse
from fastcap.runtime import english

__all__ = ["ages", "wheelchairs"]

_TENS = r"(?:twent|thirt|fort|fift|sixt|sevent|eight|ninet)"
_NUMBER = (
    rf"(?:\d{{1,3}}|{_TENS}y(?:[\s-](?:one|two|three|four|five|six|seven|eight|nine))?|one|two|three|four|five|six|seven"
    r"|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|(?:a|one)[\s-]hundred)"
)
_UNITS = r"(?:years?|yrs?|months?|weeks?|days?)"
_DECADE = rf"(?:(?:early|mid|late)[\s-])?(?:\d0[’']?s|teens|{_TENS}ies)"
_AGE = re.compile(
    rf"(?P<aged>\baged\s+(?:(?:about|around|between|under|over|just|only)\s+)?{_NUMBER}"
    rf"(?:(?:\s+(?:to|and|or)\s+|\s?[-–]\s?){_NUMBER})?(?:\s{_UNITS})?\b"
    rf"|\bages?\s+{_NUMBER}\s*(?:to|and|[-–])\s*{_NUMBER}\b"
    rf"|\b(?:over|under)[-\s](?:{_NUMBER}s|{_TENS}ies)\b|\b(?:\d0|{_TENS}y)-somethings?\b)"
    rf"|(?P<old>\b(?:{_NUMBER}[-–])?{_NUMBER}[\s-]{_UNITS}[\s-]olds?\b|\b{_NUMBER}\s{_UNITS}\sof\sage\b)"
    rf"|(?P<above>\b(?:over|under)\s+{_NUMBER}\b)"
    rf"|\bin\s+(?:his|her|their|my|your|our)\s+(?P<decade>{_DECADE})(?!\w)",
    re.IGNORECASE,
)
_MAY_BE_AGE = re.compile(r"\d|old|\baged?s?\b|\bover\b|\bunder\b|teens|ties\b|something", re.IGNORECASE)
_KINDS_OF_WHEELCHAIR = (
    r"(?:electric|motori[sz]ed|powered|power|manual|racing|sports?|folding|hospital|[a-z]+(?:-[a-z]+)?)"
)
_WHEELCHAIR = re.compile(
    rf"\b(?:(?:in|from|using|uses|confined\sto)\s+(?:(?:an?|the|his|her|their|my)\s+)?(?:{_KINDS_OF_WHEELCHAIR}\s+){{0,2}}?"
    r"wheelchairs?\b(?!\s+(?:ramp|lift|access|space|store|shop|race|race|track))"
    r"|(?P<wheeled>wheelchair\s+(?P<who>[a-z]+)))",
    re.IGNORECASE,
)


def ages(parse: Parse) -> list[tuple[int, int]]:
    """Offsets of ages of people in numbers."""
    if not _MAY_BE_AGE.search(parse.text):
        return []
    found = []
    for match in _AGE.finditer(parse.text):
        start, end = match.span(match.lastgroup or 0)
        if match.lastgroup == "old" and not _is_age_of_people(parse, start, end):
            continue
        if match.lastgroup == "above" and not _is_limit_of_people(parse, start, end):
            continue
        found.append((start, end))
    return found


def _is_age_of_people(parse: Parse, start: int, end: int) -> bool:
    """Whether what is so many years old is somebody: by the noun after it, or the subject before it."""
    inside = [place for place, token in enumerate(parse.tokens) if token.start < end and token.end > start]
    if not inside:
        return False
    head = None if parse.tokens[inside[-1]].owner else parse.head(inside[-1])
    if head is not None:
        return parse.is_person(head) and not parse.is_animal(head)
    before = inside[0] - 1
    if before >= 0 and parse.tokens[before].lower in ("is", "are", "was", "were", "turns", "looks"):
        subject = parse.subject(inside[0])
        return subject is None or parse.is_somebody(subject)
    if before >= 0 and parse.tokens[inside[0]].gap.strip() == ",":  # "a runner, eighty years old"
        subject = parse.first_noun(before)
        return subject is None or parse.is_somebody(subject)
    if before >= 0 and parse.is_animal(before):
        return False
    return not (before >= 0 and parse.tokens[before].lower in ("a", "the") and parse.is_about_animals())


def _is_limit_of_people(parse: Parse, start: int, end: int) -> bool:
    """Whether "over sixty" follows people, and nothing that is counted follows it."""
    before = [place for place, token in enumerate(parse.tokens) if token.end <= start]
    after = next((place for place, token in enumerate(parse.tokens) if token.start >= end), None)
    if not before:
        return False
    if after is not None and not parse.tokens[after].gap.strip():
        is_counted = parse.tokens[after].lower not in english.FUNCTION_WORDS and not parse.is_verb(after)
        if is_counted:
            return False
    if not any(map(parse.is_person, before)):
        return False
    last = parse.tokens[before[-1]].lower
    return parse.is_person(before[-1]) or last in ("all", "those", "everyone", "anyone", "is", "are")


def wheelchairs(parse: Parse) -> list[tuple[int, int]]:
    """Offsets of what says that somebody uses a wheelchair; the chair alone is a thing."""
    found = []
    for match in _WHEELCHAIR.finditer(parse.text):
        if match["wheeled"]:
            if is_person_noun(match["who"].lower()):
                found.append(match.span())
            continue
        place = sum(token.end <= match.start() for token in parse.tokens) - 1
        while place >= 0 and not (parse.is_somebody(place) or parse.is_animal(place)):
            place -= 1
        people = place >= 0 or any(map(parse.is_person, range(len(parse.tokens))))
        if people and not (place >= 0 and parse.is_animal(place)):
            found.append(match.span())
    return found
