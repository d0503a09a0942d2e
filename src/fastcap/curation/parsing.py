"""A caption as words with the phrases in which they stand: which noun an adjective belongs to, whom a pronoun means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fastcap.curation.nouns import ACTIVITIES, NOBODY, PLACES, YOUNG_ANIMALS, is_animal, is_only_animal, is_person_noun, is_thing_for, singular
from fastcap.curation.terms import TERMS, Term
from fastcap.runtime import english
from fastcap.runtime.grammar import base_form, is_participle

__all__ = ["VERBS", "Parse", "Token"]

_MANY = [re.escape(term) for term in TERMS if " " in term or not term.isalpha()]
_APOSTROPHES = str.maketrans("’‘‑–", "''--")
_WORD = re.compile(
    rf"(?P<nobody>(?:{NOBODY})(?![\w'’+-]*\w))"
    rf"|(?P<term>(?:{'|'.join(sorted(_MANY, key=len, reverse=True))})(?![\w+]|[-‑][^\W\d]))".replace(r"\ ", r"[\s-]+")
    + r"|(?P<word>[^\W_]+(?:[-‑'’.&](?![sS]\b(?![-‑]))[^\W_]+)*)",
    re.IGNORECASE,
)
_BREAKS = re.compile(r"[;:.!?…()\"“”—]|\s[-–]\s")
_PLURAL_ADJECTIVES = english.words("various several many few most all both other such same own next last first")
_NOT_HEADS = (english.FUNCTION_WORDS - english.NUMBERS - english.words("home right left straight fast hard back")) | (
    english.words("i'm it's he's she's they're who's there's that's don't doesn't isn't aren't")
)
_COLOURS = english.words("black white brown")
VERBS = english.VERBS | english.words("""
    vote mourn pray worship queue picnic salute sign plough plow protest rehearse rake tap form elect invent brew gamble
    knead harvest shear tackle bless preach chant kneel march skate ski camp compete flock toast feast fast govern rule
    protect export import produce consume adore invade conquer mingle chatter converse argue debate negotiate bow curtsy
    applaud boo jeer heckle parade strike demonstrate rally sunbathe snorkel paddle canoe kayak busk strum croon hum rap
    sketch doodle sculpt chisel forge weld solder drill dig weed prune mow trim shovel sweep dust polish launder wring
    haggle barter bargain trade invest donate volunteer campaign petition lobby educate train mentor coach supervise inspect
    diagnose operate bandage vaccinate inject treat nurse heal comfort console baptise baptize ordain marry wed divorce adopt
    foster raise breed rear hunt trap stalk fish trawl sail anchor moor steer pilot taxi commute travel migrate emigrate flee
    """)
_LOOKS = english.words("is are was were be been being looks look looked seems appears became becomes become am born")
_ADVERBS = english.words(
    "not also very quite both all openly totally completely partly partially fully legally nearly almost probably clearly"
    " still now really too so proudly visibly apparently never always only half mostly severely profoundly"
)


@dataclass(frozen=True)
class Token:
    """A word or a fixed phrase of a text: its place, what it looks like in lower case with spaces for hyphens, whether
    an owner's mark follows it, what stands before it, and the term that it is, if any."""

    start: int
    end: int
    text: str
    lower: str
    owner: bool
    gap: str
    term: Term | None
    nobody: bool = False

    @property
    def is_capital(self) -> bool:
        return self.text[:1].isupper()


class Parse:
    """The tokens of a text and the questions that rules ask about them. Places are indices of tokens."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        longer = [token for token in self.tokens if len(token.text) > 3]
        self.is_headline = len(longer) > 2 and all(token.is_capital for token in longer)

    def near(self, place: int, step: int) -> Token | None:
        """The token before (-1) or after (1), if no punctuation stands between."""
        other = place + step
        if not 0 <= other < len(self.tokens):
            return None
        gap = self.tokens[max(place, other)].gap
        return self.tokens[other] if not gap.strip() else None

    def starts_sentence(self, place: int) -> bool:
        return place == 0 or bool(re.search(r"[.!?:\"“‘(]", self.tokens[place].gap))

    # --- kinds of words

    def is_person(self, place: int) -> bool:
        token = self.tokens[place]
        if token.nobody:
            return False
        if token.term:
            if token.term.use == "noun":
                return True
            if token.term.use == "either" and (token.lower in TERMS) and not is_person_noun(token.lower):
                return False
        return is_person_noun(token.lower.replace(" ", "-")) or is_person_noun(token.lower.rpartition(" ")[2])

    def is_animal(self, place: int) -> bool:
        token = self.tokens[place]
        return not token.nobody and is_animal(token.lower.rpartition(" ")[2])

    def is_adjective(self, place: int) -> bool:
        token = self.tokens[place]
        lower = token.lower
        last = lower.rpartition(" ")[2].rpartition("-")[2]
        if token.nobody:
            return False
        if token.term:
            return token.term.use in ("adjective", "either")
        return (
            lower in english.ADJECTIVES
            or lower in english.NUMBERS
            or lower in _PLURAL_ADJECTIVES
            or last.endswith(("ful", "less", "ous", "ish", "ive", "ied", "cal", "nal"))
            or ("-" in token.text and is_participle(last))
            or (is_participle(lower) and not is_person_noun(lower))
            or (lower.endswith("ing") and lower not in english.THINGS)
            or (lower.endswith("y") and lower[:-1] in english.VERBS)
            or lower[:1].isdigit()
        )

    def is_verb(self, place: int) -> bool:
        """Whether a word may be a verb."""
        lower = self.tokens[place].lower
        return (
            lower in VERBS
            or base_form(lower) in VERBS
            or lower in english.AUXILIARIES
            or is_participle(lower)
            or (lower.endswith("ing") and lower not in english.THINGS)
        )

    # --- the noun that an adjective stands before

    def head(self, place: int) -> int | None:
        """The place of the noun that an adjective belongs to; None if no noun follows it."""
        last, at = None, place
        while at + 1 < len(self.tokens):
            token, here = self.tokens[at + 1], at + 1
            gap = token.gap.strip()
            if self.tokens[at].owner and at != place:
                break
            if gap and not (gap in (",", "/", "&") and last is None and self.is_adjective(here)):
                break
            if token.lower in ("and", "or", "&"):
                if last is not None or not self._continues(here):
                    break
                at = here
                continue
            if token.lower in _NOT_HEADS and not token.term:
                break
            if last is not None and self._ends_phrase(last, here):
                break
            if last is None and self.is_adjective(here) and not self._is_nominal(here):
                at = here
                continue
            if last is None and self._verb_follows(here):
                break
            last = at = here
            if token.owner:
                break
        return last

    def _continues(self, conjunction: int) -> bool:
        """Whether an adjective of the same noun follows an "and"."""
        after = conjunction + 1
        return after < len(self.tokens) and not self.tokens[after].gap.strip() and self.is_adjective(after)

    def _is_nominal(self, place: int) -> bool:
        token = self.tokens[place]
        return token.owner or (token.lower.endswith("ing") and self._verb_follows(place))

    def _ends_phrase(self, last: int, here: int) -> bool:
        """Whether a word after a noun is no further noun of its phrase."""
        token = self.tokens[here]
        if token.term and token.term.use != "noun":
            return True
        if self.is_person(last) and not token.nobody:
            is_plural = singular(self.tokens[last].lower) != self.tokens[last].lower
            thing = is_thing_for(token.lower) and not is_plural
            return not (is_person_noun(token.lower) or thing or is_only_animal(token.lower))
        if self.is_verb(here):
            return self.is_person(last) or not is_person_noun(token.lower)
        return token.lower.endswith("ly") or (self.is_adjective(here) and not is_person_noun(token.lower))

    def _verb_follows(self, here: int) -> bool:
        """Whether a word where a noun could stand is a verb, by what follows it: "the blind walk along"."""
        token, after = self.tokens[here], self.near(here, 1)
        if is_person_noun(token.lower) or not self.is_verb(here):
            return False
        if token.lower in english.AUXILIARIES:
            return True
        if base_form(token.lower) in VERBS and token.lower not in english.VERBS_OR_NOUNS:
            return True
        return after is None or after.lower in english.FUNCTION_WORDS or after.lower.endswith("ly")

    def names_people(self, place: int) -> bool:
        """Whether the noun after an adjective is one for people, and the adjective is said of them."""
        head = self.head(place)
        if head is None or not self.is_person(head) or self.is_animal(head):
            return False
        after = self.near(head, 1)
        if after and not self.tokens[head].owner and is_only_animal(after.lower):
            return False
        between = [token for token in self.tokens[place + 1 : head] if not token.term]
        nouns = [
            token.lower
            for at, token in enumerate(self.tokens[place + 1 : head], place + 1)
            if token in between and not self.is_adjective(at) and token.lower not in ("and", "or", "&")
        ]
        if any(token.nobody for token in between):
            return False
        lower = self.tokens[place].lower
        if lower in _COLOURS or lower in ("old", "older", "new"):
            return all(noun in ACTIVITIES or is_person_noun(noun) for noun in nouns)
        return not any(noun in PLACES or is_animal(noun) for noun in nouns)

    # --- what is said of a subject

    def subject(self, place: int) -> int | None:
        """The place of the subject of which an adjective is said, "the man is deaf"; None if it is no predicate."""
        at = place - 1
        while at >= 0 and (self.tokens[at].lower in _ADVERBS or self.tokens[at].lower.endswith("ly")):
            at -= 1
        if at >= 0 and self.tokens[at].lower in ("and", "or", "but"):  # "is blind and deaf"
            before = at - 1
            while before >= 0 and self.tokens[before].lower in _ADVERBS:
                before -= 1
            if before >= 0 and (self.tokens[before].term or self.is_adjective(before)):
                return self.subject(before)
        copula = at
        contracted = at >= 0 and self.tokens[at].owner and not self.is_adjective(at)
        if at < 0 or not (self.tokens[at].lower in _LOOKS or contracted):
            return None
        if contracted:
            return copula
        if self.tokens[copula].lower == "born":
            copula += 1
        at = copula - 1
        while at >= 0 and (self.tokens[at].lower in _ADVERBS or self.tokens[at].lower in english.AUXILIARIES):
            at -= 1
        if at >= 0 and self.tokens[at].lower in ("who", "that", "which", "whom"):
            return self._noun_before(at)
        return self._first_noun(at)

    def _noun_before(self, place: int) -> int | None:
        for at in range(place - 1, -1, -1):
            if not self.is_function(at) and not self.is_adjective(at):
                return at
        return None

    def _first_noun(self, last: int) -> int | None:
        """The head of the first phrase of the clause that ends at a place."""
        start = last
        while start > 0:
            token = self.tokens[start]
            if _BREAKS.search(token.gap) or self.tokens[start - 1].lower in ("but", "while", "because", "whose", "that"):
                break
            if self.tokens[start - 1].lower == "and" and self._is_clause(start):
                break
            start -= 1
        for at in range(start, last + 1):
            token = self.tokens[at]
            if token.lower in english.PRONOUNS or (token.term and token.term.use == "pronoun"):
                if token.lower not in english.POSSESSIVES:
                    return at
                continue
            if self.is_function(at) or self.tokens[at].owner:
                continue
            if self.is_adjective(at) and at < last and not (token.term and self._is_last(at, last)):
                continue
            follow = at + 1
            if follow <= last and not self.is_function(follow) and not self.is_verb(follow) and not self.tokens[follow].gap.strip():
                continue
            return at
        return None

    def _is_last(self, at: int, last: int) -> bool:
        return at == last

    def _is_clause(self, start: int) -> bool:
        """Whether what stands after an "and" is a clause of its own, by its beginning."""
        return self.tokens[start].lower in english.DETERMINERS | english.PRONOUNS

    def is_function(self, place: int) -> bool:
        token = self.tokens[place]
        return not token.nobody and token.lower in english.FUNCTION_WORDS and not (token.term and token.term.use == "noun")

    # --- whom a pronoun means

    def means_animal(self, place: int) -> bool:
        """Whether a pronoun of a person stands for an animal or a ship."""
        start = place
        while start > 0 and not re.search(r"[.!?]", self.tokens[start].gap):
            start -= 1
        lower = self.tokens[place].lower
        people, animals = self._candidates(start, place, lower)
        after = self.near(place, 1)
        owned = after is not None and after.lower in YOUNG_ANIMALS
        if people and not (owned and animals and animals[-1] > people[-1]):
            return False
        if animals:
            return True
        if start > 0:  # the sentence before
            earlier = start - 1
            while earlier > 0 and not re.search(r"[.!?]", self.tokens[earlier].gap):
                earlier -= 1
            people, animals = self._candidates(earlier, start, lower)
            if people or animals:
                return not people
        people, animals = self._candidates(place + 1, len(self.tokens), lower)
        return bool(animals) and not (people and people[0] < animals[0])

    def _candidates(self, start: int, stop: int, pronoun: str) -> tuple[list[int], list[int]]:
        """Places of people and of animals (or ships) that a pronoun may mean."""
        people, animals = [], []
        for at in range(start, stop):
            token = self.tokens[at]
            if token.lower in _SHIPS and pronoun in ("her", "she", "hers", "herself"):
                animals.append(at)
            elif self.is_animal(at):
                head = at + 1 < stop and not self.tokens[at + 1].gap.strip() and self.is_person(at + 1)
                if not head:
                    animals.append(at)
            elif self.is_person(at) or (token.term and token.term.use == "pronoun" and at < stop):
                if not self._is_of_an_animal(at) and not _disagrees(token.lower, pronoun):
                    people.append(at)
        return people, animals

    def _is_of_an_animal(self, at: int) -> bool:
        """Whether a noun for people or a pronoun is about an animal: "a mother duck", "his owner" of a dog's."""
        token, after = self.tokens[at], self.near(at, 1)
        if after and not token.owner and is_only_animal(after.lower):
            return True
        if token.term and token.term.use == "pronoun":
            return any(self.is_animal(other) for other in range(at)) and not any(
                self.is_person(other) for other in range(at)
            )
        before = self.near(at, -1)
        return token.lower in YOUNG_ANIMALS and before is not None and before.lower in ("its", "his", "her")


_SHIPS = english.words("ship boat sailboat yacht schooner steamer ferry vessel frigate galleon liner trawler tugboat car")
_SHE = english.words("she her hers herself")
_WOMEN = english.words("woman women girl girls lady ladies mother wife sister daughter aunt queen princess bride actress")
_MEN = english.words("man men boy boys gentleman father husband brother son uncle king prince groom guy guys")


def _disagrees(noun: str, pronoun: str) -> bool:
    """Whether a noun cannot be what a pronoun means, by its gender."""
    return noun in (_MEN if pronoun in _SHE else _WOMEN)


def _tokens(text: str) -> Iterator[Token]:
    at, done = 0, 0
    while match := _WORD.search(text, at):
        start, end = match.span()
        before = text[start - 1] if start else " "
        if match.lastgroup != "word" and (before.isalnum() or before in "-'’‑"):  # within a word
            match = re.compile(r"[^\W_]+(?:[-‑'’.&][^\W_]+)*").search(text, start)
            assert match
            start, end = match.span()
        written = match.group()
        nobody = match.lastgroup == "nobody"
        owner = False
        if clitic := re.search(r"['’‘](?:s)?$", written, re.IGNORECASE):
            end -= len(clitic.group())
            owner = True
            written = text[start:end]
        rest = text[end:]
        if re.match(r"['’]s(?!\w)", rest, re.IGNORECASE):
            owner = True
        elif re.match(r"['’](?=\s|$)", rest) and written[-1:] in "sS" and not re.search(r"['‘](?=\S)", text[:start]):
            owner = True
        lower = written.lower().translate(_APOSTROPHES)
        spaced = re.sub(r"[\s-]+", " ", lower)
        term = None if nobody else TERMS.get(spaced) or TERMS.get(lower)
        yield Token(start, end, written, spaced if term else lower, owner, text[done:start], term, nobody)
        mark = re.match(r"['’]s?(?!\w)", text[end:], re.IGNORECASE) if owner else None
        at = done = end + (mark.end() if mark else 0)
