"""`fastcap build`: a captioner from adapters that ship and frozen parts that are downloaded."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastcap.cli.export import may_replace
from fastcap.cli.parser import print_wrapped
from fastcap.errors import ConfigError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("name", nargs="?", metavar="NAME|DIR", help="adapters of --list, or a folder of such")
    parser.add_argument("--out", type=Path, metavar="DIR", help="model directory to write (default: models/NAME)")
    told = "folder of frozen parts, where 'fastcap download' puts them; kept for the next time"
    parser.add_argument("--parts", type=Path, default=Path("parts"), metavar="DIR", help=told)
    parser.add_argument("--overwrite", action="store_true", help="replace a model directory at DIR without asking")
    parser.add_argument("--list", action="store_true", help="print what there is and exit")


def run(args: argparse.Namespace) -> int:
    """Build, and print where the model directory is."""
    from fastcap.release.adapters import available_adapters, find_adapters, read_record

    if args.list:
        for name in available_adapters():
            print_wrapped(f"{name:24}", read_record(find_adapters(name)).facts["description"], 24)
        if not available_adapters():
            print("No adapters are part of this installation: a wheel leaves them out, a clone has them.")
        return 0
    if not args.name:
        raise ConfigError(f"NAME is missing: adapters; installed are: {', '.join(available_adapters()) or 'none'}")
    from rich.console import Console

    from fastcap.release.build import build

    out = args.out or Path("models") / Path(args.name).name
    overwrite = args.overwrite or may_replace(out)
    build(args.name, out, args.parts, overwrite=overwrite, console=Console(stderr=True))
    print(out)
    return 0
