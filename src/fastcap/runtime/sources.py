"""Where pictures come from: files, folders and globs; shards of WebDataset and parquet tables; for a cluster, URLs.

A picture inside a file is called `shard.tar#000017.jpg`, by its member, or `table.parquet#17`, by its row from 0. Rows
of captions have that name, and whoever holds it can read the picture again.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import tarfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import accumulate, islice
from pathlib import Path
from typing import IO, Any, Protocol

from fastcap.errors import ConfigError, FastcapError, ImageError, nearest, needs
from fastcap.runtime.images import MAX_BYTES, ImageSource
from fastcap.runtime.signatures import IMAGE_SUFFIXES

__all__ = [
    "IMAGE_COLUMN",
    "NamedBytes",
    "PictureReader",
    "Table",
    "Tar",
    "find_pictures",
    "inside_shard",
    "is_url",
    "matching",
    "opened",
    "reading",
]

IMAGE_COLUMN = "image"
"""The column of a parquet table that holds pictures, unless another is named: what Hugging Face's datasets write."""

Found = tuple[str, ImageError | None]
"""A picture's name; or what was named in its place, and why there is none."""

_TABLE_BATCH = 8  # rows of a table that are in memory, as pictures are large
_TAR_BLOCK = 512


def find_pictures(path: str, *, recursive: bool = False, image_column: str = IMAGE_COLUMN) -> Iterator[Found]:
    """The pictures that one path stands for, in a fixed order, or the reason why there are none.

    `path`: a picture file, a folder, a glob pattern, a `.tar` of WebDataset, a `.parquet` table, or an fsspec URL of
    any of these. Shards are looked into where they are named, by themselves or by a pattern, not where a folder is.
    `recursive`: look into the folders of a folder, too.

    Raises ConfigError for a table without that column or an unknown kind of URL, FastcapError for a missing package or
    a URL that cannot be listed.
    """
    if is_url(path):
        yield from _find_by_url(path, recursive, image_column)
    elif os.path.isdir(path):
        yield from _of_folder(path, _inside(path, recursive), recursive)
    elif glob.has_magic(path) and not os.path.exists(path):
        yield from _of_pattern(path, filter(_may_be_read, glob.glob(path, recursive=True)), image_column)
    else:
        yield from _of_file(path, image_column)


def is_url(path: str) -> bool:
    """Whether a path is one for fsspec, such as `s3://bucket/photos`."""
    return re.match(r"[a-z][a-z0-9+.-]+://", path) is not None


def matching(pattern: str) -> list[str]:
    """The files, here or behind a URL, that a glob pattern stands for, sorted; of any other path, itself.

    Raises ConfigError for an unknown kind of URL, FastcapError for a missing package or a URL that cannot be listed.
    """
    if not glob.has_magic(pattern) or os.path.exists(pattern):
        return [pattern]
    if not is_url(pattern):
        return sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))
    system, path = _file_system(pattern)
    with _listing(pattern):
        return sorted(system.unstrip_protocol(file) for file in system.glob(path) if not _is_hidden(file))


def inside_shard(name: str) -> tuple[str, str] | None:
    """The file and the member or row of a picture that lies in a shard; None for any other picture."""
    found = re.match(r"(.+?\.(?:tar|parquet))#(.+)", name, re.DOTALL | re.IGNORECASE)
    return (found[1], found[2]) if found and not os.path.lexists(name) else None


class PictureReader:
    """Pictures by the names that `find_pictures` gives, fastest in that order. Keeps the last shard open; for one
    thread, and for `with`.

    `urls`: whether names may be URLs; nothing opens a connection unless it was told to.
    """

    def __init__(self, image_column: str = IMAGE_COLUMN, urls: bool = False) -> None:
        self._column, self._urls = image_column, urls
        self._stack = contextlib.ExitStack()
        self._open: tuple[str, _Shard] | None = None

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._open = None
        self._stack.close()

    def read(self, name: str) -> ImageSource:
        """What `load_image` takes. Raises ImageError, also for a shard that is missing or damaged."""
        if is_url(name) and not self._urls:
            raise ImageError(f"{name}: a URL; those are opened with --engine ray alone")
        place = inside_shard(name)
        if place:
            return NamedBytes(self._read_inside(*place, name), name)
        if is_url(name):
            with reading(name, name), opened(name) as file:
                return NamedBytes(file.read(MAX_BYTES + 1), name)
        return name

    def _read_inside(self, path: str, inner: str, name: str) -> bytes:
        with reading(path, name):
            if self._open is None or self._open[0] != path:
                self.__exit__()
                file = self._stack.enter_context(opened(path))
                self._open = path, _SHARDS[_ending(path)](path, file, self._column)
            return self._open[1].read(inner)


class NamedBytes(BytesIO):
    """The bytes of a picture, and the name that errors give it."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


class _Shard(Protocol):
    def names(self) -> Iterator[str]:
        """What `read` takes, for every picture. Raises like the library that reads the file."""

    def read(self, name: str) -> bytes:
        """A picture's bytes, at most one more than MAX_BYTES. Raises LookupError if there is none."""


class Tar:
    """A shard of WebDataset: a picture is a member, whatever lies beside it. Members are looked for in the order in
    which they lie there, so that reading them in that order goes through the file once."""

    def __init__(self, path: str, file: IO[bytes], image_column: str) -> None:
        self._file = file
        self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (lives as long as the file)
        self._members = iter(self._tar)
        self._seen: dict[str, tarfile.TarInfo] = {}

    def names(self) -> Iterator[str]:
        return filter(_is_picture, self.files())

    def files(self) -> Iterator[str]:
        """What `read` takes, for every file that was not seen."""
        while (member := self._next()) is not None:
            yield member.name

    def read(self, name: str) -> bytes:
        while name not in self._seen and self._next():
            pass
        member = self._tar.extractfile(self._seen[name])
        assert member is not None  # a regular file
        return member.read(MAX_BYTES + 1)

    def _next(self) -> tarfile.TarInfo | None:
        """The next file that was not seen; of files of the same name, the first one counts."""
        for member in self._members:
            if member.isfile() and member.name not in self._seen:
                self._seen[member.name] = member
                return member
        self._file.seek(self._tar.offset)
        if any(self._file.read(_TAR_BLOCK)):  # tarfile takes any nonsense for the end
            raise tarfile.ReadError("bad header")
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


_SHARDS: dict[str, type[Tar] | type[Table]] = {".tar": Tar, ".parquet": Table}


def _inside(folder: str, recursive: bool) -> Iterator[Found]:
    """What lies in a folder and may be a picture, and the folders that cannot be listed."""
    failed: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=failed.append):
        files = (str(Path(place, name)) for name in names)
        yield from ((file, None) for file in files if _may_be_read(file))
        if not recursive:
            folders.clear()
    for error in failed:
        yield error.filename, ImageError(f"{error.filename}: cannot be listed: {error.strerror}")


def _may_be_read(path: str) -> bool:
    """Files, and links that lead nowhere, so that they are told; no folders, and no pipes, which may never end."""
    return os.path.isfile(path) or not os.path.exists(path)


def _of_folder(path: str, inside: Iterable[Found], recursive: bool) -> Iterator[Found]:
    found = sorted((name, problem) for name, problem in inside if problem or _is_picture(name))
    yield from found
    if not found:
        deeper = "" if recursive else "; --recursive looks deeper"
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        yield path, ImageError(f"{path}: a folder without images ({endings}){deeper}")


def _of_pattern(path: str, files: Iterator[str], image_column: str) -> Iterator[Found]:
    found = sorted(files)
    for file in found:
        yield from _of_file(file, image_column)
    if not found:
        yield path, ImageError(f"{path}: no file matches")


def _of_file(path: str, image_column: str) -> Iterator[Found]:
    if _ending(path) not in _SHARDS:
        yield path, None
        return
    empty = True
    try:
        with reading(path, path), opened(path) as file:
            for inner in _SHARDS[_ending(path)](path, file, image_column).names():
                yield f"{path}#{inner}", None
                empty = False
        if empty:
            raise ImageError(f"{path}: a shard without images")
    except ImageError as error:
        yield path, error


def _find_by_url(url: str, recursive: bool, image_column: str) -> Iterator[Found]:
    system, path = _file_system(url)
    is_folder = is_pattern = False
    files: list[str] = []
    with _listing(url):
        if is_folder := system.isdir(path):
            files = system.find(path, maxdepth=None if recursive else 1)
        elif is_pattern := glob.has_magic(path) and not system.exists(path):
            files = [file for file in system.glob(path) if system.isfile(file) and not _is_hidden(file)]
    urls = map(system.unstrip_protocol, files)
    if is_folder:
        yield from _of_folder(url, ((file, None) for file in urls), recursive)
    elif is_pattern:
        yield from _of_pattern(url, urls, image_column)
    else:
        yield from _of_file(url, image_column)


def _file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and its path there."""
    try:
        import fsspec
    except ModuleNotFoundError:
        raise FastcapError(f"{url}: a URL {needs('fsspec', 'ray')}") from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:  # no such kind of URL, or none that is installed
        raise ConfigError(f"{url}: {error}") from None
    return system, path


@contextlib.contextmanager
def _listing(url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # every file system has its own
        raise FastcapError(f"{url}: cannot be listed: {error or type(error).__name__}") from error


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


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _is_picture(path: str) -> bool:
    return _ending(path) in IMAGE_SUFFIXES and not _is_hidden(path)


def _is_hidden(path: str) -> bool:
    """Names with a leading dot are the system's own: thumbnails, resource forks."""
    return os.path.basename(path).startswith(".")
