"""Captions written into photos' metadata, or into the .xmp beside them, never over a person's text unless told."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastcap.errors import DataError
from fastcap.files import is_read_only, keep_facts, written_aside
from fastcap.runtime.embedding import EMBEDS, Data, held, with_metadata
from fastcap.runtime.metadata import strip
from fastcap.runtime.signatures import RAW_TIFF_SUFFIXES, format_of
from fastcap.runtime.xmp import Texts, texts, with_texts

if TYPE_CHECKING:
    from fastcap.runtime.bundle import Bundle

__all__ = ["WRITES", "has_text", "made_by", "read_texts", "write_text"]

WRITES = ("xmp", "iptc", "sidecar")
"""Where a caption goes: into the photo as XMP; also into the older IPTC block; into an .xmp beside it."""

_MAX_BYTES = 2**30
_CHECKED = ("JPEG", "PNG")  # formats whose bare pixels `strip` gives


def made_by(bundle: Bundle) -> str:
    """What is recorded of a caption's origin: the model's name, and eight digits that tell its files from others."""
    digests = "".join(f"{name}{file.sha256}" for name, file in sorted(bundle.files.items()))
    return f"made by {bundle.name} {hashlib.sha256(digests.encode()).hexdigest()[:8]}"


def has_text(image: str, kind: str) -> bool:
    """Whether a photo has an alternative text where this kind would write one; False for what cannot be read.

    For "sidecar" a person's text in the photo counts, too: programs that read both would show the sidecar's instead.
    """
    try:
        if kind == "sidecar":
            if _read_sidecar(_sidecar(image)).alt:
                return True
            inside = _read_inside(image)
            return bool(inside.alt and not inside.made_by)
        with _mapped(image) as data:
            return bool(_texts(held(data, _kind_of(data, image)).xmp).alt)
    except (DataError, OSError):
        return False  # writing tells


def read_texts(image: str) -> Texts:
    """What the .xmp beside a photo states, or else the photo: as XMP or, as its description, in the older IPTC block.

    Raises DataError for metadata that are damaged; OSError.
    """
    beside = _read_sidecar(_sidecar(image))
    if beside.alt or beside.description:
        return beside
    return _read_inside(image)


def _read_inside(image: str) -> Texts:
    with _mapped(image) as data:
        kind = format_of(bytes(data[:512]))
        if kind not in EMBEDS or os.path.splitext(image)[1].lower() in RAW_TIFF_SUFFIXES:
            return Texts()
        inside = held(data, kind)
    stated = _texts(inside.xmp)
    if stated.alt or stated.description:
        return stated
    return stated._replace(description=inside.iim_caption.decode("utf-8", "replace").strip())


def write_text(image: str, caption: str, kind: str, maker: str, overwrite: bool) -> None:
    """Write a caption as alternative text, and as description where that has no words.

    With `overwrite`, both are replaced. All else in the file stays, its permissions and times too; it is replaced whole
    or not at all. Raises DataError for metadata that are damaged, a format without a place for them, or a file that is
    read-only; OSError.
    """
    if kind == "sidecar":
        path = _sidecar(image)
        packet = path.read_bytes() if path.exists() else None
        old = _texts(packet or b"")
        if overwrite or not has_text(image, kind):
            _replace(path, with_texts(packet, caption, maker, overwrite or not old.description))
        return
    path = Path(image)
    if path.stat().st_size > _MAX_BYTES:
        raise DataError(f"larger than {_MAX_BYTES // 2**20} MiB")
    data = path.read_bytes()
    picture = _kind_of(data, image)
    before = held(data, picture)
    old = _texts(before.xmp)
    if old.alt and not overwrite:
        return
    describes = overwrite or not (old.description or before.iim_caption.strip())
    packet = with_texts(before.xmp or None, caption, maker, describes)
    with_iim = kind == "iptc" and describes
    new = with_metadata(data, picture, packet, caption if with_iim else "", maker)
    if held(new, picture).xmp != packet or (picture in _CHECKED and strip(new, picture)[0] != strip(data, picture)[0]):
        raise DataError("left as it is: more than its metadata would change")
    _replace(path, new)


def _replace(path: Path, data: bytes) -> None:
    if path.exists() and is_read_only(path):
        raise DataError("read-only; left as it is")
    with written_aside(path, durable=True) as file:
        file.write_bytes(data)
        if path.exists():
            keep_facts(path, file, shutil.copymode, shutil.copystat)  # the picture is as old as it was


def _texts(packet: bytes) -> Texts:
    return texts(packet) if packet.strip(b"\0 \t\r\n") else Texts()


def _kind_of(data: Data, image: str) -> str:
    kind = format_of(bytes(data[:512]))
    if kind not in EMBEDS or os.path.splitext(image)[1].lower() in RAW_TIFF_SUFFIXES:
        raise DataError(f"no place for a text in {kind or 'such a file'}; --write sidecar writes an .xmp beside it")
    return kind


def _sidecar(image: str) -> Path:
    """`photo.xmp` if it is there, as Lightroom names it, else `photo.jpg.xmp`, as darktable and digiKam do."""
    plain = Path(image).with_suffix(".xmp")
    return plain if plain.exists() else Path(f"{image}.xmp")


def _read_sidecar(path: Path) -> Texts:
    return _texts(path.read_bytes()) if path.exists() else Texts()


@contextlib.contextmanager
def _mapped(image: str) -> Iterator[Data]:
    """The file in memory, of which only the pages that are looked at are read."""
    with open(image, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
