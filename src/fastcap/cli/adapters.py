"""`fastcap adapters`: what was trained of a prefix model in a few megabytes, measured, for `fastcap build`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from fastcap.cli.export import add_bits, add_measuring, add_ranking
from fastcap.cli.options import check_checkpoint
from fastcap.release.settings import ExportSettings

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--model", required=True, metavar="CHECKPOINT", help="checkpoint of a prefix model")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of adapters to write, or renew")
    add_measuring(parser)
    add_bits(parser)
    add_ranking(parser)
    parser.set_defaults(memory=None)  # where argparse appends to


def run(args: argparse.Namespace) -> int:
    """Pack, export what was packed, measure it, and print where the adapters are."""
    from rich.console import Console

    from fastcap.release.pipeline import ship

    checkpoint = check_checkpoint(args.model)
    given = {name: getattr(args, name) for name in vars(ExportSettings()) if name in args}
    lists = {"memory": tuple(args.memory or ()), "questions": tuple(args.questions or ())}
    settings = ExportSettings(**given | lists)
    command = shlex.join(["fastcap", *sys.argv[1:]])
    ship(checkpoint, args.out, args.root, settings, console=Console(stderr=True), command=command)
    print(args.out)
    return 0
