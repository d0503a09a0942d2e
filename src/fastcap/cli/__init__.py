"""The `fastcap` command. Each verb is a small module that is imported only when it is chosen."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import fastcap
from fastcap.errors import ConfigError, FastcapError, needs

__all__ = ["VERBS", "main"]

VERBS = {
    "caption": ("fastcap.cli.caption", "caption image files, folders, globs or stdin"),
    "lint": ("fastcap.cli.lint", "flag poor alternative text"),
    "score": ("fastcap.cli.score", "say how well texts fit a picture"),
    "models": ("fastcap.cli.models", "list the bundled models with their measured quality and speed"),
    "serve": ("fastcap.cli.serve", "answer over HTTP: pictures in, captions out"),
    "demo": ("fastcap.cli.demo", "caption on a web page that runs on this machine alone"),
    "gradio": ("fastcap.cli.gradio", "caption on a Gradio page"),
    "download": ("fastcap.cli.download", "fetch pretrained parts by name, checked against pinned digests"),
    "train": ("fastcap.cli.train", "train a model from a YAML recipe"),
    "evaluate": ("fastcap.cli.evaluate", "measure a model's captions on a data set"),
    "explain": ("fastcap.cli.explain", "draw where a model looks while it says each word"),
    "export": ("fastcap.cli.export", "turn a checkpoint into a model directory"),
    "checkpoint": ("fastcap.cli.checkpoint", "turn a model directory back into a checkpoint, to train on"),
    "bench": ("fastcap.cli.bench", "measure speed, memory and size"),
}
_EXTRAS = {verb: verb for verb in ("train", "export", "bench", "serve", "gradio")} | {
    "evaluate": "eval",
    "explain": "train",
    "checkpoint": "export",
    "download": "prefix",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status: 0 done, 1 failed, 130 interrupted.

    Wrong usage, which is every ConfigError too, raises SystemExit(2), as argparse does.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # File names need not be valid Unicode, and pipes need not be UTF-8; neither may stop a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    verb = next((argument for argument in arguments if not argument.startswith("-")), None)
    try:
        args = _parser(verb).parse_args(arguments)
        status = args.run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except ConfigError as error:
        raise SystemExit(_fail(str(error), status=2)) from None
    except FastcapError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        root = (error.name or "").partition(".")[0]
        if root == "fastcap" or verb not in _EXTRAS:
            raise
        return _fail(f"'fastcap {verb}' {needs(root, _EXTRAS[verb])}")
    except BrokenPipeError:
        # The reader has gone (`| head`). Keep the interpreter from failing on its own last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return 130


def _parser(verb: str | None) -> argparse.ArgumentParser:
    """The command line; only the chosen verb's options are filled in."""
    parser = argparse.ArgumentParser(prog="fastcap", description="Small, fast, private image captioning.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, (module, summary) in VERBS.items():
        chosen = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == verb:
            command = importlib.import_module(module)
            command.add_arguments(chosen)
            chosen.set_defaults(run=command.run)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked: reading package metadata takes 20 ms."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"fastcap {fastcap.__version__}")
        parser.exit()


def _fail(message: str, status: int = 1) -> int:
    print(f"fastcap: error: {message}", file=sys.stderr)
    return status
