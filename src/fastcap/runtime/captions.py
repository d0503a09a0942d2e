"""What a captioner says of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastcap.runtime.taught import Neighbour

__all__ = ["Candidate", "Caption", "Token"]


class Token(NamedTuple):
    """One piece of a caption as the decoder chose it, with the probability it gave that choice (0 to 1)."""

    text: str
    confidence: float


@dataclass(frozen=True)
class Candidate:
    """One wording; `confidence` from 0 to 1, about the share of its content words that people would use as well."""

    text: str
    confidence: float
    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class Caption(Candidate):
    """The best wording for a picture.

    `text`: "" if the confidence is below the `min_confidence` that was asked for; then there are no candidates and no
    tokens, and `confidence` is that of the caption which is not given.
    `candidates`: the wordings asked for, all different, best first; the first is this caption.
    `kind`: one of `fastcap.runtime.contract.PICTURES`, "photo" or what else it is, which lowers the confidence;
    None from a model directory that cannot tell.
    `milliseconds`: wall time from the source, or from what `Captioner.encode` gave, to the text; pictures of one batch
    share its time equally.
    `neighbours`: what was said of the most similar pictures of the user's memory, the nearest first; none without one.
    """

    candidates: tuple[Candidate, ...]
    milliseconds: float
    neighbours: tuple[Neighbour, ...] = ()
    kind: str | None = None

    def __str__(self) -> str:
        return self.text
