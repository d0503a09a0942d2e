"""Which data set a folder holds, and which splits it has; read so that what is bad is reported, not refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from fastcap.data.readers import Examples, load_dataset
from fastcap.errors import ConfigError, DataError

__all__ = ["find_reader", "find_splits", "read_splits"]

_ALL_BUT_ONE = 0.999_999  # a report is about bad rows: only a split without a single good one is refused


def _named(root: Path, *patterns: str) -> Iterator[str]:
    """The splits that files name: the first group of the pattern that a path below the folder matches whole."""
    paths = [path.relative_to(root).as_posix() for glob in ("*", "*/*") for path in root.glob(glob) if path.is_file()]
    for pattern in patterns:
        yield from (match[1] for path in sorted(paths) if (match := re.fullmatch(pattern, path)))


def _karpathy(root: Path) -> Iterator[str]:
    for path in root.glob("dataset*.json"):
        try:
            images = json.loads(path.read_bytes())["images"]
            yield from (str(image["split"]) for image in images)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(f"{path}: no list of images that name their splits ({error!r})") from error


def _flickr(root: Path) -> Iterator[str]:
    names = ("captions.txt", "Flickr8k.token.txt", "results.csv", "results_20130124.token")
    if any((root / name).is_file() for name in names):
        lists = r"Flickr_8k\.(\w+)Images\.txt", r"Flickr_30k\.(\w+)Images\.txt", r"flickr30k_(\w+)\.txt"
        yield from [*_named(root, *lists, r"(train|val|dev|test)\.txt")] or ["all"]


_OTHERS = r"(?!machine_captions_|conversations_|open_conversations_|results\.)"
FINDERS: Mapping[str, Callable[[Path], Iterator[str]]] = {
    "karpathy": _karpathy,
    "flickr8k": _flickr,
    "flickr30k": _flickr,
    "coco": lambda root: _named(root, r"(?:annotations/)?captions_([a-z_]+?)(?:2014|2017)?\.json"),
    "jsonl": lambda root: _named(root, rf"{_OTHERS}([^/]+)\.jsonl", r"([^/]+)/metadata\.jsonl"),
    "csv": lambda root: _named(root, rf"{_OTHERS}([^/]+)\.[ct]sv", r"([^/]+)/metadata\.csv"),
    "coco_machine": lambda root: _named(root, r"machine_captions_([^/]+)\.jsonl"),
}
"""The splits of a folder by the name of its reader; the first that finds any is taken for what the folder holds."""


def find_splits(name: str, root: Path) -> list[str]:
    """The splits of a data set, as `load_dataset` takes them: train, val and test first, each once.

    Raises DataError if there are none.
    """
    order = {"train": 0, "val": 1, "dev": 1, "test": 2}
    found = sorted(set(FINDERS[name](root)), key=lambda split: (order.get(split, 3), split))
    if not found:
        raise DataError(f"{root}: no split of a data set of kind {name!r}")
    return found


def find_reader(root: Path) -> str:
    """The reader of the data set in a folder. Raises DataError if none fits or there is no such folder."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; needed: a data set's folder")
    for name, find in FINDERS.items():
        if next(iter(find(root)), None) is not None:
            return name
    raise DataError(f"{root}: no data set that is known; looked for the files of {', '.join(FINDERS)}")


def read_splits(name: str, root: Path, splits: Sequence[str] = ()) -> dict[str, Examples]:
    """The examples of each split, in the file's order, with their bad rows; of all splits that are there by default.

    Raises ConfigError for a split that is not there, DataError for files that cannot be read or hold nothing good.
    """
    there = find_splits(name, root)
    for split in splits:
        if split not in there and name not in ("flickr8k", "flickr30k", "karpathy"):
            raise ConfigError(f"no split {split!r} in {root}; allowed: {', '.join(there)}")
    return {
        split: load_dataset(name, root, split, on_bad_data="skip", max_bad_share=_ALL_BUT_ONE)
        for split in splits or there
    }
