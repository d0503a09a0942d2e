"""`fastcap models`: the bundled models, with the figures that each model directory states about itself."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

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
    table = [["MODEL", "MB", "QUALITY", "SPEED", "LICENCE"]]
    for bundle in bundles:
        quality, speed = (", ".join(_figures(figures)) for figures in (bundle.quality, bundle.speed))
        table.append([bundle.name, f"{bundle.bytes / 1e6:.1f}", quality, speed, bundle.licence])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _figures(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The numbers of a free-form table, each as "name value"; --json shows its texts, such as the command, as well."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{key} ")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{key} {value:g}"
