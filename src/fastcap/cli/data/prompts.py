"""`fastcap data prompts`: prompts for pictures of what a data set shows too rarely."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastcap.cli.options import add_number, one_reader, tell_bad_rows
from fastcap.cli.parser import Number
from fastcap.errors import ConfigError, DataError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    told = "object_counts.csv of a report, the report's folder, or the folder of a data set, which is counted then"
    parser.add_argument("source", type=Path, metavar="FILE|DIR", help=told)
    told = "JSON lines to write, one a prompt; pictures go into a folder beside it"
    parser.add_argument("--out", type=Path, default=Path("synthetic_prompts.jsonl"), metavar="FILE", help=told)
    one_reader(parser)
    parser.add_argument("--split", default="train", metavar="NAME", help="which split of a data set is counted")
    add_number(parser, "--threshold", 1, 1_000_000, 50, "pictures that an object should have")
    add_number(parser, "--per-object", 1, 216, 10, "prompts for one object, at most")
    told = "objects, at most: the rarest (default: all)"
    parser.add_argument("--max-objects", type=Number(int, 1), metavar="N", help=told)
    told = "pictures that an object must have: those in fewer are often slips of the pen"
    add_number(parser, "--at-least", 1, 1_000_000, 5, told)
    parser.add_argument("--seed", type=Number(int, 0), default=0, metavar="N", help="seed of the draw")


def run(args: argparse.Namespace) -> int:
    """Write the prompts and print how many there are."""
    from fastcap.curation.rare import make_prompts
    from fastcap.curation.tables import write_table

    if args.out.suffix.lower() != ".jsonl":
        raise ConfigError(f"--out is {args.out}; needed: a name that ends in .jsonl")
    if args.at_least >= args.threshold:
        raise ConfigError(f"--at-least is {args.at_least}, --threshold {args.threshold}; allowed: less than the latter")
    counts = {name: n for name, n in _counts(args).items() if n >= args.at_least}
    made = make_prompts(
        counts,
        threshold=args.threshold,
        per_object=args.per_object,
        max_objects=args.max_objects,
        seed=args.seed,
    )
    if not made.prompts:
        raise DataError(f"{args.source}: no object in {args.at_least} to {args.threshold - 1} pictures")
    write_table(args.out, [row._asdict() for row in made.prompts])
    objects = len({row.object for row in made.prompts})
    print(f"{len(made.prompts)} prompts for {objects} objects: {args.out}")
    if made.skipped:
        print(
            f"{len(made.skipped)} objects left out, as they name a protected attribute: {', '.join(made.skipped[:10])}"
        )
    return 0


def _counts(args: argparse.Namespace) -> dict[str, int]:
    """In how many pictures each object is."""
    table = args.source / "object_counts.csv" if args.source.is_dir() else args.source
    if table.is_file():
        return _read(table)
    if not args.source.is_dir():
        raise DataError(f"{args.source}: no such file or folder")
    from fastcap.curation.objects import ObjectCounts
    from fastcap.curation.sources import find_reader, read_splits

    examples = read_splits(args.dataset or find_reader(args.source), args.source, [args.split])[args.split]
    tell_bad_rows(examples)
    return dict(ObjectCounts(example.captions for example in examples).pictures)


def _read(table: Path) -> dict[str, int]:
    from fastcap.curation.tables import read_table

    rows = read_table(table)
    column = next((name for name in ("pictures", "count") if name in rows[0]), None)
    if column is None or "object" not in rows[0]:
        raise DataError(
            f"{table}: needed: the columns 'object' and 'pictures' (or 'count'); there: {', '.join(rows[0])}"
        )
    counts = {}
    for number, row in enumerate(rows, 1):
        name, count = row["object"], str(row[column])
        if not isinstance(name, str) or not name.strip() or not count.isdecimal():
            raise DataError(f"{table}: row {number}: {name!r}, {count!r}; needed: a name and a whole number")
        counts[" ".join(name.split())] = int(count)
    return counts
