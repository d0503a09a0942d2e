"""Tables of captioned pictures as folders that readers know: each picture a file, its captions lines."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastcap.errors import DataError, FastcapError, needs
from fastcap.files import folder_written_aside
from fastcap.runtime.signatures import format_of

__all__ = ["Columns", "unpack", "unpacked"]

_ROWS = 64  # of a table in memory
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "TIFF": "tif"}
_TABLE = re.compile(r"(?:data/)?([A-Za-z]+)(?:-\d+-of-\d+)?\.parquet")


class Columns(NamedTuple):
    """What the columns of a table hold. `only`: a column that has to be true; `fixed`: the caption of every row, where
    the table has none; `source_id`: an id that is worth keeping. The picture is in `image`."""

    captions: str = "captions"
    originals: str = "originals"
    only: str = ""
    fixed: str = ""
    source_id: str = "source_id"


def unpacked(folder: Path, cache: Path) -> Path:
    """The folder itself or, if it holds tables as `merge` and the hub write them, what they hold, unpacked into the
    cache. A second call takes what the first has left; tables that have changed are unpacked anew.

    Raises DataError for tables that hold no captioned pictures, FastcapError if pyarrow is not installed.
    """
    found = [(path.relative_to(folder).as_posix(), path) for glob in ("*", "data/*") for path in folder.glob(glob)]
    tables = sorted((match[1], path) for name, path in found if (match := _TABLE.fullmatch(name)))
    if not tables:
        return folder
    facts = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for _, path in tables]
    target = cache / hashlib.blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        unpack(tables, Columns(), target, str(folder))
    return target


def unpack(tables: Sequence[tuple[str, Path]], columns: Columns, folder: Path, what: str) -> None:
    """Write a folder with the pictures and captions of tables, each with its split; whole or not at all.

    `what`: how messages name them. Raises DataError for tables that hold none, FastcapError if pyarrow is not
    installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        raise FastcapError(f"{what}: reading tables {needs('pyarrow', 'bulk')}") from None
    count = 0
    with folder_written_aside(folder) as aside:
        (aside / "images").mkdir()
        for number, (split, path) in enumerate(tables):
            with (aside / f"{split}.jsonl").open("a", encoding="utf-8") as file:
                for line in _lines(path, f"{split}-{number:05}", columns, aside / "images", what):
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    count += 1
        if not count:
            raise DataError(f"{what} holds no captioned picture")


def _lines(path: Path, name: str, columns: Columns, images: Path, what: str) -> Iterator[dict[str, Any]]:
    from pyarrow import ArrowInvalid, parquet

    try:
        count = 0
        for batch in parquet.ParquetFile(path).iter_batches(_ROWS):
            for row in batch.to_pylist():
                count += 1
                yield from _row(row, f"{name}-{count:07}", columns, images)
    except (ArrowInvalid, OSError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{path.name} of {what} is no table of captioned pictures ({error!r})") from error


def _row(row: Mapping[str, Any], name: str, columns: Columns, images: Path) -> Iterator[dict[str, Any]]:
    if columns.only and not row[columns.only]:
        return
    captions = _texts([columns.fixed] if columns.fixed else row[columns.captions])
    if not any(captions):
        return
    data = row["image"]["bytes"] if isinstance(row["image"], dict) else row["image"]
    file = f"{name}.{_SUFFIXES.get(format_of(data[:32]) or '' if data else '', 'bin')}"
    (images / file).write_bytes(data or b"")
    line = {"image": file, "image_id": str(row.get(columns.source_id) or name)}
    originals = _texts(row.get(columns.originals)) if columns.originals else []
    if len(originals) == len(captions) and any(originals):
        for caption, original in zip(captions, originals, strict=True):
            yield line | {"caption": caption, "original": original}
    else:
        yield line | {"captions": captions}


def _texts(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value or ())
