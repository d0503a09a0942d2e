"""Options that several verbs have."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fastcap.errors import ModelFileError

if TYPE_CHECKING:
    from fastcap.runtime.captioner import Captioner

__all__ = ["add_decode", "open_captioner", "whole_number"]


def open_captioner(model: str, threads: int = 1) -> Captioner:
    """A bundled model by name, a model directory, or, where PyTorch is installed, a checkpoint directory.

    Raises ConfigError or ModelFileError.
    """
    if not (Path(model) / "model.safetensors").is_file():
        from fastcap.runtime.captioner import Captioner

        return Captioner.open(model, threads=threads)
    if importlib.util.find_spec("torch") is None:
        raise ModelFileError(f"{model} is a checkpoint directory, which needs PyTorch: pip install 'fastcap[train]'")
    from fastcap.eager import EagerCaptioner

    return EagerCaptioner(model, threads)


def add_decode(parser: argparse.ArgumentParser) -> None:
    """Declare how captions are decoded: see `fastcap.runtime.captioner.Captioner.caption`."""
    parser.add_argument(
        "--decode",
        metavar="parallel|greedy|beam",
        help="all words at once in a few passes, or one after another (parallel; beam for a model that cannot)",
    )
    parser.add_argument(
        "--beams", type=int, default=3, metavar="N", help="hypotheses of --decode beam, 1 to 8 (%(default)s)"
    )


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A type for an option that takes a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse
