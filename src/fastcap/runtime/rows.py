"""One picture's result as one line of JSON: what the command line prints and a bulk job writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from fastcap.errors import ImageError

if TYPE_CHECKING:
    from fastcap.runtime.captioner import Caption

__all__ = ["Row", "caption_row"]

Row: TypeAlias = dict[str, Any]
"""`image`, the path as it was given, and either `error`, a text, or `caption`, `confidence` (0 to 1), `milliseconds`
(decoding included), `kind` if the model can tell what the picture is, and, if several were asked for, `candidates`;
with a user's memory, the `neighbours` that are near enough, if any. A caption that is not given for want of confidence
is ""."""


def caption_row(image: str, result: Caption | ImageError, candidates: int = 1) -> Row:
    """The row of one picture; `candidates` is the number that was asked for."""
    if isinstance(result, ImageError):
        return {"image": image, "error": str(result)}
    row: Row = {
        "image": image,
        "caption": result.text,
        "confidence": round(result.confidence, 4),
        "milliseconds": round(result.milliseconds, 2),
    }
    if result.kind:
        row["kind"] = result.kind
    if candidates > 1:
        row["candidates"] = [
            {"caption": candidate.text, "confidence": round(candidate.confidence, 4)} for candidate in result.candidates
        ]
    if result.neighbours:
        row["neighbours"] = [near._asdict() | {"similarity": round(near.similarity, 4)} for near in result.neighbours]
    return row
