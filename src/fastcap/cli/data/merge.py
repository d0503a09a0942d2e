"""`fastcap data merge`: several data sets as one, for the hub and for training."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from fastcap.cli.options import add_bad_data
from fastcap.cli.parser import Number
from fastcap.cli.progress import continuing, progress_bar

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    told = "coco, flickr, textcaps, pexels, docornot or validation; or a data set's folder, DIR or NAME=DIR"
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=told)
    told = "folder to write; an interrupted merge goes on, an earlier one is replaced at the end"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=told)
    told = "where sources that are given by name are looked for before the hub is"
    parser.add_argument("--root", type=Path, default=Path("data"), metavar="DIR", help=told)
    told = "only N pictures of each source, drawn by a hash of their ids (default: all)"
    parser.add_argument("--sample", type=Number(int, 1), metavar="N", help=told)
    add_bad_data(parser)
    parser.add_argument(
        "--workers", type=Number(int, 1, 64), metavar="N", help="processes (default: as many as there are cores)"
    )
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="upload it there, too (default: nowhere)")
    parser.add_argument("--private", action="store_true", help="what --push-to-hub creates is seen by its owner alone")
    parser.add_argument("--json", action="store_true", help="print merge.json")


def run(args: argparse.Namespace) -> int:
    """Merge, print what came of it, and upload it if asked to."""
    from fastcap.curation.hub import find_source, push
    from fastcap.curation.merge import merge

    cache = args.out.with_name(f".{args.out.name}.merging") / "sources"
    progress = sys.stderr.isatty()
    sources = [find_source(text, args.root, cache, progress) for text in args.sources]
    with continuing(), ExitStack() as stack:

        def start(count: int) -> Callable[[], object]:
            return stack.enter_context(progress_bar(count))

        record = merge(
            sources,
            args.out,
            sample=args.sample,
            on_bad_data=args.on_bad_data,
            workers=args.workers,
            on_start=start,
        )
    if args.json:
        print(json.dumps(record, indent=1, ensure_ascii=False))
    else:
        counts = ", ".join(f"{part['pictures']} {side}" for side, part in record["splits"].items())
        same = record["same_picture"]
        print(f"{args.out}: {counts}")
        print(f"{same['pairs']} pairs show the same picture; {sum(same['moved'].values())} pictures changed sides")
    if args.push_to_hub:
        print(push(args.out, args.push_to_hub, args.private), file=sys.stderr if args.json else sys.stdout)
    return 0
