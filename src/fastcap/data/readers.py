"""Data sets as lists of `Example`: the rows of `fastcap.data.formats`, checked and grouped by image."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fastcap.data.formats import READERS, Row
from fastcap.errors import MAX_BAD_SHARE, ConfigError, DataError, ImageError, nearest, one_text
from fastcap.files import written_aside
from fastcap.runtime.images import load_image

__all__ = [
    "MAX_BAD_SHARE",
    "BadRow",
    "Example",
    "Examples",
    "OnBadData",
    "caption_problem",
    "image_problem",
    "load_dataset",
    "printable",
]

OnBadData = Literal["raise", "skip", "quarantine"]


@dataclass(frozen=True)
class Example:
    """A picture and its captions as published; `clean_caption` gives the form that models are trained on. `originals`:
    for each caption the one that it was made from, "" where there is none; empty if there is none at all."""

    image: Path
    captions: tuple[str, ...]
    image_id: str
    source: str
    originals: tuple[str, ...] = ()


@dataclass(frozen=True)
class BadRow:
    """A row that was left out: where it stands (`file:line`), what it said and what is wrong with it."""

    where: str
    image: str
    caption: str
    problem: str


class Examples(list[Example]):
    """The loaded examples, with `n_rows` (captions read) and `bad_rows` (those left out, and why)."""

    def __init__(self, examples: Sequence[Example], n_rows: int, bad_rows: Sequence[BadRow]) -> None:
        super().__init__(examples)
        self.n_rows = n_rows
        self.bad_rows = tuple(bad_rows)


def load_dataset(
    name: str,
    root: str | Path,
    split: str,
    *,
    on_bad_data: OnBadData = "raise",
    quarantine_file: str | Path | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
    decode_images: bool = False,
) -> Examples:
    """Read one split of a data set.

    Args:
        name: a key of `READERS`: flickr8k, flickr30k, coco, coco_machine, karpathy, jsonl, csv.
        root: folder of the data set, as its archive unpacks; of csv also the file itself.
        split: `train`, `val` or `test`; the Flickr sets also know `all` (no split list needed), Karpathy
            files a sum such as `train+restval`.
        on_bad_data: `raise` stops at the first bad row (default: a data set should be known to be whole),
            `skip` leaves bad rows out, `quarantine` also writes them to `quarantine_file` as JSON lines.
        quarantine_file: where `quarantine` writes; required by it, untouched when every row is good.
        max_bad_share: with `skip` and `quarantine`, the share of bad rows in [0, 1) above which the data set
            is refused (default 0.10).
        decode_images: decode every picture and call its rows bad if that fails. Off by default, as it costs
            milliseconds an image; `ImageCache` refuses undecodable pictures in any case.

    Returns:
        `Examples`, a list of `Example` in the file's order, with `n_rows` and `bad_rows`. Never empty.

    Raises:
        ConfigError: an unknown name or policy, or a setting out of its range.
        DataError: a file is missing or unreadable, a row is bad under `raise`, too many are, or none is left.
    """
    if not isinstance(name, str) or name not in READERS:
        raise ConfigError(f"unknown data set {name!r}{nearest(str(name), READERS)}; allowed: {', '.join(READERS)}")
    if on_bad_data not in get_args(OnBadData):
        raise ConfigError(f"on_bad_data is {on_bad_data!r}; allowed: {', '.join(get_args(OnBadData))}")
    if not 0 <= max_bad_share < 1:
        raise ConfigError(f"max_bad_share is {max_bad_share}; allowed: at least 0, below 1")
    if on_bad_data == "quarantine" and quarantine_file is None:
        raise ConfigError("on_bad_data is 'quarantine' but quarantine_file is not set: name the file to write")
    if not isinstance(root, (str, os.PathLike)):
        raise ConfigError(f"root is {root!r}; allowed: the path of a folder")
    one_text(split, "split")
    root = Path(root)
    if not root.is_dir() and not (name == "csv" and root.is_file()):
        raise DataError(f"data set {name}: root {root} is not a folder")

    n_rows = 0
    bad: list[BadRow] = []
    good: dict[Path, list[Row]] = {}
    image_problems: dict[Path, str] = {}
    for row in READERS[name](root, split):
        n_rows += 1
        problem = row.problem or caption_problem(row.caption)
        if not problem and row.image is not None:
            if row.image not in image_problems:
                image_problems[row.image] = image_problem(row.image, decode_images)
            problem = image_problems[row.image]
        if not problem and row.image is not None:
            good.setdefault(row.image, []).append(row)
            continue
        if on_bad_data == "raise":
            raise DataError(f"{row.where}: {problem}; on_bad_data=skip leaves such rows out")
        bad.append(BadRow(row.where, printable(row.image), printable(row.caption), problem))

    if bad and on_bad_data == "quarantine" and quarantine_file is not None:
        _write_quarantine(Path(quarantine_file), bad)
    if len(bad) > max_bad_share * n_rows:
        raise DataError(
            f"data set {name}, split {split}, in {root}: {len(bad)} of {n_rows} rows are bad, more than "
            f"max_bad_share={max_bad_share:g} allows; the first: {bad[0].where}: {bad[0].problem}"
        )
    if not good:
        raise DataError(f"data set {name}, split {split}, in {root}: no captions found")
    examples = [_example(name, image, rows) for image, rows in good.items()]
    return Examples(examples, n_rows, bad)


def _example(name: str, image: Path, rows: Sequence[Row]) -> Example:
    originals = tuple("" if caption_problem(row.original) else row.original.strip() for row in rows)
    captions = tuple(row.caption.strip() for row in rows)
    return Example(image, captions, rows[0].image_id or image.stem, name, originals if any(originals) else ())


# --- what makes a row bad ----------------------------------------------------------------------------------


def caption_problem(caption: Any) -> str:
    """What is wrong with a caption as read, in words; empty if nothing is."""
    if not isinstance(caption, str):
        return f"the caption is {type(caption).__name__}, not text"
    if any("\ud800" <= character <= "\udfff" for character in caption):
        return f"the caption is not valid UTF-8{_of_another_encoding(caption)}"
    return "" if caption.strip() else "the caption is empty"


def _of_another_encoding(text: str) -> str:
    """What to add where bytes of a text were no UTF-8; "" for any other text."""
    is_another = any("\udc80" <= character <= "\udcff" for character in text)
    return "; the file is not UTF-8, as of Latin-1: convert it to UTF-8" if is_another else ""


def image_problem(path: Path, decode: bool) -> str:
    """What is wrong with a picture's file, in words; empty if nothing is. `decode`: whether to read it whole."""
    try:
        if not path.is_file():
            return f"image {printable(path)} is missing{_of_another_encoding(str(path))}"
        if path.stat().st_size == 0:
            return f"image {path} is empty (0 bytes)"
    except (OSError, ValueError):
        return f"image {printable(path)} is not a usable path"
    if decode:
        try:
            load_image(path)
        except ImageError as error:
            return str(error)
    return ""


def printable(value: Any) -> str:
    """Text of any row, fit for a terminal and for UTF-8: what is not printable is escaped."""
    text = str(value if value is not None else "")
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _write_quarantine(path: Path, bad: Sequence[BadRow]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as file:
        file.write_text("".join(json.dumps(asdict(row)) + "\n" for row in bad), encoding="utf-8")
