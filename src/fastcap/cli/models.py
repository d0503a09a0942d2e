"""`fastcap models`: the bundled models, with the figures that each model directory states about itself."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastcap.cli.parser import print_wrapped
from fastcap.runtime.bundle import Bundle, available_models, find_model

__all__ = ["add_arguments", "run"]

FACTS = ("name", "kind", "description", "licence", "bytes", "quality", "speed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print the bundled models; raises ModelFileError when one of them is damaged."""
    bundles = [Bundle.open(find_model(name)) for name in available_models()]
    if args.json:
        for bundle in bundles:
            print(json.dumps({fact: getattr(bundle, fact) for fact in FACTS}, ensure_ascii=False))
        return 0
    if not bundles:
        print("No model is bundled with this installation; pass a model directory to --model.")
        return 0
    for bundle in bundles:
        quality, speed = (", ".join(_figures(figures)) or "not stated" for figures in (bundle.quality, bundle.speed))
        print_wrapped("", f"{bundle.name}: {bundle.bytes / 1e6:.1f} MB, {bundle.licence}", 4)
        for text in (bundle.description, f"quality: {quality}", f"speed: {speed}"):
            print_wrapped("  ", text, 4)
    return 0


def _figures(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The numbers of a free-form table, each as "name value", in which no line is broken.

    `--json` shows its texts, such as the command, as well.
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{key}\xa0")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{key}\xa0{value:g}"
