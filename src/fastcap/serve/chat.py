"""What a chat asks of a picture: a question, behind the turns before it, or a caption."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastcap.runtime.conversation import ROLES, USER, Turn, without_image_mark

__all__ = ["Asked", "asked_of"]

_QUESTION = re.compile(
    r"(?:what|which|who|whose|whom|where|when|why|how|is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|"
    r"should)\b",
    re.IGNORECASE,
)
_DESCRIPTION = re.compile(
    r"\b(?:descri|caption|alt(?:ernative)?[- ]text|summar|transcri|keyword|\btag)"
    r"|what(?:'s|’s| is| do you see| can you see| can be seen| is shown| is depicted)? (?:in|on) (?:the|this|that|my) "
    r"(?:image|picture|photo|photograph|pic)\b|what do you see|what is this (?:image|picture|photo)",
    re.IGNORECASE,
)
"""Requests for a caption that may have the form of a question: "What's in this image?" is the most usual of all."""


class Asked(NamedTuple):
    """A question, "" where a caption is wanted, and the turns before it, from the picture's on."""

    question: str = ""
    history: tuple[Turn, ...] = ()


def asked_of(messages: Sequence[Mapping[str, Any]]) -> Asked:
    """What messages of Ollama's or OpenAI's shape ask of their newest picture.

    The newest message decides. It asks a question if it ends with a question mark or begins as a question, and wants no
    description. Messages of the system, and those before the picture, are not read.
    """
    start = max((place for place, message in enumerate(messages) if has_picture(message)), default=0)
    turns = []
    for message in messages[start:]:
        role, text = message.get("role"), text_of(message)
        if isinstance(role, str) and role in ROLES and text:
            turns.append(Turn(ROLES[role], text))
    if not turns or turns[-1].role != USER or not is_question(turns[-1].text):
        return Asked()
    return Asked(turns[-1].text, tuple(turns[:-1]))


def has_picture(message: Mapping[str, Any]) -> bool:
    """Whether a message brings pictures."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return bool(message.get("images")) or any(
        isinstance(part, dict) and part.get("type") == "image_url" for part in parts
    )


def text_of(message: Mapping[str, Any]) -> str:
    """The words of a message, its parts joined, without the mark of a picture's place."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return " ".join(without_image_mark([text for text in texts if isinstance(text, str)])).strip()


def is_question(text: str) -> bool:
    """Whether a text asks something that a description would not answer."""
    return (text.endswith("?") or _QUESTION.match(text) is not None) and not _DESCRIPTION.search(text)
