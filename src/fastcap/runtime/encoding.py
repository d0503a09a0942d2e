"""Captions to token ids and back, and the one form in which a model reads and writes captions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from fastcap.errors import one_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Decoder", "Pieces", "clean_caption", "decode", "encode"]


class Decoder(Protocol):
    """What turns token ids into text: a `Tokenizer`, or its `Pieces`."""

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        """The text of token ids."""


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a text, without bos and eos. A text that spells `<pad>` is text, not the special token."""
    tokenizer.encode_special_tokens = True
    return tokenizer.encode(text, add_special_tokens=False).ids


def decode(tokenizer: Decoder, token_ids: Iterable[int]) -> str:
    """The text of token ids, special tokens left out: the inverse of `encode` up to NFC and case."""
    return tokenizer.decode(list(token_ids), skip_special_tokens=True).removeprefix(" ")


class Pieces:
    """Decodes as a tokenizer does, its slow twin, but remembers the text of each token: after a run of a network, what
    the tokenizer needs has left the processor's caches. Threads may share it.

    Texts of tokens make up the text of a caption where these stand for bytes, all of whole characters. Otherwise the
    tokenizer is asked.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        from tokenizers.decoders import ByteLevel

        self._tokenizer, self._joined = tokenizer, isinstance(tokenizer.decoder, ByteLevel)
        self._pieces: dict[int, str] = {}

    def piece(self, token: int) -> str:
        """The text of one token; "" for a mark."""
        if token not in self._pieces:
            self._pieces[token] = self._tokenizer.decode([token])
        return self._pieces[token]

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        text = "".join(map(self.piece, ids)) if self._joined and skip_special_tokens else _UNKNOWN
        return self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens) if _UNKNOWN in text else text


def clean_caption(text: str) -> str:
    """The one form in which a model reads and writes captions.

    Lower-case NFC, single spaces, straight quotes, HTML entities resolved; the data sets' token spacing
    undone (`ca n't` -> `can't`, `child 's` -> `child's`, `red , blue` -> `red, blue`, `" hi "` -> `"hi"`);
    without the final full stop, which `fastcap.runtime.text.sentence` puts back. Cleaning twice changes nothing.
    May return "". Raises ConfigError for what is no text.
    """
    one_text(text, "the caption")
    while (cleaned := _clean_once(text)) != text:  # a removal can bring two marks together
        text = cleaned
    return text


_UNKNOWN = "\ufffd"  # in place of what is no whole character
_STRAIGHT = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
_RULES = (
    (re.compile(r"\s+"), " "),
    (re.compile(r"(?<=\w) (?=n't\b)"), ""),
    (re.compile(r"(?<=\w) (?='(?:s|re|ve|ll|d|m)\b)"), ""),
    (re.compile(r" (?=[,.;:!?)%](?:[\s\"').,]|$))"), ""),
    (re.compile(r"(?<=[($#]) "), ""),
    (re.compile(r'(?<!\S)" ?([^"]*?) ?"(?!\w)'), r'"\1"'),
    (re.compile(r"(?<!\S)' ([^']+) '(?!\w)"), r"'\1'"),
    (re.compile(r"(?<=s) (?=' \w[^']*$)"), ""),  # parents ' house
    (re.compile(r'[\s.]+("?)$'), r"\1"),
)


def _clean_once(text: str) -> str:
    import html  # here, since captioning needs none of it

    text = unicodedata.normalize("NFC", html.unescape(text).lower()).translate(_STRAIGHT)
    text = text.replace("``", '"').replace("''", '"')
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text.strip()
