"""`fastcap ask`: answers to questions about a picture."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fastcap.cli.options import STDIN, add_number, open_model, standard_input
from fastcap.errors import ConfigError
from fastcap.runtime.answering import BUILT, how_to_get_one
from fastcap.runtime.options import MAX_BEAMS

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("image", metavar="IMAGE", help="picture file, or - for stdin")
    parser.add_argument("questions", nargs="+", metavar="QUESTION", help="question about the picture")
    told = f"model that answers: a model directory or a checkpoint directory (default: {', else '.join(BUILT)})"
    parser.add_argument("--model", metavar="DIR", help=told)
    told = "turns before the questions, as JSON (default: none)"
    parser.add_argument("--conversation", type=Path, metavar="FILE", help=told)
    add_number(parser, "--beams", 1, MAX_BEAMS, 1, "hypotheses of an answer")
    parser.add_argument("--json", action="store_true", help="print one JSON object a question")


def run(args: argparse.Namespace) -> int:
    """Print an answer to each question, in the order given."""
    from fastcap.runtime.conversation import parse_turns

    model = args.model or usual_model()

    history = []
    if args.conversation:
        try:
            text = args.conversation.read_text("utf-8")
        except UnicodeDecodeError:
            raise ConfigError(f"{args.conversation} is not UTF-8; needed: a list of turns in JSON") from None
        history = parse_turns(text, str(args.conversation))
    image = standard_input("fastcap ask") if args.image == STDIN else Path(args.image)
    answers = open_model(model).ask(image, args.questions, history=history, beams=args.beams)
    for answer in answers:
        row = {"question": answer.question, "answer": answer.text, "confidence": round(answer.confidence, 4)}
        print(json.dumps(row, ensure_ascii=False) if args.json else answer.text)
    return 0


def usual_model() -> str:
    """The largest model that was built, which is said on stderr, since it depends on the folder.

    Raises ConfigError where there is none.
    """
    built = next((folder for folder in BUILT if (Path(folder) / "model.json").is_file()), None)
    if built is None:
        raise ConfigError(f"--model is missing, and there is no {' nor '.join(BUILT)}; {how_to_get_one()}")
    print(f"fastcap: asking {built}", file=sys.stderr)
    return built
