"""The files beside the page of a report, each written whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from fastcap.curation.quality import Pair, Report
from fastcap.errors import ImageError
from fastcap.files import folder_written_aside, written_aside
from fastcap.runtime.images import load_thumbnail

__all__ = ["image_name", "write_tables"]

_SCORES = ("alignment", "likelihood", "agreement", "fidelity", "combined")
_COLUMNS = ("split", "image", "image_id", "index", "caption", "original", *_SCORES, "words", "objects", "protected")
_SIDE = 512  # pixels, of the pictures in top_failures


def write_tables(report: Report, out: Path) -> list[Path]:
    """Write them into an existing folder; returns their paths. Raises OSError if one cannot be written."""
    below = report.thresholds.rare
    total = max(1, sum(report.objects.pictures.values()))
    counts = [(name, n, report.objects.captions[name], round(n / total, 8)) for name, n in report.objects.ranked()]
    rows = {id(pair): _row(report, pair) for pair in report.pairs}
    ranked = ([rank, *rows[id(pair)]] for rank, pair in enumerate(report.ranked, 1))
    weights = ((image_name(report, at), p.split, f"{p.probability:.9f}") for at, p in enumerate(report.pictures))
    rare = ((name, n) for name, n in reversed(report.objects.rare(below)))
    leaks = set(report.leaks)
    doubles = (
        (
            *(image_name(report, match.first), report.pictures[match.first].split),
            *(image_name(report, match.second), report.pictures[match.second].split),
            *(match.kind, match.score, int(match in leaks)),
        )
        for match in report.matches
    )
    tables: dict[str, tuple[Sequence[str], Iterable[Sequence[Any]]]] = {
        "per_example_scores.csv": (_COLUMNS, rows.values()),
        "ranked_by_combined.csv": (("rank", *_COLUMNS), ranked),
        "object_counts.csv": (("object", "pictures", "captions", "share"), counts),
        f"objects_below_{below}.csv": (("object", "pictures"), rare),
        "reweighting_probs.csv": (("image", "split", "probability"), weights),
        "same_pictures.csv": (("first", "split", "second", "its_split", "kind", "score", "leak"), doubles),
    }
    for name, (columns, body) in tables.items():
        with written_aside(out / name) as path, path.open("w", encoding="utf-8", newline="", **_LENIENT) as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(body)
    with written_aside(out / "quality_summary.json") as path:
        path.write_text(json.dumps(report.summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", **_LENIENT)
    _write_failures(report, out / "top_failures")
    return [out / name for name in (*tables, "quality_summary.json", "top_failures")]


_LENIENT: dict[str, Any] = {"errors": "backslashreplace"}  # a file's name need not be valid Unicode


def image_name(report: Report, at: int) -> str:
    """The path of a picture within its data set, with forward slashes; the whole path of one elsewhere."""
    path = report.pictures[at].example.image
    try:
        return path.relative_to(report.root).as_posix()
    except ValueError:
        return path.as_posix()


def _row(report: Report, pair: Pair) -> list[Any]:
    picture = report.pictures[pair.picture]
    scores = ("" if (value := getattr(pair, name)) is None else round(value, 5) for name in _SCORES)
    return [
        *(picture.split, image_name(report, pair.picture), picture.example.image_id, pair.index),
        *(pair.caption, pair.original, *scores, len(pair.caption.split())),
        *(";".join(sorted(picture.objects)), ";".join(pair.categories)),
    ]


def _write_failures(report: Report, folder: Path) -> None:
    """The worst pairs as pictures, numbered, and a line of JSON about each."""
    with folder_written_aside(folder) as aside, (aside / "failures.jsonl").open("w", **_LENIENT) as file:
        for rank, pair in enumerate(report.ranked[: report.thresholds.topk], 1):
            picture = report.pictures[pair.picture]
            row = dict(zip(_COLUMNS, _row(report, pair), strict=True))
            name = f"{rank:04}_{picture.example.image.stem[:80]}.jpg"
            try:
                Image.fromarray(load_thumbnail(picture.example.image, _SIDE)).save(aside / name, "JPEG", quality=85)
            except ImageError as error:
                name, row["problem"] = "", str(error)
            file.write(json.dumps({"rank": rank, "file": name, **row}, ensure_ascii=False) + "\n")
