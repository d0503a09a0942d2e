"""`fastcap export`: a checkpoint to a model directory of int8 ONNX graphs, refused unless they are worth having."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from fastcap.cli.options import add_bad_data, add_number, check_checkpoint
from fastcap.cli.parser import Number, one_of
from fastcap.errors import ModelFileError
from fastcap.release.settings import MAX_CALIBRATION, MIN_MEASURED, PRECISIONS, ExportSettings

__all__ = ["add_arguments", "add_bits", "add_measuring", "may_replace", "run"]

DEFAULTS = ExportSettings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb; their defaults are those of `ExportSettings`."""
    parser.add_argument("--model", required=True, metavar="CHECKPOINT", help="checkpoint directory")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="model directory to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a model directory at DIR without asking")
    add_measuring(parser)
    told = "int8, fp16 for a GPU, or fp32 for graphs that are not rounded"
    parser.add_argument("--precision", **one_of(PRECISIONS), help=told)
    add_bits(parser)
    add_ranking(parser)
    parser.set_defaults(**vars(DEFAULTS) | {"memory": None, "questions": None})


def add_ranking(parser: argparse.ArgumentParser) -> None:
    """Declare what a model learns words of pictures from."""
    parser.add_argument(
        "--memory",
        nargs=2,
        action="append",
        metavar=("NAME[:SPLIT]", "DIR"),
        help="learn from a data set (split: train) which words people use of a picture, to rank captions by; "
        "may be given several times, not with --target-size (default: none)",
    )


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """Declare what a model is called, and on what it is calibrated and measured."""
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="folder of the data set")
    parser.add_argument("--name", metavar="NAME", help="the model's name (default: that of DIR)")
    parser.add_argument("--description", metavar="TEXT", help="one line about the model (default: empty)")
    parser.add_argument("--dataset", metavar="NAME", help="data set to calibrate and measure on")
    parser.add_argument("--split", metavar="NAME", help="split to measure on")
    parser.add_argument("--calibration-split", metavar="NAME", help="split to calibrate on")
    add_bad_data(parser)
    add_number(parser, "--calibration", 1, MAX_CALIBRATION, DEFAULTS.calibration, "pictures to calibrate on")
    told = "measure on the first N pictures only (default: all)"
    parser.add_argument("--limit", type=Number(int, MIN_MEASURED), metavar="N", help=told)
    told = "CIDEr points (x 100), and points of VQA accuracy, that int8 may lose against fp32 at most"
    parser.add_argument("--max-loss", type=Number(float), metavar="POINTS", help=told)
    told = "validation questions for a model that answers; may be given several times (default: none)"
    parser.add_argument("--questions", action="append", type=Path, metavar="FILE", help=told)
    told = "questions of each FILE that are asked, spread evenly over it; 0 for all"
    parser.add_argument("--question-limit", type=Number(int, 0), metavar="N", help=told)
    told = "share of pictures, 0 to 1, whose caption has to stay as it is, word by word"
    parser.add_argument("--min-same", type=Number(float, 0, 1), metavar="SHARE", help=told)
    measured = vars(DEFAULTS).items()
    parser.set_defaults(**{name: value for name, value in measured if name not in ("precision", "target_size", "bits")})
    parser.set_defaults(questions=None)  # where argparse appends to


def add_bits(parser: argparse.ArgumentParser) -> None:
    """Declare the bits of layers: those of a file, or those that a size allows."""
    group = parser.add_mutually_exclusive_group()
    usual = "8 for each; 4 or 8 in a language model"
    group.add_argument(
        "--target-size",
        metavar="SIZE",
        help="most that the model directory may take, such as 9MB: layers get 4, 8 or 16 bits as their sensitivity "
        f"asks for; DIR.bits.json, DIR.report.json and DIR.report.png say which, and why (default: {usual})",
    )
    told = f"bits of layers, as DIR.bits.json has them (default: {usual})"
    group.add_argument("--bits", type=Path, metavar="FILE", help=told)


def run(args: argparse.Namespace) -> int:
    """Export, and print where the model directory is."""
    from rich.console import Console

    from fastcap.release.pipeline import export

    console = Console(stderr=True)
    command = shlex.join(["fastcap", *sys.argv[1:]])
    lists = {"memory": args.memory or (), "questions": tuple(args.questions or ())}
    settings = ExportSettings(**{name: getattr(args, name) for name in vars(DEFAULTS)} | lists)
    checkpoint = check_checkpoint(args.model)
    overwrite = args.overwrite or may_replace(args.out)
    export(checkpoint, args.out, args.root, settings, overwrite=overwrite, console=console, command=command)
    print(args.out)
    return 0


def may_replace(out: Path) -> bool:
    """Ask, on a terminal, whether a model directory that is there already may be replaced; False where there is none.

    Raises:
        ModelFileError: it may not.
    """
    if not (out / "model.json").is_file():
        return False
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ModelFileError(f"{out} is a model directory already; --overwrite replaces it")
    print(f"{out} is a model directory already. Replace it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ModelFileError(f"{out} was kept; nothing was written")
    return True
