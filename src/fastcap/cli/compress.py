"""`fastcap compress`: a model of any family to a model directory within a size, refused unless it is as good."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from fastcap.cli.export import add_measuring, may_replace
from fastcap.cli.options import add_number
from fastcap.cli.parser import one_of
from fastcap.release.settings import ExportSettings

__all__ = ["add_arguments", "run"]

OPTIMIZATIONS = ("quantization", "pruning", "distillation")
TRAINING_PRECISIONS = ("no", "bf16")
MAX_STEPS = 10**7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb; defaults of measuring are those of `ExportSettings`."""
    told = "checkpoint directory, folder of adapters, or model directory"
    parser.add_argument("--model", required=True, metavar="DIR", help=told)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="model directory to write")
    told = "most that the model directory may take, such as 100MB"
    parser.add_argument("--target-size", required=True, metavar="SIZE", help=told)
    told = (
        "what may be done: quantization (4, 8 or 16 bits a layer), pruning (channels, heads, units, experts, layers "
        "and words go), distillation (what is left learns from the whole model, with rounded weights) "
        "(default: quantization pruning)"
    )
    names = one_of(OPTIMIZATIONS) | {"metavar": "NAME"}
    parser.add_argument("--optimization", nargs="+", **names, default=list(OPTIMIZATIONS[:2]), help=told)
    add_number(parser, "--steps", 1, MAX_STEPS, 500, "steps of distillation")
    told = "precision of distillation; bf16 where a CPU or GPU is faster with it (default: no)"
    parser.add_argument("--training-precision", **one_of(TRAINING_PRECISIONS), default="no", help=told)
    parser.add_argument("--overwrite", action="store_true", help="replace a model directory at DIR without asking")
    add_measuring(parser)


def run(args: argparse.Namespace) -> int:
    """Compress, and print where the model directory is."""
    from rich.console import Console

    from fastcap.compression.pipeline import compress

    given = {name: getattr(args, name) for name in vars(ExportSettings()) if name in args}
    settings = ExportSettings(**given | {"memory": (), "questions": tuple(args.questions or ())})
    overwrite = args.overwrite or may_replace(args.out)
    compress(
        args.model,
        args.out,
        args.root,
        settings,
        optimization=args.optimization,
        steps=args.steps,
        precision=args.training_precision,
        overwrite=overwrite,
        console=Console(stderr=True),
        command=shlex.join(["fastcap", *sys.argv[1:]]),
    )
    print(args.out)
    return 0
