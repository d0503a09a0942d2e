"""Several data sets as one: parquet tables that the hub and `fastcap train` read, in which no picture stands on two
sides.

Rows are sorted by source and id and sides follow from what the files hold, so the same sources give the same tables on
any machine. The work is done in a folder beside the target, which an interrupted merge goes on with, and which takes
the target's place at the end.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastcap.curation.card import card, croissant
from fastcap.curation.duplicates import Match, find_matches, grouped
from fastcap.curation.examine import Examined, examine
from fastcap.curation.sources import find_reader, read_splits
from fastcap.data.readers import Examples, printable
from fastcap.errors import ConfigError, DataError, FastcapError, needs
from fastcap.fetching import sha256
from fastcap.files import written_aside

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LICENCES", "SIDES", "Row", "Source", "merge"]

SIDES = ("train", "val", "test")
"""The splits that come out, the strictest last: what stands in one of them stands in none before it."""
LICENCES = {
    "flickr8k": "pictures: their photographers' on Flickr; captions: research and education (Hodosh et al. 2013)",
    "flickr30k": "pictures: their photographers' on Flickr; captions: research and education (Young et al. 2014)",
    "coco": "pictures: their photographers' on Flickr; captions: CC-BY-4.0",
    "coco_machine": "pictures: their photographers' on Flickr; captions: MIT",
}
"""Terms of the data sets that readers know by name; of others, the first line of their file of terms."""

_SHARD = 256 * 2**20  # bytes of pictures in a table
_UNSPLIT = (0.8, 0.9)  # shares up to which pictures of a source without splits go to train, and to val
_LISTED = 1000  # pairs that the record names
_RECORD = "merge.json"  # written last: a folder without it is no finished merge
_PLAN = b"fastcap"  # key of a table's metadata that tells what it was made from


@dataclass(frozen=True)
class Source:
    """A data set to take in.

    Attributes:
        name: what its rows are marked with.
        root: its folder.
        reader: a key of `READERS`; "" for that of the files that are there.
        licence: terms of use; "" for those known of the reader, or stated in the folder.
        unsplit: its splits mean nothing, and pictures go to a side by a hash of their id.
    """

    name: str
    root: Path
    reader: str = ""
    licence: str = ""
    unsplit: bool = False


@dataclass(frozen=True)
class Row:
    """A picture of the merged data set. `digest` and `size`: of its file."""

    source: str
    source_id: str
    side: str
    image: Path
    captions: tuple[str, ...]
    originals: tuple[str, ...]
    licence: str
    digest: str = ""
    size: tuple[int, int] = (0, 0)
    bytes: int = 0


def merge(
    sources: Sequence[Source],
    out: Path,
    *,
    sample: int | None = None,
    on_bad_data: Literal["raise", "skip"] = "raise",
    workers: int | None = None,
    on_start: Callable[[int], Callable[[], object]] = lambda _: lambda: None,
) -> dict[str, Any]:
    """Merge data sets into a folder: `data/*.parquet`, `README.md`, `croissant.json` and `merge.json`.

    Args:
        sources: two may not have one name.
        out: a folder that is new, empty or an earlier merge, which is replaced at the end.
        sample: only so many pictures of each source, drawn by a hash of their ids.
        on_bad_data: what happens to rows and pictures that cannot be used.
        workers, on_start: see `examine_dataset`.

    Returns what `merge.json` holds.

    Raises ConfigError for a target or names that cannot be used, DataError for a source that is missing, empty or bad,
    OSError if the target cannot be written.
    """
    _check(sources, out)
    work = out.with_name(f".{out.name}.merging")
    work.mkdir(parents=True, exist_ok=True)
    rows, bad = _read(sources, sample, on_bad_data)
    done = on_start(len(rows))
    found = examine(
        {row.image: () for row in rows}, work / "examined.jsonl", model="", workers=workers, on_picture=done
    )
    unreadable = [row.image for row in rows if found[row.image].problem]
    if unreadable and on_bad_data == "raise":
        problem = found[unreadable[0]].problem
        raise DataError(f"{len(unreadable)} pictures cannot be read, the first: {problem}; skip leaves them out")
    rows = [_measured(row, found[row.image]) for row in rows if not found[row.image].problem]
    sided, matches = _one_side(rows, [found[row.image] for row in rows])
    tables = _write_tables(sided, work)
    record = _record(sources, rows, sided, matches, {"rows": bad, "pictures": len(unreadable)}, tables)
    for name, text in (
        ("README.md", card(out.name, record)),
        ("croissant.json", croissant(out.name, record)),
        (_RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n"),
    ):
        with written_aside(work / name, durable=True) as path:
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
    (work / "examined.jsonl").unlink()
    shutil.rmtree(work / "sources", ignore_errors=True)
    _take_place(work, out)
    return record


def _check(sources: Sequence[Source], out: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        raise FastcapError(f"a merge {needs('pyarrow', 'bulk')}") from None
    if not sources:
        raise ConfigError("got no sources; needed: at least one")
    for name, count in Counter(source.name for source in sources).items():
        if count > 1:
            raise ConfigError(f"two sources are called {name!r}; name them apart: NAME=DIR")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; needed: a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / _RECORD).is_file():
        raise ConfigError(f"{out} holds something else than a merge; allowed: a new folder, or an earlier merge")
    for source in sources:
        if not source.root.is_dir():
            raise DataError(f"source {source.name}: {source.root} is no folder; a missing source is never left out")


# --- what there is -----------------------------------------------------------------------------------------


def _read(sources: Sequence[Source], sample: int | None, on_bad_data: str) -> tuple[list[Row], int]:
    """The rows of all sources, sorted, and how many bad ones were left out."""
    rows: list[Row] = []
    bad = 0
    for source in sources:
        reader = source.reader or find_reader(source.root)
        splits = read_splits(reader, source.root)
        licence = source.licence or LICENCES.get(reader, "") or _stated_licence(source.root)
        for examples in splits.values():
            bad += len(examples.bad_rows)
            if examples.bad_rows and on_bad_data == "raise":
                first = examples.bad_rows[0]
                raise DataError(
                    f"source {source.name}: {len(examples.bad_rows)} of {examples.n_rows} rows are bad, the first: "
                    f"{first.where}: {first.problem}; skip leaves such rows out"
                )
        own = list(_rows_of(source, splits, licence))
        if sample is not None:
            own = sorted(own, key=lambda row: _hash(row.source, row.source_id))[:sample]
        rows += own
    return sorted(rows, key=lambda row: (row.source, row.source_id)), bad


def _rows_of(source: Source, splits: Mapping[str, Examples], licence: str) -> Iterator[Row]:
    """A row for each picture; one that stands in several splits is on the strictest side, with all its captions."""
    by_image: dict[Path, Row] = {}
    taken: dict[str, Path] = {}
    for split, examples in splits.items():
        for example in examples:
            name = example.image_id
            if taken.setdefault(name, example.image) != example.image:
                name = Path(os.path.relpath(example.image, source.root)).as_posix()
            side = _hashed_side(source.name, name) if source.unsplit or split == "all" else _side_of(split)
            row = Row(source.name, name, side, example.image, example.captions, example.originals, licence)
            if before := by_image.get(example.image):
                new = [at for at, text in enumerate(row.captions) if text not in before.captions]
                side = max(before.side, side, key=SIDES.index)
                row = replace(
                    before,
                    side=side,
                    captions=before.captions + tuple(row.captions[at] for at in new),
                    originals=_padded(before) + tuple(_padded(row)[at] for at in new),
                )
            by_image[example.image] = row
    for row in by_image.values():
        yield row if any(row.originals) else replace(row, originals=())


def _padded(row: Row) -> tuple[str, ...]:
    return row.originals or ("",) * len(row.captions)


def _side_of(split: str) -> str:
    """The side that a split of a source belongs to; what is named by no known word is for training."""
    if split.startswith("test"):
        return "test"
    return "val" if split.startswith(("val", "dev")) else "train"


def _hashed_side(source: str, name: str) -> str:
    share = _hash(source, name) / 2**64
    return SIDES[sum(share >= limit for limit in _UNSPLIT)]


def _hash(*parts: str) -> int:
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _stated_licence(root: Path) -> str:
    for path in sorted(root.glob("LICEN[SC]E*")):
        if lines := path.read_text(encoding="utf-8", errors="replace").split("\n"):
            return lines[0].strip()[:200] or f"see {path.name}"
    return "unknown"


def _measured(row: Row, examined: Examined) -> Row:
    return replace(row, digest=examined.digest, size=examined.size, bytes=examined.bytes)


# --- which side it goes to ---------------------------------------------------------------------------------


def _one_side(rows: Sequence[Row], examined: Sequence[Examined]) -> tuple[list[Row], list[Match]]:
    """The rows, those that show one picture on the strictest side of any of them; and what shows one picture."""
    images = [row.image for row in rows]
    matches = find_matches(images, [each.small for each in examined], [each.digest for each in examined])
    sided = list(rows)
    for group in grouped(matches):
        side = max((rows[at].side for at in group), key=SIDES.index)
        for at in group:
            sided[at] = replace(rows[at], side=side)
    return sided, matches


# --- what is written ---------------------------------------------------------------------------------------


def _write_tables(rows: Sequence[Row], work: Path) -> list[dict[str, Any]]:
    """Write the tables, but for those that an interrupted merge has written; returns their names, sizes and digests."""
    folder = work / "data"
    folder.mkdir(exist_ok=True)
    plans: dict[Path, list[Row]] = {}
    for side in SIDES:
        shards = list(_shards([row for row in rows if row.side == side]))
        for number, shard in enumerate(shards):
            plans[folder / f"{side}-{number:05}-of-{len(shards):05}.parquet"] = shard
    for stale in set(folder.iterdir()) - set(plans):
        stale.unlink()
    left = {path: shard for path, shard in plans.items() if not _is_made_from(path, shard)}
    needed, free = sum(row.bytes for shard in left.values() for row in shard), shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free", str(folder))
    for path, shard in left.items():
        with written_aside(path, durable=True) as aside:
            _write_table(aside, shard)
    return [
        {"file": f"data/{path.name}", "rows": len(shard), "bytes": path.stat().st_size, "sha256": sha256(path)}
        for path, shard in plans.items()
    ]


def _shards(rows: Sequence[Row]) -> Iterator[list[Row]]:
    shard: list[Row] = []
    size = 0
    for row in rows:
        if shard and size + row.bytes > _SHARD:
            yield shard
            shard, size = [], 0
        shard.append(row)
        size += row.bytes
    if shard:
        yield shard


def _plan(rows: Sequence[Row]) -> bytes:
    """What a table is made from, as a digest."""
    parts = [[row.source, row.source_id, row.captions, row.originals, row.licence, row.digest] for row in rows]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest().encode()


def _is_made_from(path: Path, rows: Sequence[Row]) -> bool:
    from pyarrow import ArrowInvalid, parquet

    try:
        return bool(parquet.read_schema(path).metadata.get(_PLAN) == _plan(rows))
    except (OSError, ArrowInvalid):
        return False


def _schema(rows: Sequence[Row]) -> pa.Schema:
    """Columns, and what they are to the hub: `image` is shown as a picture there."""
    import pyarrow as pa

    texts = pa.list_(pa.string())
    columns = {
        "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        **{name: texts for name in ("captions", "originals")},
        **{name: pa.string() for name in ("source", "source_id", "licence")},
        **{name: pa.int32() for name in ("width", "height")},
    }
    text = {"dtype": "string", "_type": "Value"}
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features |= {name: {"feature": text, "_type": "Sequence"} for name in ("captions", "originals")}
    features |= {name: text for name in ("source", "source_id", "licence")}
    features |= {name: {"dtype": "int32", "_type": "Value"} for name in ("width", "height")}
    told = {b"huggingface": json.dumps({"info": {"features": features}}).encode(), _PLAN: _plan(rows)}
    return pa.schema(list(columns.items()), metadata=told)


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, len(rows), 100):  # what viewers read at once
            batch = [_cells(row) for row in rows[start : start + 100]]
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))


def _cells(row: Row) -> dict[str, Any]:
    data = row.image.read_bytes()
    if hashlib.blake2b(data, digest_size=16).hexdigest() != row.digest:
        raise DataError(f"{printable(row.image)} was changed while it was merged; start again")
    return {
        "image": {"bytes": data, "path": printable(f"{row.source}_{row.image.name}")},
        "captions": list(row.captions),
        "originals": list(row.originals),
        "source": row.source,
        "source_id": printable(row.source_id),
        "licence": row.licence,
        "width": row.size[0],
        "height": row.size[1],
    }


def _record(
    sources: Sequence[Source],
    before: Sequence[Row],
    after: Sequence[Row],
    matches: Sequence[Match],
    left_out: dict[str, int],
    tables: list[dict[str, Any]],
) -> dict[str, Any]:
    """`merge.json`: what was measured, and nothing that differs from machine to machine."""
    moved = Counter(f"{a.side} to {b.side}" for a, b in zip(before, after, strict=True) if a.side != b.side)
    return {
        "format": 1,
        "sources": {
            source.name: {
                "licence": next((row.licence for row in after if row.source == source.name), source.licence),
                "pictures": {
                    side: sum(row.source == source.name and row.side == side for row in after) for side in SIDES
                },
                "captions": sum(len(row.captions) for row in after if row.source == source.name),
            }
            for source in sorted(sources, key=lambda source: source.name)
        },
        "splits": {
            side: {
                "pictures": sum(row.side == side for row in after),
                "captions": sum(len(row.captions) for row in after if row.side == side),
            }
            for side in SIDES
        },
        "same_picture": {
            "pairs": len(matches),
            "kinds": dict(sorted(Counter(match.kind for match in matches).items())),
            "moved": dict(sorted(moved.items())),
            "first": [
                [f"{row.source}/{row.source_id}" for row in (before[match.first], before[match.second])]
                + [f"{before[match.first].side} and {before[match.second].side}", match.kind]
                for match in matches[:_LISTED]
            ],
            "across_splits": sum(after[match.first].side != after[match.second].side for match in matches),
        },
        "left_out": left_out,
        "tables": tables,
    }


def _take_place(work: Path, out: Path) -> None:
    """Move the finished folder to the target; at any moment the old one or the new one is whole there or beside it."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    work.rename(out)
    shutil.rmtree(old, ignore_errors=True)
