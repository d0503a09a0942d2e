"""A picture file without its metadata, and what the metadata states about the pixels. Sizes that a file states of
itself, and padding that it lacks, are put right on the way.

A decoder that never sees metadata cannot fail on it: not on a text that unpacks to gigabytes, nor on a damaged EXIF
block or the checksum of a comment. Nor can it turn the picture: some versions of Pillow turn a TIFF while they load it,
others leave that to the caller.
"""

from __future__ import annotations

import contextlib
import mmap
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

__all__ = ["Buffer", "Stated", "strip", "tiff_directory", "tiff_layout", "unpacked"]

_MALFORMED = (IndexError, KeyError, OverflowError, StopIteration, struct.error)
_MAX_UNPACKED = 2**24  # bytes of one packed text or profile; the largest profiles of printers have a few million
_ORIENTATION, _XMP, _PROFILE = 0x0112, 0x02BC, 0x8773  # tags of TIFF
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_NUMBERS = {1: "B", 3: "H", 4: "I"}  # types of values in a TIFF, as `struct` calls them
# What the decoder of a TIFF needs: sizes, sample formats, places of strips and tiles, tables of compression.
_TIFF_PIXELS = {
    *(*range(254, 260), 262, 263, 266, 273, *range(277, 282), 284, 290, 291, 292, 293, 317, 320, *range(322, 326)),
    *(332, 334, 336, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533), 50674),
}
_PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_PNG_STATED = {b"tRNS", b"iCCP", b"eXIf", b"tEXt", b"zTXt", b"iTXt"}
_PNG_XMP, _PNG_EXIF = b"XML:com.adobe.xmp", b"Raw profile type exif"  # the second from before there was eXIf

Buffer: TypeAlias = bytes | memoryview | mmap.mmap


@dataclass
class Stated:
    """What a file states about its pixels. `exif` is a TIFF of its own; `profile` an ICC profile."""

    exif: Buffer = b""
    xmp: bytes = b""
    profile: bytes = b""

    @property
    def orientation(self) -> int:
        """1 to 8, as EXIF numbers them; XMP counts where EXIF does not say. 1 without a statement, or for nonsense."""
        try:
            order, _, entries = tiff_directory(self.exif)
            entry = next(entry for entry in entries if _tag(order, entry) == _ORIENTATION)
            stated = _number(order, entry)
        except _MALFORMED:
            match = _XMP_ORIENTATION.search(self.xmp)
            stated = int(match[1]) if match else 1
        return stated if 1 <= stated <= 8 else 1


def strip(data: bytes, kind: str) -> tuple[bytes, Stated]:
    """A file without its metadata, and what they stated. `kind`: Pillow's name of its format.

    What is malformed or cut short stays as it is: the decoder says what is wrong with it. AVIF and HEIF tell their
    orientation to the decoder alone.
    """
    stated = Stated()
    if kind not in _STRIPPERS:
        return data, stated
    try:
        pieces = _STRIPPERS[kind](memoryview(data), stated)
    except _MALFORMED:
        return data, stated
    is_whole = all(isinstance(piece, memoryview) for piece in pieces) and sum(map(len, pieces)) == len(data)
    return data if is_whole else b"".join(pieces), stated  # a copy takes longer than all else here


def _jpeg(data: memoryview, stated: Stated) -> list[Buffer]:
    """Drops comments and application segments, but for the two that tell libjpeg the colour space."""
    pieces: list[Buffer] = [data[:2]]
    at = 2
    profile: dict[int, bytes] = {}
    # As libjpeg does: to the next marker, past junk and padding.
    while (at := cast(bytes, data.obj).find(b"\xff", at)) >= 0:
        if data[at + 1] in (0x00, 0xFF):
            at += 1
            continue
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + size
        if 0xD0 <= marker <= 0xDA or size < 2 or end > len(data):  # the pixels, or damage
            break
        if 0xE0 <= marker <= 0xEF:
            body = bytes(data[at + 4 : end])
            is_jfif = body.startswith(b"JFIF\0") and len(body) >= 14
            is_adobe = body.startswith(b"Adobe") and len(body) >= 12
            if is_jfif or is_adobe:
                pieces.append(data[at:end])
            elif body.startswith(b"Exif\0\0"):
                stated.exif = stated.exif or body[6:]
            elif body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                stated.xmp = stated.xmp or body
            elif body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
                profile[body[12]] = body[14:]
        elif marker != 0xFE:
            pieces.append(data[at:end])
        at = end
    stated.profile = b"".join(profile[number] for number in sorted(profile))
    return [*pieces, data[at:]] if at >= 0 else pieces


def _png(data: memoryview, stated: Stated) -> list[Buffer]:
    """Keeps the picture that every program shows; the frames of an animation come after it, and go."""
    pieces: list[Buffer] = [data[:8]]
    at = 8
    while at + 12 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        end = at + 12 + size
        if not name.isalpha():  # damage
            break
        if name in _PNG_PIXELS:
            pieces.append(data[at:end])
        elif name in _PNG_STATED and zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big"):
            body = bytes(data[at + 8 : end - 4])
            if name != b"tRNS":
                _png_statement(name, body, stated)
            elif len(body) in {0: (2,), 2: (6,), 3: range(1, 257)}.get(data[25], ()):
                pieces.append(data[at:end])
        at = len(data) if name == b"IEND" else end
    return [*pieces, data[at:]]


def _png_statement(name: bytes, body: bytes, stated: Stated) -> None:
    key, _, value = body.partition(b"\0")
    if name == b"eXIf":
        stated.exif = body.removeprefix(b"Exif\0\0")
    elif name == b"iCCP":
        stated.profile = unpacked(value[1:])
    elif name == b"iTXt" and key == _PNG_XMP:
        text = value[2:].split(b"\0", 2)[-1]
        stated.xmp = unpacked(text) if value[0] else text
    elif name in (b"tEXt", b"zTXt") and key == _PNG_EXIF and not stated.exif:
        text = unpacked(value[1:]) if name == b"zTXt" else value
        with contextlib.suppress(ValueError):  # lines: nothing, its name, its length, and hexadecimal digits
            stated.exif = bytes.fromhex("".join(text.decode("ascii").split("\n")[3:])).removeprefix(b"Exif\0\0")


def unpacked(data: bytes) -> bytes:
    """Nothing for what is damaged or too large."""
    unpacker = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        result = unpacker.decompress(data, _MAX_UNPACKED)
        return b"" if unpacker.unconsumed_tail else result
    return b""


def _webp(data: memoryview, stated: Stated) -> list[Buffer]:
    """Corrects the size that the file states of itself, which the decoder minds; drops metadata that is cut short."""
    at = end = 12
    while at + 8 <= len(data):
        name, size = bytes(data[at : at + 4]), int.from_bytes(data[at + 4 : at + 8], "little")
        if name in _WEBP_STATED:
            setattr(stated, _WEBP_STATED[name], bytes(data[at + 8 : at + 8 + size]).removeprefix(b"Exif\0\0"))
        at += 8 + size + size % 2
        if at <= len(data) + 1 or name in _WEBP_PIXELS:
            end = at
    if end == len(data) == int.from_bytes(data[4:8], "little") + 8:
        return [data]  # libwebp does not look at metadata
    missing = end - len(data)  # 1 of a file without its last padding; more is cut short
    return [data[:4], (end - 8).to_bytes(4, "little"), data[8:end], bytes(missing == 1)]


def _bmp(data: memoryview, stated: Stated) -> list[Buffer]:
    """Adds what pads the last row, which some programs do not write."""
    offset, width, height, bits = struct.unpack_from("<I4xii2xH", data, 10)
    missing = offset + (width * bits + 31) // 32 * 4 * abs(height) - len(data)
    return [data, bytes(missing)] if 0 < missing < 4 else [data]


_WEBP_PIXELS = {b"VP8 ", b"VP8L", b"ALPH", b"ANMF"}
_WEBP_STATED = {b"EXIF": "exif", b"XMP ": "xmp", b"ICCP": "profile"}


def _gif(data: memoryview, stated: Stated) -> list[Buffer]:
    """Drops comments and what belongs to programs, up to the first frame."""
    at = 13 + (6 << (data[10] & 7) if data[10] & 0x80 else 0)
    pieces: list[Buffer] = [data[:at]]
    while data[at] == 0x21:
        end = at + 2
        while data[end]:
            end += data[end] + 1
        end += 1
        if data[at + 1] == 0xF9:  # the transparency of the frame
            pieces.append(data[at:end])
        at = end
    return [*pieces, data[at:]]


def _tiff(data: memoryview, stated: Stated) -> list[Buffer]:
    """Keeps the tags of the first page that its decoder needs, and no other page."""
    order, start, entries = tiff_directory(data)
    stated.exif = data
    for entry in entries:
        if _tag(order, entry) == _XMP:
            stated.xmp = _block(order, entry, data)
        elif _tag(order, entry) == _PROFILE:
            stated.profile = _block(order, entry, data)
    pieces = [entry for entry in entries if _tag(order, entry) in _TIFF_PIXELS]
    count, offset = tiff_layout(data)
    directory = struct.pack(order + count, len(pieces)) + b"".join(pieces) + bytes(struct.calcsize(offset))
    return [data[:start], directory, data[start + len(directory) :]]


def tiff_directory(data: Buffer) -> tuple[str, int, list[Buffer]]:
    """Byte order of a TIFF as `struct` has it, where its first directory starts, and the entries of that."""
    order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
    count, offset = tiff_layout(data)
    (start,) = struct.unpack_from(order + offset, data, struct.calcsize(offset))
    (length,) = struct.unpack_from(order + count, data, start)
    first, size = start + struct.calcsize(count), 4 + 2 * struct.calcsize(offset)
    last = min(first + length * size, len(data))
    return order, start, [data[at : at + size] for at in range(first, last, size)]


def tiff_layout(data: Buffer) -> tuple[str, str]:
    """How a directory counts its entries, and what an offset is; BigTIFF, number 43, has larger ones."""
    return ("Q", "Q") if 43 in data[2:4] else ("H", "I")


def _tag(order: str, entry: Buffer) -> int:
    return int(struct.unpack_from(order + "H", entry)[0])


def _number(order: str, entry: Buffer) -> int:
    (kind,) = struct.unpack_from(order + "H", entry, 2)
    return int(struct.unpack_from(order + _NUMBERS[kind], entry, 12 if len(entry) == 20 else 8)[0])


def _block(order: str, entry: Buffer, data: memoryview) -> bytes:
    """The bytes that an entry points at."""
    count, start = struct.unpack_from(order + ("QQ" if len(entry) == 20 else "II"), entry, 4)
    return bytes(data[start : start + count])


def _container(data: memoryview, stated: Stated) -> list[Buffer]:
    """AVIF and HEIF: decoders look for metadata by the type of an item, so they pass by any other type."""
    items, start, pixels = bytes(data).partition(b"mdat")
    return [items.replace(b"Exif", b"none").replace(b"application/rdf+xml", b"application/nothing"), start, pixels]


_STRIPPERS: dict[str, Callable[[memoryview, Stated], list[Buffer]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
    "TIFF": _tiff,
    "AVIF": _container,
    "HEIF": _container,
}
