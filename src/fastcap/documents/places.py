"""What lies where a document's pictures point: files, members of an archive, pictures within the address itself."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import posixpath
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from fastcap.documents.judge import Place
from fastcap.errors import ImageError

__all__ = ["Finder", "Reader", "file_reader", "resolved"]

Reader: TypeAlias = Callable[[str], "tuple[str, bytes | Path] | None"]
"""Turns the path of an address, without its query, into a key and the picture's file or bytes; None without one."""

_REMOTE = re.compile(r"(?:https?|ftps?):|[\\/]{2}", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
_DATA = re.compile(r"data:([^,]*?)(;\s*base64)?\s*,(.*)", re.IGNORECASE | re.DOTALL)


class Finder:
    """Looks for the pictures of one document, each once.

    `read`: see `Reader`. `base`: what stands before relative addresses, the `<base href>` of HTML.
    """

    def __init__(self, read: Reader, base: str = "") -> None:
        self._read, self._base = read, base
        self._known: dict[str, tuple[Place, bytes | Path | None]] = {}

    def place(self, target: str) -> Place:
        return self._look(target)[0]

    def source(self, target: str) -> bytes | Path:
        """The picture of a target whose place is "picture"."""
        source = self._look(target)[1]
        assert source is not None
        return source

    def _look(self, target: str) -> tuple[Place, bytes | Path | None]:
        if target not in self._known:
            try:
                self._known[target] = self._found(target)
            except ImageError as error:
                self._known[target] = Place("none", told=str(error)), None
        return self._known[target]

    def _found(self, target: str) -> tuple[Place, bytes | Path | None]:
        address = urljoin(self._base, target) if self._base and not _SCHEME.match(target) else target
        if not target:
            return Place("none", told="the picture has no address"), None
        if _REMOTE.match(address):
            return Place("remote", address), None
        if data := _DATA.match(address):
            return _opened(_decoded(data), _digest(address.encode("utf-8", "surrogateescape")))
        if _SCHEME.match(address):
            raise ImageError(f"{address.partition(':')[0]}: addresses are not read; allowed are paths and data:")
        # As an address: without its query, percent signs undone; else as the name of a file.
        for path in dict.fromkeys((_path_of(address), address)):
            if path and (entry := self._read(path)):
                return _opened(entry[1], entry[0])
        raise ImageError("no such file")


def _path_of(address: str) -> str:
    try:
        return os.fsdecode(unquote_to_bytes(urlsplit(address).path.encode("utf-8", "surrogateescape")))
    except ValueError:
        return ""


def _decoded(data: re.Match[str]) -> bytes:
    content = unquote_to_bytes(data[3])
    if not data[2]:
        return content
    try:
        return base64.b64decode(b"".join(content.split()) + b"==")
    except (binascii.Error, ValueError):
        raise ImageError("data: that is not base64") from None


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _opened(source: bytes | Path, key: str) -> tuple[Place, bytes | Path]:
    """A picture that can be read. Raises ImageError for what cannot."""
    from fastcap.runtime.images import (
        load_thumbnail,
        source_name,
    )  # heavy, and needed once something is wrong with a document

    try:
        shape = load_thumbnail(source, 2).shape[:2]
    except ImageError as error:
        raise ImageError(str(error).removeprefix(f"{source_name(source)}: ")) from None
    return Place("picture", key, is_dot=max(shape) <= 1), source


def file_reader(document: Path, roots: Sequence[Path]) -> Reader:
    """Reads beside a document; a path that begins with a slash below the first of `roots` that has such a file."""

    def read(path: str) -> tuple[str, Path] | None:
        bases = roots if path.startswith("/") else [document.parent]
        if path.endswith("/"):
            raise ImageError("a folder")
        for base in bases:
            file = base / path.lstrip("/")
            try:
                if file.is_dir():
                    raise ImageError("a folder")
                if file.is_file():
                    return os.path.realpath(file), file
            except (OSError, ValueError):  # a name that no file can have
                continue
        return None

    return read


def resolved(member: str, path: str) -> str:
    """The name of a member of an archive by its path relative to another one."""
    base = "" if path.startswith("/") else posixpath.dirname(member)
    return posixpath.normpath(posixpath.join(base, path.lstrip("/")))
