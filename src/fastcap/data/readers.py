"""Data set readers: the files that data sets are published in -> a list of `Example`.

Every reader yields one `Row` for each caption and judges nothing but its own format; `load_dataset` checks
the rows (image there, caption there, valid Unicode), applies `on_bad_data` and groups the captions by image.
"""

from __future__ import annotations

import csv
import difflib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fastcap.errors import ConfigError, DataError, ImageError
from fastcap.runtime.images import load_image

__all__ = [
    "MAX_BAD_SHARE",
    "READERS",
    "BadRow",
    "Example",
    "Examples",
    "OnBadData",
    "caption_problem",
    "load_dataset",
    "printable",
]

OnBadData = Literal["raise", "skip", "quarantine"]
MAX_BAD_SHARE = 0.10  # of a data set: beyond that the path or the format is wrong, not a row


@dataclass(frozen=True)
class Example:
    """A picture and its captions as published; `clean_caption` gives the form that models are trained on."""

    image: Path
    captions: tuple[str, ...]
    image_id: str
    source: str


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


@dataclass(frozen=True)
class Row:
    """One caption as read. A reader that cannot make sense of a row says so in `problem`."""

    where: str
    image: Path | None = None
    caption: Any = ""
    image_id: str = ""
    problem: str = ""


Reader = Callable[[Path, str], Iterator[Row]]

# Where the published archives unpack their pictures, "" being the root itself.
IMAGE_FOLDERS = (
    "images",
    "Images",
    "Flicker8k_Dataset",
    "flickr30k_images",
    "flickr30k_images/flickr30k_images",
    "flickr30k-images",
    "train2014",
    "val2014",
    "train2017",
    "val2017",
    "",
)
IMAGE_COLUMNS = ("image", "image_name")
CAPTION_COLUMNS = ("caption", "comment")


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
        root: folder of the data set, as its archive unpacks.
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
    if name not in READERS:
        near = difflib.get_close_matches(name, READERS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"unknown data set {name!r}{hint}; allowed: {', '.join(READERS)}")
    if on_bad_data not in get_args(OnBadData):
        raise ConfigError(f"on_bad_data is {on_bad_data!r}; allowed: {', '.join(get_args(OnBadData))}")
    if not 0 <= max_bad_share < 1:
        raise ConfigError(f"max_bad_share is {max_bad_share}; allowed: at least 0, below 1")
    if on_bad_data == "quarantine" and quarantine_file is None:
        raise ConfigError("on_bad_data is 'quarantine' but quarantine_file is not set: name the file to write")
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"data set {name}: root {root} is not a folder")

    n_rows = 0
    bad: list[BadRow] = []
    captions: dict[Path, list[str]] = {}
    image_ids: dict[Path, str] = {}
    image_problems: dict[Path, str] = {}
    for row in READERS[name](root, split):
        n_rows += 1
        problem = row.problem or caption_problem(row.caption)
        if not problem and row.image is not None:
            if row.image not in image_problems:
                image_problems[row.image] = _image_problem(row.image, decode_images)
            problem = image_problems[row.image]
        if not problem and row.image is not None:
            captions.setdefault(row.image, []).append(row.caption.strip())
            image_ids.setdefault(row.image, row.image_id or row.image.stem)
            continue
        if on_bad_data == "raise":
            raise DataError(f"{row.where}: {problem}; on_bad_data=skip or quarantine leaves such rows out")
        bad.append(BadRow(row.where, printable(row.image), printable(row.caption), problem))

    if bad and on_bad_data == "quarantine" and quarantine_file is not None:
        _write_quarantine(Path(quarantine_file), bad)
    if len(bad) > max_bad_share * n_rows:
        raise DataError(
            f"data set {name}, split {split}, in {root}: {len(bad)} of {n_rows} rows are bad, more than "
            f"max_bad_share={max_bad_share:g} allows; the first: {bad[0].where}: {bad[0].problem}"
        )
    if not captions:
        raise DataError(f"data set {name}, split {split}, in {root}: no captions found")
    examples = [Example(image, tuple(texts), image_ids[image], name) for image, texts in captions.items()]
    return Examples(examples, n_rows, bad)


# --- one reader a format -----------------------------------------------------------------------------------


def read_flickr(root: Path, split: str) -> Iterator[Row]:
    """Flickr8k (Hodosh et al. 2013) and Flickr30k (Young et al. 2014), as on Kaggle or in the first archives.

    Captions: `captions.txt` or `results.csv` (a header, then `image,caption` or `image| number| caption`), or
    `Flickr8k.token.txt` / `results_20130124.token` (`name.jpg#0<tab>caption`). Splits: lists such as
    `Flickr_8k.trainImages.txt`, one image name or bare id a line; `dev` is the archives' word for `val`.
    """
    path = _first_file(
        root, ("captions.txt", "Flickr8k.token.txt", "results.csv", "results_20130124.token"), "captions"
    )
    rows = _token_rows(path, root) if "token" in path.name else _table_rows(path, root)
    if split == "all":
        yield from rows
        return
    words = {"val": ("val", "dev"), "dev": ("dev", "val")}.get(split, (split,))
    patterns = ("Flickr_8k.{}Images.txt", "Flickr_30k.{}Images.txt", "flickr30k_{}.txt", "{}.txt")
    names = [pattern.format(word) for pattern in patterns for word in words]
    split_file = _first_file(root, names, f"image names of split {split!r} (split='all' needs no such list)")
    listed = {Path(line.strip()).stem: n for n, line in _lines(split_file) if line.strip()}
    described = set()
    for row in rows:
        if row.image is None:  # an unreadable row may belong to any split: report it
            yield row
        elif row.image.stem in listed:
            described.add(row.image.stem)
            yield row
    for stem, n in listed.items():
        if stem not in described:
            yield Row(f"{split_file}:{n}", problem=f"image {stem} is listed but {path.name} has no caption for it")


def read_coco(root: Path, split: str) -> Iterator[Row]:
    """COCO captions (Chen et al. 2015): `[annotations/]captions_{split}[2014|2017].json`."""
    names = [f"{f}captions_{split}{year}.json" for f in ("", "annotations/") for year in ("", "2014", "2017")]
    path = _first_file(root, names, "COCO annotations")
    images = {}
    for image in _records(path, "images"):
        if not isinstance(image.get("file_name"), str):
            yield Row(f"{path}: image {image.get('id')}", problem="no file_name")
        else:
            images[image.get("id")] = _locate(root, image["file_name"])
    for annotation in _records(path, "annotations"):
        where, image_id = f"{path}: annotation {annotation.get('id')}", annotation.get("image_id")
        if image_id in images:
            yield Row(where, images[image_id], annotation.get("caption"), str(image_id))
        else:
            yield Row(where, problem=f"image_id {image_id!r} is not among the file's images")


def read_karpathy(root: Path, split: str) -> Iterator[Row]:
    """Karpathy and Fei-Fei's (2015) splits: the one `dataset*.json` of the folder.

    Every image names its split; COCO's usual training set is `train+restval`.
    """
    files = sorted(root.glob("dataset*.json"))
    if len(files) != 1:
        raise DataError(f"{root}: expected one dataset*.json (Karpathy's splits), found {len(files)}")
    (path,) = files
    wanted = set(split.split("+"))
    seen = set()
    for image in _records(path, "images"):
        seen.add(str(image.get("split")))
        if image.get("split") not in wanted:
            continue
        where = f"{path}: image {image.get('imgid')}"
        name, sentences = image.get("filename"), image.get("sentences")
        if not isinstance(name, str) or not isinstance(sentences, list):
            yield Row(where, problem="filename or sentences is missing")
            continue
        located = _locate(root, name, (str(image.get("filepath", "")),))
        image_id = str(image.get("cocoid", image.get("imgid", "")))
        for sentence in sentences:
            yield Row(where, located, sentence.get("raw") if isinstance(sentence, dict) else None, image_id)
    if missing := wanted - seen:
        raise DataError(f"{path}: no split {'+'.join(sorted(missing))}; it has {', '.join(sorted(seen))}")


def read_coco_machine(root: Path, split: str) -> Iterator[Row]:
    """Captions of COCO images by a strong model, for distillation: `machine_captions_{split}.jsonl`."""
    return _json_lines(root, root / f"machine_captions_{split}.jsonl")


def read_jsonl(root: Path, split: str) -> Iterator[Row]:
    """Own data: `{split}.jsonl` with lines `{"image": path, "caption": text}` or `"captions": [text, ...]`.

    Image paths are absolute or relative to the root or its `images/`.
    """
    return _json_lines(root, root / f"{split}.jsonl")


def read_csv(root: Path, split: str) -> Iterator[Row]:
    """Own data: `{split}.csv` in UTF-8 with the columns image and caption, one line a row."""
    return _table_rows(_first_file(root, (f"{split}.csv",), "captions"), root)


READERS: dict[str, Reader] = {
    "flickr8k": read_flickr,
    "flickr30k": read_flickr,
    "coco": read_coco,
    "coco_machine": read_coco_machine,
    "karpathy": read_karpathy,
    "jsonl": read_jsonl,
    "csv": read_csv,
}


# --- files -> rows -----------------------------------------------------------------------------------------


def _table_rows(path: Path, root: Path) -> Iterator[Row]:
    """Delimited text with a header. A row is one line, so an unclosed quote spoils that row and no other."""
    lines = _lines(path)
    _, header = next(lines, (1, ""))
    piped = "|" in header
    columns = [column.strip().strip('"').lower() for column in header.split("|" if piped else ",")]
    image_column = next((columns.index(c) for c in IMAGE_COLUMNS if c in columns), None)
    caption_column = next((columns.index(c) for c in CAPTION_COLUMNS if c in columns), None)
    if image_column is None or caption_column is None:
        raise DataError(f"{path}: columns are {columns}; needed: image and caption")
    for n, line in lines:
        if not line.strip():
            continue
        where = f"{path}:{n}"
        try:
            # Flickr30k's piped file quotes nothing and has stray quotes.
            (fields,) = [line.split("|")] if piped else csv.reader([line], strict=True)
        except csv.Error as error:
            yield Row(where, problem=f"not CSV: {error}")
            continue
        if len(fields) != len(columns):
            yield Row(
                where,
                caption=line.strip(),
                problem=f"{len(fields)} columns, not {len(columns)} (a caption with a comma needs quotes)",
            )
            continue
        yield Row(where, _locate(root, fields[image_column].strip()), fields[caption_column])


def _token_rows(path: Path, root: Path) -> Iterator[Row]:
    for n, line in _lines(path):
        if not line.strip():
            continue
        name, tab, caption = line.partition("\t")
        name, _, number = name.rpartition("#")
        if tab and name and number.isdecimal():
            yield Row(f"{path}:{n}", _locate(root, name), caption)
        else:
            yield Row(f"{path}:{n}", caption=line.strip(), problem="not of the form name.jpg#0<tab>caption")


def _json_lines(root: Path, path: Path) -> Iterator[Row]:
    for n, line in _lines(_first_file(root, (path.name,), "captions")):
        if not line.strip():
            continue
        where = f"{path}:{n}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(where, caption=line.strip(), problem=f"not JSON: {error}")
            continue
        if not isinstance(record, dict) or not isinstance(record.get("image"), str):
            yield Row(where, caption=line.strip(), problem='not a JSON object with "image"')
            continue
        image, image_id = _locate(root, record["image"]), str(record.get("image_id", ""))
        captions = record["captions"] if "captions" in record else [record.get("caption")]
        if not isinstance(captions, list) or not captions:
            yield Row(where, image, caption=captions, problem='"captions" is not a list of texts')
            continue
        for caption in captions:
            yield Row(where, image, caption, image_id)


def _records(path: Path, key: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    records = content.get(key) if isinstance(content, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(f"{path}: expected a JSON object whose {key!r} is a list of objects")
    return records


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, from 1. A byte that is not UTF-8 becomes a surrogate and so spoils its row only."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        yield from enumerate(file, start=1)


def _first_file(root: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (root / name).is_file():
            return root / name
    raise DataError(f"{root}: no file with the {what}; looked for {', '.join(names)}")


def _locate(root: Path, name: str, folders: Sequence[str] = ()) -> Path:
    """The picture's path: the first candidate that exists, else the first, to be reported as missing."""
    candidates = (os.path.join(root, folder, name) for folder in (*folders, *IMAGE_FOLDERS))
    found = next(filter(os.path.isfile, candidates), None)
    return Path(found) if found else root / IMAGE_FOLDERS[0] / name


# --- what makes a row bad ----------------------------------------------------------------------------------


def caption_problem(caption: Any) -> str:
    """What is wrong with a caption as read, in words; empty if nothing is."""
    if not isinstance(caption, str):
        return f"the caption is {type(caption).__name__}, not text"
    if any("\ud800" <= character <= "\udfff" for character in caption):
        return "the caption is not valid UTF-8"
    return "" if caption.strip() else "the caption is empty"


def _image_problem(path: Path, decode: bool) -> str:
    try:
        if not path.is_file():
            return f"image {printable(path)} is missing"
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
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(json.dumps(asdict(row)) + "\n" for row in bad), encoding="utf-8")
    os.replace(partial, path)
