"""Options that several verbs have."""

from __future__ import annotations

import argparse

__all__ = ["add_decode"]


def add_decode(parser: argparse.ArgumentParser) -> None:
    """Declare how captions are decoded: see `fastcap.runtime.captioner.Captioner.caption`."""
    parser.add_argument(
        "--decode",
        default="parallel",
        metavar="parallel|greedy|beam",
        help="all words at once in a few passes, or one after another (%(default)s)",
    )
    parser.add_argument(
        "--beams", type=int, default=3, metavar="N", help="hypotheses of --decode beam, 1 to 8 (%(default)s)"
    )
