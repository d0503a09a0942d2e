"""The bytes of a document as text that turns back into exactly these bytes, and its lines."""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from dataclasses import dataclass

from fastcap.errors import DataError

__all__ = ["FRONT_MATTER", "Lines", "Source", "blanked"]

_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_DECLARED = re.compile(
    rb"""<\?xml[^>]*?\bencoding\s*=\s*["']([\w.:-]+)|<meta\b[^>]*?\bcharset\s*=\s*["']?([\w.:-]+)""", re.I
)
_HEAD = 1024  # bytes in which HTML looks for its charset

FRONT_MATTER = re.compile(r"\ufeff?(---|\+\+\+)[ \t]*\r?\n(?:[^\n]*\n)*?(?:\1|\.\.\.)[ \t]*(?:\r?\n|\Z)")
"""YAML or TOML at the start of a page, as site generators read it."""


@dataclass(frozen=True)
class Source:
    """A decoded document. `text` begins with U+FEFF if the bytes begin with a mark of their order."""

    text: str
    encoding: str

    @classmethod
    def decoded(cls, data: bytes, name: str, markup: bool) -> Source:
        """Bytes in UTF-8, with a byte order mark in UTF-16, or, for `markup`, in the encoding that they declare.

        Bytes that are not valid UTF-8 are kept as they are. Raises DataError for what would not turn back unchanged.
        """
        if data[:64].count(0) > 8 and not data.startswith(tuple(_BOMS)):
            raise DataError(f"{name}: UTF-16 without a mark of its byte order, or no text; allowed is UTF-8")
        encoding = next((name for bom, name in _BOMS.items() if data.startswith(bom)), "")
        if not encoding and markup and (declared := _DECLARED.search(data[:_HEAD])):
            encoding = (declared[1] or declared[2]).decode()
            encoding = "utf-8" if encoding.lower().startswith("utf-16") else encoding  # who can read that, is misled
        try:
            encoding = codecs.lookup(encoding or "utf-8").name
            source = cls(data.decode(encoding, "surrogateescape"), encoding)
            if source.encoded() == data:
                return source
        except (LookupError, UnicodeError):
            pass
        raise DataError(
            f"{name}: not valid {encoding}, which it is stated to be; allowed are UTF-8, UTF-16 with a mark "
            "of its byte order, and in HTML a declared charset"
        )

    def encoded(self) -> bytes:
        """Raises UnicodeError for a letter that the encoding lacks."""
        return self.text.encode(self.encoding, "surrogateescape")


class Lines:
    """Line numbers of offsets into a text, from 1; a line ends with a line feed, and nothing else ends one."""

    def __init__(self, text: str) -> None:
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def at(self, offset: int) -> int:
        return bisect_right(self._ends, offset - 1) + 1 if offset else 1


def blanked(text: str, start: int, end: int) -> str:
    """The text with spaces in a range, so that offsets and lines stay."""
    return text[:start] + re.sub(r"[^\r\n]", " ", text[start:end]) + text[end:]
