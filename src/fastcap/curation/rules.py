"""Captions without what a photograph cannot tell of people, by rules: offline, in no time, the same everywhere.

Gender goes as `fastcap.runtime.neutral` does it. Other attributes go where grammar is certain: an adjective before a
noun for people is left out, a noun becomes "person" or "people". What is said of somebody in other ways, "the man is
German", stays, and the checks of `rewrite` name it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from fastcap.curation.bias import CATEGORIES, mentions
from fastcap.curation.cues import ORIGINS
from fastcap.curation.nouns import singular
from fastcap.curation.parsing import Parse
from fastcap.errors import ConfigError, nearest
from fastcap.runtime import english
from fastcap.runtime.grammar import in_case_of, sounds_as_vowel
from fastcap.runtime.neutral import neutralise

__all__ = ["INVISIBLE", "check_categories", "rewrite_by_rules"]

INVISIBLE = ("gender", "sexual_orientation", "race_ethnicity", "nationality", "religion")
"""What a photograph does not tell, and what is left out by default. An age group and a wheelchair can be seen."""

_ROLES = english.words("""
    priest priests pastor pastors preacher preachers rabbi rabbis imam imams bishop bishops archbishop archbishops vicar
    vicars chaplain chaplains minister ministers pope popes cardinal cardinals deacon deacons clergy cleric clerics
    missionary missionaries mullah mullahs pilgrim pilgrims worshipper worshippers worshiper worshipers
""")
"""Jobs, as clothes show them."""


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def check_categories(categories: Collection[str]) -> None:
    """Raise ConfigError for a category that there is not."""
    for category in categories:
        if category not in CATEGORIES:
            raise ConfigError(f"got {category!r}{nearest(category, CATEGORIES)}; allowed: {', '.join(CATEGORIES)}")


def rewrite_by_rules(caption: str, categories: Collection[str] = INVISIBLE) -> str:
    """A caption without mentions of some of `bias.CATEGORIES`, as far as rules are certain of the grammar.

    Raises ConfigError for an unknown category.
    """
    check_categories(categories)
    text = neutralise(caption) if "gender" in categories else caption
    rest = frozenset(categories) - {"gender"}
    return _without(text, rest) if rest else text


def _without(text: str, categories: Collection[str]) -> str:
    named = {(one.start, one.end) for one in mentions(text) if one.category in categories}
    if not named:
        return text
    parse = Parse(text)
    places = [at for at, token in enumerate(parse.tokens) if (token.start, token.end) in named]
    dropped = {at for at in places if parse.names_people(at) and not parse.tokens[at].owner}
    edits: list[_Edit] = []
    at = 0
    while at < len(parse.tokens):
        if at in dropped:
            run = _run(parse, at, dropped)
            if run is not None:
                edits += _leave_out(parse, *run)
                at = run[1] + 1
                continue
        elif at in places:
            edits += _replace(parse, at)
        at += 1
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _run(parse: Parse, first: int, dropped: set[int]) -> tuple[int, int] | None:
    """The first and last place of adjectives to leave out together, with the "and" that joins them or ties them to
    another; None where leaving them out breaks the sentence, "a black and a white man"."""
    last = first
    while last + 1 < len(parse.tokens):
        if last + 1 in dropped and not parse.tokens[last + 1].gap.strip(" ,"):
            last += 1
        elif parse.tokens[last + 1].lower in ("and", "or", "&") and last + 2 in dropped:
            last += 2
        else:
            break
    if first >= 3 and parse.tokens[first - 2].lower in ("and", "or") and parse.tokens[first - 3].term:
        return None
    after = parse.near(last, 1)
    if after and after.lower in ("and", "or", "&"):
        other = parse.near(last + 1, 1)
        if other is None or other.lower in english.DETERMINERS or not parse.is_adjective(last + 2):
            return None
        last += 1
    before = parse.near(first, -1)
    if before and before.lower in ("and", "or", "&") and first >= 2 and parse.is_adjective(first - 2):
        first -= 1
    return first, last


def _leave_out(parse: Parse, first: int, last: int) -> list[_Edit]:
    """The edits that leave out words, and make the article and the capital fit."""
    tokens = parse.tokens
    follower = tokens[last + 1]
    before = tokens[first - 1] if first else None
    if follower.lower in ORIGINS and before and before.lower == "of" and first >= 2:
        end = follower.end
        return [_Edit(tokens[first - 2].end, end, "")] if not tokens[first - 2].owner else []
    edits = [_Edit(tokens[first].start, follower.start, "")]
    if before and tokens[first].gap.strip() == ",":
        edits = [_Edit(before.end, follower.start, " ")]
    if parse.starts_sentence(first) and tokens[first].is_capital:
        edits.append(_Edit(follower.start, follower.start + 1, follower.text[0].upper()))
    if before and before.lower in ("a", "an") and not tokens[first].gap.strip():
        article = "an" if sounds_as_vowel(follower.lower) else "a"
        edits.append(_Edit(before.start, before.end, in_case_of(before.text[:1] + "x", article)))
    return edits


def _replace(parse: Parse, place: int) -> list[_Edit]:
    """The edit that puts "person" or "people" for a noun; none for jobs, and for what is said of a subject."""
    token, before = parse.tokens[place], parse.near(place, -1)
    assert token.term
    if token.lower in _ROLES or parse.subject(place) is not None:
        return []
    if token.term.use == "condition":
        with_it = before is not None and before.lower == "with" and place >= 2
        return [_Edit(parse.tokens[place - 2].end, token.end, "")] if with_it and before else []
    if token.term.use == "adjective" or token.lower.endswith(("ese", "ish", "ch")):
        if not (before and before.lower == "the"):
            return []
        return [_Edit(token.start, token.end, "people")]
    several = singular(token.lower) != token.lower
    noun = "people" if several else "person"
    loud = token.text.isupper() and len(token.text) > 1
    noun = noun.upper() if loud else noun.capitalize() if parse.starts_sentence(place) else noun
    edits = [_Edit(token.start, token.end, noun)]
    if before and before.lower == "an" and not several:
        edits.append(_Edit(before.start, before.end, in_case_of(before.text[:1] + "x", "a")))
    return edits
