"""`fastcap score`: how well texts fit a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fastcap.cli.options import add_model

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="picture file")
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="text to compare with the picture")
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a text")


def run(args: argparse.Namespace) -> int:
    """Print a score, 0 to 1, for each text, in the order given."""
    from fastcap.runtime.captioner import Captioner

    scores = Captioner.open(args.model).score(args.image, args.texts)
    for text, score in zip(args.texts, scores, strict=True):
        row = json.dumps({"text": text, "score": round(score, 4)}, ensure_ascii=False)
        print(row if args.json else f"{score:.3f}  {text}")
    return 0
