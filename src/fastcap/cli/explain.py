"""`fastcap explain`: the attention of a model to parts of a picture for each word of its caption."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastcap.cli.options import add_number, check_checkpoint, check_folder
from fastcap.errors import ConfigError
from fastcap.runtime.options import MAX_BEAMS

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="picture file")
    parser.add_argument(
        "--model",
        required=True,
        metavar="CHECKPOINT",
        help="checkpoint directory; an exported model gives no attention weights",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.png", help="picture to write")
    add_number(parser, "--beams", 1, MAX_BEAMS, 3, "hypotheses")


def run(args: argparse.Namespace) -> int:
    """Caption from left to right, draw a panel for each word, print the caption."""
    if args.out.suffix.lower() != ".png":
        raise ConfigError(f"--out is {args.out}; allowed: a file that ends in .png")
    check_folder("--out", args.out)
    checkpoint = check_checkpoint(args.model)
    from fastcap.eager import checkpoint_captioner
    from fastcap.evaluation.attention import explain

    print(explain(checkpoint_captioner(checkpoint), args.image, args.out, args.beams))
    return 0
