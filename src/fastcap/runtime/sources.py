"""Where pictures come from: files, folders and globs; shards of WebDataset and parquet tables; for a cluster, URLs.

A picture inside a file is called `shard.tar#000017.jpg`, by its member, or `table.parquet#17`, by its row from 0. Rows
of captions have that name, and whoever holds it can read the picture again.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from fastcap.errors import ConfigError, FastcapError, ImageError, needs, one_text
from fastcap.runtime.archives import IMAGE_COLUMN, Shard, is_url, opened, reading, shard_kind
from fastcap.runtime.images import MAX_BYTES, ImageSource
from fastcap.runtime.signatures import HEAD, is_picture, is_private

__all__ = ["NamedBytes", "PictureReader", "find_pictures", "inside_shard", "matching"]

Found = tuple[str, ImageError | None]
"""A picture's name; or what was named in its place, and why there is none."""


def find_pictures(
    path: str | os.PathLike[str], *, recursive: bool = False, image_column: str = IMAGE_COLUMN
) -> Iterator[Found]:
    """The pictures that one path stands for, in a fixed order, or the reason why there are none.

    `path`: a picture file, a folder, a glob pattern, a `.tar` of WebDataset (also with `.gz`, `.bz2` or `.xz`), a
    `.parquet` table, or an fsspec URL of any of these. Shards are looked into where they are named, by themselves or by
    a pattern, not where a folder is.
    `recursive`: look into the folders of a folder, too; into a linked one if it is not below the folder anyway.

    In a folder, what is hidden and what belongs to the system is passed over. Pictures in formats that are not read are
    named as others are: reading them says what they are.

    Raises ConfigError for a table without that column or an unknown kind of URL, FastcapError for a missing package or
    a URL that cannot be listed.
    """
    path = one_text(os.fspath(path) if isinstance(path, os.PathLike) else path, "the path of pictures")
    if is_url(path):
        yield from _find_by_url(path, recursive, image_column)
    elif os.path.isdir(path):
        yield from _of_folder(path, _inside(path, recursive), recursive)
    elif glob.has_magic(path) and not os.path.exists(path):
        files = (file for file in glob.glob(path, recursive=True) if _may_be_read(file) and _is_meant(file, path))
        yield from _of_pattern(path, files, image_column)
    else:
        yield from _of_file(path, image_column)


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
        return [system.unstrip_protocol(file) for file in sorted(system.glob(path)) if _is_meant(file, path)]


def inside_shard(name: str) -> tuple[str, str] | None:
    """The file and the member or row of a picture that lies in a shard; None for any other picture."""
    match = re.match(r"(.+?\.(?:tar|tar\.(?:gz|bz2|xz)|tgz|tbz2|txz|parquet))#(.+)", name, re.DOTALL | re.IGNORECASE)
    return (match[1], match[2]) if match and not os.path.lexists(name) else None


class PictureReader:
    """Pictures by the names that `find_pictures` gives, fastest in that order. Keeps the last shard open; for one
    thread, and for `with`.

    `urls`: whether names may be URLs; nothing opens a connection unless it was told to.
    """

    def __init__(self, image_column: str = IMAGE_COLUMN, urls: bool = False) -> None:
        self._column, self._urls = image_column, urls
        self._stack = contextlib.ExitStack()
        self._open: tuple[str, Shard] | None = None

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
                open_shard = shard_kind(path)
                assert open_shard is not None
                self._open = path, open_shard(path, file, self._column)
            return self._open[1].read(inner)


class NamedBytes(BytesIO):
    """The bytes of a picture, and the name that errors give it."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def _inside(folder: str, recursive: bool) -> Iterator[Found]:
    """The pictures in a folder, and the folders that cannot be listed.

    Each folder is listed once. A linked one is listed by its link only if its own place is not below `folder`; it is
    left out if `folder` lies in it, since then everything would be listed again.
    """
    top = os.path.realpath(folder)
    seen: set[str] = set()
    folders, links = deque([folder]), deque[str]()
    while folders or links:
        place = folders.popleft() if folders else links.popleft()
        real = os.path.realpath(place)
        if real in seen or (seen and os.path.join(top, "").startswith(os.path.join(real, ""))):
            continue
        seen.add(real)
        try:
            with os.scandir(place) as entries:
                paths = [str(Path(entry.path)) for entry in entries if not is_private(entry.name)]
        except OSError as error:
            yield place, ImageError(f"{place}: cannot be listed: {error.strerror}")
            continue
        for path in paths:
            if os.path.isdir(path):
                (links if os.path.islink(path) else folders).extend([path] if recursive else [])
            elif _may_be_read(path) and is_picture(os.path.basename(path), functools.partial(_head, path)):
                yield path, None


def _head(path: str) -> bytes:
    """The first bytes of a file; none of what cannot be read."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(HEAD)
    return b""


def _may_be_read(path: str) -> bool:
    """Files, and links that lead nowhere, so that they are told; no folders, and no pipes, which may never end."""
    return os.path.isfile(path) or not os.path.exists(path)


def _of_folder(path: str, inside: Iterable[Found], recursive: bool) -> Iterator[Found]:
    pictures = sorted(inside, key=lambda item: item[0])
    yield from pictures
    if not pictures:
        deeper = "" if recursive else "; --recursive looks deeper"
        yield path, ImageError(f"{path}: a folder without images{deeper}")


def _of_pattern(path: str, files: Iterator[str], image_column: str) -> Iterator[Found]:
    matches = sorted(files)
    for file in matches:
        yield from _of_file(file, image_column)
    if not matches:
        yield path, ImageError(f"{path}: no file matches")


def _of_file(path: str, image_column: str) -> Iterator[Found]:
    open_shard = shard_kind(path)
    if open_shard is None:
        yield path, None
        return
    try:
        with reading(path, path), opened(path) as file:
            shard, is_empty = open_shard(path, file, image_column), True
            for inner in shard.names():
                yield f"{path}#{inner}", None
                is_empty = False
        if is_empty:
            raise ImageError(f"{path}: a shard without images")
    except ImageError as error:
        yield path, error


def _find_by_url(url: str, recursive: bool, image_column: str) -> Iterator[Found]:
    system, path = _file_system(url)
    is_folder = is_pattern = False
    files: list[str] = []
    with _listing(url):
        if is_folder := system.isdir(path):
            below = len(path.rstrip("/")) + 1
            files = [
                file
                for file in system.find(path, maxdepth=None if recursive else 1)
                if is_picture(file[below:], functools.partial(system.head, file, HEAD))
            ]
        elif is_pattern := glob.has_magic(path) and not system.exists(path):
            files = [file for file in system.glob(path) if system.isfile(file) and _is_meant(file, path)]
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


def _is_meant(file: str, pattern: str) -> bool:
    """Whether a file that matches a pattern is the user's, or the pattern names what it lies in."""
    return not set(filter(is_private, file.split("/"))) - set(pattern.split("/"))
