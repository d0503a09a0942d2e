"""Rows of numbers on disk that are computed once: as .npy, LMDB or HDF5, behind one interface.

| store | file | when |
| --- | --- | --- |
| `npy` | `NAME.npy`, memory-mapped | always, unless one of the others is wanted: nothing reads faster |
| `lmdb` | `NAME.lmdb`, a key a row | file systems on which a memory map of many gigabytes is slow (extra `lmdb`) |
| `hdf5` | `NAME.h5`, a chunk a row | where other programs read the rows (extra `hdf5`) |

What is kept is numbers, never objects (no pickle), and what does not change from epoch to epoch: augmentation is drawn
after, or several views of a picture are kept. Interrupted writing goes on where it stopped, and until it is done the
file is called `NAME.SUFFIX.partial`.
"""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastcap.data.cache import build_array
from fastcap.errors import ConfigError, DataError, needs
from fastcap.files import replace

__all__ = ["STORES", "Rows", "Store", "open_store"]

Shape = tuple[int, ...]
Compute = Callable[[range], Iterable[NDArray[Any]]]  # the rows of a range of indices


class Rows(Protocol):
    """Stored rows: an array of `shape` that is read by whole numbers, arrays of them, or a tuple of these."""

    @property
    def shape(self) -> Shape: ...

    def __getitem__(self, key: Any) -> NDArray[Any]: ...


class Job(NamedTuple):
    """What is to be written, see `Store.rows`."""

    shape: Shape
    dtype: np.dtype[Any]
    compute: Compute
    chunk: int
    title: str
    progress: bool


class Store(ABC):
    """A folder of stored rows. Only one process may write at a time."""

    suffix = ""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def rows(
        self,
        key: str,
        shape: Shape | Callable[[], Shape],
        compute: Compute,
        *,
        dtype: DTypeLike = np.float32,
        chunk: int = 16,
        title: str = "rows",
        progress: bool = True,
    ) -> Rows:
        """The rows of a key, computed if they are not there.

        Args:
            key: names the file; a digest of all that the rows depend on, so that a stale file is never read.
            shape: `(N, ...)`, or a function that tells it, which is called only if something is to be computed.
            compute: gives the rows of a range of indices, each of shape `shape[1:]`.
            chunk: rows that are asked for at once; an interrupt loses no more.
            title: of the progress bar on stderr.

        Raises:
            DataError: the file cannot be read or written.
        """
        path = self.folder / f"{key}{self.suffix}"
        try:
            if not path.exists():
                whole = shape if isinstance(shape, tuple) else shape()
                self.folder.mkdir(parents=True, exist_ok=True)
                self.write(path, Job(whole, np.dtype(dtype), compute, chunk, title, progress))
            return self.read(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read or written: {error}") from error

    @abstractmethod
    def write(self, path: Path, job: Job) -> None:
        """Compute the rows that an earlier attempt has not written."""

    @abstractmethod
    def read(self, path: Path) -> Rows:
        """The rows of a finished file."""


class NpyStore(Store):
    """An array in a file, memory-mapped."""

    suffix = ".npy"

    def write(self, path: Path, job: Job) -> None:
        """As in `Store`."""
        compute, told = job.compute, {"chunk": job.chunk, "title": job.title, "progress": job.progress}
        build_array(path, job.shape, job.dtype, compute, **told)  # type: ignore[arg-type]

    def read(self, path: Path) -> Rows:
        """As in `Store`."""
        try:
            return np.load(path, mmap_mode="r")
        except ValueError as error:
            raise DataError(f"{path} is no whole store of rows: {error}") from error


class LmdbStore(Store):
    """A database with one key a row: its number in eight bytes. `facts` has shape and type."""

    suffix = ".lmdb"

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        package("lmdb", "lmdb")

    def write(self, path: Path, job: Job) -> None:
        """As in `Store`."""
        import lmdb

        shape, dtype = job.shape, job.dtype
        partial = path.with_name(f"{path.name}.partial")
        facts = json.dumps([shape, np.lib.format.dtype_to_descr(dtype)]).encode()
        row_bytes = dtype.itemsize * int(np.prod(shape[1:]))
        size = 2**26 + 2 * shape[0] * (row_bytes + 4096)  # rows fill whole pages; unused space takes no disk
        with contextlib.closing(lmdb.open(str(partial), subdir=False, map_size=size, lock=False)) as database:
            with database.begin(write=True) as transaction:
                if transaction.get(b"facts") != facts:
                    transaction.drop(database.open_db(txn=transaction), delete=False)
                    transaction.put(b"facts", facts)
                done = transaction.stat()["entries"] - 1
            for first, rows in chunks(job, done):
                with database.begin(write=True) as transaction:  # a chunk is there whole or not at all
                    for place, row in enumerate(rows, first):
                        transaction.put(place.to_bytes(8, "big"), np.asarray(row, dtype).tobytes())
        replace(partial, path)

    def read(self, path: Path) -> Rows:
        """As in `Store`."""
        import lmdb

        try:
            database = lmdb.open(str(path), subdir=False, readonly=True, lock=False)
            with database.begin() as transaction:
                shape, descr = json.loads(transaction.get(b"facts"))
        except (lmdb.Error, TypeError, ValueError) as error:
            raise DataError(f"{path} is no whole store of rows: {error}") from error
        dtype = np.dtype(descr if isinstance(descr, str) else [tuple(field) for field in descr])

        def row(place: int) -> NDArray[Any]:
            with database.begin(buffers=True) as transaction:
                return np.frombuffer(transaction.get(place.to_bytes(8, "big")), dtype).reshape(shape[1:]).copy()

        return RowByRow(tuple(shape), row)


class Hdf5Store(Store):
    """A dataset `rows` in a file, a chunk a row; its attribute `done` counts those that are written."""

    suffix = ".h5"

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        package("h5py", "hdf5")

    def write(self, path: Path, job: Job) -> None:
        """As in `Store`. A file that was broken off in the middle of a write is begun anew: HDF5 cannot mend it."""
        import h5py

        shape, dtype = job.shape, job.dtype
        partial = path.with_name(f"{path.name}.partial")
        try:
            with h5py.File(partial, "r") as file:
                rows = file["rows"]
                fits = rows.shape == shape and rows.dtype == dtype and "done" in rows.attrs
        except (OSError, KeyError, RuntimeError):
            fits = False
        with h5py.File(partial, "r+" if fits else "w") as file:
            if not fits:
                made = file.create_dataset("rows", shape, dtype, chunks=(1, *shape[1:]))
                made.attrs["done"] = 0
            rows = file["rows"]
            for first, found in chunks(job, int(rows.attrs["done"])):
                values = np.stack([np.asarray(row, dtype) for row in found])
                rows[first : first + len(values)] = values
                file.flush()
                rows.attrs["done"] = first + len(values)  # after the rows themselves
                file.flush()
        replace(partial, path)

    def read(self, path: Path) -> Rows:
        """As in `Store`."""
        import h5py

        try:
            rows = h5py.File(path, "r")["rows"]
        except (OSError, KeyError) as error:
            raise DataError(f"{path} is no whole store of rows: {error}") from error
        return RowByRow(rows.shape, lambda place: rows[place])


class RowByRow:
    """Rows of which one is read at a time, indexed as an array is."""

    def __init__(self, shape: Shape, row: Callable[[int], NDArray[Any]]) -> None:
        self.shape, self.row = shape, row

    def __getitem__(self, key: Any) -> NDArray[Any]:
        first, *rest = key if isinstance(key, tuple) else (key,)
        places = np.asarray(first)
        if places.dtype.kind not in "iu" or (places < -self.shape[0]).any() or (places >= self.shape[0]).any():
            raise IndexError(f"rows {first!r}; allowed: whole numbers below {self.shape[0]}")
        flat = [self.row(int(place) % self.shape[0]) for place in places.reshape(-1)]
        if not flat:
            return np.empty((0, *self.shape[1:]))
        rows = np.stack(flat).reshape(*places.shape, *self.shape[1:])
        if not rest:
            return rows
        if places.ndim == 0:
            return rows[tuple(rest)]
        return rows[(np.arange(len(rows)), *rest)]


STORES: dict[str, type[Store]] = {"npy": NpyStore, "lmdb": LmdbStore, "hdf5": Hdf5Store}


def open_store(kind: str, folder: str | Path) -> Store:
    """The store of a kind in a folder.

    Raises:
        ConfigError: an unknown kind.
        DataError: its package is missing.
    """
    if kind not in STORES:
        raise ConfigError(f"store is {kind!r}; allowed: {', '.join(STORES)}")
    return STORES[kind](folder)


def package(name: str, extra: str) -> None:
    """Raise DataError unless a package is there."""
    import importlib.util

    if importlib.util.find_spec(name) is None:
        raise DataError(f"store {extra!r} {needs(name, extra)}")


def chunks(job: Job, done: int) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    """The rows from `done` on, some at a time with the number of the first, below a progress bar."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not job.progress) as bar:
        task = bar.add_task(job.title, total=job.shape[0], completed=done)
        for first in range(done, job.shape[0], job.chunk):
            rows = list(job.compute(range(first, min(first + job.chunk, job.shape[0]))))
            yield first, rows
            bar.advance(task, len(rows))
