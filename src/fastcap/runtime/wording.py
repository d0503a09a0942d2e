"""Which of the captions that a model decoded are shown, in which words, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fastcap.runtime.encoding import Decoder, decode
from fastcap.runtime.engine import Decoded
from fastcap.runtime.options import LEAST_TOKEN, MAX_BEAMS, Plan
from fastcap.runtime.text import ends_early, is_garbled, lacks_noun, names_twice, sentence, word_count

if TYPE_CHECKING:
    from fastcap.runtime.contract import Decoding

__all__ = ["Wordings", "with_sound_others"]


class Wordings:
    """The different wordings of one picture, as they are decoded for a plan.

    A caption that stops where a word is due is cut back to where a sentence may end. Such a one comes after captions
    that are whole: for a number of words, of those equally near to it; otherwise, only if none is whole. Of captions of
    every length the sound ones that are whole come first, and none is cut: its start is there as well.
    """

    def __init__(self, plan: Plan, tokenizer: Decoder) -> None:
        self._plan, self._tokenizer = plan, tokenizer
        self._whole: dict[str, Decoded] = {}
        self._cut: dict[str, Decoded] = {}
        self._broken: dict[str, Decoded] = {}  # of which nothing is left
        self._originals: set[str] = set()
        self._merged = False

    def add(self, captions: Iterable[Decoded]) -> None:
        """Take what a model decoded, best first."""
        plan = self._plan
        if plan.neutral and plan.words is None:
            from fastcap.runtime.neutral import (
                neutralise,
                with_nouns,
            )  # whose tables an ordinary caption starts without
        for caption in captions:
            enough = len(self._whole) >= plan.returned
            if enough and (plan.words is None or not caption.sound):
                break  # nobody asks for the others
            text = self._text(caption.token_ids)
            wordings = self._whole
            if plan.every_length and not _is_whole(text):
                wordings = self._broken
            elif ends_early(text):
                text, caption = self._cut_back(text, caption)
                wordings = self._broken if ends_early(text) else self._cut
            if plan.neutral and plan.words is None:
                neutral = with_nouns(neutralise(text, always=True))
                self._merged |= neutral in wordings and text not in self._originals
                self._originals.add(text)
                text = neutral
            wordings.setdefault(text, caption)

    def best(self) -> list[tuple[str, Decoded]]:
        """Texts and what they were decoded as, best first, as many as the plan asks for."""
        plan = self._plan
        if plan.words is None:
            wordings = self._whole or self._cut or self._broken
            return list(wordings.items())[: plan.returned]
        cut = {text: caption for text, caption in self._cut.items() if text not in self._whole}
        wordings = self._whole | cut or self._broken
        ranks = {text: (not caption.sound, *self._distance(text)) for text, caption in wordings.items()}
        ordered = sorted(wordings.items(), key=lambda wording: ranks[wording[0]])
        if plan.neutral:  # other words, maybe fewer or more of them, change nothing of what is chosen
            ordered = _neutral(ordered)
        return ordered[: plan.returned]

    def further(self, limits: Decoding) -> Plan | None:
        """What else to decode: other lengths where no sentence is within a word of the number asked for; else more
        captions where some were not whole, or became the same in neutral wording. None if that is not so, or nothing is
        left."""
        plan = self._plan
        if plan.every_length:
            return None
        if plan.words is not None:
            if not (self._cut or self._broken) or any(self._distance(text)[0] <= 1 for text in self._whole | self._cut):
                return None
            low, high = plan.high + 1, min(plan.high + plan.decoded, limits.max_length)
            return plan._replace(low=low, high=high, decoded=high - low + 1) if low <= high else None
        if len(self._whole) >= plan.returned or not (self._merged or self._cut or self._broken):
            return None
        if plan.beams == 1 or (plan.sampling and self._whole):
            return None  # greedy search finds one caption, and samples are as many as are drawn
        decoded = min(limits.max_candidates, plan.high - plan.low + 1)
        return plan._replace(decoded=decoded, beams=MAX_BEAMS, returned=2 * plan.returned)

    def _distance(self, text: str) -> tuple[int, bool]:
        assert self._plan.words is not None
        return abs(word_count(text) - self._plan.words), text not in self._whole

    def _text(self, token_ids: list[int]) -> str:
        return sentence(decode(self._tokenizer, token_ids))

    def _cut_back(self, text: str, caption: Decoded) -> tuple[str, Decoded]:
        """The longest start of a caption that is a sentence; the caption as it is if none is."""
        token_ids, probability, token_probabilities, _ = caption
        for end in range(len(token_ids) - 1, 0, -1):
            if self._tokenizer.decode([token_ids[end]]).startswith(" "):
                shorter = self._text(token_ids[:end])
                if not ends_early(shorter):
                    return shorter, Decoded(token_ids[:end], probability, token_probabilities[:end])
        return text, caption


def with_sound_others(
    wordings: Sequence[tuple[str, Decoded]], others: Sequence[tuple[str, Decoded]], plan: Plan
) -> list[tuple[str, Decoded]]:
    """The first of a picture's wordings, and of the rest and the others those that are sound: sentences, no token of
    which is improbable. Few are better than broken ones. `plan`: of the others, or of all if there are none."""
    known = dict(wordings[:1])
    for text, caption in (*wordings[1:], *others):
        improbable = plan.sampling is None and min(caption.token_probabilities, default=1.0) < LEAST_TOKEN
        if _is_whole(text) and not improbable:
            known.setdefault(text, caption)
    return list(known.items())[: plan.returned]


def _is_whole(text: str) -> bool:
    return not (ends_early(text) or lacks_noun(text) or is_garbled(text) or names_twice(text))


def _neutral(wordings: Sequence[tuple[str, Decoded]]) -> list[tuple[str, Decoded]]:
    from fastcap.runtime.neutral import neutralise, with_nouns

    rewritten: dict[str, Decoded] = {}
    for text, caption in wordings:
        rewritten.setdefault(with_nouns(neutralise(text, always=True)), caption)
    return list(rewritten.items())
