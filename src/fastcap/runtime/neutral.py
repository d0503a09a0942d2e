"""Neutral wording: captions that say "person" where a picture cannot tell who somebody is.

A model guesses gender from clothes and hair, and is wrong often enough to hurt. A caption is decoded as usual and then
rewritten, sentence by sentence, so that it keeps what the model wanted to say. `fastcap.runtime.gendered` lists the
words, and says what is left alone.

`web/neutral.js` does the same for the web page: what changes here changes there.
"""

from __future__ import annotations

from typing import NamedTuple

from fastcap.runtime import english
from fastcap.runtime.draft import UncertainError
from fastcap.runtime.gendered import GENDERED
from fastcap.runtime.grammar import Sentence, gendered_words, sentences
from fastcap.runtime.rewriting import Rewriting

__all__ = ["GENDERED", "Neutral", "gendered_words", "neutral_wording", "neutralise", "with_nouns"]


class Neutral(NamedTuple):
    """A text in neutral wording.

    `left`: the gendered words, as they are written, of sentences that were left alone, since no rule is certain to get
    their grammar right; empty if there is none.
    """

    text: str
    left: tuple[str, ...]


def neutral_wording(text: str, always: bool = False) -> Neutral:
    """A text in neutral wording, and what was left alone.

    `always`: leave no sentence alone. Where the grammar is not certain, the likeliest reading is taken.
    """
    written: list[str] = []
    left: list[str] = []
    for sentence in sentences(text):
        try:
            written.append(Rewriting(sentence, always).text() if sentence.gendered else str(sentence))
        except UncertainError:
            written.append(str(sentence))
            left += [sentence.words[place] for place in sentence.gendered]
    return Neutral("".join(written), tuple(left))


def neutralise(text: str, always: bool = False) -> str:
    """The text that `neutral_wording` gives."""
    return neutral_wording(text, always).text


def with_nouns(text: str) -> str:
    """A caption with a noun for each adjective that a model left without one: "A young is riding" is "A young person is
    riding", "on a wooden in the snow" is "on a wooden one in the snow".
    """
    written = []
    for sentence in sentences(text):
        for place in range(len(sentence.words)):
            if noun := _missing_noun(sentence, place):
                sentence.words[place] += f" {noun}"
        written.append(str(sentence))
    return "".join(written)


def _missing_noun(sentence: Sentence, place: int) -> str:
    """The noun that is due after a word; nothing if none is."""
    word, after, then = sentence.lower[place], sentence.after(place), sentence.after(place + 1)
    if word not in english.NEVER_NOUNS:
        return ""
    start = place
    while sentence.before(start) in english.ADJECTIVES or sentence.before(start) == "very":
        start -= 1
    determiner = sentence.before(start)
    if determiner not in english.BEFORE_NOUNS or (determiner == "the" and word in english.PERSONAL):
        return ""  # "the young are many"
    degree = after == "of" or (start > 1 and sentence.before(start - 1) not in english.FUNCTION_WORDS)
    if word == "little" and degree:
        return ""  # "jumps a little in the air"
    last = place + 1 == len(sentence.words) and "-" not in sentence.gaps[place + 1]
    participle = after.endswith("ing") and after not in english.THINGS
    verb = participle and (not then or then in english.FUNCTION_WORDS or after in english.BARE_OBJECTS)
    if not (last or verb or after in english.AUXILIARIES or after in english.PLAIN_PREPOSITIONS):
        return ""
    several = determiner in english.NUMBERS
    if word == "little":
        return "children" if several else "child"
    if word in english.PERSONAL:
        return "people" if several else "person"
    return "ones" if several else "one"
