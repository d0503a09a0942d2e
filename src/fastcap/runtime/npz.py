"""Arrays in an npz archive without pickles, checked before they are believed: `fastcap.runtime.memory` and
`fastcap.runtime.words` are kept in such files."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastcap.errors import ModelFileError
from fastcap.files import written_aside

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

__all__ = ["Kinds", "as_text", "read_npz", "refused", "text_of", "write_npz"]

Kinds: TypeAlias = Mapping[str, "tuple[Any, int]"]
"""By the name of an array its type and number of axes."""


def as_text(words: Mapping[str, Any] | Sequence[str]) -> np.ndarray:
    """Words without line breaks as bytes, one a line."""
    return np.frombuffer("\n".join(words).encode(), np.uint8)


def text_of(array: np.ndarray) -> list[str]:
    """The inverse of `as_text`. Raises ValueError for bytes that are no text."""
    return array.tobytes().decode().split("\n") if len(array) else []


def write_npz(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], texts: Mapping[str, str] | None = None
) -> None:
    """Write arrays and, by their names in the archive, texts: whole or not at all, the same bytes for the same
    content."""
    import zipfile

    with written_aside(path, durable=True) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(_member(f"{name}.npy"), "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
        for name, text in (texts or {}).items():
            archive.writestr(_member(name), text.encode())


def _member(name: str) -> ZipInfo:
    """A compressed member, whose date is always the same."""
    import zipfile

    member = zipfile.ZipInfo(name)
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


@contextlib.contextmanager
def refused(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Raise ModelFileError, one line that says that the file is not `what`, for what zipfile, zlib, NumPy and checks
    raise for files that are damaged."""
    import zipfile
    import zlib

    try:
        yield
    except (
        *(OSError, ValueError, KeyError, EOFError, RuntimeError, OverflowError, MemoryError, NotImplementedError),
        *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error),
    ) as error:
        told = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise ModelFileError(f"{path}: not {what} ({told})") from None


def read_npz(path: Path, kinds: Kinds, most: int, texts: Sequence[str] = ()) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of these names, and these texts, whose sizes are compared before memory is taken for them.

    Raises ValueError and what `refused` turns into one line for another content, or one of more than `most` bytes.
    """
    from zipfile import ZipFile

    with ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        expected = {f"{name}.npy" for name in kinds} | {*texts}
        if members.keys() != expected or len(archive.infolist()) != len(expected):
            raise ValueError(f"it holds {sorted(members)[:12]}; expected {sorted(expected)}")
        size = sum(member.file_size for member in members.values())
        if size > most:
            raise ValueError(f"{size} bytes unpacked; allowed: {most}")
        arrays = {name: _read_array(archive, members[f"{name}.npy"], *kinds[name]) for name in kinds}
        return arrays, [archive.read(members[name]).decode() for name in texts]


def _read_array(archive: ZipFile, member: ZipInfo, kind: Any, axes: int) -> np.ndarray:
    name, dtype = member.filename, np.dtype(kind)
    with archive.open(member) as file:
        shape = _read_header(file, dtype)
        if len(shape) != axes:
            raise ValueError(f"{name} has the shape {shape}; expected {axes} axes")
        count = math.prod(shape)
        if file.tell() + count * dtype.itemsize != member.file_size:
            raise ValueError(f"{name} states {shape}, which does not fit its {member.file_size} bytes")
        content = file.read()  # to the end, where the checksum is compared
    return np.frombuffer(content, dtype, count).reshape(shape)


def _read_header(file: IO[bytes], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """The shape that an array of this type states. NumPy's own reader evaluates the header as Python."""
    start = file.read(10)
    header = file.read(int.from_bytes(start[8:], "little"))
    match = re.fullmatch(rb"\{'descr': '(.{3})', 'fortran_order': False, 'shape': \(([0-9, ]{0,40})\), \}\s*", header)
    if start[:8] != b"\x93NUMPY\x01\x00" or not match or match[1].decode("latin-1") != dtype.str:
        raise ValueError(f"an array begins with {(start + header)[:80]!r}; expected one of {dtype}")
    return tuple(int(size) for size in match[2].decode().split(",") if size.strip())
