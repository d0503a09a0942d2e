"""`fastcap lint`: flag poor alternative text."""

from __future__ import annotations

import argparse
import json
import sys

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="alternative text, or - for one a line on stdin")
    parser.add_argument("--json", action="store_true", help="print one JSON object a text")
    parser.add_argument("--neutral", action="store_true", help="flag gendered words, too")


def run(args: argparse.Namespace) -> int:
    """Print what is wrong with each text; returns 1 if anything is."""
    from fastcap.runtime.lint import lint

    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace")
    flagged = 0
    for text in args.texts:
        for line in (line.rstrip("\r\n") for line in sys.stdin) if text == "-" else (text,):
            findings = lint(line, neutral=args.neutral)
            flagged += bool(findings)
            if args.json:
                row = {"text": line, "findings": [finding._asdict() for finding in findings]}
                print(json.dumps(row, ensure_ascii=False))
            for finding in [] if args.json else findings:
                print(f"{line!r}: {finding.rule}: {finding.advice}")
    return 1 if flagged else 0
