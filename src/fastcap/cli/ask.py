"""`fastcap ask`: answers to questions about a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fastcap.cli.options import add_model, add_number
from fastcap.errors import ConfigError
from fastcap.runtime.options import MAX_BEAMS

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="picture file")
    parser.add_argument("questions", nargs="+", metavar="QUESTION", help="question about the picture")
    add_model(parser)
    told = "turns before the questions, as JSON (default: none)"
    parser.add_argument("--conversation", type=Path, metavar="FILE", help=told)
    add_number(parser, "--beams", 1, MAX_BEAMS, 1, "hypotheses of an answer")
    parser.add_argument("--json", action="store_true", help="print one JSON object a question")


def run(args: argparse.Namespace) -> int:
    """Print an answer to each question, in the order given."""
    from fastcap.runtime.captioner import Captioner
    from fastcap.runtime.conversation import parse_turns

    history = []
    if args.conversation:
        try:
            text = args.conversation.read_text("utf-8")
        except UnicodeDecodeError:
            raise ConfigError(f"{args.conversation} is not UTF-8; needed: a list of turns in JSON") from None
        history = parse_turns(text, str(args.conversation))
    answers = Captioner.open(args.model).ask(args.image, args.questions, history=history, beams=args.beams)
    for answer in answers:
        row = {"question": answer.question, "answer": answer.text, "confidence": round(answer.confidence, 4)}
        print(json.dumps(row, ensure_ascii=False) if args.json else answer.text)
    return 0
