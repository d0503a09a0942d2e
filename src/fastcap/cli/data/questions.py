"""`fastcap data questions`: questions and answers about pictures, made of their captions."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from fastcap.cli.options import check_folder, one_reader, tell_bad_rows
from fastcap.cli.parser import Number
from fastcap.errors import counted

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    told = "folder of a data set, as its archive unpacks; of several, pictures that have captions in each have them all"
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help=told)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="file of conversations to write")
    one_reader(parser)
    told = "splits that are read; of each folder those that it has"
    parser.add_argument("--split", nargs="+", default=["train"], metavar="NAME", help=told)
    told = "existence, number, colour, activity, place, attribute or object (default: all)"
    parser.add_argument("--kinds", nargs="+", default=[], metavar="KIND", help=told)
    told = "most questions (default: all that can be made)"
    parser.add_argument("--limit", type=Number(int, 1), metavar="N", help=told)
    parser.add_argument("--seed", type=Number(int, 0), default=0, metavar="N", help="of all that is drawn")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Write the questions, and print how many there are and what a reader of them alone would guess."""
    from fastcap.curation.question_files import guessed, write_questions
    from fastcap.curation.questions import questions_from_captions
    from fastcap.curation.sources import find_reader, find_splits, read_splits
    from fastcap.errors import ConfigError

    check_folder("--out", args.out)
    captions: dict[Path, list[str]] = {}
    for folder in args.folders:
        name = args.dataset or find_reader(folder)
        there = [split for split in args.split if split in find_splits(name, folder)]
        if not there:
            raise ConfigError(f"{folder} has the splits {', '.join(find_splits(name, folder))}; --split names none")
        for examples in read_splits(name, folder, there).values():
            tell_bad_rows(examples)
            for example in examples:
                captions.setdefault(example.image, []).extend(example.captions)
    questions = questions_from_captions(list(captions.items()), seed=args.seed, kinds=args.kinds, limit=args.limit or 0)
    write_questions(args.out, questions)
    counts, figures = Counter(question.kind for question in questions), guessed(questions, args.seed)
    record = {"pictures": len({q.image for q in questions}), "questions": dict(counts), "guessed": figures}
    if args.json:
        print(json.dumps(record, indent=1))
        return 0
    print(f"{args.out}: {counted(len(questions), 'question')} about {counted(len(captions), 'picture')}")
    for kind, number in counts.items():
        told = ""
        if kind in figures:
            shares = (100 * figures[kind][name] for name in ("majority", "question"))
            told = "; the most frequent answer is right in {:.1f} %, a reader of the question alone in {:.1f} %".format(
                *shares
            )
        print(f"  {kind:10}{number:7,}{told}")
    return 0
