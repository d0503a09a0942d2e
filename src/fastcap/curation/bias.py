"""Where a caption mentions a protected attribute of a person.

Only people count, seen or depicted: "a black dog", "an Indian elephant" and "French fries" mention nobody. Lists alone
cannot tell these apart, so an adjective counts by the noun that it stands before or by the subject of which it is said
(`parsing`), and a pronoun by whom it means. The rules are in docs/fighting_bias.md.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from fastcap.curation.nouns import (
    NAME_TITLES,
    YOUNG_ANIMALS,
    is_animal,
    is_only_animal,
    is_person_noun,
    is_thing_for,
    singular,
)
from fastcap.curation.parsing import VERBS, Parse, Token
from fastcap.curation.terms import NOMINAL, TERMS
from fastcap.curation.demonyms import LANGUAGES
from fastcap.runtime import english
from fastcap.runtime.gendered import GENDERED
from fastcap.runtime.grammar import sentences

__all__ = ["CATEGORIES", "Mention", "mentions"]

CATEGORIES = ("gender", "sexual_orientation", "race_ethnicity", "nationality", "religion", "disability", "age")
"""The protected attributes that are told apart."""

_UNITS = r"(?:years?|yrs?|months?|weeks?|days?)"
_NUMBER = (
    r"(?:\d{1,3}|(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[\s-](?:one|two|three|four|five|six|seven|eight"
    r"|nine))?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    r"|eighteen|nineteen|(?:a|one)[\s-]hundred)"
)
_DECADE = r"(?:(?:early|mid|late)[\s-])?(?:\d0[’']?s|teens|twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties)"
_AGES = {
    "age": re.compile(
        rf"(?P<person>\baged\s+(?:(?:about|around|between|under|over)\s+)?{_NUMBER}(?:(?:\s+(?:to|and|or)\s+|\s?[-–]\s?){_NUMBER})?\b"
        rf"|\bages?\s+{_NUMBER}\s*(?:to|and|[-–])\s*{_NUMBER}\b|\b(?:over|under)-{_NUMBER}s\b)"
        rf"|(?P<noun>\b{_NUMBER}[\s-]{_UNITS}[\s-]olds?\b|\b{_NUMBER}\s{_UNITS}\sof\sage\b)"
        rf"|(?P<above>\b(?:over|under)\s+{_NUMBER}\b)"
        rf"|\bin\s+(?:his|her|their|my|your|our)\s+(?P<decade>{_DECADE})(?!\w)",
        re.IGNORECASE,
    )
}
_WHEELCHAIR = re.compile(
    r"\b(?:in|using|uses)\s+(?:(?:an?|the|his|her|their|my)\s+)?(?:(?:electric|motori[sz]ed|powered|power|manual|racing|sports?"
    r"|sporty|folding|red|blue|black|silver|big|small|old|new|standard|hospital)\s+)*wheelchairs?\b(?!\s+(?:ramp|lift|access|space))",
    re.IGNORECASE,
)
_KIN = english.words("mother father mom mum dad mama papa baby babies parent brother sister twins kid kids daddy mommy aunt")
_SPEAKING = english.words(
    "speak speaks speaking spoke in learn learns learning study studies studying teach teaches teaching taught translated"
    " written reads write into from understand of"
)
_SURNAMES = english.words("black white brown young french english welsh irish king gay christian bishop pope monk priest german scot")
_FIRST_NAMES = english.words("christian guy gay prince duke earl deacon israel king baron german roma")
_CHESS = re.compile(r"\b(?:chess\w*|gambits?|checkmate|pawns?|rooks?|castling)\b", re.IGNORECASE)
_PIECES = english.words("king kings queen queens bishop bishops knight knights")


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
    """Offsets of the words that neutral wording takes for gendered: it knows verbs, names and things by their looks."""
    places, at = set(), 0
    for sentence in sentences(text):
        for place, (gap, word) in enumerate(zip(sentence.gaps, sentence.words, strict=False)):
            at += len(gap)
            if place in sentence.gendered:
                places.add(at)
            at += len(word)
        at += len(sentence.gaps[-1]) if len(sentence.gaps) > len(sentence.words) else 0
    return places


class _Matcher:
    """One caption."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.parse = Parse(text)
        self.tokens = self.parse.tokens
        self.gendered = _gendered_places(text)
        self.is_chess = bool(_CHESS.search(text))

    def mentions(self) -> list[Mention]:
        found = self._ages() + self._wheelchairs()
        for place, token in enumerate(self.tokens):
            inside = any(m.start <= token.start and token.end <= m.end for m in found if m.category in ("age", "disability") and " " in m.text or "-" in m.text)
            if token.term and not (inside and token.term.use != "pronoun") and self._counts(place):
                found += [Mention(token.start, token.end, token.text, category) for category in token.term.categories]
            elif not token.term and not token.nobody:
                found += self._parts(token)
        return found

    # --- phrases with numbers, and the wheelchair

    def _ages(self) -> list[Mention]:
        found = []
        for match in _AGES["age"].finditer(self.text):
            group = match.lastgroup or ""
            start, end = match.span(group)
            if group == "noun" and not self._is_age_of_people(start, end):
                continue
            if group == "above" and not self._is_limit_of_people(start, end):
                continue
            found.append(Mention(start, end, self.text[start:end], "age"))
        return found

    def _is_age_of_people(self, start: int, end: int) -> bool:
        inside = [place for place, token in enumerate(self.tokens) if token.start < end and token.end > start]
        if not inside:
            return False
        head = self.parse.head(inside[-1])
        if head is not None:
            return self.parse.is_person(head) and not self.parse.is_animal(head)
        before = inside[0] - 1
        if before >= 0 and self.tokens[before].lower in ("is", "are", "was", "were", "turns", "looks"):
            subject = self.parse.subject(inside[0])
            return subject is None or self._is_somebody(subject)
        return not (before >= 0 and (self.parse.is_animal(before) or self.tokens[before].lower in ("a", "the") and self._about_animals()))

    def _is_limit_of_people(self, start: int, end: int) -> bool:
        """Whether "over sixty" follows people, and nothing that is counted follows it."""
        before = [place for place, token in enumerate(self.tokens) if token.end <= start]
        after = self.parse.near(before[-1] + 2, 1) if before and before[-1] + 3 < len(self.tokens) else None
        if not before or (after and after.start >= end and after.lower not in english.FUNCTION_WORDS):
            return False
        last = self.tokens[before[-1]].lower
        people = any(self.parse.is_person(place) for place in before)
        return people and (self.parse.is_person(before[-1]) or last in ("all", "those", "everyone", "anyone", "is", "are"))

    def _about_animals(self) -> bool:
        places = range(len(self.tokens))
        return any(map(self.parse.is_animal, places)) and not any(map(self.parse.is_person, places))

    def _wheelchairs(self) -> list[Mention]:
        found = []
        for match in _WHEELCHAIR.finditer(self.text):
            before = [token for token in self.tokens if token.end <= match.start()]
            place = len(before) - 1
            while place >= 0 and not (self.parse.is_person(place) or self.parse.is_animal(place)):
                place -= 1
            if place >= 0 and self.parse.is_animal(place):
                continue
            found.append(Mention(*match.span(), match.group(), "disability"))
        return found

    def _parts(self, token: Token) -> list[Mention]:
        """The mentions within a word with hyphens of which each part names somebody: "father-daughter"."""
        parts = list(re.finditer(r"[^\W_]+", token.text))
        if len(parts) < 2:
            return self._compound(token)
        first = TERMS.get(parts[0].group().lower())
        rest = "-".join(part.group().lower() for part in parts[1:])
        if re.fullmatch(r"to-be|of-(?:one|two|three|four|five|six|seven|eight|nine|ten|\d+)|in-chief|elect", rest):
            parts = parts[:1]
        found = []
        for part in parts:
            term = TERMS.get(part.group().lower())
            if not (first and term and term.use in ("noun", "either")):
                return []
            start = token.start + part.start()
            found += [Mention(start, token.start + part.end(), part.group(), category) for category in term.categories]
        return found

    def _compound(self, token: Token) -> list[Mention]:
        """The gender of a compound of man or woman that no list has: "a lobsterwoman"."""
        if token.start not in self.gendered and not token.lower.endswith(("woman", "women")):
            return []
        if token.lower in GENDERED or token.start not in self.gendered:
            return []
        return [Mention(token.start, token.end, token.text, "gender")]

    # --- single terms

    def _counts(self, place: int) -> bool:
        token = self.tokens[place]
        assert token.term
        if self._is_name(place):
            return False
        if self.is_chess and token.lower in _PIECES:
            return False
        return _USES[token.term.use](self, place)

    def _is_name(self, place: int) -> bool:
        """Whether a term is part of a name: Betty White, Christian Bale, the Dallas Cowboys."""
        token, before, after = self.tokens[place], self.parse.near(place, -1), self.parse.near(place, 1)
        if not token.is_capital or self.parse.is_headline or (token.text.isupper() and len(token.text) > 3):
            return False
        title = self.tokens[place - 1] if place else None
        if title and title.lower.rstrip(".") in NAME_TITLES and token.gap.strip() in ("", ".") and title.is_capital:
            return token.lower in _SURNAMES and not self._person_follows(place)
        if token.lower in _FIRST_NAMES and after and after.is_capital and not is_person_noun(after.lower) and not after.term:
            return token.lower not in ("prince", "king", "duke", "earl", "baron") or after.lower in ("hall", "street")
        if before is None or not before.is_capital or before.owner:
            return False
        if before.term or before.nobody or before.lower in english.FUNCTION_WORDS or is_person_noun(before.lower):
            return False
        if token.lower in ("mr", "mrs", "ms", "miss", "mx") or " " in token.lower:
            return False
        if self.parse.starts_sentence(place - 1):
            known = self.parse.is_adjective(place - 1) or self.parse.is_verb(place - 1) or before.lower.endswith("ly")
            return not known and token.lower in _SURNAMES and not self._person_follows(place)
        return before.lower not in _DAYS

    def _person_follows(self, place: int) -> bool:
        return self.parse.names_people(place)

    def _is_somebody(self, place: int) -> bool:
        """Whether a subject is a person: a noun or pronoun for one, or a name."""
        token = self.tokens[place]
        if token.nobody or self.parse.is_animal(place):
            return False
        if token.lower in ("it", "this", "that", "these", "those", "there", "which"):
            return False
        if self.parse.is_person(place) or token.lower in english.PRONOUNS:
            return True
        return token.is_capital and not self.parse.starts_sentence(place) or (token.is_capital and _looks_like_name(token.lower))

    def _noun(self, place: int) -> bool:
        """A noun for people: but for animals' mothers, baby carriages and other people's verbs."""
        token = self.tokens[place]
        after, before = self.parse.near(place, 1), self.parse.near(place, -1)
        if token.lower in GENDERED and token.start not in self.gendered:
            return False
        if after and not token.owner and self._is_animals_name(place):
            return False
        if token.lower in ("clergy", "minister", "ministers"):
            return not (before and before.lower in ("government", "prime"))
        if token.lower in _KIN and self._is_of_animals(place):
            return False
        if token.owner:
            return not self._only_describes(place)
        if after and token.lower == singular(token.lower) and is_thing_for(after.lower):
            return False
        if token.lower == "baby" and after and not self._can_follow_person(place + 1):
            return False
        if token.lower in ("poles", "pole", "swede", "swedes", "scots", "scot", "finn", "dane", "danes", "turk", "brit"):
            return token.is_capital and (not self.parse.starts_sentence(place) or token.lower != "poles")
        if token.lower in ("senior", "seniors") and before and before.lower in ("school", "college", "university"):
            return False
        if token.lower == "senior" and after and is_person_noun(after.lower):
            return False
        if token.lower == "cardinal" and self._about_birds():
            return False
        if token.lower == "minor":
            return bool(before and before.lower in ("a", "the")) and (after is None or self._can_follow_person(place + 1))
        if token.lower in ("invalid", "invalids"):
            return bool(before and before.lower in english.DETERMINERS) and (after is None or self.parse.is_verb(place + 1))
        return True

    def _about_birds(self) -> bool:
        return bool(re.search(r"\b(?:perch\w*|nests?|branch\w*|feeders?|birds?|twigs?|seeds?|feathers?|wings?|chirp\w*)\b", self.text))

    def _is_animals_name(self, place: int) -> bool:
        """Whether the noun after one for people is an animal: "a mother bear"; but for "the women fish"."""
        word, after = self.tokens[place].lower, self.tokens[place + 1].lower
        return is_only_animal(after) or (is_animal(after) and word in _KIN)

    def _only_describes(self, place: int) -> bool:
        """Whether a plural owner after "a" says what kind of thing it is: "a children's book"."""
        before, head = self.parse.near(place, -1), self.parse.head(place)
        if before is None or before.lower not in ("a", "an") or singular(self.tokens[place].lower) == self.tokens[place].lower:
            return False
        return head is None or not (self.parse.is_person(head) or self.tokens[head].lower in _EVENTS)

    def _can_follow_person(self, place: int) -> bool:
        token = self.tokens[place]
        lower = token.lower
        return (
            lower in english.FUNCTION_WORDS
            or self.parse.is_person(place)
            or self.parse.is_verb(place)
            or lower.endswith("ly")
            or bool(token.term)
        )

    def _is_of_animals(self, place: int) -> bool:
        """Whether a word for kin is about animals."""
        before, after = self.parse.near(place, -1), self.parse.near(place, 1)
        if before and (before.lower == "its" or (is_animal(before.lower) and not before.owner)):
            return True
        if before and before.lower in ("his", "her") and self.parse.means_animal(place - 1):
            return True
        if before and before.owner and is_animal(before.lower):
            return True
        if any(map(self.parse.is_person, (at for at in range(len(self.tokens)) if self.tokens[at].lower not in _KIN))):
            return False
        if any(self.tokens[at].term and self.tokens[at].term.categories == ("gender", "age") for at in range(len(self.tokens))):
            return False
        animals = [at for at in range(len(self.tokens)) if self.parse.is_animal(at)]
        young = [at for at in animals if self.tokens[at].lower in YOUNG_ANIMALS]
        near = after is not None and after.lower in ("and", "of", "with") and any(0 < at - place < 6 for at in young)
        theirs = any(
            self.tokens[at].lower in ("her", "his", "its", "their") and at + 1 < len(self.tokens) and self.tokens[at + 1].lower in _KIN
            for at in range(place)
        ) or (before is not None and before.lower in ("her", "his", "their"))
        return near or (bool(animals) and animals[0] < place and theirs)

    def _adjective(self, place: int) -> bool:
        """An adjective: before a noun for people, said of somebody, or standing for people itself."""
        token, before = self.tokens[place], self.parse.near(place, -1)
        if self.parse.names_people(place):
            return True
        head = self.parse.head(place)
        if token.owner:
            return bool(before and before.lower == "the")
        nominal = token.lower in NOMINAL or token.lower in ("male", "female", "teen", "adult")
        if head is None or (token.lower in NOMINAL and self._verb_after(place)):
            subject = self.parse.subject(place)
            if subject is not None:
                return self._is_predicate_of(place, subject)
            if nominal and before and (before.lower == "the" or before.lower in ("male", "female")):
                return True
            if token.lower in ("male", "female", "adolescent", "juvenile", "infant", "newborn", "adult", "elder"):
                return bool(before and (before.lower in english.DETERMINERS or self.parse.is_adjective(place - 1)))
            if token.lower in ("young", "old"):
                return bool(re.search(r"\b(?:young and old|old and young)\b", self.text, re.IGNORECASE)) or self._after_person(place)
            if token.lower in ("oldest", "youngest", "eldest"):
                return bool(before and before.lower in ("the", "her", "his", "their")) and not self._about_animals()
            return self._after_person(place)
        return False

    def _verb_after(self, place: int) -> bool:
        after = self.parse.near(place, 1)
        if after is None:
            return True
        if is_person_noun(after.lower) or after.lower in _USUAL_NOUNS:
            return False
        then = self.tokens[place + 2] if place + 2 < len(self.tokens) else None
        return after.lower in VERBS and (
            then is None or then.gap.strip() != "" or then.lower in english.FUNCTION_WORDS or then.lower.endswith(("ly", "ing", "s"))
        )

    def _is_predicate_of(self, place: int, subject: int) -> bool:
        if not self._is_somebody(subject):
            return False
        return not (self.tokens[place].lower in ("straight",) or self.tokens[place].lower in ("bi", "hearing"))

    def _after_person(self, place: int) -> bool:
        """Whether an adjective follows its noun: "a singer, blind since birth", "children deaf from birth"."""
        token = self.tokens[place]
        assert token.term
        if token.term.categories[0] not in ("disability", "sexual_orientation", "religion", "gender", "age", "nationality"):
            return False
        if token.lower in ("straight", "old", "aged", "lame", "mute", "english", "male", "female") and not token.gap.strip().startswith(","):
            return False
        before = place - 1
        while before >= 0 and (self.tokens[before].lower in _BRIDGES or self.tokens[before].lower.endswith("ly")):
            before -= 1
        if before < 0:  # "Blind since birth, the singer plays"
            return token.term.categories[0] == "disability" and not self._about_animals()
        return self.parse.is_person(before) and not (self.tokens[before].owner)

    def _either(self, place: int) -> bool:
        """An adjective that is a noun as well, as most that say a nation, a people or a faith."""
        token, before, after = self.tokens[place], self.parse.near(place, -1), self.parse.near(place, 1)
        assert token.term
        if token.lower in LANGUAGES and after and after.lower in _TAUGHT:
            return False
        if self._adjective(place):
            return not (token.lower in LANGUAGES and before is not None and before.lower in _SPEAKING and self.parse.head(place) is None)
        head = self.parse.head(place)
        if token.owner:
            return bool(before and before.lower in english.DETERMINERS)
        if head is not None:
            return False
        if before is None:
            return self._starts_with_noun(place)
        if token.lower.endswith(("ese", "ish", "ch")) or token.lower in ("swiss", "greek orthodox", "roma", "inuit"):
            return before.lower in ("a", "an") and after is not None and not self.parse.subject(place)
        if before.lower in english.DETERMINERS or (self.parse.is_adjective(place - 1) and not before.nobody):
            return True
        return token.term.categories == ("religion",) and before.lower in ("by", "as", "for", "or", "and")

    def _starts_with_noun(self, place: int) -> bool:
        """Whether a noun without an article before it, as headlines have it, stands for somebody."""
        after = self.parse.near(place, 1)
        return bool(after and (self.parse.is_verb(place + 1) and after.lower not in _USUAL_NOUNS)) and self.tokens[place].is_capital

    def _condition(self, place: int) -> bool:
        """Something that somebody has: but for posters about it, and a leg that lies on a bench."""
        token, after = self.tokens[place], self.parse.near(place, 1)
        if token.lower.startswith(("prosthetic", "artificial", "running")):
            before = [other.lower for other in self.tokens[max(0, place - 4) : place]]
            has = {"with", "has", "have", "on", "his", "her", "wearing", "wears", "using", "their"} & set(before)
            return bool(has) and not self._about_animals()
        if after and after.lower in ("awareness", "clinic", "charity", "centre", "center", "research", "test", "parking"):
            return False
        return not self._about_animals()

    def _pronoun(self, place: int) -> bool:
        return self.tokens[place].start in self.gendered and not self.parse.means_animal(place)


_EVENTS = english.words("""
    race match game march final finals tournament competition relay event championship protest rally football soccer hockey
    basketball tennis volleyball rugby cricket marathon sprint
""")
_USUAL_NOUNS = english.words("train coach board box light cart paint park press swing plant ride show point pack star dive line")
_TAUGHT = english.words("""
    teacher teachers tutor tutors lesson lessons class classes exam exams homework book books textbook textbooks dictionary
    dictionaries professor professors course courses grammar language languages test tests alphabet speaker speakers words
    word phrase subtitles translation interpreter interpreters translator translators
""")
_BRIDGES = english.words("born both all almost now since partly and or so")
_DAYS = english.words("monday tuesday wednesday thursday friday saturday sunday christmas easter january february march april may june july august september october november december")
_USES = {
    "noun": _Matcher._noun,
    "adjective": _Matcher._adjective,
    "either": _Matcher._either,
    "condition": _Matcher._condition,
    "pronoun": _Matcher._pronoun,
}
"""What decides whether a term counts, by its use."""


def _looks_like_name(word: str) -> bool:
    """Whether a capitalised word at the start of a sentence is unknown to the lists, as names are."""
    return word.isalpha() and word not in english.FUNCTION_WORDS and not word.endswith("s")
