"""`fastcap learn`: a memory of a user's own pictures and captions."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

from fastcap.cli.options import add_model, check_folder
from fastcap.cli.parser import print_error
from fastcap.cli.progress import continuing, progress_bar
from fastcap.errors import ConfigError, counted

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    told = "folder of pictures with .txt or .xmp beside or texts in them, or a table of image and caption"
    parser.add_argument("source", type=Path, metavar="DIR|CSV", help=told)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="memory to write")
    parser.add_argument("--recursive", action="store_true", help="look into the folders of a folder, too")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--add", action="store_true", help="keep the pictures of a memory that exists")
    existing.add_argument("--overwrite", action="store_true", help="replace a memory that exists")
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    """Learn every captioned picture; one that fails does not stop the others. Returns 1 if any failed."""
    from fastcap.data.own import own_pictures
    from fastcap.runtime.bulk.learn import journal_of, learn
    from fastcap.runtime.captioner import Captioner
    from fastcap.runtime.taught import Taught

    warnings.filterwarnings("ignore", module=r"PIL\.")  # a damaged picture is one line, ours
    check_folder("--out", args.out)
    if args.out.is_dir():
        raise ConfigError(f"{args.out} is a folder; --out takes a file")
    if args.out.exists() and not (args.add or args.overwrite or journal_of(args.out).exists()):
        raise ConfigError(f"{args.out} exists; --add keeps its pictures and adds more, --overwrite replaces it")
    captioner = Captioner.open(args.model)
    kept = Taught.open(args.out, captioner.bundle) if args.add and args.out.exists() else None
    own = own_pictures(args.source, args.recursive)
    for problem in own.problems:
        print_error(problem)
    started = time.monotonic()
    with continuing(), progress_bar(len(own.captions)) as advance:
        learnt = learn(captioner, own.captions, args.out, add_to=kept, on_picture=advance, on_error=print_error)
    failed = len(own.problems) + len(learnt.errors)
    done = len(own.captions) - len(learnt.errors)
    parts = [f"{counted(done, 'picture')} learnt in {time.monotonic() - started:.1f} s"]
    parts += [f"{len(learnt.taught.examples)} in {args.out}"] if kept else []
    parts += [f"{own.uncaptioned} without a caption"] if own.uncaptioned else []
    parts += [f"{own.machine} captioned by fastcap alone left out"] if own.machine else []
    parts += [f"{failed} failed"] if failed else []
    print(", ".join(parts), file=sys.stderr)
    return 1 if failed else 0
