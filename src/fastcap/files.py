"""Files that are written whole or not at all, also where a file system lacks what that usually takes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replace", "sync", "written_aside"]

_UNABLE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
# A folder in which only this file may be written, a file that a container mounts by itself, a joined file system.
_UNABLE_TO_RENAME = _UNABLE | {errno.EACCES, errno.EPERM, errno.EEXIST, errno.EBUSY, errno.EXDEV}


@contextlib.contextmanager
def written_aside(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[Path]:
    """A path to write to; at the end its file takes the place of `path`, after an error it is removed.

    A link is followed. The path's name is short and hidden, so any name that the file system takes can be written.
    Where the folder takes no new file, it is `path` itself. `durable`: be safe from a power cut at the end.
    """
    target = Path(os.path.realpath(path))
    digest = hashlib.blake2b(os.fsencode(target.name), digest_size=8).hexdigest()
    aside = target.with_name(f".{digest}.part")
    try:
        aside.touch()
    except PermissionError:
        yield target
        return
    try:
        yield aside
        if durable:
            with aside.open("rb+") as file:
                sync(file.fileno())
        replace(aside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def replace(source: Path, target: Path) -> None:
    """Move a file over another, at once if the file system can, else by copying it."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno not in _UNABLE_TO_RENAME:
            raise
        shutil.copyfile(source, target)
        source.unlink()


def sync(descriptor: int) -> None:
    """Have what was written reach the disk, if the file system knows how."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
