"""What a request may cost. Everything that a stranger sends is bounded by one of these numbers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_TEXTS", "MAX_TEXT_BYTES", "Limits"]

MAX_TEXTS = 64
"""Most texts that one request scores."""

MAX_TEXT_BYTES = 1000
"""Longest text that is scored, in bytes of UTF-8; captions have about 60."""


@dataclass(frozen=True)
class Limits:
    """The caps of a server; the defaults suit one small machine.

    `body_bytes`: largest body, and all that one request may fetch; a 50-megapixel JPEG fits.
    `pixels`: most pixels a picture's header may declare; undecoded they cost nothing, decoded 4 bytes each.
    `images`: most pictures in a request.
    `queue`: most pictures under way, waiting ones included; beyond, 503. Two cores empty 64 in about a second.
    `seconds`: longest time from a request's first byte to its answer.
    """

    body_bytes: int = 16 * 2**20
    pixels: int = 64_000_000
    images: int = 16
    queue: int = 64
    seconds: float = 10.0
