"""Options that several verbs have."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.errors import ConfigError, ModelFileError, needs
from fastcap.runtime.options import RANGES, Sampling

if TYPE_CHECKING:
    from fastcap.runtime.captioner import Captioner

__all__ = ["add_decode", "decode_options", "open_captioner", "whole_number"]


def open_captioner(model: str, threads: int = 1) -> Captioner:
    """A bundled model by name, a model directory, or, where PyTorch is installed, a checkpoint directory.

    Raises ConfigError or ModelFileError.
    """
    if not (Path(model) / "model.safetensors").is_file():
        from fastcap.runtime.captioner import Captioner

        return Captioner.open(model, threads=threads)
    if importlib.util.find_spec("torch") is None:
        raise ModelFileError(f"{model} is a checkpoint directory, which {needs('torch', 'train')}")
    from fastcap.eager import EagerCaptioner

    return EagerCaptioner(model, threads)


def add_decode(parser: argparse.ArgumentParser) -> None:
    """Declare how captions are decoded: see `fastcap.runtime.captioner.Captioner.caption`."""
    parser.add_argument(
        "--decode",
        metavar="parallel|greedy|beam|sample",
        help="all words at once in a few passes, or one after another, searched or drawn at random (parallel; beam for "
        "a model that cannot)",
    )
    parser.add_argument(
        "--beams", type=int, default=3, metavar="N", help="hypotheses of --decode beam, 1 to 8 (%(default)s)"
    )
    sampling = parser.add_argument_group("options of --decode sample")
    for name, metavar, told in (
        ("temperature", "X", "below 1 prefers what is likely, above 1 levels"),
        ("top_k", "N", "draw from the N likeliest tokens, 0 for all"),
        ("top_p", "P", "draw from the likeliest tokens that have the probability P together"),
        ("seed", "N", "the same one draws the same captions"),
        ("no_repeat", "N", "say no N tokens twice, 0 for no such guard"),
    ):
        usual = getattr(Sampling(), name)  # no default: `decode_options` asks what was given
        sampling.add_argument(_flag(name), type=type(usual), metavar=metavar, help=f"{told} ({usual})")


def decode_options(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_decode` declared, as options of `Captioner.caption`.

    Raises ConfigError for a value out of its range, or an option that --decode, as given, has no use for.
    """
    given = {name: getattr(args, name) for name in RANGES if getattr(args, name) is not None}
    if given and args.decode != "sample":
        found = f"--decode {args.decode}" if args.decode else "no --decode"
        raise ConfigError(f"{', '.join(map(_flag, given))}: allowed with --decode sample alone; got {found}")
    return {"decode": args.decode, "beams": args.beams, "sampling": Sampling(**given) if given else None}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A type for an option that takes a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse
