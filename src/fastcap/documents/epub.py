"""EPUB: the pages of a book, and a book with some pages replaced while every other byte of its archive stays."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from fastcap.documents.places import Reader, resolved
from fastcap.errors import DataError, ImageError

__all__ = ["Book"]

_PAGES = (".xhtml", ".html", ".htm", ".xht")
_MAX_MEMBER = 128 * 2**20  # bytes unpacked; the largest picture that is read at all
_SIGNATURES = "META-INF/signatures.xml"
_LOCAL, _CENTRAL = "<4s5H3I2H", "<4s6H3I5H2I"  # headers of a member: before its data, and in the directory
_DEFLATED, _STORED = zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED


class Book:
    """An EPUB in memory. Raises DataError for what is no ZIP archive, is encrypted or damaged."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._name = data, name
        with self._reading():
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        self._members = {info.filename: info for info in self._archive.infolist()}

    def pages(self) -> Iterator[tuple[str, bytes]]:
        """The members that may show pictures, in the order of the archive."""
        for name in self._members:
            if PurePath(name).suffix.lower() in _PAGES:
                yield name, self._read(name)

    def reader(self, page: str) -> Reader:
        """Finds pictures in the archive by their paths from a page."""

        def read(path: str) -> tuple[str, bytes] | None:
            member = resolved(page, path)
            if member not in self._members:
                return None
            try:
                return f"{self._name}#{member}", self._read(member)
            except DataError as error:
                raise ImageError(str(error)) from None

        return read

    def written(self, pages: Mapping[str, bytes]) -> bytes:
        """The archive with other pages in the places of some. Raises DataError for a book that is signed."""
        if _SIGNATURES in self._members:
            raise DataError(f"{self._name}: left as it is: it is signed, and a change would break its signatures")
        with self._reading():
            return self._rebuilt(pages)

    def _rebuilt(self, pages: Mapping[str, bytes]) -> bytes:
        data, directory = self._data, self._archive.start_dir
        members = sorted(self._archive.infolist(), key=lambda info: info.header_offset)
        ends = [*(info.header_offset for info in members[1:]), directory]
        pieces = [data[: members[0].header_offset]]
        changes: dict[int, tuple[int, bytes, int, int]] = {}  # by old offset: new one, packed data, CRC, size
        at = len(pieces[0])
        for info, end in zip(members, ends, strict=True):
            new = pages.get(info.filename)
            piece = data[info.header_offset : end]  # with all that may follow its data
            packed, crc, size = b"", 0, 0
            if new is not None:
                packed, crc, size = _packed(new, info.compress_type), zlib.crc32(new), len(new)
                piece = _local(data, info.header_offset, packed, crc, size)
            changes[info.header_offset] = at, packed, crc, size
            pieces.append(piece)
            at += len(piece)
        central, place = [], directory
        for info in self._archive.infolist():
            fields = list(struct.unpack_from(_CENTRAL, data, place))
            length = struct.calcsize(_CENTRAL) + sum(fields[10:13])
            if fields[0] != b"PK\1\2" or 0xFFFFFFFF in (fields[8], fields[9], fields[16]):
                raise DataError(f"{self._name}: left as it is: an archive of a kind that is not rewritten (ZIP64)")
            offset, packed, crc, size = changes[fields[16]]
            if info.filename in pages:
                fields[3] &= ~8
                fields[7:10] = [crc, len(packed), size]
            fields[16] = offset
            central.append(struct.pack(_CENTRAL, *fields) + data[place + struct.calcsize(_CENTRAL) : place + length])
            place += length
        last = bytearray(data[place:])
        if last[:4] != b"PK\5\6":
            raise DataError(f"{self._name}: left as it is: an archive of a kind that is not rewritten")
        struct.pack_into("<2I", last, 12, sum(map(len, central)), at)
        return b"".join([*pieces, *central, bytes(last)])

    def _read(self, name: str) -> bytes:
        info = self._members[name]
        if info.flag_bits & 1:
            raise DataError(f"{self._name}: {name} is encrypted")
        with self._reading(), self._archive.open(info) as file:
            content = file.read(_MAX_MEMBER + 1)
        if len(content) > _MAX_MEMBER:
            raise DataError(f"{self._name}: {name} unpacks to more than {_MAX_MEMBER // 2**20} MiB")
        return content

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            KeyError,
            struct.error,
            OSError,
        ) as error:
            raise DataError(f"{self._name}: not an EPUB, or a damaged one: {error}") from None


def _packed(data: bytes, method: int) -> bytes:
    if method == _STORED:
        return data
    if method != _DEFLATED:
        raise NotImplementedError("a compression that is not written")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _local(data: bytes, at: int, packed: bytes, crc: int, size: int) -> bytes:
    """The header and the data of a changed member; sizes stand in the header, not after the data."""
    fields = list(struct.unpack_from(_LOCAL, data, at))
    start = at + struct.calcsize(_LOCAL)
    names = data[start : start + fields[9] + fields[10]]
    fields[2] &= ~8
    fields[6:9] = [crc, len(packed), size]
    return struct.pack(_LOCAL, *fields) + names + packed
