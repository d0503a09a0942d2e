"""What a request may cost: each of these numbers bounds something that a client sends."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_CONVERSATION_BYTES", "MAX_TEXTS", "MAX_TEXT_BYTES", "Limits"]

MAX_TEXTS = 64
"""The most texts that one request may have scored, or questions that it may ask."""

MAX_TEXT_BYTES = 1000
"""Longest text that is scored, in bytes of UTF-8; captions have about 60."""


MAX_CONVERSATION_BYTES = 16_384
"""Longest question or conversation; a model reads a part of that."""


@dataclass(frozen=True)
class Limits:
    """The caps of a server; the defaults suit one small machine.

    `body_bytes`: the largest body, and the most that one request may fetch; a 50-megapixel JPEG fits.
    `pixels`: the most pixels that a picture's header may declare; decoding takes 4 bytes a pixel.
    `images`: the most pictures in a request.
    `queue`: the most pictures under way, waiting ones included; beyond, 503. Two cores finish 64 in about a second.
    `seconds`: the longest time from a request's first byte to its answer.
    `keep`: of how many pictures what was computed is kept for the next question (see `Captioner`).
    """

    body_bytes: int = 16 * 2**20
    pixels: int = 64_000_000
    images: int = 16
    queue: int = 64
    seconds: float = 10.0
    keep: int = 16
