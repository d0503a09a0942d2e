"""The files that data sets are published in, read as rows: one for each caption.

A reader judges nothing but its own format; `fastcap.data.readers.load_dataset` checks what the rows say.
"""

from __future__ import annotations

import csv
import json
import os
import re
import reprlib
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from fastcap.errors import DataError, counted
from fastcap.files import text_encoding

__all__ = [
    "IMAGE_COLUMNS",
    "READERS",
    "Locator",
    "Reader",
    "Row",
    "has_splits",
    "numbered_lines",
    "shown",
    "table_cells",
    "table_header",
]


@dataclass(frozen=True)
class Row:
    """One caption as read. A reader that cannot make sense of a row says so in `problem`. `original`: the caption that
    this one was made from, where the file keeps both."""

    where: str
    image: Path | None = None
    caption: Any = ""
    image_id: str = ""
    problem: str = ""
    original: Any = ""


Reader = Callable[[Path, str], Iterator[Row]]

_COCO = [f"{part}{year}" for year in ("2014", "2017") for part in ("train", "val", "test")]
IMAGE_FOLDERS = (
    *("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset"),
    *("flickr30k_images", "flickr30k_images/flickr30k_images", "flickr30k-images"),
    *_COCO,
    *(f"images/{folder}" for folder in _COCO),
    "",
)
"""Where the published archives unpack their pictures, "" being the root itself."""

IMAGE_COLUMNS = ("image", "image_name", "file_name", "filename", "image_path")
CAPTION_COLUMNS = ("caption", "comment", "text", "alt_text")
ORIGINAL_COLUMNS = ("original", "original_caption", "original_alt_text")
SPLITS = {"train": ("train", "training"), "val": ("val", "dev", "valid", "validation"), "test": ("test", "testing")}
"""What files call the splits in a column `split`."""
DELIMITERS = ("|", ";", "\t", ",")
_LONGEST_CELL = 20  # lines


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
    rows = _token_rows(path) if "token" in path.name else _table_rows(path, split)
    if split == "all" or ("token" not in path.name and has_splits(path)):
        yield from rows
        return
    words = {"val": ("val", "dev"), "dev": ("dev", "val")}.get(split, (split,))
    patterns = ("Flickr_8k.{}Images.txt", "Flickr_30k.{}Images.txt", "flickr30k_{}.txt", "{}.txt")
    names = [pattern.format(word) for pattern in patterns for word in words]
    split_file = _first_file(root, names, f"image names of split {split!r} (split='all' needs no such list)")
    listed = {_stem(line.strip()): n for n, line in numbered_lines(split_file) if line.strip()}
    described = set()
    for row in rows:
        # Of a row that cannot be read, the picture's name may still stand where it always does, in front.
        stem = _stem(row.image.name if row.image else re.split(r"[\s|,;#\"]", row.caption.lstrip('"'))[0])
        if stem in listed:
            described.add(stem)
            yield row
    for stem, n in listed.items():
        if stem not in described:
            yield Row(f"{split_file}:{n}", problem=f"image {stem} is listed but {path.name} has no caption for it")


def read_coco(root: Path, split: str) -> Iterator[Row]:
    """COCO captions (Chen et al. 2015): `[annotations/]captions_{split}[2014|2017].json`."""
    names = [f"{f}captions_{split}{year}.json" for f in ("", "annotations/") for year in ("", "2014", "2017")]
    path = _first_file(root, names, "COCO annotations")
    locate, images = Locator(root), {}
    for number, image in enumerate(_records(path, "images")):
        key, name = _coco_id(image.get("id")), image.get("file_name")
        if key is None:
            yield Row(f"{path}: image {number}", problem=_no_id(image.get("id")))
        elif not isinstance(name, str):
            yield Row(f"{path}: image {key}", problem=_no_text("file_name", image))
        else:
            images[key] = locate(name)
    for number, annotation in enumerate(_records(path, "annotations")):
        key = _coco_id(annotation.get("image_id"))
        where = f"{path}: annotation {_coco_id(annotation.get('id')) or number}"
        if key in images:
            yield Row(where, images[key], annotation.get("caption"), key)
        elif key is None:
            yield Row(where, problem=_no_id(annotation.get("image_id")))
        else:
            yield Row(where, problem=f"image_id {key} is not among the file's images")


def _coco_id(value: Any) -> str | None:
    """An id as text, so that 7, 7.0 and "7" are one; None for what is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _no_id(value: Any) -> str:
    return f"image id {shown(value)} is no number or text"


def _no_text(key: str, record: dict[str, Any]) -> str:
    """What to say of a record whose value has to be a text."""
    return f"{key} is {shown(record[key])}, not a text" if key in record else f"no {key}"


def shown(value: Any) -> str:
    """A value of a JSON file as the file has it, cut to fit a message."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else reprlib.repr(value)


def read_karpathy(root: Path, split: str) -> Iterator[Row]:
    """Karpathy and Fei-Fei's (2015) splits: the one `dataset*.json` of the folder.

    Every image names its split; COCO's usual training set is `train+restval`.
    """
    files = sorted(root.glob("dataset*.json"))
    if len(files) != 1:
        raise DataError(f"{root}: expected one dataset*.json (Karpathy's splits), found {len(files)}")
    (path,) = files
    wanted = set(split.split("+"))
    locate, seen = Locator(root), set()
    for number, image in enumerate(_records(path, "images")):
        seen.add(str(image.get("split")))
        if str(image.get("split")) not in wanted:
            continue
        where = f"{path}: image {_coco_id(image.get('imgid')) or number}"
        name, sentences, folder = image.get("filename"), image.get("sentences"), image.get("filepath", "")
        if not isinstance(name, str) or not isinstance(sentences, list):
            sentences_told = f"sentences is {shown(sentences)}, not a list"
            yield Row(where, problem=sentences_told if isinstance(name, str) else _no_text("filename", image))
            continue
        located = locate(name, f"{folder}", f"images/{folder}")
        image_id = str(image.get("cocoid", image.get("imgid", "")))
        for sentence in sentences:
            yield Row(where, located, sentence.get("raw") if isinstance(sentence, dict) else None, image_id)
    if missing := wanted - seen:
        raise DataError(f"{path}: no split {'+'.join(sorted(missing))}; it has {', '.join(sorted(seen))}")


def read_coco_machine(root: Path, split: str) -> Iterator[Row]:
    """Captions of COCO images by a strong model, for distillation: `machine_captions_{split}.jsonl`."""
    return _json_lines(_first_file(root, (f"machine_captions_{split}.jsonl",), "captions"), split)


def read_jsonl(root: Path, split: str) -> Iterator[Row]:
    """Own data: `{split}.jsonl` with lines `{"image": path, "caption": text}` or `"captions": [text, ...]`.

    Keys may be those that `read_csv` knows, and the file `{split}/metadata.jsonl`, as Hugging Face has it. Image paths
    are absolute or relative to the file's folder or the `images/` in it. A row with a
    key `split` belongs to that split.
    """
    return _json_lines(_first_file(root, (f"{split}.jsonl", f"{split}/metadata.jsonl"), "captions"), split)


def read_csv(root: Path, split: str) -> Iterator[Row]:
    """Own data: `{split}.csv`, `{split}.tsv` or `{split}/metadata.csv` with the columns image and caption.

    They may also be called file_name and text, as Hugging Face has it. The file is in UTF-8, or in UTF-16 with a byte
    order mark or a Latin letter in front; between the columns stands a comma, a semicolon, a tab or a bar. A column
    `split` says which rows belong to the split; with one, the file may also be `captions.csv`, `metadata.csv` or, in
    place of the folder, any file.
    """
    if root.is_file():
        return _table_rows(root, split)
    shared = (f"{name}{ending}" for name in ("captions", "metadata", "dataset") for ending in (".csv", ".tsv"))
    names = [f"{split}.csv", f"{split}.tsv", f"{split}/metadata.csv"]
    names += (name for name in shared if (root / name).is_file() and has_splits(root / name))
    return _table_rows(_first_file(root, names, "captions"), split)


def has_splits(path: Path) -> bool:
    """Whether a table of captions has a column `split`."""
    return "split" in table_header(deque(islice(numbered_lines(path), 2)))[1]


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


def table_header(lines: deque[tuple[int, str]]) -> tuple[str, list[str]]:
    """The delimiter and the columns of a table; its first lines are taken from `lines`."""
    if lines and lines[0][1].lower().startswith("sep="):  # a spreadsheet's own hint
        lines.popleft()
    header = lines.popleft()[1] if lines else ""
    delimiter = max(DELIMITERS, key=header.count)
    return delimiter, [column.strip().strip('"').lower() for column in header.split(delimiter)]


def _table_rows(path: Path, split: str) -> Iterator[Row]:
    """Delimited text with a header: the rows of a split, if it says which those are. A quote that is never closed
    spoils its line and no other."""
    locate, lines = Locator(path.parent), deque(numbered_lines(path))
    delimiter, columns = table_header(lines)
    image_column = next((columns.index(c) for c in IMAGE_COLUMNS if c in columns), None)
    caption_column = next((columns.index(c) for c in CAPTION_COLUMNS if c in columns), None)
    original_column = next((columns.index(c) for c in ORIGINAL_COLUMNS if c in columns), None)
    if image_column is None or caption_column is None:
        raise DataError(f"{path}: columns are {columns}; needed: image and caption")
    used = (*IMAGE_COLUMNS, *CAPTION_COLUMNS, *ORIGINAL_COLUMNS, "split")
    if twice := [column for column in dict.fromkeys(columns) if column in used and columns.count(column) > 1]:
        raise DataError(f"{path}: columns are {columns}; {', '.join(twice)} may be there once only")
    split_column = columns.index("split") if "split" in columns and split != "all" else None
    wanted, seen = {split, *SPLITS.get(split, ())}, set()
    while lines:
        n, line = lines.popleft()
        if not line.strip():
            continue
        fields, problem = table_cells(line, lines, delimiter, len(columns))
        if split_column is not None:
            # Where the cells of a line are not clear, any of them may say which split it is of.
            stated = {field.strip().strip('"').lower() for field in (line.split(delimiter) if problem else fields)}
            of = stated & {*chain(*SPLITS.values())} if problem else {fields[split_column].strip().lower()}
            seen |= of
            if of.isdisjoint(wanted) and (of or not problem):
                continue
        if problem:
            # The picture's name comes first in the published files, and so before what is wrong.
            name = line.split(delimiter)[0].strip().strip('"') if image_column == 0 else ""
            located = locate(name) if name and name != line.strip() else None
            yield Row(f"{path}:{n}", located, line.strip(), problem=problem)
        else:
            original = fields[original_column] if original_column is not None else ""
            image = locate(fields[image_column].strip())
            yield Row(f"{path}:{n}", image, fields[caption_column], original=original)
    if split_column is not None and seen.isdisjoint(wanted):
        raise DataError(f"{path}: no split {split!r} in its column 'split'; it has {', '.join(sorted(seen)) or 'none'}")


def table_cells(line: str, rest: deque[tuple[int, str]], delimiter: str, count: int) -> tuple[list[str], str]:
    """The cells of a line, or what is wrong with it. Lines of the `rest` in which a quoted cell goes on are taken."""
    if delimiter == "|":  # Flickr30k's file quotes nothing and has stray quotes
        cells, problem = line.split("|"), ""
    else:
        cells, problem = [], ""
        for taken in range(min(len(rest), _LONGEST_CELL) + 1):
            text = "".join([line, *(rest[number][1] for number in range(taken))])
            try:
                cells = next(csv.reader([text], delimiter=delimiter, strict=True))
            except csv.Error as error:
                problem = problem or f"not CSV: {error}"
                continue
            if taken and len(cells) != count:
                continue
            for _ in range(taken):
                rest.popleft()
            problem = ""
            break
    if not problem and len(cells) != count:
        quotes = f" (a caption with a {delimiter!r} needs quotes)" if len(cells) > count else ""
        problem = f"{counted(len(cells), 'column')}, not {count}{quotes}"
    return cells, problem


def _token_rows(path: Path) -> Iterator[Row]:
    locate = Locator(path.parent)
    for n, line in numbered_lines(path):
        if not line.strip():
            continue
        name, tab, caption = line.partition("\t")
        name, _, number = name.rpartition("#")
        if tab and name and number.isdecimal():
            yield Row(f"{path}:{n}", locate(name), caption)
        else:
            yield Row(f"{path}:{n}", caption=line.strip(), problem="not of the form name.jpg#0<tab>caption")


def _json_lines(path: Path, split: str) -> Iterator[Row]:
    """The objects of a split: those that do not say which they are of, or say that it is this one."""
    locate, wanted, others = Locator(path.parent), {split, *SPLITS.get(split, ())}, set()
    is_empty = True
    for n, line in numbered_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{n}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(where, caption=line.strip(), problem=f"not JSON: {error}")
            continue
        if isinstance(record, dict) and "split" in record and split != "all":
            of = str(record["split"]).strip().lower()
            if of not in wanted:
                others.add(of)
                continue
        is_empty = False
        key = next((key for key in IMAGE_COLUMNS if key in record), "") if isinstance(record, dict) else ""
        if not key or not isinstance(record[key], str):
            told = _no_text(key, record) if key else 'not a JSON object with "image"'
            yield Row(where, caption=line.strip(), problem=told)
            continue
        name = record[key]
        image, image_id = locate(name), str(record.get("image_id", ""))
        captions = record["captions"] if "captions" in record else [_first_of(record, CAPTION_COLUMNS)]
        if not isinstance(captions, list) or not captions:
            yield Row(where, image, caption=captions, problem=f'"captions" is {shown(captions)}, not a list of texts')
            continue
        original = _first_of(record, ORIGINAL_COLUMNS) or ""
        for caption in captions:
            yield Row(where, image, caption, image_id, original=original)
    if is_empty and others:
        raise DataError(f"{path}: no split {split!r} in its key 'split'; it has {', '.join(sorted(others))}")


def _first_of(record: dict[str, Any], names: Sequence[str]) -> Any:
    return next((record[name] for name in names if name in record), None)


def _records(path: Path, key: str) -> Iterator[dict[str, Any]]:
    """The objects of a list in a JSON file; what is no object there counts as an empty one."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    records = content.get(key) if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise DataError(f"{path}: expected a JSON object whose {key!r} is a list of objects")
    return (record if isinstance(record, dict) else {} for record in records)


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, from 1. What is not valid in their encoding becomes surrogates and so spoils its row only;
    only UTF-16 that is cut short raises DataError."""
    with path.open("rb") as file:
        encoding = text_encoding(file.read(2))
    with path.open(encoding=encoding, errors="surrogatepass" if "16" in encoding else "surrogateescape") as file:
        try:
            yield from enumerate(file, start=1)
        except UnicodeDecodeError as error:  # UTF-16 that ends within a character
            raise DataError(f"{path}: not valid {error.encoding}: {error.reason}") from None


def _first_file(root: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (root / name).is_file():
            return root / name
    raise DataError(f"{root}: no file with the {what}; looked for {', '.join(names)}")


def _stem(name: str) -> str:
    """The name of a picture without folder and ending, in one spelling of its letters."""
    return unicodedata.normalize("NFC", Path(name).stem)


class Locator:
    """Finds the pictures that rows name, in a folder or where archives unpack them there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = [folder for folder in IMAGE_FOLDERS if os.path.isdir(root / folder)]
        self._last: tuple[tuple[str, ...], Path] | None = None

    def __call__(self, name: str, *folders: str) -> Path:
        """The picture's path: the first candidate that exists, else the first of all, to be reported as missing.

        `folders`: where to look first. A file system may spell an accented letter as two characters (NFD, on macOS)
        where the captions have one, or the reverse; and captions made on Windows have backslashes.
        """
        if self._last and self._last[0] == (name, *folders):  # captions of one picture stand together
            return self._last[1]
        spellings = [name]
        if not name.isascii():
            spellings += [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
        if "\\" in name:
            spellings.append(name.replace("\\", "/"))
        places = [*filter(None, folders), *self._folders]
        candidates = (os.path.join(self._root, folder, spelling) for spelling in spellings for folder in places)
        path = next(filter(os.path.isfile, candidates), None)
        located = Path(path) if path else self._root / IMAGE_FOLDERS[0] / name
        self._last = (name, *folders), located
        return located
