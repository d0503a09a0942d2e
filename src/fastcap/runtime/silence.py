"""Silence instead of invention: what is said of a picture that a model is not sure of, or that is no photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fastcap.runtime.contract import PICTURES

if TYPE_CHECKING:
    from fastcap.runtime.captions import Candidate, Caption
    from fastcap.runtime.options import Options, Plan
    from fastcap.runtime.photo import Verdict

__all__ = ["HEDGE", "doubted", "is_photo", "why_silent"]

HEDGE = "Maybe: "
"""What hedged captions begin with."""

_NAMES = {"blank": "blank", "text": "a text", "screen": "a screen", "chart": "a chart", "drawing": "a drawing"}


def is_photo(kind: str | None) -> bool:
    """Whether a picture of this kind may be captioned as a photo: it is one, or nobody knows."""
    return kind in (None, PICTURES[0])


def doubted(candidates: Sequence[Candidate], verdict: Verdict | None, plan: Plan) -> tuple[list[Candidate], float]:
    """The candidates that are shown, and the confidence of the first of all, whether it is shown or not.

    Where the picture is no photo, a confidence is multiplied by the probability that it is one after all: of a chart,
    words that suit a photo are right only then. Where it is a photo, or without a verdict, it stays.
    """
    no_photo = verdict is not None and not is_photo(verdict.kind)
    if verdict is not None and no_photo:
        candidates = [replace(each, confidence=each.confidence * verdict.photo) for each in candidates]
    shown = [each for each in candidates if each.confidence >= plan.min_confidence]
    if plan.hedge:
        shown = [
            replace(each, text=HEDGE + each.text) if no_photo or each.confidence < plan.hedge else each
            for each in shown
        ]
    return shown, candidates[0].confidence


def why_silent(caption: Caption, options: Options) -> str:
    """Why a caption has no text: "no caption: the picture is a chart, no photo; its confidence 0.02 is below 0.2"."""
    what = "" if is_photo(caption.kind) else f"the picture is {_NAMES[str(caption.kind)]}, no photo; its "
    return f"no caption: {what}confidence {caption.confidence:.2f} is below {options.min_confidence:g}"
