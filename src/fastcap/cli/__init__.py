"""The `fastcap` command. Each verb is a small module that is imported only when it is chosen.

A verb of two words, such as "data report", is a module of a package (`fastcap.cli.data.report`); its first word alone
lists the verbs of its group.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn

import fastcap
from fastcap.cli.parser import Parser, print_error
from fastcap.errors import ConfigError, FastcapError, nearest, needs

__all__ = ["VERBS", "Verb", "main", "module_of"]


class Verb(NamedTuple):
    """One line about a verb, a command line to begin with, and the extra that it needs, if any."""

    summary: str
    example: str
    extra: str = ""


VERBS = {
    "caption": Verb(
        "caption image files, folders, globs or stdin",
        "fastcap caption photos/ --recursive --length short",
    ),
    "learn": Verb(
        "remember your own pictures and captions; nothing is trained",
        "fastcap learn album/ --out mine.memory",
    ),
    "lint": Verb("flag poor alternative text", 'fastcap lint "An image of a dog" "IMG_1234"'),
    "alt": Verb("check and mend the alternative texts of documents", "fastcap alt docs/ --fix"),
    "score": Verb("say how well texts fit a picture", 'fastcap score photo.jpg "a dog" "two cats"'),
    "ask": Verb(
        "answer questions about a picture", 'fastcap ask photo.jpg "Is there a dog?" --model models/fastvlm-base'
    ),
    "models": Verb("list the bundled models with their measured quality and speed", "fastcap models"),
    "serve": Verb("answer over HTTP: pictures in, captions out", "fastcap serve --port 8000", "serve"),
    "demo": Verb("caption on a web page that runs on this machine alone", "fastcap demo --open"),
    "gradio": Verb("caption on a Gradio page", "fastcap gradio --port 7860", "gradio"),
    "download": Verb(
        "fetch pretrained parts by name, checked against pinned digests",
        "fastcap download efficientnet-lite0 --out parts",
        "prefix",
    ),
    "train": Verb(
        "train a model from a YAML recipe",
        "fastcap train --config pretrain data.root=data",
        "train",
    ),
    "evaluate": Verb(
        "measure a model's captions on a data set",
        "fastcap evaluate --dataset flickr8k --root data/flickr8k",
        "eval",
    ),
    "compare": Verb(
        "captions before and after a change, as a page",
        "fastcap compare fastcap-base models/mine --images photos --out compared.html",
        "eval",
    ),
    "explain": Verb(
        "draw where a model looks while it says each word",
        "fastcap explain photo.jpg --model runs/mine/best --out attention.png",
        "train",
    ),
    "data merge": Verb(
        "several data sets as one, without leaks, to train on or share",
        "fastcap data merge coco flickr --root data --out merged --sample 500",
        "bulk",
    ),
    "data report": Verb(
        "examine a data set: leaks, misfits, bias, imbalance, one page",
        "fastcap data report data/flickr8k --out reports/flickr8k",
    ),
    "data bias": Verb(
        "count who is mentioned, what is said of whom, what a model adds",
        "fastcap data bias data/flickr8k --split val --model fastcap-base",
    ),
    "data rewrite": Verb(
        "make captions neutral alternative text, by rules or a model",
        "fastcap data rewrite captions.csv --out neutral.csv",
    ),
    "data prompts": Verb(
        "write prompts for pictures of what a data set shows too rarely",
        "fastcap data prompts report/object_counts.csv --threshold 50",
    ),
    "data questions": Verb(
        "make questions and answers about pictures of their captions",
        "fastcap data questions data/flickr8k --out questions.json",
    ),
    "export": Verb(
        "turn a checkpoint into a model directory",
        "fastcap export --model runs/mine/best --out models/mine --root data/flickr8k",
        "export",
    ),
    "convert": Verb(
        "turn a model into what phones and other runtimes load",
        "fastcap convert --model fastcap-base --platform ios android --out mobile",
        "export",
    ),
    "compress": Verb(
        "make a model fit a size: fewer bits, fewer units, as good",
        "fastcap compress --model runs/best --out small --root data --target-size 6MB",
        "export",
    ),
    "checkpoint": Verb(
        "turn a model directory back into a checkpoint, to train on",
        "fastcap checkpoint --model fastcap-base --out runs/fastcap-base/best",
        "export",
    ),
    "adapters": Verb(
        "keep what was trained of a prefix model in a few megabytes",
        "fastcap adapters --model runs/mine/best --root data/mine --out adapters/mine",
        "build",
    ),
    "build": Verb(
        "make a captioner of adapters and frozen, downloaded parts",
        "fastcap build distilvit --out models/distilvit",
        "build",
    ),
    "bench": Verb("measure speed, memory and size", "fastcap bench --image photo.jpg --repeats 20", "bench"),
}

GROUPS = {"data": "make data sets fit to learn from"}
"""First words of verbs that have two."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status: 0 done, 1 failed, 130 interrupted.

    Wrong usage, which is every ConfigError too, raises SystemExit(2), as argparse does.
    """
    if getattr(sys, "frozen", False):  # an application whose workers start its own program again, not Python
        import multiprocessing

        multiprocessing.freeze_support()
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # File names need not be valid Unicode, and pipes need not be UTF-8; neither may stop a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if words[:1] == ["--version"]:
        words = words[:1]
    if words and words[0] in ("help", "--help", "-h"):  # of a verb, too, wherever people expect it
        words = [*words[1:3], "--help"]
    verb = next((name for name in (" ".join(words[:2]), *words[:1]) if name in (*VERBS, *GROUPS)), "")
    try:
        try:
            return _run(verb, words)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except ConfigError as error:
        raise SystemExit(_fail(f"{error}; see '{' '.join(filter(None, ('fastcap', verb)))} --help'", 2)) from None
    except FastcapError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        root = (error.name or "").partition(".")[0]
        if root == "fastcap" or verb not in VERBS or not VERBS[verb].extra:
            raise
        return _fail(f"'fastcap {verb}' {needs(root, VERBS[verb].extra)}")
    except BrokenPipeError:
        # The reader has gone (`| head`). Keep the interpreter from failing on its own last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return 130


def module_of(verb: str) -> str:
    """The module of a verb."""
    return f"fastcap.cli.{verb.replace(' ', '.')}"


def _run(verb: str, words: list[str]) -> int:
    """Run the words of a command line, which begin with `verb` unless that is empty."""
    parser = _parser(verb)
    rest = words[len(verb.split()) :]
    if not rest and verb not in VERBS:
        # Nothing was done, so a script whose variable is empty shall not go on; what to type is for people's eyes.
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    if verb not in VERBS and (not rest[0].startswith("-") or set(VERBS).intersection(rest[1:])):
        _refuse(verb, rest)
    args = parser.parse_args(rest)
    try:
        return args.run(args)
    except FastcapError as error:
        error.args = (_with_flags(str(error), vars(args)), *error.args[1:])
        raise


def _with_flags(message: str, settings: Iterable[str]) -> str:
    """An error that names settings as Python has them, `max_bad_share=0.1`, as the command line has them."""
    for name in filter(lambda name: "_" in name, settings):  # others are words of other messages, too
        message = re.sub(rf"\b{name}=(?=\S)", f"--{name.replace('_', '-')} ", message)
    return message


def _refuse(group: str, words: list[str]) -> NoReturn:
    """Raise ConfigError for a command line that does not begin with a verb. `group`: its first word, if that is one."""
    first, later = words[0], [word for word in words if word in VERBS]
    if first.startswith("-"):
        before = f"{group} {later[0]}".strip()
        raise ConfigError(f"{first!r} stands before the verb; options follow it: fastcap {before} {first}")
    known = [name for name in VERBS if name.startswith(f"{group} ")] if group else [*VERBS]
    name = f"{group} {first}".strip()
    meant = f" (did you mean {shlex.join(['fastcap', 'caption', first])}?)" if os.path.exists(name) else ""
    near = meant or nearest(name, known if group else [*VERBS, *GROUPS, "--version"])
    raise ConfigError(f"unknown verb {name!r}{near}; allowed are {', '.join(known)}")


def _parser(verb: str) -> Parser:
    """The options of a verb; of a group or, if `verb` is empty, of the command the overview of verbs."""
    if verb in VERBS:
        summary, example, _ = VERBS[verb]
        command = importlib.import_module(module_of(verb))
        parser = Parser(f"fastcap {verb}", f"{summary[0].upper()}{summary[1:]}.", f"example:\n  {example}")
        command.add_arguments(parser)
        parser.set_defaults(run=command.run)
        return parser
    members = {name: each for name, each in VERBS.items() if not verb or name.startswith(f"{verb} ")}
    listed = "\n".join(f"  {name:13} {each.summary}" for name, each in members.items())
    more = "'fastcap VERB --help' shows the options of a verb, their defaults and an example."
    summary = GROUPS.get(verb, "small, fast, private image captioning")
    parser = Parser(
        f"fastcap {verb}".strip(),
        f"{summary[0].upper()}{summary[1:]}.",
        f"verbs:\n{listed}\n\n{more}\n\nexample:\n  {next(iter(members.values())).example}",
        usage=f"{' '.join(filter(None, ['fastcap', verb]))} VERB [OPTIONS]",
    )
    if not verb:
        version = f"fastcap {fastcap.__version__}"
        parser.add_argument("--version", action="version", version=version, help="show the version and exit")
    return parser


def _fail(message: str, status: int = 1) -> int:
    print_error(message)
    return status
