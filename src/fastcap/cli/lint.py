"""`fastcap lint`: flag poor alternative text."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator

from fastcap.errors import FastcapError
from fastcap.files import text_encoding

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "texts",
        nargs="+",
        metavar="TEXT",
        help="alternative text, or - for one a line on stdin; behind --, - is a text",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a text")
    parser.add_argument("--neutral", action="store_true", help="flag gendered words, too")


def run(args: argparse.Namespace) -> int:
    """Print what is wrong with each text; returns 1 if anything is."""
    from fastcap.runtime.lint import lint

    flagged = 0
    for left, text in zip(range(len(args.texts), 0, -1), args.texts, strict=True):
        for line in _lines_of_stdin() if text == "-" and left > args.literal else (text,):
            findings = lint(line, neutral=args.neutral)
            flagged += bool(findings)
            if args.json:
                row = {"text": line, "findings": [finding._asdict() for finding in findings]}
                print(json.dumps(row, ensure_ascii=False))
            for finding in [] if args.json else findings:
                print(f"{line!r}: {finding.rule}: {finding.advice}")
    return 1 if flagged else 0


def _lines_of_stdin() -> Iterator[str]:
    if sys.stdin is None:
        raise FastcapError("-: standard input is closed")
    if isinstance(sys.stdin, io.TextIOWrapper):
        start = sys.stdin.buffer.peek(2) if isinstance(sys.stdin.buffer, io.BufferedReader) else b""
        sys.stdin.reconfigure(encoding=text_encoding(start), errors="replace")
    return (line.rstrip("\r\n") for line in sys.stdin)
