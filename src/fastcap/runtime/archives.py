"""Pictures inside files: shards of WebDataset, which are tars, and parquet tables, here or behind an fsspec URL."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import os
import posixpath
import re
import tarfile
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import IO, Any, Protocol, cast

from fastcap.errors import ConfigError, FastcapError, ImageError, nearest, needs
from fastcap.runtime.images import MAX_BYTES
from fastcap.runtime.signatures import HEAD, TAR_SUFFIXES, archive_of, is_picture

__all__ = ["IMAGE_COLUMN", "Shard", "Table", "Tar", "is_url", "opened", "reading", "shard_kind"]

IMAGE_COLUMN = "image"
"""The column of a parquet table that holds pictures, unless another is named: what Hugging Face's datasets write."""

_TABLE_BATCH = 8  # rows of a table that are in memory, as pictures are large
_MAX_LINKS = 40  # from one to the next, as in Linux
# Modules of Python, which may be built without the last two.
_UNPACKERS = {"data packed by gzip": "gzip", "data packed by bzip2": "bz2", "data packed by xz": "lzma"}
_ZEROS = 2**16  # bytes looked at together behind the end of an archive


class Shard(Protocol):
    def names(self) -> Iterator[str]:
        """What `read` takes, for every picture. Raises like the library that reads the file."""

    def read(self, name: str) -> bytes:
        """A picture's bytes, at most one more than MAX_BYTES. Raises LookupError if there is none."""


class Tar:
    """A shard of WebDataset: a picture is a member, whatever lies beside it. Members are looked for in the order in
    which they lie there, so that reading them in that order goes through the file once.

    The file may be packed by gzip, bzip2 or xz, and hold several archives one after another, as `cat` joins them. Links
    are followed inside it. Unpacked, the last of several members of one name replaces the others. Here each has a name,
    so that no picture is lost, and the first can be read before the last was come upon: `a.jpg`, then `a.jpg#2`.
    """

    def __init__(self, path: str, file: IO[bytes], image_column: str) -> None:
        unpacker = _UNPACKERS.get(archive_of(file.read(HEAD)))
        file.seek(0)
        self._path = path
        self._file = cast("IO[bytes]", importlib.import_module(unpacker).open(file)) if unpacker else file
        self._members = self._read_on()
        self._seen: dict[str, tuple[tarfile.TarFile, tarfile.TarInfo]] = {}

    def names(self) -> Iterator[str]:
        for name in self.files():
            if is_picture(self.member_name(name), functools.partial(self._head, name)):
                yield name

    def files(self) -> Iterator[str]:
        """What `read` takes, for every file that was not seen."""
        yield from self._members

    def member_name(self, name: str) -> str:
        """How the archive calls a file that `files` has named."""
        return self._seen[posixpath.normpath(name)][1].name

    def _head(self, name: str) -> bytes:
        archive, member = self._seen[posixpath.normpath(name)]
        content = archive.extractfile(member) if member.isreg() else None
        return content.read(HEAD) if content else b""

    def read(self, name: str) -> bytes:
        target = name
        for _ in range(_MAX_LINKS):
            key = posixpath.normpath(target)
            damage = ""
            try:
                while key not in self._seen and next(self._members, None) is not None:
                    pass
            except Exception as error:  # each way of packing has its own
                if target == name:
                    raise
                damage = f" up to where it is damaged ({error})"
            if key not in self._seen and target != name:
                raise ImageError(f"{self._path}#{name}: a link to {target}, which is not in the archive{damage}")
            archive, member = self._seen[key]
            if member.isreg():
                content = archive.extractfile(member)
                assert content is not None
                return content.read(MAX_BYTES + 1)
            beside = "" if member.islnk() else posixpath.dirname(member.name)
            target = posixpath.join(beside, member.linkname)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def _read_on(self) -> Iterator[str]:
        """The names of files and links as they are come upon, and only then in `_seen`."""
        start: int | None = 0
        while start is not None:
            self._file.seek(start)
            archive = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115 (lives as long as the file)
            for member in archive:
                if not (member.isreg() or member.islnk() or member.issym()):
                    continue
                name, number = member.name, 1
                if member.islnk() and posixpath.normpath(member.linkname) == posixpath.normpath(name):
                    continue  # what `tar` writes for a file that it was given twice
                while (key := posixpath.normpath(name)) in self._seen:
                    number += 1
                    name = f"{member.name}#{number}"
                self._seen[key] = archive, member
                yield name
            start = self._next_archive(archive.offset)

    def _next_archive(self, end: int) -> int | None:
        """Where another archive begins behind the one that ends at `end`; None if nothing but zeros follows."""
        self._file.seek(end)
        start = end
        while chunk := self._file.read(_ZEROS):
            if any(chunk):
                start += (len(chunk) - len(chunk.lstrip(b"\0"))) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
                if start == end:
                    raise tarfile.ReadError("bad header")  # tarfile takes any nonsense for the end
                return start
            start += len(chunk)
        return None


class Table:
    """A parquet table: a picture is a row."""

    def __init__(self, path: str, file: IO[bytes], image_column: str) -> None:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ModuleNotFoundError:
            raise FastcapError(f"{path}: .parquet {needs('pyarrow', 'bulk')}") from None
        self._table = parquet.ParquetFile(file)
        self._column = image_column
        schema = self._table.schema_arrow
        if image_column not in schema.names:
            raise ConfigError(
                f"{path}: no column {image_column!r}{nearest(image_column, schema.names)}; "
                f"its columns are {', '.join(schema.names)}"
            )
        kind = schema.field(image_column).type
        self._in_struct = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        held = kind.field("bytes").type if self._in_struct else kind
        if not (pa.types.is_binary(held) or pa.types.is_large_binary(held)):
            raise ConfigError(
                f"{path}: column {image_column!r} holds {kind}; allowed are the bytes of pictures, by themselves or as "
                "the field 'bytes' of a struct"
            )
        metadata = self._table.metadata
        groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = [0, *accumulate(groups)]  # of the groups of rows, and where the last one ends
        self._batches: Iterator[Any] = iter(())
        self._group = -1
        self._rows: range = range(0)  # those of `_values`
        self._values: Any = None

    def names(self) -> Iterator[str]:
        return map(str, range(self._starts[-1]))

    def read(self, name: str) -> bytes:
        if not name.isdecimal() or int(name) >= self._starts[-1]:
            raise LookupError(name)
        row = int(name)
        group = bisect_right(self._starts, row) - 1
        if group != self._group or row < self._rows.start:
            self._group, self._rows = group, range(self._starts[group], self._starts[group])
            self._batches = self._table.iter_batches(_TABLE_BATCH, [group], [self._column], use_threads=False)
        while row not in self._rows:
            self._values = next(self._batches).column(0)
            self._rows = range(self._rows.stop, self._rows.stop + len(self._values))
        return self.picture(self._values[row - self._rows.start].as_py())

    def picture(self, value: Any) -> bytes:
        """The bytes that a cell of the picture column holds; none for an empty cell."""
        return (value["bytes"] if value and self._in_struct else value) or b""

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return list(self._table.schema_arrow.names)

    def rows(self, columns: list[str], start: int = 0) -> Iterator[dict[str, Any]]:
        """The cells of some columns, row by row from row `start` on; groups of rows before it are not read."""
        if start >= self._starts[-1]:
            return
        first = bisect_right(self._starts, start) - 1
        groups = list(range(first, self._table.metadata.num_row_groups))
        batches = self._table.iter_batches(_TABLE_BATCH, groups, columns, use_threads=False)
        yield from islice((row for batch in batches for row in batch.to_pylist()), start - self._starts[first], None)


def shard_kind(path: str) -> type[Tar] | type[Table] | None:
    """What reads a file of this name; None if it is no shard."""
    name = path.lower()
    return Tar if name.endswith(TAR_SUFFIXES) else Table if name.endswith(".parquet") else None


def is_url(path: str) -> bool:
    """Whether a path is one for fsspec, such as `s3://bucket/photos`."""
    return re.match(r"[a-z][a-z0-9+.-]+://", path) is not None


def opened(path: str) -> IO[bytes]:
    """A file, here or behind a URL, to be read from anywhere in it."""
    if not is_url(path):
        return open(path, "rb")
    import fsspec

    file: IO[bytes] = fsspec.open(path, "rb").open()
    return file


@contextlib.contextmanager
def reading(path: str, name: str) -> Iterator[None]:
    """Whatever is raised while a shard or a URL is read for a picture, as one line that names it."""
    try:
        yield
    except FastcapError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file{'' if path == name else f' {path}'}") from None
    except LookupError:
        raise ImageError(f"{name}: {path} has no such picture") from None
    except Exception as error:  # tarfile, pyarrow and every file system have their own
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ImageError(f"{name}: cannot be read: {reason}") from error
