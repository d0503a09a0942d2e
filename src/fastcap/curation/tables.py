"""Tables of captions as people keep them: CSV and JSON lines, read whole, written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastcap.data.formats import CAPTION_COLUMNS
from fastcap.errors import ConfigError, DataError
from fastcap.files import written_aside

__all__ = ["caption_column", "check_table_name", "read_table", "write_table"]

_TABLES = {".jsonl": "\n", ".ndjson": "\n", ".csv": ",", ".tsv": "\t"}
"""What separates: lines of JSON, or cells."""


def check_table_name(path: Path) -> None:
    """Raise ConfigError for a file whose name does not tell what table it is."""
    if path.suffix.lower() not in _TABLES:
        raise ConfigError(f"{path}: got {path.suffix or 'no suffix'!r}; allowed: {', '.join(_TABLES)}")


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a table by column. Raises ConfigError for its name, DataError for what it holds."""
    check_table_name(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8") from None
    separator = _TABLES[path.suffix.lower()]
    rows = list(_lines(path, text) if separator == "\n" else _cells(path, text, separator))
    if not rows:
        raise DataError(f"{path}: no rows")
    return rows


def _lines(path: Path, text: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: no JSON ({error})") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: got a {type(row).__name__}; needed: an object")
        yield row


def _cells(path: Path, text: str, delimiter: str) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}:{reader.line_num}: {len(reader.fieldnames or ())} columns are named, not as many given"
                )
            yield row
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from None


def caption_column(path: Path, rows: Sequence[Mapping[str, Any]], named: str | None = None) -> str:
    """The column that holds the captions: the one that is named, or the first that is known.

    Raises ConfigError if there is none, DataError for a row whose caption is no text.
    """
    known = [named] if named else CAPTION_COLUMNS
    column = next((name for name in known if name in rows[0]), None)
    if column is None:
        raise ConfigError(f"{path}: no column {' or '.join(map(repr, known))}; there: {', '.join(rows[0])}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row.get(column), str):
            raise DataError(f"{path}: row {number}: {column!r} is {row.get(column)!r}; needed: text")
    return column


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table whole or not at all; in CSV, what is no text or number stands as JSON."""
    check_table_name(path)
    separator = _TABLES[path.suffix.lower()]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        if separator == "\n":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        writer = csv.DictWriter(file, columns, delimiter=separator, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict, bool)) else value
