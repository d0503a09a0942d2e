"""What a bulk job has done so far, in a file that is only ever appended to; and tables made from it.

A row is written in one go and never touched again, so a job that is killed loses no row that stands there, and the
next run of the job knows what is left to do.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

from fastcap.errors import ConfigError, DataError, FastcapError, needs
from fastcap.files import sync, written_aside
from fastcap.runtime.rows import Row

__all__ = ["TABLES", "Journal", "check_output"]

COLUMNS = ("image", "caption", "confidence", "milliseconds", "kind", "candidates", "error", "made_with")

_SYNC_SECONDS = 1.0  # at most as much work is lost with the power; a kill loses none
_TABLE_ROWS = 10_000  # held in memory at a time
_MAX_ROW_BYTES = 2**20
_LONGEST_NAME = 255  # bytes, of most file systems
_BEGIN = b'{"image": '  # of every row
_log = logging.getLogger(__name__)


class Journal:
    """The rows of a job, for `with`. Every row carries `made_with`, the model and its options.

    `done`: the pictures that had a row when it was opened, and whether it is an error. A last line that was cut short
    is dropped. While it is open no other run can open it. On Windows nothing prevents that, nor where the file system
    has no locks; the latter is logged.

    Raises DataError for a file that holds anything else or was made with something else, FastcapError when another run
    writes to it, OSError when it cannot be written.
    """

    def __init__(self, path: Path, made_with: str) -> None:
        self.path, self._made_with = path, made_with
        self.done: dict[str, bool] = {}
        self._synced = time.monotonic()
        self._file = path.open("ab", buffering=0)
        try:
            _lock(self._file.fileno(), path)
            end = self._read()
            if end < path.stat().st_size:  # not every file system can cut a file, and most files need no cut
                self._file.truncate(end)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        sync(self._file.fileno())
        self._file.close()

    def append(self, row: Row) -> None:
        """Add a row: safe from a kill at once, from a power cut within a second or on closing."""
        line = json.dumps(row | {"made_with": self._made_with}, ensure_ascii=False)
        # A file name that is no valid Unicode holds lone surrogates; backslashreplace gives JSON's own escapes.
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            sync(self._file.fileno())
            self._synced = time.monotonic()

    def write_table(self, path: Path) -> None:
        """All rows as one of `TABLES`, by the ending of `path`: whole or not at all."""
        with written_aside(path, durable=True) as file:
            TABLES[path.suffix.lower()](self.rows(), file)

    def _read(self) -> int:
        """Fill `done`; returns the number of bytes up to the end of the last whole row."""
        end = 0
        with self.path.open("rb") as file:
            for number in count(1):
                line = file.readline(_MAX_ROW_BYTES)
                if not line.endswith(b"\n"):
                    start = line[: len(_BEGIN)].rstrip(b"\0")  # a power cut may leave zeros
                    if len(line) == _MAX_ROW_BYTES or not _BEGIN.startswith(start):
                        raise self._foreign(number)
                    break
                row = self._row(number, line)
                self.done[row["image"]] = "error" in row
                end += len(line)
        return end

    def _row(self, number: int, line: bytes) -> Row:
        try:
            row = json.loads(line)
            result, made_with = row["error" if "error" in row else "caption"], row["made_with"]
            if not isinstance(row["image"], str) or not isinstance(result, str):
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._foreign(number) from None
        if made_with != self._made_with:
            raise DataError(
                f"{self.path}: made with {made_with!r}, this run is {self._made_with!r}; "
                "continue with the same model and options, or write to another file"
            )
        return dict(row)

    def _foreign(self, number: int) -> DataError:
        return DataError(f"{self.path}: line {number} is no row of a caption job; write to another file")

    def rows(self) -> Iterator[Row]:
        """All rows, in the order in which they were added."""
        with self.path.open("rb") as file:
            for line in file:
                yield json.loads(line)


def check_output(path: Path) -> Path:
    """The journal that belongs to an output: a .jsonl file is its own, a table has `<table>.jsonl` beside it, or
    another name where that one is too long.

    Raises ConfigError for another ending, FastcapError for a missing folder, a folder of that name or, for .parquet, a
    missing pyarrow.
    """
    kind = path.suffix.lower()
    if kind not in (".jsonl", *TABLES):
        raise ConfigError(f"{path}: allowed endings are .jsonl, {', '.join(TABLES)}")
    if not path.absolute().parent.is_dir():
        raise FastcapError(f"{path}: its folder does not exist")
    if path.is_dir():
        raise FastcapError(f"{path}: a folder, not a file to write")
    if kind == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ModuleNotFoundError:
            raise FastcapError(f"{path}: .parquet {needs('pyarrow', 'bulk')}") from None
    if kind == ".jsonl":
        return path
    beside = path.name + ".jsonl"
    if len(os.fsencode(beside)) > _LONGEST_NAME:
        beside = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest() + ".jsonl"
    return path.with_name(beside)


def _lock(descriptor: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FastcapError(f"{path}: another run is writing to it") from None
    except OSError as error:  # Lustre and some of NFS and FUSE know no locks
        _log.warning("%s: cannot be locked (%s); let no other run write to it", path, error.strerror)


def _write_csv(rows: Iterator[Row], path: Path) -> None:
    """Candidates, if any, as JSON in their column. What else a row has, such as neighbours, the journal holds."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            if "candidates" in row:
                row["candidates"] = json.dumps(row["candidates"], ensure_ascii=False)
            writer.writerow(row)


def _write_parquet(rows: Iterator[Row], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    candidate = pa.struct([("caption", pa.string()), ("confidence", pa.float64())])
    kinds = {"confidence": pa.float64(), "milliseconds": pa.float64(), "candidates": pa.list_(candidate)}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    with parquet.ParquetWriter(path, schema) as writer:
        while chunk := list(islice(rows, _TABLE_ROWS)):
            for row in chunk:
                for name in ("image", "error"):  # may hold a file name that is no valid Unicode
                    if name in row:
                        row[name] = row[name].encode("utf-8", "backslashreplace").decode("utf-8")
            writer.write_batch(pa.RecordBatch.from_pylist(chunk, schema))


TABLES: dict[str, Callable[[Iterator[Row], Path], None]] = {".csv": _write_csv, ".parquet": _write_parquet}
"""Tables by the ending of their file name; each writes rows to a path."""
