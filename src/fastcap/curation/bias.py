"""Where a caption mentions a protected attribute of a person.

Only people count, seen or depicted: "a black dog", "an Indian elephant" and "French fries" mention nobody. Lists alone
cannot tell these apart, so an adjective counts by the noun that it stands before or by the subject of which it is said
(`parsing`), and a pronoun by whom it means (`antecedents`). The rules are in docs/fighting_bias.md.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from fastcap.curation import cues
from fastcap.curation.antecedents import means_animal
from fastcap.curation.demonyms import LANGUAGES
from fastcap.curation.nouns import (
    NAME_TITLES,
    OF_ANIMALS,
    YOUNG_ANIMALS,
    is_animal,
    is_only_animal,
    is_person_noun,
    is_thing_for,
    singular,
)
from fastcap.curation.parsing import VERBS, Parse
from fastcap.curation.quantities import ages, wheelchairs
from fastcap.curation.terms import NOMINAL, PRONOUNS, TERMS
from fastcap.curation.tokens import Token
from fastcap.runtime import english
from fastcap.runtime.gendered import GENDERED, TITLES
from fastcap.runtime.grammar import base_form, sentences

__all__ = ["CATEGORIES", "Mention", "mentions"]

CATEGORIES = ("gender", "sexual_orientation", "race_ethnicity", "nationality", "religion", "disability", "age")
"""The protected attributes that are told apart."""

_BIRDS = re.compile(
    r"\b(?:perch\w*|nests?|branch\w*|feeders?|birds?|twigs?|seeds?|feathers?|wings?|chirp\w*)\b", re.IGNORECASE
)
_YOUNG_AND_OLD = re.compile(r"\b(?:young (?:and|or) old|old (?:and|or) young)\b", re.IGNORECASE)


class Mention(NamedTuple):
    """A phrase that mentions a protected attribute: offsets in code points, the end exclusive; the text between them;
    one of CATEGORIES. A word that mentions two attributes has two mentions at the same place."""

    start: int
    end: int
    text: str
    category: str


def mentions(text: str) -> list[Mention]:
    """The mentions of a caption, in the order of their places and then of CATEGORIES."""
    found = _Matcher(text).mentions()
    return sorted(set(found), key=lambda mention: (mention.start, mention.end, CATEGORIES.index(mention.category)))


def _gendered_places(text: str) -> set[int]:
    """Offsets of the words that neutral wording takes for gendered: it tells "a man" from "to man the pumps"."""
    places, at = set(), 0
    for sentence in sentences(text):
        for place, (gap, word) in enumerate(zip(sentence.gaps, sentence.words, strict=False)):
            at += len(gap)
            if place in sentence.gendered:
                places.add(at)
            at += len(word)
        at += len(sentence.gaps[-1])
    return places


class _Matcher:
    """One caption and the rules by which its terms count. Places are indices of tokens."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.parse = Parse(text)
        self.tokens = self.parse.tokens
        self.is_chess = bool(cues.CHESS.search(text))

    @functools.cached_property
    def gendered(self) -> set[int]:  # in captions of things nobody asks
        return _gendered_places(self.text)

    def mentions(self) -> list[Mention]:
        found = [self._mention(start, end, "age") for start, end in ages(self.parse)]
        found += [self._mention(start, end, "disability") for start, end in wheelchairs(self.parse)]
        phrases = list(found)
        for place, token in enumerate(self.tokens):
            if token.term is None:
                found += [] if token.nobody else self._within(place)
                continue
            inside = any(phrase.start <= token.start and token.end <= phrase.end for phrase in phrases)
            if (token.term.use == "pronoun" or not inside) and self._counts(place):
                found += [self._mention(token.start, token.end, category) for category in token.term.categories]
                if token.term.categories == ("race_ethnicity",) and token.lower.startswith(("woman of", "women of")):
                    found.append(self._mention(token.start, token.start + 5, "gender"))
                elif token.term.categories == ("race_ethnicity",) and token.lower.startswith(("man of", "men of")):
                    found.append(self._mention(token.start, token.start + 3, "gender"))
        return found

    def _mention(self, start: int, end: int, category: str) -> Mention:
        return Mention(start, end, self.text[start:end], category)

    def _within(self, place: int) -> list[Mention]:
        """The mentions of a word that no list has: a compound of woman, or parts with hyphens, "father-daughter"."""
        token = self.tokens[place]
        if "-" not in token.text and not token.lower.endswith(("man", "men")):
            return []
        parts = list(re.finditer(r"[^\W_]+", token.text))
        if len(parts) < 2:
            return [self._mention(token.start, token.end, "gender")] if self._is_compound(place) else []
        rest = token.lower.partition("-")[2]
        if re.fullmatch(r"to-be|of-(?:one|two|three|four|five|six|seven|eight|nine|ten|\d+)|elect", rest):
            parts = parts[:1]
        found = []
        for part in parts:
            term = TERMS.get(part.group().lower())
            if term is None or term.use == "pronoun" or part.group().lower() in cues.COLOUR_OF_SKIN:
                return []
            if term.use != "noun" and not self.parse.names_people(place):
                return []
            start, end = token.start + part.start(), token.start + part.end()
            found += [self._mention(start, end, category) for category in term.categories]
        return found

    def _is_compound(self, place: int) -> bool:
        """Whether a word is a compound of woman or man that no list has: "a lobsterwoman", "a swagman"."""
        token = self.tokens[place]
        if token.lower.endswith(("woman", "women")):
            return token.start in self.gendered
        is_common = not token.is_capital or self.parse.starts_sentence(place) or token.text.isupper()
        return (
            token.lower.endswith(("man", "men"))
            and len(token.lower) > 5
            and token.lower not in cues.NO_MEN
            and is_common
        )

    def _counts(self, place: int) -> bool:
        token, before = self.tokens[place], self.parse.near(place, -1)
        assert token.term
        if token.lower in cues.ONLY_CAPITAL and not token.is_capital:
            return False
        if self._is_name(place) or (self.is_chess and token.lower in cues.PIECES):
            return False
        if before and before.lower in cues.TOYS and token.term.use != "pronoun":
            return False
        return _USES[token.term.use](self, place)

    def _is_name(self, place: int) -> bool:
        """Whether a term is part of a name: Betty White, Christian Bale, the Dallas Cowboys."""
        token, before, after = self.tokens[place], self.parse.near(place, -1), self.parse.near(place, 1)
        if not token.is_capital or self.parse.is_headline or (token.text.isupper() and len(token.text) > 3):
            return False
        if before and before.lower in ("called", "named", "nicknamed"):
            return True
        if token.lower in cues.NEVER_CAPITAL and before and before.lower == "the":
            return True  # the Blind Beggar, the Old Man of Storr
        if self._is_pet(place):
            return True
        is_first = self.parse.starts_sentence(place) and token.lower in cues.FIRST_NAMES - {"guy", "gay"}
        if is_first and after and base_form(after.lower) in VERBS:
            return True
        title = self.tokens[place - 1] if place else None
        if title and title.lower in NAME_TITLES and title.is_capital and token.gap.strip() in ("", "."):
            return token.lower in cues.SURNAMES and not self.parse.names_people(place)
        if token.lower in cues.FIRST_NAMES and after and after.is_capital and not after.term:
            return not is_person_noun(after.lower)
        if before is None or not before.is_capital or before.owner or " " in token.lower:
            return False
        if before.term or before.nobody or before.lower in english.FUNCTION_WORDS or is_person_noun(before.lower):
            return False
        if token.lower in NAME_TITLES:
            return False
        if self.parse.starts_sentence(place - 1):
            known = self.parse.is_adjective(place - 1) or self.parse.is_verb(place - 1) or before.lower.endswith("ly")
            return not known and token.lower in cues.SURNAMES and not self.parse.names_people(place)
        return before.lower not in cues.DAYS

    def _is_pet(self, place: int) -> bool:
        """Whether a title is the name of an animal: "Duke the dog", "Prince, a spaniel"."""
        token = self.tokens[place]
        if token.lower not in TITLES or place + 2 >= len(self.tokens):
            return False
        article, noun = self.tokens[place + 1], self.tokens[place + 2]
        return article.lower in ("the", "a", "an") and article.gap.strip() in ("", ",") and is_animal(noun.lower)

    # --- nouns

    def _noun(self, place: int) -> bool:
        """A noun for people: but for animals' mothers, baby carriages and other people's verbs."""
        token = self.tokens[place]
        after, before = self.parse.near(place, 1), self.parse.near(place, -1)
        if token.lower in GENDERED and token.start not in self.gendered:
            return False
        if token.lower in cues.KIN and self._is_of_animals(place):
            return False
        if token.owner:
            return not self._only_describes(place)
        is_one = token.lower == singular(token.lower)
        if self.parse.describes_animal(place):
            return False
        if after and is_one and is_thing_for(after.lower) and not self.parse.has_object(place + 1):
            return False
        special = _SPECIAL.get(token.lower)
        return special is None or special(self, place, before, after)

    def _baby(self, place: int, before: Token | None, after: Token | None) -> bool:
        return after is None or self._can_follow_person(place + 1)

    def _adult(self, place: int, before: Token | None, after: Token | None) -> bool:
        """Somebody grown up: but for an adult oak, and an adult male lion."""
        head = self.parse.head(place)
        if head is None or self.parse.is_person(head) or self.parse.has_object(place + 1):
            return True
        return not is_only_animal(self.tokens[head].lower) and self._baby(place, before, after)

    def _young_one(self, place: int, before: Token | None, after: Token | None) -> bool:
        return not self.parse.is_about_animals(but=place)

    def _queen(self, place: int, before: Token | None, after: Token | None) -> bool:
        return not cues.BEES.search(self.text)

    def _poles(self, place: int, before: Token | None, after: Token | None) -> bool:
        return not self.parse.starts_sentence(place)

    def _nan(self, place: int, before: Token | None, after: Token | None) -> bool:
        """A grandmother rather than bread."""
        return before is not None and (before.owner or before.lower in english.POSSESSIVES)

    def _senior(self, place: int, before: Token | None, after: Token | None) -> bool:
        """A pensioner, or old: but for ranks and pupils of the last year."""
        if before and before.lower in cues.RANKS_BEFORE:
            return False
        return after is None or not is_person_noun(after.lower) or bool(after.term) or after.lower in cues.OLD_PEOPLE

    def _minor(self, place: int, before: Token | None, after: Token | None) -> bool:
        return bool(before and before.lower in ("a", "the")) and (after is None or self._can_follow_person(place + 1))

    def _invalid(self, place: int, before: Token | None, after: Token | None) -> bool:
        return bool(before and before.lower in english.DETERMINERS) and (after is None or self.parse.is_verb(place + 1))

    def _cardinal(self, place: int, before: Token | None, after: Token | None) -> bool:
        return not _BIRDS.search(self.text)

    def _only_describes(self, place: int) -> bool:
        """Whether a plural owner after "a" says what kind of thing it is: "a children's book"."""
        token, before, head = self.tokens[place], self.parse.near(place, -1), self.parse.head(place)
        if before is None or before.lower not in ("a", "an") or singular(token.lower) == token.lower:
            return False
        return head is None or not (self.parse.is_person(head) or self.tokens[head].lower in cues.EVENTS)

    def _can_follow_person(self, place: int) -> bool:
        """Whether a word may stand after a noun for a person, of which it is no further part."""
        token = self.tokens[place]
        if token.lower in english.FUNCTION_WORDS or token.lower.endswith("ly") or token.term:
            return True
        return self.parse.is_person(place) or self.parse.is_verb(place)

    def _is_of_animals(self, place: int) -> bool:
        """Whether a word for kin is about animals: "the foal's mother", "a mother and her cubs"."""
        before, after = self.parse.near(place, -1), self.parse.near(place, 1)
        if before and (before.lower == "its" or is_animal(before.lower)):
            return True
        if before and before.lower in ("his", "her") and means_animal(self.parse, place - 1):
            return True
        others = (at for at in range(len(self.tokens)) if self.tokens[at].lower not in cues.KIN and at != place)
        if any(map(self.parse.is_person, others)):
            return False
        animals = [at for at in range(len(self.tokens)) if self.parse.is_animal(at)]
        young = [at for at in animals if self.tokens[at].lower in YOUNG_ANIMALS]
        if after and after.lower in ("and", "of", "with") and any(0 < at - place < 6 for at in young):
            return True
        owners = [at for at in range(place) if self.tokens[at].lower in ("her", "his", "its", "their")]
        theirs = any(at + 1 < len(self.tokens) and self.tokens[at + 1].lower in cues.KIN | OF_ANIMALS for at in owners)
        return bool(animals) and animals[0] < place and (theirs or place - 1 in owners)

    # --- adjectives

    def _adjective(self, place: int) -> bool:
        """An adjective: before a noun for people, said of somebody, or standing for people itself."""
        token, before = self.tokens[place], self.parse.near(place, -1)
        if self.parse.names_people(place):
            return True
        if token.owner:
            return bool(before and before.lower == "the" and token.lower in NOMINAL)
        after = self.parse.near(place, 1)
        if after and after.term and after.term.use == "either" and self.parse.head(place) is None:
            return self._either(place + 1)  # "a young Nigerian"
        stands_for_people = token.lower in NOMINAL and self._verb_after(place)
        if self.parse.head(place) is not None and not stands_for_people:
            return False
        subject = self.parse.subject(place)
        if subject is not None:
            return self.parse.is_somebody(subject) and token.lower not in cues.NOT_SAID_OF
        if token.lower in NOMINAL and before and before.lower == "the":
            return not (token.lower in ("old", "young", "aged") and self.parse.is_about_animals())
        if token.lower in cues.SINGULAR_ADJECTIVES:
            return bool(before and (before.lower in english.DETERMINERS or self.parse.is_adjective(place - 1)))
        if token.lower in ("young", "old") and _YOUNG_AND_OLD.search(self.text):
            return True
        if token.lower in ("oldest", "youngest", "eldest", "elder", "younger", "older"):
            return bool(before and before.lower in ("the", "her", "his", "their")) and not self.parse.is_about_animals()
        return self._after_person(place)

    def _verb_after(self, place: int) -> bool:
        """Whether a verb of several people follows an adjective that may stand for people: "the Dutch skate on"."""
        after = self.parse.near(place, 1)
        if after is None:
            return True
        if is_person_noun(after.lower) or after.lower in cues.USUAL_NOUNS or after.lower not in VERBS:
            return False
        then = self.tokens[place + 2] if place + 2 < len(self.tokens) else None
        if then is None or then.gap.strip() or then.lower in english.FUNCTION_WORDS:
            return True
        return then.lower.endswith(("ly", "ing", "s"))

    def _after_person(self, place: int) -> bool:
        """Whether an adjective follows its noun: "a singer, blind since birth", "children deaf from birth"."""
        token = self.tokens[place]
        assert token.term
        set_off = token.gap.strip().startswith(",")
        if (token.lower in cues.DESCRIBED_LATER or token.term.categories == ("race_ethnicity",)) and not set_off:
            return False
        before = place - 1
        while before >= 0 and (self.tokens[before].lower in cues.BRIDGES or self.tokens[before].lower.endswith("ly")):
            before -= 1
        if before < 0:  # "Blind since birth, the singer plays"
            return token.term.categories == ("disability",) and not self.parse.is_about_animals()
        is_pronoun = self.tokens[before].lower in PRONOUNS
        return self.parse.is_person(before) and not self.tokens[before].owner and not is_pronoun

    def _either(self, place: int) -> bool:
        """An adjective that is a noun as well, as most that say a nation, a people or a faith."""
        token, before, after = self.tokens[place], self.parse.near(place, -1), self.parse.near(place, 1)
        assert token.term
        if token.lower in LANGUAGES and after and after.lower in cues.TAUGHT:
            return False
        if token.lower == "mohawk":  # a haircut
            return token.is_capital and self.parse.names_people(place)
        if token.lower == "polish" and not token.is_capital and (after is None or after.lower in english.DETERMINERS):
            return False
        head = self.parse.head(place)
        if token.lower in LANGUAGES and before and before.lower in cues.SPEAKING and head is None:
            return False
        if self._adjective(place):
            return True
        if token.owner:
            return bool(before and before.lower in english.DETERMINERS) and token.lower not in cues.PETS
        if head is not None or token.lower in cues.PETS:
            return False
        if before is None and (token.lower in NOMINAL or token.lower.endswith(("ese", "ish", "ch"))):
            return False  # a language
        if before is None:  # as headlines have it
            verb = after is not None and self.parse.is_verb(place + 1) and after.lower not in cues.USUAL_NOUNS
            return verb and token.is_capital and not self.parse.is_about_animals()
        if token.lower.endswith(("ish", "ch")):
            return False
        if token.lower.endswith("ese") or token.lower in ("swiss", "roma", "inuit"):
            return before.lower in ("a", "an") and after is not None and not self.parse.subject(place)
        if before.lower in english.DETERMINERS or (self.parse.is_adjective(place - 1) and not before.nobody):
            return True
        return token.term.categories == ("religion",) and before.lower in ("by", "as", "for", "or", "and")

    # --- what somebody has, and pronouns

    def _condition(self, place: int) -> bool:
        """A condition that somebody has: but for posters about it, and a leg that lies on a bench."""
        token, after, before = self.tokens[place], self.parse.near(place, 1), self.parse.near(place, -1)
        if self.parse.is_about_animals():
            return False
        if after and after.lower in cues.OF_CONDITIONS and not (before and before.lower == "with"):
            return False
        if token.lower.startswith(("prosthetic", "artificial", "running")):
            return bool(cues.HAVING & {other.lower for other in self.tokens[max(0, place - 4) : place]})
        return True

    def _pronoun(self, place: int) -> bool:
        return self.tokens[place].start in self.gendered and not means_animal(self.parse, place)


_USES = {
    "noun": _Matcher._noun,
    "adjective": _Matcher._adjective,
    "either": _Matcher._either,
    "condition": _Matcher._condition,
    "pronoun": _Matcher._pronoun,
}
"""What decides whether a term counts, by its use."""
_SPECIAL = {
    "baby": _Matcher._baby,
    **dict.fromkeys(("adult", "juvenile"), _Matcher._adult),
    **dict.fromkeys(("young one", "young ones", "little one", "little ones"), _Matcher._young_one),
    "senior": _Matcher._senior,
    "seniors": _Matcher._senior,
    "minor": _Matcher._minor,
    "invalid": _Matcher._invalid,
    "invalids": _Matcher._invalid,
    "cardinal": _Matcher._cardinal,
    "cardinals": _Matcher._cardinal,
    "queen": _Matcher._queen,
    "queens": _Matcher._queen,
    "poles": _Matcher._poles,
    **dict.fromkeys(("nan", "nans", "pa", "ma", "pops"), _Matcher._nan),
}
"""Nouns with a rule of their own."""
