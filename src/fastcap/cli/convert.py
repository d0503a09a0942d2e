"""`fastcap convert`: a model for phones and other runtimes than ONNX Runtime."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from fastcap.cli.parser import one_of
from fastcap.export.targets import CONVERTERS, PLATFORMS, PRECISIONS

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    told = "bundled model, model directory, checkpoint directory or adapters"
    parser.add_argument("--model", default="fastcap-base", metavar="NAME|DIR", help=told)
    told = f"platforms, each for a folder of its name in DIR: {', '.join(PLATFORMS)} (default: none)"
    parser.add_argument("--platform", nargs="+", **one_of(PLATFORMS) | {"metavar": "NAME"}, help=told)
    told = f"other runtimes by name, each for a folder of its name in DIR: {', '.join(CONVERTERS)} (default: none)"
    parser.add_argument("--converter", nargs="+", **one_of(CONVERTERS) | {"metavar": "NAME"}, help=told)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write into")
    told = "what weights are stored in; not every converter has each (default: int8; web: int4, of a model directory "
    told += "what it is stored in)"
    parser.add_argument("--precision", **one_of(PRECISIONS), help=told)
    parser.add_argument("--overwrite", action="store_true", help="replace converted models in DIR")


def run(args: argparse.Namespace) -> int:
    """Convert, and print the folders, one a line."""
    from rich.console import Console

    from fastcap.errors import ConfigError
    from fastcap.export.converters import convert_all
    from fastcap.release.adapters import unpacked

    if not args.platform and not args.converter:
        raise ConfigError(
            f"nothing to convert to; needed: --platform ({', '.join(PLATFORMS)}) or "
            f"--converter ({', '.join(CONVERTERS)})"
        )
    targets = {name: PLATFORMS[name] for name in args.platform or ()}
    targets |= {name: name for name in args.converter or ()}
    console = Console(stderr=True)
    told: dict[str, Any] = {"overwrite": args.overwrite, "told": console.print}
    with tempfile.TemporaryDirectory() as aside:
        model = unpacked(args.model, Path(aside) / Path(args.model).name) or args.model
        for folder in convert_all(model, args.out, targets, args.precision, **told):
            print(folder)
    return 0
