"""`fastcap checkpoint`: a model directory back to a checkpoint, to train on."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastcap.cli.options import add_model

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_model(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="checkpoint directory to write")


def run(args: argparse.Namespace) -> int:
    """Write the checkpoint, unless there is something already."""
    from fastcap.checkpoint import save_checkpoint
    from fastcap.errors import ModelFileError
    from fastcap.export.weights import restore
    from fastcap.runtime.bundle import Bundle, find_model

    if args.out.exists():
        raise ModelFileError(f"{args.out} is there already; allowed: a directory that is not")
    bundle = Bundle.open(find_model(args.model))  # whole, and signed
    model = restore(bundle.folder)
    save_checkpoint(args.out, model.config, model.state_dict(), bundle.tokenizer())
    print(args.out)
    return 0
