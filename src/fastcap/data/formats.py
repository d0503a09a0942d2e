"""The files that data sets are published in, read as rows: one for each caption.

A reader judges nothing but its own format; `fastcap.data.readers.load_dataset` checks what the rows say.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastcap.errors import DataError

__all__ = ["READERS", "Reader", "Row"]


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
