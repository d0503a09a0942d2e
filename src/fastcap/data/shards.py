"""Captioned pictures out of shards, WebDataset tars or parquet tables, here or behind an fsspec URL, read one after
another: for data that no disk holds.

A sample is a picture and its captions. In a tar it is the files of one name: `000017.jpg` with `000017.txt`, a caption
a line, or with `000017.json`, an object with one of the fields `captions`, `caption` or `text`. In a table it is a row:
the column `image`, and one of those three, which hold a text or a list of texts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastcap.data.readers import MAX_BAD_SHARE, BadRow, OnBadData, caption_problem, printable
from fastcap.errors import ConfigError, DataError, FastcapError, ImageError, counted, needs
from fastcap.runtime.archives import IMAGE_COLUMN, Table, Tar, is_url, opened, reading
from fastcap.runtime.signatures import IMAGE_SUFFIXES, READ_SUFFIXES
from fastcap.runtime.sources import matching

__all__ = ["BadSamples", "Cursor", "Sample", "Shard", "find_shards", "first_captions", "read_shard", "stream"]

CAPTION_FIELDS = ("captions", "caption", "text")
JUDGED_FROM = 100  # samples: before, a share of bad ones says little

Shard = tuple[str, str]
"""Its kind, `webdataset` or `parquet`, and its path or URL."""


@dataclass(frozen=True)
class Sample:
    """A picture as the bytes of its file, its captions as published, or why it cannot be used. `name`: its shard's, #
    and its file or row, as `fastcap.runtime.sources` has it."""

    name: str
    image: bytes
    captions: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class Cursor:
    """Where a stream stands. Samples are shuffled in blocks: `taken` of the block's were handed out, which begins
    behind `sample` samples of the epoch's shard number `shard`. Bad samples count."""

    epoch: int = 0
    shard: int = 0
    sample: int = 0
    taken: int = 0


class BadSamples:
    """What is done about samples that cannot be used; see `load_dataset`. A stream never ends, so the share of bad ones
    is looked at whenever one is found, as if at least a hundred had been seen.

    Args:
        quarantine_file: JSON lines are added to it under `quarantine`, one a sample, once.
    """

    def __init__(
        self, on_bad_data: OnBadData, quarantine_file: Path | None = None, max_bad_share: float = MAX_BAD_SHARE
    ) -> None:
        self.on_bad_data, self.quarantine_file = on_bad_data, quarantine_file
        self.max_bad_share = max_bad_share
        self.n_seen = self.n_bad = 0
        self._kept: set[str] = set()

    def note(self, sample: Sample, problem: str) -> None:
        """Count a sample that is left out. Raises DataError under `raise`, or if there are too many."""
        if self.on_bad_data == "raise":
            raise DataError(f"{sample.name}: {problem}; on_bad_data=skip or quarantine leaves such samples out")
        self.n_bad += 1
        if self.quarantine_file and self.on_bad_data == "quarantine" and sample.name not in self._kept:
            self._kept.add(sample.name)
            self.quarantine_file.parent.mkdir(parents=True, exist_ok=True)
            row = BadRow(sample.name, printable(sample.name), printable("\n".join(sample.captions)), problem)
            with self.quarantine_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
        if self.n_bad > self.max_bad_share * max(self.n_seen, JUDGED_FROM):
            raise DataError(
                f"{self.n_bad} of {self.n_seen} samples are bad, more than "
                f"max_bad_share={self.max_bad_share:g} allows; the last: {sample.name}: {problem}"
            )


def find_shards(kind: str, root: str) -> list[Shard]:
    """The shards that a pattern stands for, in its order: `{000..009}` and `{a,b}` as in a shell, `*`, `?`, `[...]`.

    Raises:
        ConfigError: an unknown kind of URL, or braces that do not match.
        DataError: no file matches, or one that is named is missing. (One behind a URL is looked for when it is read.)
        FastcapError: a missing package, or a URL that cannot be listed.
    """
    try:
        from braceexpand import braceexpand
    except ModuleNotFoundError:
        raise FastcapError(f"{root}: reading shards {needs('braceexpand', 'stream')}") from None
    try:
        paths = [path for pattern in braceexpand(root) for path in matching(pattern)]
    except ValueError as error:  # braces that do not match
        raise ConfigError(f"{root}: {error}") from None
    missing = next((path for path in paths if not is_url(path) and not os.path.isfile(path)), None)
    if missing or not paths:
        raise DataError(f"no shard {missing or root}")
    return [(kind, path) for path in paths]


def read_shard(shard: Shard, start: int = 0, *, pictures: bool = True) -> Iterator[Sample]:
    """The samples of a shard from number `start` on, in order; the shard is read once, front to back.

    `pictures`: without them samples have no image, and of a local file or a table none is read.

    Raises:
        ConfigError: a table without the columns.
        DataError: the shard is missing or damaged.
        FastcapError: a missing package.
    """
    kind, path = shard
    try:
        with reading(path, path), opened(path) as file:
            yield from READERS[kind](path, file, start, pictures)
    except ImageError as error:
        raise DataError(f"shard {error}") from error


def first_captions(shards: Sequence[Shard], n: int) -> Iterator[str]:
    """The first n captions of shards in the order given."""
    samples = (sample for shard in shards for sample in read_shard(shard, pictures=False))
    return islice((caption for sample in samples for caption in sample.captions), n)


def stream(
    shards: Sequence[Shard], seed: Sequence[int], buffer: int, cursor: Cursor | None = None
) -> Iterator[tuple[Sample, Cursor]]:
    """All samples of all shards, in another order every epoch, without end; with each, where the stream stands then.

    The shards are shuffled, then every `buffer` samples in a row among themselves: no more are in memory. The same
    arguments give the same samples, and a cursor gives those behind it, at the cost of reading at most one shard up to
    it. An epoch has every sample exactly once, however unequal the shards.

    Raises:
        DataError: an epoch has no samples; and what `read_shard` raises.
    """
    cursor = cursor or Cursor()
    epoch, begin, taken = cursor.epoch, (cursor.shard, cursor.sample), cursor.taken
    while True:
        order = np.random.default_rng([*seed, epoch]).permutation(len(shards)).tolist()
        samples = _in_order([shards[i] for i in order], *begin)
        while block := list(islice(samples, buffer)):
            places = np.random.default_rng([*seed, epoch, *begin]).permutation(len(block)).tolist()
            for n in range(taken, len(block)):
                yield block[places[n]][0], Cursor(epoch, *begin, n + 1)
            begin, taken = block[-1][1], 0
        if begin == (0, 0):
            raise DataError(f"no samples in {counted(len(shards), 'shard')}, of which the first is {shards[0][1]}")
        epoch, begin, taken = epoch + 1, (0, 0), 0


def _in_order(shards: Sequence[Shard], shard: int, sample: int) -> Iterator[tuple[Sample, tuple[int, int]]]:
    """Samples from one on, each with the place behind it: number of the shard, samples of it that were read."""
    for place in range(shard, len(shards)):
        for number, read in enumerate(read_shard(shards[place], sample), sample):
            yield read, (place, number + 1)
        sample = 0


# --- one reader a kind -------------------------------------------------------------------------------------


def read_webdataset(path: str, file: IO[bytes], start: int, pictures: bool) -> Iterator[Sample]:
    """A tar; files whose name begins with a dot or `__` are the system's or the writer's own."""
    shard = Tar(path, file, IMAGE_COLUMN)
    names = ((shard.member_name(name), name) for name in shard.files())
    own = (pair for pair in names if not os.path.basename(pair[0]).startswith((".", "__")))
    for number, (key, group) in enumerate(groupby(own, lambda pair: _key(pair[0]))):
        if number < start:
            continue
        captions: Any = None
        image, inner, problem = b"", key, ""
        for member, name in group:  # read on the way: to go back in a file behind a URL is slow
            ending = member[len(key) :].lower()
            if pictures and (ending in READ_SUFFIXES or (ending in IMAGE_SUFFIXES and not image)):
                image, inner = shard.read(name), name
            elif ending == ".txt" or (ending == ".json" and captions is None):
                try:
                    captions = _CAPTIONS[ending](shard.read(name))
                except (ValueError, RecursionError) as error:
                    problem = f"{name} cannot be read: {error}"
        yield _sample(f"{path}#{inner}", image if pictures else None, captions, problem)


def read_parquet(path: str, file: IO[bytes], start: int, pictures: bool) -> Iterator[Sample]:
    """A table; groups of rows that are not asked for are not read."""
    table = Table(path, file, IMAGE_COLUMN)
    column = next((name for name in CAPTION_FIELDS if name in table.columns), None)
    if column is None:
        raise ConfigError(
            f"{path}: no column of captions; allowed: {', '.join(CAPTION_FIELDS)}; "
            f"its columns are {', '.join(table.columns)}"
        )
    columns = [column, IMAGE_COLUMN] if pictures else [column]
    for number, row in enumerate(table.rows(columns, start), start):
        image = table.picture(row[IMAGE_COLUMN]) if pictures else None
        yield _sample(f"{path}#{number}", image, row[column], "")


READERS: dict[str, Callable[[str, IO[bytes], int, bool], Iterator[Sample]]] = {
    "webdataset": read_webdataset,
    "parquet": read_parquet,
}


def _key(name: str) -> str:
    """What the files of one sample share: everything before the first dot of the last part."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _of_json(data: bytes) -> Any:
    record = json.loads(data)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return next((record[name] for name in CAPTION_FIELDS if name in record), None)


_CAPTIONS: dict[str, Callable[[bytes], Any]] = {
    ".txt": lambda data: [line for line in data.decode("utf-8").splitlines() if line.strip()],
    ".json": _of_json,
}


def _sample(name: str, image: bytes | None, captions: Any, problem: str) -> Sample:
    """A sample of what was found as its captions; `image` None where none was asked for."""
    if not isinstance(captions, list):
        captions = [] if captions is None else [captions]
    problem = problem or next(filter(None, map(caption_problem, captions)), "" if captions else "no caption")
    if image is not None and not image:
        problem = problem or "no picture"
    return Sample(name, image or b"", () if problem else tuple(map(str.strip, captions)), problem)
