"""Neutral wording: captions that say "person" where a picture cannot tell who somebody is.

A model guesses gender from clothes and hair, and is wrong often enough to hurt. A caption is decoded as usual and then
rewritten, sentence by sentence, so that it keeps what the model wanted to say. `fastcap.runtime.gendered` lists the
words, and says what is left alone.

`web/neutral.js` does the same for the web page: what changes here changes there.
"""

from __future__ import annotations

from typing import NamedTuple

from fastcap.runtime.gendered import GENDERED
from fastcap.runtime.grammar import gendered_words, sentences
from fastcap.runtime.rewriting import Rewriting, UncertainError

__all__ = ["GENDERED", "Neutral", "gendered_words", "neutral_wording", "neutralise"]


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
