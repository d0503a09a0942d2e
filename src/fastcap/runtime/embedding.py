"""Metadata within picture files: found, and put in, while every byte of the pixels and of other metadata stays.

Only segments are added or replaced; nothing is decoded. Formats: the JFIF and EXIF standards with Adobe's XMP part 3
(where a packet lies in each format), PNG's iTXt, WebP's RIFF container, TIFF 6.0 and BigTIFF.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from fastcap.errors import DataError
from fastcap.runtime.metadata import Buffer, tiff_directory, tiff_layout, unpacked

__all__ = ["EMBEDS", "Data", "Held", "held", "with_metadata"]

Data: TypeAlias = "bytes | mmap.mmap"

_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_IIM, _IIM_DIGEST = 0x0404, 0x0425  # resources of Photoshop
_LARGEST = 65_533  # bytes of a JPEG segment
_PNG_KEY = b"XML:com.adobe.xmp\0"
_XMP_TAG, _IIM_TAG = 700, 33723
_VP8X_XMP, _VP8X_ALPHA = 0x04, 0x10
_CAPTION, _WRITER = 120, 122  # data sets of record 2 of IIM
_MALFORMED = (IndexError, KeyError, OverflowError, struct.error, ValueError)


class Held(NamedTuple):
    """The XMP packet, and the older IPTC block (IIM); b"" for none."""

    xmp: bytes = b""
    iim: bytes = b""

    @property
    def iim_caption(self) -> bytes:
        return next((value for record, number, value in _datasets(self.iim) if (record, number) == (2, _CAPTION)), b"")


def held(data: Data, kind: str) -> Held:
    """What a file holds; pages of a memory map are read as far as needed. `kind`: Pillow's name of its format.

    Raises DataError for a file that is damaged.
    """
    try:
        return EMBEDS[kind][0](data)
    except _MALFORMED:
        raise DataError(f"a damaged {kind}, whose metadata cannot be read") from None


def with_metadata(data: bytes, kind: str, xmp: bytes, caption: str = "", writer: str = "") -> bytes:
    """A file with another XMP packet; with a `caption` and its `writer`, also in the IPTC block of a JPEG or TIFF.

    Raises DataError for a file that is damaged, or has no room.
    """
    try:
        new = Held(xmp, _with_caption(held(data, kind).iim, caption, writer) if caption else b"")
        return b"".join(EMBEDS[kind][1](data, new))
    except _MALFORMED:
        raise DataError(f"a damaged {kind}, whose metadata cannot be written") from None


def _segments(data: Data) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment of a JPEG before the one that begins the pixels, which is the last."""
    at = 2
    while True:
        start = at
        if data[at] != 0xFF:
            raise ValueError("no marker")
        while data[at + 1] == 0xFF:
            at += 1
        marker = data[at + 1]
        if marker in (0xDA, 0xD9):
            yield marker, start, start
            return
        size = 0 if marker == 0x01 or 0xD0 <= marker <= 0xD8 else int.from_bytes(data[at + 2 : at + 4], "big")
        at += 2 + size
        if at > len(data) or size == 1:
            raise ValueError("cut short")
        yield marker, start, at


def _is(data: Data, start: int, marker: int, wanted: int, name: bytes) -> bool:
    return marker == wanted and data[start + 4 : start + 4 + len(name)] == name


def _jpeg_held(data: Data) -> Held:
    xmp = iim = b""
    for marker, start, end in _segments(data):
        if not xmp and _is(data, start, marker, 0xE1, _JPEG_XMP):
            xmp = bytes(data[start + 4 + len(_JPEG_XMP) : end])
        elif not iim and _is(data, start, marker, 0xED, _PHOTOSHOP):
            iim = _resources(bytes(data[start + 4 + len(_PHOTOSHOP) : end])).get(_IIM, b"")
    return Held(xmp, iim)


def _jpeg(data: bytes, new: Held) -> list[Buffer]:
    view = memoryview(data)
    replaced: list[tuple[int, int, bytes]] = []
    after, photoshop, index = 2, None, len(data)
    for marker, start, end in _segments(data):
        if _is(data, start, marker, 0xE1, _JPEG_XMP) and not replaced:
            if start > index:
                raise DataError("several pictures in one file, with XMP after their index; left as it is")
            replaced.append((start, end, b""))
        elif _is(data, start, marker, 0xED, _PHOTOSHOP) and photoshop is None:
            photoshop = start, end
        elif _is(data, start, marker, 0xE2, b"MPF\0"):  # counts from its own place; what comes before it may grow
            index = start
        if start == after and (marker == 0xE0 or _is(data, start, marker, 0xE1, b"Exif\0\0")):
            after = end
    segment = _segment(0xE1, _JPEG_XMP + new.xmp)
    changes = [(start, end, segment) for start, end, _ in replaced] or [(after, after, segment)]
    if new.iim:
        start, end = photoshop or (after, after)
        old = data[start + 4 + len(_PHOTOSHOP) : end]
        if photoshop and start > index:
            raise DataError("several pictures in one file, with IPTC after their index; left as it is")
        changes.append((start, end, _segment(0xED, _PHOTOSHOP + _with_resource(old, new.iim))))
    pieces: list[Buffer] = []
    at = 0
    for start, end, piece in sorted(changes, key=lambda change: change[:2]):
        pieces += [view[at:start], piece]
        at = end
    return [*pieces, view[at:]]


def _segment(marker: int, body: bytes) -> bytes:
    if len(body) > _LARGEST:
        raise DataError(f"metadata of {len(body)} bytes, where a JPEG has room for {_LARGEST}")
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _each_resource(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Number, start, end and content of each resource of Photoshop."""
    at = 0
    while at + 12 <= len(data) and data[at : at + 4] == b"8BIM":
        name = at + 6
        size_at = name + 1 + data[name] + (data[name] + 1) % 2
        size = int.from_bytes(data[size_at : size_at + 4], "big")
        end = size_at + 4 + size + size % 2
        if size_at + 4 + size > len(data):
            raise ValueError("cut short")
        yield int.from_bytes(data[at + 4 : at + 6], "big"), at, end, data[size_at + 4 : size_at + 4 + size]
        at = end


def _resources(data: bytes) -> dict[int, bytes]:
    return {number: content for number, _, _, content in _each_resource(data)}


def _with_resource(data: bytes, iim: bytes) -> bytes:
    """Resources with another IPTC block, and its digest where there was one."""
    found = list(_each_resource(data))
    pieces = [
        data[start:end]
        if number not in (_IIM, _IIM_DIGEST)
        else _resource(number, iim if number == _IIM else hashlib.md5(iim, usedforsecurity=False).digest())
        for number, start, end, _ in found
    ]
    if not any(number == _IIM for number, *_ in found):
        pieces.append(_resource(_IIM, iim))
    return b"".join(pieces) + data[found[-1][2] if found else 0 :]


def _resource(number: int, content: bytes) -> bytes:
    return struct.pack(">4sHHI", b"8BIM", number, 0, len(content)) + content + b"\0" * (len(content) % 2)


def _datasets(iim: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Record, number and value of each data set."""
    at = 0
    while at + 5 <= len(iim) and iim[at] == 0x1C:
        size = int.from_bytes(iim[at + 3 : at + 5], "big")
        if size & 0x8000:  # lengths of their own length: larger than any text
            raise ValueError("an extended data set")
        yield iim[at + 1], iim[at + 2], iim[at + 5 : at + 5 + size]
        at += 5 + size


def _with_caption(iim: bytes, caption: str, writer: str) -> bytes:
    found = [each for each in _datasets(iim) if each[:2] not in ((2, _CAPTION), (2, _WRITER))]
    is_utf8 = (1, 90, b"\x1b%G") in found or caption.isascii()
    encode = "utf-8" if is_utf8 else "latin-1"
    found += [
        (2, _CAPTION, caption.encode(encode, "replace")[:2000]),
        (2, _WRITER, writer.encode("ascii", "replace")[:32]),
    ]
    return b"".join(struct.pack(">BBBH", 0x1C, *each[:2], len(each[2])) + each[2] for each in found)


def _chunks(data: Data) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk of a PNG."""
    at = 8
    while at < len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        end = at + 12 + size
        if end > len(data) or not name.isalpha():
            raise ValueError("cut short")
        yield name, at, end
        if name == b"IEND":
            return
        at = end


def _is_png_xmp(data: Data, name: bytes, start: int) -> bool:
    return name == b"iTXt" and data[start + 8 : start + 8 + len(_PNG_KEY)] == _PNG_KEY


def _png_held(data: Data) -> Held:
    for name, start, end in _chunks(data):
        if _is_png_xmp(data, name, start):
            body = bytes(data[start + 8 + len(_PNG_KEY) : end - 4])
            text = body[2:].split(b"\0", 2)[2]
            if body[0] and not (text := unpacked(text)):
                raise ValueError("damaged")
            return Held(text)
    return Held()


def _png(data: bytes, new: Held) -> list[Buffer]:
    view, chunks = memoryview(data), list(_chunks(data))
    old = next(((start, end) for name, start, end in chunks if _is_png_xmp(data, name, start)), None)
    first = next(start for name, start, _ in chunks if name == b"IDAT")
    start, end = old or (first, first)
    body = b"iTXt" + _PNG_KEY + b"\0\0\0\0" + new.xmp  # neither packed nor in a language
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return [view[:start], chunk, view[end:]]


def _riff(data: Data) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk of a WebP; the end without its padding."""
    at, last = 12, 8 + int.from_bytes(data[4:8], "little")
    if last > len(data):
        raise ValueError("cut short")
    while at + 8 <= last:
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if end > last:
            raise ValueError("cut short")
        yield bytes(data[at : at + 4]), at, end
        at = end + end % 2


def _webp_held(data: Data) -> Held:
    return Held(next((bytes(data[start + 8 : end]) for name, start, end in _riff(data) if name == b"XMP "), b""))


def _webp(data: bytes, new: Held) -> list[Buffer]:
    pieces: list[Buffer] = []
    for name, start, end in _riff(data):
        if name == b"VP8X":
            flags = bytes([data[start + 8] | _VP8X_XMP])
            pieces += [data[start : start + 8], flags, data[start + 9 : end]]
        elif name != b"XMP ":
            if not pieces:  # a file of the simple kind has its pixels first
                pieces.append(_vp8x(name, data[start + 8 : start + 18]))
            pieces += [memoryview(data)[start:end], b"\0" * (end % 2)]
    pieces += [b"XMP " + struct.pack("<I", len(new.xmp)) + new.xmp, b"\0" * (len(new.xmp) % 2)]
    rest = data[8 + int.from_bytes(data[4:8], "little") :]
    return [b"RIFF", struct.pack("<I", 4 + sum(map(len, pieces))), b"WEBP", *pieces, rest]


def _vp8x(name: bytes, head: bytes) -> bytes:
    """The chunk that says that there is more than pixels, from the header of these."""
    if name == b"VP8 ":
        width, height = (size & 0x3FFF for size in struct.unpack("<HH", head[6:10]))
        flags = _VP8X_XMP
    elif name == b"VP8L":
        (bits,) = struct.unpack("<I", head[1:5])
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags = _VP8X_XMP | (_VP8X_ALPHA if bits >> 28 & 1 else 0)
    else:
        raise ValueError("no pixels first")
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return struct.pack("<4sII", b"VP8X", 10, flags) + sizes


def _tiff_held(data: Data) -> Held:
    order, _, entries = tiff_directory(data)
    return Held(*(_tiff_value(data, order, entries, tag) for tag in (_XMP_TAG, _IIM_TAG)))


def _tiff_value(data: Data, order: str, entries: list[Buffer], tag: int) -> bytes:
    for entry in entries:
        number, kind = struct.unpack_from(order + "HH", entry)
        if number == tag:
            wide = len(entry) == 20
            count, place = struct.unpack_from(order + ("QQ" if wide else "II"), entry, 4)
            size = count * {1: 1, 2: 1, 6: 1, 7: 1, 3: 2, 4: 4}[kind]
            inside = bytes(entry[12 if wide else 8 :])
            if size > len(inside) and place + size > len(data):
                raise ValueError("cut short")
            return inside[:size] if size <= len(inside) else bytes(data[place : place + size])
    return b""


def _tiff(data: bytes, new: Held) -> list[Buffer]:
    """Blocks and a new first directory at the end of the file, to which its header points."""
    order, start, entries = tiff_directory(data)
    count, offset = tiff_layout(data)
    wide, end = offset == "Q", start + struct.calcsize(count) + sum(map(len, entries))
    following = data[end : end + struct.calcsize(offset)]
    if len(following) < struct.calcsize(offset):
        raise ValueError("cut short")
    kept = [bytes(entry) for entry in entries if struct.unpack_from(order + "H", entry)[0] != _XMP_TAG]
    if new.iim:
        kept = [entry for entry in kept if struct.unpack_from(order + "H", entry)[0] != _IIM_TAG]
    at = len(data) + len(data) % 2
    pieces: list[Buffer] = [b"\0" * (len(data) % 2)]
    for tag, kind, block in ((_XMP_TAG, 1, new.xmp), (_IIM_TAG, 7, new.iim)):
        if block:
            kept.append(struct.pack(order + ("HHQQ" if wide else "HHII"), tag, kind, len(block), at))
            pieces += [block, b"\0" * (len(block) % 2)]
            at += len(block) + len(block) % 2
    kept.sort(key=lambda entry: struct.unpack_from(order + "H", entry)[0])
    directory = struct.pack(order + count, len(kept)) + b"".join(kept) + following
    pointer = struct.calcsize(offset)  # where the header has its pointer, and how long that is
    header = data[:pointer] + struct.pack(order + offset, at)
    return [header, memoryview(data)[2 * pointer :], *pieces, directory]


EMBEDS: dict[str, tuple[Callable[[Data], Held], Callable[[bytes, Held], list[Buffer]]]] = {
    "JPEG": (_jpeg_held, _jpeg),
    "PNG": (_png_held, _png),
    "WEBP": (_webp_held, _webp),
    "TIFF": (_tiff_held, _tiff),
}
"""How metadata of a format are found, and put in."""
