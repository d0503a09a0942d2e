"""Files and folders that are written whole or not at all, also where a file system lacks what that usually takes."""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = [
    "folder_written_aside",
    "full_disk_named",
    "is_read_only",
    "keep_facts",
    "machine_lines",
    "replace",
    "sync",
    "text_encoding",
    "written_aside",
]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_UNABLE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
# A folder in which only this file may be written, a file that a container mounts by itself, a joined file system.
_UNABLE_TO_RENAME = _UNABLE | {errno.EACCES, errno.EPERM, errno.EEXIST, errno.EBUSY, errno.EXDEV}


def text_encoding(start: bytes) -> str:
    """The encoding of a text by its first two bytes or more: UTF-16 where its mark says so, as spreadsheets and
    PowerShell write it, or where one of them is NUL, as in text that begins with a Latin letter; else UTF-8, whose mark
    is no part of the text."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    nul = start[:2].find(0)
    return {1: "utf-16-le", 0: "utf-16-be"}.get(nul, "utf-8-sig") if any(start[:2]) else "utf-8-sig"


def machine_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a file that the system writes, such as those in /proc. They hold names, which are any bytes: what is
    not UTF-8 becomes surrogates, as in paths, and nothing but a line feed ends a line. Raises OSError."""
    return Path(path).read_bytes().decode("utf-8", "surrogateescape").split("\n")


@contextlib.contextmanager
def written_aside(path: str | os.PathLike[str], *, durable: bool = False, keep_mode: bool = False) -> Iterator[Path]:
    """A path to write to; at the end its file takes the place of `path`, after an error it is removed.

    A link is followed. The path's name is short and hidden, so any name that the file system takes can be written.
    Where the folder takes no new file, it is `path` itself. `durable`: be safe from a power cut at the end.
    `keep_mode`: give the new file the permissions of the one that is there, where the file system has any.

    An OSError names `path`, never the file that was written in its place.
    """
    target = Path(os.path.realpath(path))
    aside = _beside(target, "part")
    try:
        aside.touch()
    except PermissionError:
        yield target
        return
    except OSError as error:
        _name_target(error, aside, path)
        raise
    try:
        yield aside
        if keep_mode:
            keep_facts(target, aside, shutil.copymode)
        if durable:
            with aside.open("rb+") as file:
                sync(file.fileno())
        replace(aside, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        _name_target(error, aside, path)
        raise


@contextlib.contextmanager
def folder_written_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder to fill, which is flushed to disk and takes the place of `path` at the end.

    At any moment the folder is there whole, old or new, or not at all; after an error the old one is as it was. Where
    it cannot be renamed, as a volume of a container cannot, the new files come into it one by one.
    """
    target = Path(os.path.realpath(path))
    aside, old = _beside(target, "writing"), _beside(target, "old")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    except PermissionError:
        aside = target / ".writing"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
    try:
        yield aside
        for written in [*aside.iterdir(), aside]:
            descriptor = os.open(written, os.O_RDONLY)
            sync(descriptor)
            os.close(descriptor)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        _name_target(error, aside, path)
        raise
    if not target.exists():
        aside.rename(target)
        return
    try:
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)  # a folder cannot be renamed over a full one
    except OSError as error:
        if error.errno not in _UNABLE_TO_RENAME:
            raise
        _refill(target, aside)
    else:
        aside.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def _refill(target: Path, source: Path) -> None:
    """Give a folder the files of another one in place of its own."""
    for path in set(target.iterdir()) - {source}:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in source.iterdir():
        replace(path, target / path.name)
    source.rmdir()


def _beside(target: Path, state: str) -> Path:
    """A hidden name in the same folder, short however long the target's is."""
    digest = hashlib.blake2b(os.fsencode(target.name), digest_size=8).hexdigest()
    return target.with_name(f".{digest}.{state}")


def _name_target(error: BaseException, aside: Path, path: str | os.PathLike[str]) -> None:
    """Let an error about a file that is written aside, or in a folder that is, name the one that the user knows."""
    name = getattr(error, "filename", None)
    if isinstance(error, OSError) and isinstance(name, str) and name.startswith(str(aside)):
        error.filename, error.filename2 = os.fspath(path) + name[len(str(aside)) :], None
    _name_full_disk(error, path)


@contextlib.contextmanager
def full_disk_named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let an error of a full disk in the block, which names no file, name this one."""
    try:
        yield
    except OSError as error:
        _name_full_disk(error, path)
        raise


def _name_full_disk(error: BaseException, path: str | os.PathLike[str]) -> None:
    if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
        error.filename = os.fspath(path)


def replace(source: Path, target: Path) -> None:
    """Move a file over another, at once if the file system can, else by copying it."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno not in _UNABLE_TO_RENAME:
            raise
        shutil.copyfile(source, target)
        source.unlink()


def keep_facts(source: Path, target: Path, *copies: Callable[[Path, Path], None]) -> None:
    """Give a file the permissions or times of another one, as far as the file system lets anybody set them: on CIFS,
    FAT and much of FUSE it does not, and all files have the same."""
    for copy in copies:
        try:
            copy(source, target)
        except OSError as error:
            if error.errno not in _UNABLE | {errno.EPERM, errno.EACCES}:
                raise


def is_read_only(path: Path) -> bool:
    """Whether a file says that it should not change; that its folder lets it be replaced is no leave to."""
    return not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(path, os.W_OK)


def sync(descriptor: int) -> None:
    """Have what was written reach the disk, if the file system knows how."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
