"""A sentence while it is rewritten."""

from __future__ import annotations

from fastcap.runtime.grammar import Sentence, in_case_of

__all__ = ["Draft", "UncertainError"]


class UncertainError(Exception):
    """No rule is certain to get a sentence right."""


class Draft:
    """The words of a sentence and the gaps around them, to be changed; what is left out becomes empty."""

    def __init__(self, sentence: Sentence, always: bool) -> None:
        self.sentence, self.always = sentence, always
        self.words, self.gaps = list(sentence.words), list(sentence.gaps)
        self.lower, self.before, self.after = sentence.lower, sentence.before, sentence.after
        self.done: set[int] = set()  # places of gendered words that need nothing more

    def doubt(self) -> None:
        """Give up, unless a sentence must be rewritten; then the likeliest reading is taken.

        Raises UncertainError.
        """
        if not self.always:
            raise UncertainError

    def put(self, place: int, neutral: str) -> None:
        """Say something else, in the case of what is written."""
        self.words[place] = in_case_of(self.sentence.words[place], neutral)

    def leave_out(self, start: int, stop: int) -> None:
        """Leave out the words of these places."""
        for place in range(start, stop):
            self.words[place] = ""
            self.done.add(place)

    def joined(self) -> str:
        """The words that are left; of the gaps around one that is left out, punctuation stays, else one space."""
        text, last = self.gaps[0], -1
        for place, word in enumerate(self.words):
            if word:
                text += (_gap(self.gaps[last + 1 : place + 1], " ") if last >= 0 else "") + word
                last = place
        return text + _gap(self.gaps[last + 1 :], self.gaps[-1])


def _gap(gaps: list[str], otherwise: str) -> str:
    return gaps[0] if len(gaps) == 1 else "".join(gap for gap in gaps if gap.strip(" -/")) or otherwise
