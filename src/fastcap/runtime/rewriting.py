"""How one sentence is made neutral: nouns, pronouns with the verbs that agree with them, possessives, articles."""

from __future__ import annotations

import re

from fastcap.runtime import english
from fastcap.runtime.agreement import fit_subject
from fastcap.runtime.draft import Draft
from fastcap.runtime.gendered import (
    AGES,
    FORMS_OF_ADDRESS,
    GENDERED,
    GENDERED_ADJECTIVES,
    PAIRS,
    PEOPLE,
    PEOPLE_OR_VERBS,
    PLAIN,
    PLURALS,
    SPLIT,
    TITLES,
    plural,
)
from fastcap.runtime.grammar import (
    WORD,
    base_form,
    gendered_words,
    in_case_of,
    is_participle,
    neutral_of,
    owner,
    singular_of,
    sounds_as_vowel,
)

__all__ = ["Rewriting"]

_PEOPLE_PLURAL = frozenset(map(plural, PEOPLE))
# "They, they and I", "the children's and children's shoes", "a newlywed kisses their newlywed"
_SAID_TWICE = re.compile(
    r"(?<![a-z])(?:(they|them)(?:,| and| or) \1|([a-z]+'s?) (?:and|or) \2|([a-z]+) [^\n]*their \3)(?![a-z])",
    re.ASCII | re.IGNORECASE,
)
# "A dog looks at her" is about somebody else.
_OF_ANIMALS = {"he": "it", "she": "it", "his": "its", "her": "its", "himself": "itself", "herself": "itself"}
_TWO = {"a": "two", "an": "two", "one": "two", "this": "these two", "that": "those two"}


class Rewriting(Draft):
    """One sentence and the rules that rewrite it."""

    def text(self) -> str:
        """The sentence in neutral wording. Raises UncertainError."""
        self._join_pairs()
        for place in self.sentence.gendered:
            if place not in self.done:
                self._reword(place)
        self._join_equals()
        self._fit_articles()
        self._capitalise()
        text = self.joined()
        if _SAID_TWICE.search(text):
            self.doubt()
        if gendered_words(text):
            self.doubt()
            text = WORD.sub(lambda word: in_case_of(word[0], neutral_of(word[0].lower()) or word[0]), text)
        return text

    def _fit_articles(self) -> None:
        """Make "a" and "an" fit what was changed after them."""
        for place, word in enumerate(self.words):
            if word.lower() in ("a", "an") and place + 1 < len(self.words) and self.gaps[place + 1].isspace():
                following = next((at for at in range(place + 1, len(self.words)) if self.words[at]), place)
                if following > place + 1 or self.words[following] != self.sentence.words[following]:
                    self.put(place, "an" if sounds_as_vowel(self.words[following].lower()) else "a")

    def _capitalise(self) -> None:
        first = next((place for place, word in enumerate(self.words) if word), 0)
        if self.sentence.words[0][0].isupper():
            self.words[first] = self.words[first][:1].upper() + self.words[first][1:]

    # Two people side by side

    def _join_pairs(self) -> None:
        """Leave out the first of "he or she", "his/her", "male and female" before a noun."""
        for place in self.sentence.gendered:
            other = self._paired(place)
            if other is None:
                continue
            pair = {self.lower[place], self.lower[other]}
            if self.after(place) == "nor":
                self.doubt()  # "neither he nor she"
            elif pair <= {"he", "she"} or pair <= {"himself", "herself"}:
                self.leave_out(place, other)
            elif pair <= {"male", "female"}:
                if self._stands_before_noun(other):
                    self.leave_out(place, other)
            elif pair == {"him", "her"} or pair <= {"his", "her", "hers"}:
                self.leave_out(place, other)
                self.put(other, "them" if "him" in pair else "their" if self._has_noun(other) else "theirs")
                self.done.add(other)

    def _paired(self, place: int) -> int | None:
        """The place of a second gendered word after "and", "or", "nor" or a slash."""
        other = place + 1 if self.gaps[place + 1].strip() == "/" else place + 2
        joined = other == place + 1 or (self.after(place) in ("and", "or", "nor") and self.after(place + 1))
        return other if joined and other in self.sentence.gendered else None

    def _join_equals(self) -> None:
        """Count: "a man and a woman" are two people, "two men and a woman" three, "men and women" people."""
        for place in self.sentence.gendered:
            other = self._equal(place)
            if other is None:
                continue
            start = place
            while self.before(start) in english.ADJECTIVES:
                start -= 1
            first, second = self.before(start), self.lower[other - 1] if other > place + 2 else ""
            one, two = english.COUNTS.get(first), english.COUNTS.get(second)
            several = self._is_plural(place)
            together = several == self._is_plural(other)
            many = plural(singular_of(self.lower[place]))
            if "," in self.gaps[start - bool(first)] or {first, self.before(start - 1)} & {"both", "either", "neither"}:
                continue  # perhaps a longer list
            if self.lower[place + 1] == "or" or first in ("every", "each", "any", "no"):
                if not together:
                    continue
            elif one and two:
                if start != place or one + two > 12:
                    continue
                self.put(start - 1, next(word for word, count in english.COUNTS.items() if count == one + two))
                self.put(place, many)
            elif not together or (second and (first, second, start) != ("the", "the", place)):
                continue
            elif several:
                pass
            elif first in _TWO:
                self.put(start - 1, _TWO[first])
                self.put(place, many)
            elif first in english.POSSESSIVES:
                self.put(place, many)
            elif first in english.DETERMINERS and first != "the":
                continue
            else:
                self.put(place, many)
                self.put(start, f"two {many if start == place else self.lower[start]}")
            self.leave_out(place + 1, other + 1)

    def _equal(self, place: int) -> int | None:
        """The place of the second of two words that were put as the same noun, as in "a man and (a) woman"."""
        if self.after(place) not in ("and", "or"):
            return None
        counted = self.after(place + 1) in english.COUNTS or self.after(place + 1) == "the"
        other = place + 3 if counted else place + 2
        if other not in self.sentence.gendered or not self.gaps[other].isspace():
            return None
        one, two = (neutral_of(self.lower[at]) or "" for at in (place, other))
        as_it_is = (self.words[place].lower(), self.words[other].lower()) == (one.lower(), two.lower())
        same = singular_of(self.lower[place]) == singular_of(self.lower[other])
        noun = not {one, two} & {"they", "them", "their", "theirs", "themselves", "mx"}
        return other if as_it_is and same and noun and not self.sentence.owner_mark(other) else None

    def _is_plural(self, place: int) -> bool:
        return self.lower[place] in PLURALS or self.lower[place].endswith("women")

    # One word

    def _reword(self, place: int) -> None:
        lower = self.lower[place]
        if lower in _OF_ANIMALS and self._is_of_animal(place):
            self.put(place, _OF_ANIMALS[lower])
        elif lower in ("he", "she"):
            fit_subject(self, place)
        elif lower == "his":
            self.put(place, "their" if self._has_noun(place) else "theirs")
        elif lower == "her":
            self.put(place, "their" if self._owns(place) else "them")
        elif lower in GENDERED_ADJECTIVES:
            self._adjective(place)
        else:
            self._noun(place)

    def _is_of_animal(self, place: int) -> bool:
        """Whether a pronoun can only be an animal's: one stands before it and nobody else, "a dog wags his tail"."""
        if (self.lower[place] == "his" and not self._has_noun(place)) or (
            self.lower[place] == "her" and not self._owns(place)
        ):
            return False
        before = [word.lower() for word in self.sentence.words[:place]]
        somebody = any(
            word in _PEOPLE_PLURAL
            or word in ("owner", "who")
            or singular_of(word) in PEOPLE
            or (word not in _OF_ANIMALS and neutral_of(word))
            for word in before
        )
        return not somebody and any(word in english.ANIMALS for word in before)

    def _has_noun(self, place: int) -> bool:
        """Whether a possessive stands before a noun: "his dog", not "his is red" or "a friend of his"."""
        after = self.after(place)
        if self._is_counted(place) or (after and self._is_hyphenated(place + 1)):
            return True  # "his 3 dogs", "his over-sized hat"
        functions = english.CONJUNCTIONS | english.AUXILIARIES | english.PLAIN_PREPOSITIONS
        return bool(after) and after not in functions

    def _owns(self, place: int) -> bool:
        """Whether "her" is a possessive, "her hat", and no object, "hugs her"."""
        before, after, then = self.before(place), self.after(place), self.after(place + 1)
        ends = not then or then in english.FUNCTION_WORDS
        if self._is_counted(place) or (after and self._is_hyphenated(place + 1)):
            return True  # "her 2 dogs", "her pink-lensed glasses"
        if not after or after in english.AFTER_OBJECT:
            return then in english.CLOTHES  # "her down jacket"
        if after in ("back", "home", "left", "right"):
            return then not in ("to", "into", "from") or before in english.PREPOSITIONS
        if after.endswith("ing") and after not in english.THINGS:
            return not ends and after not in english.BARE_OBJECTS
        if is_participle(after):
            return not ends
        if after.endswith("ly") or (after in english.ADJECTIVES and ends and then not in ("and", "or")):
            return False
        if base_form(after) in english.VERBS and before in english.PREPOSITIONS:
            return False  # "the boy behind her sits"
        verb = after in english.VERBS or then in english.DETERMINERS
        return not (verb and before in english.CAUSATIVES)  # "makes her smile"

    def _adjective(self, place: int) -> None:
        """Leave "male" and the like out before a noun; where it is one, it is somebody."""
        before = self.before(place)
        if self._stands_before_noun(place):
            all_of_them = place > 0 and self.lower[place - 1] == "all" and self.gaps[place].strip() in ("", "-")
            if all_of_them and (before != "all" or not self.after(place).endswith("s")):
                self.leave_out(place - 1, place)  # "an all-male choir"
            self.leave_out(place, place + 1)
        elif self.lower[place] not in ("male", "female") or before in english.BEFORE_ADJECTIVE:
            self.doubt()  # "looks feminine"
            some = "people" if before in ("are", "were") else "a person"
            self.put(place, some if self.lower[place] in ("male", "female") else GENDERED[self.lower[place]])
        else:
            self._noun(place)

    def _stands_before_noun(self, place: int) -> bool:
        """Whether "male" is an adjective here: "a male nurse", "male hikers", but not "a male in a hat"."""
        after, then = self.after(place), self.after(place + 1)
        ends = not then or then in english.FUNCTION_WORDS
        if self.gaps[place + 1] == "-":
            self.doubt()
        if not after or (after in english.FUNCTION_WORDS - english.NUMBERS and not self._is_hyphenated(place + 1)):
            return False
        if after.endswith("ing") and after not in english.THINGS:
            return then in PEOPLE or then in _PEOPLE_PLURAL or then in english.GROUPS  # "a male swimming coach"
        if is_participle(after):
            return not ends
        if after in english.VERBS and after not in PEOPLE:
            if base_form(then) in english.VERBS and then not in _PEOPLE_PLURAL:
                self.doubt()  # "a female blow dries her hair"
                return False
            return not ends and not then.endswith("ing")  # "two males and a female stand smiling"
        if base_form(after) in english.VERBS and after not in _PEOPLE_PLURAL:
            has_object = then in english.DETERMINERS or then in english.PRONOUNS or then in english.DIRECTIONS
            if after in english.VERBS_OR_NOUNS and not has_object and not self._follows_article(place):
                self.doubt()  # "male models", "the male rides"
            return False
        return True

    def _is_counted(self, place: int) -> bool:
        return self.gaps[place + 1][:1].isspace() and self.gaps[place + 1].lstrip()[:1].isdigit()

    def _is_hyphenated(self, place: int) -> bool:
        return place + 1 < len(self.words) and self.gaps[place + 1] == "-"

    def _noun(self, place: int) -> None:
        lower, before = self.lower[place], self.before(place)
        neutral, several, put = neutral_of(lower) or lower, self._is_plural(place), place
        split = place > 0 and (self.gaps[place] == "-" or before in SPLIT)
        joined = self.lower[place - 1] + lower if split else ""
        if self._is_title(place) or (lower in PLAIN and self._is_attribute(place)):
            self.leave_out(place, place + 1)
            return
        if lower in FORMS_OF_ADDRESS:
            self.doubt()  # "Yes, sir"
        if special := PAIRS.get(f"{before} {lower.removesuffix('s')}"):
            neutral = plural(special) if several else special
        elif lower in ("maid", "maids", "matron", "matrons") and self.after(place) == "of":  # of honour
            neutral = "attendants" if several else "attendant"
        elif before in AGES and lower in PLAIN:
            neutral, put = plural(AGES[before]) if several else AGES[before], place - 1
        elif joined in GENDERED:
            neutral, put = GENDERED[joined], place - 1
        elif several and self._follows_article(place) and not self.sentence.owner_mark(place) and "'" not in neutral:
            owners = neutral if before in ("a", "an") else singular_of(lower)
            noun_follows = self._is_before_noun(place, base_verbs=False)
            neutral = owner(owners) if noun_follows else singular_of(lower)  # "a girls team", "a men in hats"
        elif not several and before in english.NUMBERS:
            neutral = plural(neutral)  # "two woman"
        elif several and lower in PLAIN and self._is_before_noun(place) and self._names_group(place):
            neutral = owner(neutral)  # "girls soccer team"
        self.put(put, neutral)
        if put < place:
            self.leave_out(place, place + 1)
        self._fit_possessive(put, place, neutral)

    def _fit_possessive(self, put: int, place: int, neutral: str) -> None:
        """ "policemen's" to "officers'", "girls'" to "children's"."""
        mark, following = self.sentence.owner_mark(place), place + 1
        if mark == "s" and self._is_plural(place) and neutral.endswith("s"):
            self.words[following] = ""
            self.gaps[following + 1] = self.gaps[following].lstrip() + self.gaps[following + 1]
            self.gaps[following] = ""
        elif mark == "'" and not neutral.endswith("s"):
            gap = self.gaps[following].lstrip()
            self.words[put] += gap[0] + in_case_of(self.words[put], "s").lower()
            self.gaps[following] = gap[1:]

    def _follows_article(self, place: int) -> bool:
        before = self.before(place)
        return before in ("a", "an") or (before in english.ADJECTIVES and self.before(place - 1) in ("a", "an"))

    def _is_before_noun(self, place: int, base_verbs: bool = True) -> bool:
        """Whether the word after is neither a function word nor a verb; `base_verbs`: nor one as "girls play" has."""
        after = self.after(place)
        verb = after.endswith("ing") or base_form(after) in english.VERBS or is_participle(after)
        verb |= base_verbs and after in english.VERBS
        return bool(after) and not verb and after not in english.FUNCTION_WORDS

    def _is_title(self, place: int) -> bool:
        """Whether a name follows a title: "Queen Elizabeth"."""
        after = self.after(place)
        if self.lower[place] not in TITLES or not self.sentence.words[place][0].isupper() or not after:
            return False
        known = after in english.FUNCTION_WORDS or after in english.ADJECTIVES or neutral_of(after) or after in PEOPLE
        return self.sentence.words[place + 1][0].isupper() and not known and self._is_before_noun(place)

    def _is_attribute(self, place: int) -> bool:
        """Whether a word only says what people are: "a woman doctor", "boy scouts", but not "a woman guards it"."""
        joined = place + 1 < len(self.words) and self.gaps[place + 1] in (" ", "-")
        after, then = self.lower[place + 1] if joined else "", self.after(place + 1)
        if after in PEOPLE:
            perceived = any(word in english.CAUSATIVES for word in self.lower[:place])  # "watches the boy cook"
            return not self._is_plural(place) and not (after in PEOPLE_OR_VERBS and perceived)
        if after in _PEOPLE_PLURAL:
            return self._is_plural(place) or base_form(after) not in PEOPLE_OR_VERBS
        if then in PEOPLE or then in _PEOPLE_PLURAL:
            return self._is_before_noun(place)  # "a woman tennis player"
        return self.lower[place] == "man" and after in ("bun", "buns", "purse", "bag", "cave")

    def _names_group(self, place: int) -> bool:
        return any(self.after(at).removesuffix("s") in english.GROUPS for at in (place, place + 1))
