"""A caption as words with the phrases in which they stand: which noun an adjective belongs to, of whom it is said."""

from __future__ import annotations

import re

from fastcap.curation.cues import KIN, ONLY_CAPITAL, ORIGINS
from fastcap.curation.nouns import (
    ACTIVITIES,
    PLACES,
    is_animal,
    is_only_animal,
    is_person_noun,
    is_thing_for,
    singular,
)
from fastcap.curation.terms import NOMINAL, TERMS
from fastcap.curation.tokens import Token, tokens
from fastcap.runtime import english
from fastcap.runtime.gendered import PEOPLE_OR_VERBS
from fastcap.runtime.grammar import base_form, is_participle

__all__ = ["VERBS", "Parse"]

_NOBODY = english.words("it this that these those there which something anything nothing itself mine yours theirs")
_BREAKS = re.compile(r"[;:.!?…()\"“”—]|\s[-–]\s")
_PLURAL_ADJECTIVES = english.words("various several many few most all both other such same own next last first")
_NOT_HEADS = (
    english.FUNCTION_WORDS
    - english.NUMBERS
    - english.words("home right left straight fast hard back high low far long")
) | (english.words("i'm it's he's she's they're who's there's that's don't doesn't isn't aren't"))
_ADJECTIVE_ENDINGS = ("ful", "less", "ous", "ish", "ive", "ied", "cal", "nal")
_COLOURS = english.words("black white brown")
_STARS = english.words("star stars legend legends idol idols ace pro pros")
_BARE_SKIN = english.words("faces hands arms fingers legs")
_COLOURED = english.words("""
    haired headed eyed clad bearded faced coated suited shirted jacketed uniformed robed nosed legged booted
    gloved hatted shirtless and-white dressed clothed capped helmeted jerseyed
""")
VERBS = english.VERBS | english.words("""
    shrug nod wink blink sneeze snore chuckle grimace smirk scowl pout sigh sob weep wail groan moan mumble
    mutter murmur sniffle hiccup burp swear curse fidget squirm wriggle shudder tremble faint stumble stagger
    limp hobble shuffle strut saunter amble trudge plod tiptoe creep sneak prowl gallop trot sprint bolt scurry
    scamper scramble beckon sprawl loll slouch hunch blush chime yodel preach confess whittle haul hoist hurl
    fling toss shove nudge tickle pinch slap punch vote mourn pray worship queue picnic salute sign plough plow
    protest rehearse rake tap form elect invent brew gamble knead harvest shear tackle bless preach chant kneel
    march skate ski camp compete flock toast feast fast govern rule protect export import produce consume adore
    invade conquer mingle chatter converse argue debate negotiate bow curtsy applaud boo jeer heckle parade
    strike demonstrate rally sunbathe snorkel paddle canoe kayak busk strum croon hum rap sketch doodle sculpt
    chisel forge weld solder drill dig weed prune mow trim shovel sweep dust polish launder wring haggle barter
    bargain trade invest donate volunteer campaign petition lobby educate train mentor coach supervise inspect
    diagnose operate bandage vaccinate inject treat nurse heal comfort console baptise baptize ordain marry wed
    divorce adopt foster raise breed rear hunt trap stalk fish trawl sail anchor moor steer pilot taxi commute
    travel migrate emigrate flee
""")
_LOOKS = english.words("is are was were be been being looks look looked seems appears became becomes become am born")
_ADVERBS = english.words("""
    not also very quite both all openly totally completely partly partially fully legally nearly almost probably
    clearly still now really too so proudly visibly apparently never always only half mostly severely profoundly
""")


class Parse:
    """The tokens of a text and the questions that rules ask about them. Places are indices of tokens."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(tokens(text))
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
                return token.is_capital or token.lower not in ONLY_CAPITAL
            if token.term.use == "either" and (token.lower in TERMS) and not is_person_noun(token.lower):
                return False
        if token.lower in _STARS and place and self.tokens[place - 1].lower in ACTIVITIES:
            return True
        return is_person_noun(token.lower.replace(" ", "-")) or is_person_noun(token.lower.rpartition(" ")[2])

    def is_animal(self, place: int) -> bool:
        token = self.tokens[place]
        before = self.near(place, -1)
        if token.lower == "bernard" and before is not None and before.lower in ("st", "saint"):
            return True
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
            or (last.endswith(_ADJECTIVE_ENDINGS) and not is_person_noun(lower))
            or ("-" in token.text and not is_person_noun(lower))
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

    def is_somebody(self, place: int) -> bool:
        """Whether a subject is a person: a noun or a pronoun for one, or a name."""
        token = self.tokens[place]
        if token.nobody or self.is_animal(place) or token.lower in _NOBODY:
            return False
        if self.is_person(place) or token.lower in english.PRONOUNS:
            return True
        if not token.is_capital or self.is_headline:
            return False
        looks_like_name = token.lower.isalpha() and token.lower not in english.FUNCTION_WORDS
        return not self.starts_sentence(place) or (looks_like_name and not token.lower.endswith("s"))

    def is_about_animals(self, but: int = -1) -> bool:
        """Whether animals and no people are named, `but` for the word at a place."""
        places = range(len(self.tokens))
        people = (place for place in places if place != but and self.is_person(place))
        return any(map(self.is_animal, places)) and all(map(self.describes_animal, people))

    def describes_animal(self, place: int) -> bool:
        """Whether a noun for people says what an animal is: "an adult bear", but not "an adult dog owner"."""
        token, after = self.tokens[place], self.near(place, 1)
        if after is None or token.owner or self.has_object(place + 1):
            return False
        is_kin = token.lower in KIN and token.lower == singular(token.lower)
        if not (is_only_animal(after.lower) or (is_kin and is_animal(after.lower))):
            return False
        head = self.head(place)
        return head is None or not self.is_person(head)

    def has_object(self, place: int) -> bool:
        """Whether a word in -s is a verb, since an object follows it: "a cowgirl ropes a calf"."""
        then = self.near(place, 1)
        return self.tokens[place].lower.endswith("s") and then is not None and then.lower in english.DETERMINERS

    def is_third_person(self, place: int) -> bool:
        """Whether a noun for people is a verb where it stands: "the dog guards"."""
        token, before = self.tokens[place], self.near(place, -1)
        if token.term or before is None or base_form(token.lower) not in VERBS | PEOPLE_OR_VERBS:
            return False
        return not (
            before.lower in english.DETERMINERS or before.lower in english.NUMBERS or self.is_adjective(place - 1)
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
                skipped = 0 if last is not None else self._continues(here)
                if not skipped:
                    break
                at = here + skipped - 1
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

    def _continues(self, conjunction: int) -> int:
        """How many words to skip from an "and" to another adjective of the same noun, "a black and a white man"; 0 if
        none follows."""
        after = conjunction + 1
        if after >= len(self.tokens) or self.tokens[after].gap.strip():
            return 0
        if self.is_adjective(after):
            return 1
        then = self.near(after, 1)
        counted = self.tokens[after].lower in english.COUNTS or self.tokens[after].lower in english.NUMBERS
        return 2 if counted and then is not None and then.term is not None and self.is_adjective(after + 1) else 0

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
        before = self.tokens[here - 1]
        is_noun = before.term and before.term.use == "either" and before.lower not in NOMINAL and token.lower in VERBS
        if is_noun and not self._is_second_of_two(here - 1):
            return False  # of one person, "calls"; "the Muslim call" is a noun
        if base_form(token.lower) in VERBS and token.lower not in english.VERBS_OR_NOUNS:
            return True
        ends = ("ly", "s") if is_noun else ("ly",)  # of two, "shake hands"
        return after is None or after.lower in english.FUNCTION_WORDS or after.lower.endswith(ends)

    def _is_second_of_two(self, place: int) -> bool:
        """Whether a word names the second of two people, whose verb has no -s: "a Jew and a Muslim embrace"."""
        if place < 3 or self.tokens[place - 1].lower not in english.DETERMINERS:
            return False
        first = self.tokens[place - 3]
        return self.tokens[place - 2].lower == "and" and first.term is not None and first.term.use in ("either", "noun")

    def names_people(self, place: int) -> bool:
        """Whether the noun after an adjective is one for people, and the adjective is said of them."""
        head = self.head(place)
        if head is None or self.is_animal(head):
            return False
        if (
            self.tokens[head].lower in _BARE_SKIN
            and self.tokens[place].lower in _COLOURS
            and not self.is_about_animals()
        ):
            return head == place + 1 or self.tokens[head - 1].lower in _COLOURS
        if not self.is_person(head):
            return False
        if self.tokens[head].lower in ORIGINS and not any(one.lower == "of" for one in self.tokens[:place]):
            return False
        after = self.near(head, 1)
        if after and not self.tokens[head].owner and is_only_animal(after.lower):
            return False
        between = [token for token in self.tokens[place + 1 : head] if not token.term]
        nouns = [
            token.lower
            for at, token in enumerate(self.tokens[place + 1 : head], place + 1)
            if token in between and not self.is_adjective(at) and not self.is_function(at) and token.lower != "&"
        ]
        if any(token.nobody for token in between):
            return False
        lower, following = self.tokens[place].lower, self.tokens[place + 1].lower
        if lower in _COLOURS and (following in _COLOURED or self._is_of_clothes(head)):
            return False
        if lower in _COLOURS or lower in ("old", "older", "new"):
            return all(noun in ACTIVITIES or is_person_noun(noun) for noun in nouns)
        return not any(noun in PLACES for noun in nouns)

    def _is_of_clothes(self, head: int) -> bool:
        """Whether a colour before a noun is that of clothes or things: "the white team", "a black sailor's uniform"."""
        token, after = self.tokens[head], self.near(head, 1)
        if token.term:
            return False
        if token.lower in ("team", "teams", "squad", "boxers"):
            return True
        if not is_person_noun(token.lower, known=True) and token.lower not in _STARS:
            return True
        return token.owner and after is not None and is_thing_for(after.lower)

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
        if at >= 0 and self.tokens[at].term and self.is_adjective(at) and self.tokens[at + 1].gap.strip() == ",":
            return self.subject(at)  # "is half Irish, half Nigerian"
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
        return self.first_noun(at)

    def _noun_before(self, place: int) -> int | None:
        for at in range(place - 1, -1, -1):
            if not self.is_function(at) and not self.is_adjective(at):
                return at
        return None

    def first_noun(self, last: int) -> int | None:
        """The head of the first phrase of the clause that ends at a place."""
        start = last
        while start > 0:
            token = self.tokens[start]
            if _BREAKS.search(token.gap) or self.tokens[start - 1].lower in (
                "but",
                "while",
                "because",
                "whose",
                "that",
            ):
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
            if self.is_adjective(at) and at < last:
                continue
            follow = at + 1
            if (
                follow <= last
                and not self.is_function(follow)
                and not self.is_verb(follow)
                and not self.tokens[follow].gap.strip()
            ):
                continue
            return at
        return None

    def _is_clause(self, start: int) -> bool:
        """Whether what stands after an "and" is a clause of its own, by its beginning."""
        return self.tokens[start].lower in english.DETERMINERS | english.PRONOUNS

    def is_function(self, place: int) -> bool:
        token = self.tokens[place]
        return (
            not token.nobody and token.lower in english.FUNCTION_WORDS and not (token.term and token.term.use == "noun")
        )
