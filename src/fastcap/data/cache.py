"""Decoded pictures on disk, memory-mapped uint8, so that training on a CPU does not wait for decoding.

Pixels are those that the runtime gives to the model, BEFORE augmentation, which is drawn anew in every epoch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastcap.errors import DataError, listed
from fastcap.files import replace, sync, written_aside
from fastcap.runtime.images import load_image

__all__ = ["ImageCache", "build_array"]

FORMAT = 1
Pixels = Callable[[list[Any]], NDArray[np.uint8]]  # of one key
CHUNK = 64  # pictures decoded between two updates of the progress bar: 10 MB at 224 x 224


class ImageCache:
    """The pictures of a data set as one memory-mapped array `(N, size, size, 3)`, uint8 RGB.

    `build(paths)` brings the folder up to date; then `cache[i]` is the picture of `paths[i]`, and `cache[[3, 1]]` a
    batch. The folder holds `index.json` (path, bytes and modification time of each picture) and the `.npy` file that it
    names. The index is written last and atomically: a reader sees the old cache or the new one. An interrupted build
    continues where it stopped; unchanged pictures of an earlier build are copied, others are decoded again. Only one
    process may build at a time.

    Args:
        folder: created if needed; takes `N * size * size * 3` bytes, 1.1 GB for Flickr8k.
        size: side of the pictures in pixels.
    """

    def __init__(self, folder: str | Path, size: int) -> None:
        self.folder = Path(folder)
        self.size = size
        self._keys: list[list[Any]] = []
        self._pixels: NDArray[np.uint8] = np.empty((0, size, size, 3), np.uint8)
        self._open()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> list[list[Any]]:
        """What identifies each picture: path, bytes, modification time."""
        return self._keys

    def __getitem__(self, index: int | Sequence[int]) -> NDArray[np.uint8]:
        return np.array(self._pixels[index])

    def build(self, paths: Sequence[str | Path], *, workers: int = 2, progress: bool = True) -> ImageCache:
        """Fill the cache with the pictures of `paths`, in this order, and return it.

        Args:
            paths: the pictures' files.
            workers: decoding threads (Pillow decodes outside the interpreter lock).
            progress: draw a progress bar on stderr.

        Raises:
            DataError: there are no paths, a picture is missing, or the disk is full.
            ImageError: a picture cannot be decoded; those before it stay cached.
        """
        paths = listed(paths, "paths", (str, os.PathLike), DataError)
        if not paths:
            raise DataError("the image cache got no pictures; needed: at least one path")
        keys = [_key(path) for path in paths]
        if keys == self._keys:
            return self
        known = {tuple(key): row for row, key in enumerate(self._keys)}

        def pixels(key: list[Any]) -> NDArray[np.uint8]:
            row = known.get(tuple(key))
            return load_image(key[0], (self.size, self.size)) if row is None else self._pixels[row]

        digest = hashlib.sha256(json.dumps([FORMAT, self.size, keys]).encode()).hexdigest()[:16]
        file_name = f"images-{digest}.npy"
        try:
            with ThreadPoolExecutor(workers) as pool:
                build_array(
                    self.folder / file_name,
                    (len(keys), self.size, self.size, 3),
                    "|u1",
                    lambda rows: pool.map(pixels, keys[rows.start : rows.stop]),
                    chunk=CHUNK,
                    title="Caching pictures",
                    progress=progress,
                )
            index = {"format": FORMAT, "size": self.size, "file": file_name, "images": keys}
            with written_aside(self.folder / "index.json") as file:
                file.write_text(json.dumps(index), encoding="utf-8")
        except OSError as error:
            raise DataError(f"image cache {self.folder}: {error}") from error
        self._open()
        for stale in self.folder.glob("images-*.npy*"):
            if stale.name != file_name:
                with contextlib.suppress(PermissionError):  # Windows holds files that someone has mapped
                    stale.unlink()
        return self

    def _open(self) -> None:
        """Map the finished cache, if there is one of this size and format; otherwise the cache is empty."""
        path = self.folder / "index.json"
        if not path.is_file():
            return
        try:
            index = json.loads(path.read_bytes())
            if index["format"] != FORMAT or index["size"] != self.size:
                return
            pixels = np.load(self.folder / Path(index["file"]).name, mmap_mode="r", allow_pickle=False)
            if pixels.shape != (len(index["images"]), self.size, self.size, 3) or pixels.dtype != np.uint8:
                raise ValueError(f"holds {pixels.dtype} {pixels.shape}, the index has {len(index['images'])} pictures")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"image cache {self.folder} is damaged: {error}; delete the folder") from error
        self._keys, self._pixels = index["images"], pixels


def build_array(
    path: Path,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    compute: Callable[[range], Iterable[NDArray[Any]]],
    *,
    chunk: int,
    title: str,
    progress: bool = True,
) -> None:
    """Write an array `(N, ...)` to a .npy file row by row; an interrupted build continues where it stopped.

    Until it is complete the file is called `PATH.partial`, and its length tells how many rows are done. Rows are
    written, not memory-mapped: on a full disk a write raises an error, a map kills the process. Only one process may
    build at a time.

    Args:
        compute: gives the rows of a range of indices, each of shape `shape[1:]`.
        chunk: rows that are asked for at once, between two updates of the progress bar.
        title: of the progress bar on stderr.

    Raises:
        OSError: the file cannot be written.
    """
    from rich.console import Console
    from rich.progress import Progress

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    kind = np.dtype(dtype)
    row_bytes = kind.itemsize * math.prod(shape[1:])
    with open(partial, "ab+") as file:
        file.seek(0)
        try:
            complete = np.lib.format.read_magic(file) == (1, 0) and (
                np.lib.format.read_array_header_1_0(file) == (shape, False, kind)
            )
        except ValueError:
            complete = False
        if not complete:
            file.truncate(0)
            header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
        start = file.tell()
        done = (file.seek(0, os.SEEK_END) - start) // row_bytes
        file.truncate(start + done * row_bytes)
        with Progress(console=Console(stderr=True), disable=not progress) as bar:
            task = bar.add_task(title, total=shape[0], completed=done)
            for first in range(done, shape[0], chunk):
                for row in compute(range(first, min(first + chunk, shape[0]))):
                    file.write(np.asarray(row, kind).tobytes())
                    bar.advance(task)
                file.flush()
        sync(file.fileno())
    replace(partial, path)


def _key(path: str | Path) -> list[Any]:
    """What identifies a picture: path, bytes, modification time (ns). A cached one is valid while they are the same."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"image {path} is missing: {error}") from error
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]
