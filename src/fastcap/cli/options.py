"""Arguments and checks that several verbs share."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fastcap.cli.parser import Number, one_of
from fastcap.errors import MAX_BAD_SHARE, ConfigError, FastcapError, ImageError, ModelFileError, counted, nearest, needs
from fastcap.runtime.bundle import available_models
from fastcap.runtime.options import Options, Sampling, Setting, settings

if TYPE_CHECKING:
    from fastcap.data.readers import Examples
    from fastcap.runtime.captioner import Captioner

__all__ = [
    "STDIN",
    "add_bad_data",
    "add_bad_share",
    "add_captioner",
    "add_memory",
    "add_model",
    "add_number",
    "add_root_path",
    "add_usual",
    "check_checkpoint",
    "check_folder",
    "one_reader",
    "open_captioner",
    "open_model",
    "options_of",
    "standard_input",
    "tell_bad_rows",
    "usual_of",
    "write_json",
]

STDIN = "-"


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare `--model` for a verb that takes no checkpoint directory."""
    told = "bundled model or model directory"
    parser.add_argument("--model", default="fastcap-base", metavar="NAME|DIR", help=told)


def add_captioner(parser: argparse.ArgumentParser) -> None:
    """Declare the model and how it captions: a flag for every field of `Options` and, in a group, of `Sampling`."""
    told = "bundled model, model directory or checkpoint directory"
    parser.add_argument("--model", default="fastcap-base", metavar="NAME|DIR", help=told)
    add_number(parser, "--threads", 1, 64, 1, "CPU threads")
    sampling = parser.add_argument_group("options of --decode sample")
    for target, kind in ((parser, Options), (sampling, Sampling)):
        for name, setting in settings(kind).items():
            target.add_argument(_flag(name), default=argparse.SUPPRESS, **_argument(setting))


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Declare `--memory`, a user's own."""
    told = "rank by what people said of your pictures, and show it: a file of 'fastcap learn' (default: none)"
    parser.add_argument("--memory", metavar="FILE", help=told)


def add_usual(parser: argparse.ArgumentParser) -> None:
    """Declare the options that a server has for every request that asks for no other."""
    for name, setting in _served().items():
        facts = _argument(setting) | {"help": f"{setting.told}; a request may ask for another (default: 0)"}
        parser.add_argument(_flag(name), default=setting.default, **facts)


def usual_of(args: argparse.Namespace) -> dict[str, float]:
    """What `add_usual` declared, by name, where it is not the default."""
    return {name: getattr(args, name) for name in _served() if getattr(args, name)}


def _served() -> dict[str, Setting]:
    return {name: setting for name, setting in settings(Options).items() if setting.served}


def add_bad_data(parser: argparse.ArgumentParser) -> None:
    """Declare `--on-bad-data` and its share for a verb that measures on a data set."""
    told = "rows and pictures that cannot be used: stop at the first, or leave them out"
    parser.add_argument("--on-bad-data", **one_of(("raise", "skip")), default="raise", help=told)
    add_bad_share(parser, MAX_BAD_SHARE)


def add_bad_share(parser: argparse.ArgumentParser, default: float | None) -> None:
    """Declare `--max-bad-share`; without a default, that of a recipe."""
    told = "share of its rows that may be left out; a data set with more is refused"
    usual = "" if default else " (default: the recipe's data.max_bad_share)"
    kind = Number(float, 0, 0.99)
    parser.add_argument("--max-bad-share", type=kind, default=default, metavar="SHARE", help=told + usual)


def one_reader(parser: argparse.ArgumentParser) -> None:
    """Declare `--dataset` for a verb that takes a folder and can tell itself what that holds."""
    names = ("karpathy", "flickr8k", "flickr30k", "coco", "coco_machine", "jsonl", "csv")
    told = f"its format, {', '.join(names[:-1])} or {names[-1]} (default: that of the files that are there)"
    parser.add_argument("--dataset", **one_of(names) | {"metavar": "NAME"}, help=told)


def tell_bad_rows(examples: Examples) -> None:
    """Say on stderr how many rows of a data set are left out: what is made of it must not lack them in silence."""
    if examples.bad_rows:
        first = examples.bad_rows[0]
        told = f"{len(examples.bad_rows)} of {counted(examples.n_rows, 'row')} cannot be used and are left out"
        print(f"fastcap: {told}, the first: {first.where}: {first.problem}", file=sys.stderr)


def open_captioner(args: argparse.Namespace) -> tuple[Captioner, Options]:
    """What `add_captioner` declared. A checkpoint directory needs PyTorch.

    Raises ConfigError or ModelFileError; ConfigError also for options that the model does not take.
    """
    options = options_of(args)
    captioner = open_model(args.model, args.threads, getattr(args, "memory", None))
    captioner.check_options(options)
    return captioner, options


def open_model(model: str, threads: int = 1, memory: str | None = None) -> Captioner:
    """A model directory, a bundled model, or a checkpoint directory, which needs PyTorch.

    Raises ConfigError or ModelFileError.
    """
    if not (Path(model) / "model.safetensors").is_file():
        from fastcap.runtime.captioner import Captioner

        return Captioner.open(model, threads=threads, memory=memory)
    if memory is not None:
        raise ConfigError(f"--memory needs a model directory; {model} is a checkpoint")
    if importlib.util.find_spec("torch") is None:
        raise ModelFileError(f"{model} is a checkpoint directory, which {needs('torch', 'train')}")
    from fastcap.eager import checkpoint_captioner

    return checkpoint_captioner(model, threads)


def options_of(args: argparse.Namespace) -> Options:
    """The options that the flags of `add_captioner` ask for.

    Raises ConfigError for a setting of sampling out of its range, or given without `--decode sample`, and for an option
    of one way of decoding beside the name of another; without a name the model's usual way may be that one.
    """
    given = {name: value for name, value in vars(args).items() if name in settings(Options, Sampling)}
    drawn = [_flag(name) for name in settings(Sampling) if name in given]
    decode = given.get("decode")
    if drawn and decode != "sample":
        got = f"--decode {decode}" if decode else "no --decode"
        raise ConfigError(f"{', '.join(drawn)}: allowed with --decode sample alone; got {got}")
    for name in filter(given.__contains__, settings(Options)):
        if (only := settings(Options)[name].decode) and decode not in (None, only):
            raise ConfigError(f"{_flag(name)}: allowed with --decode {only} alone; got --decode {decode}")
    return Options.from_flat(given)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _argument(setting: Setting) -> dict[str, Any]:
    """What argparse is told of a setting."""
    told = setting.told.replace("decode=", "--decode ")
    if isinstance(setting.default, bool):
        return {"action": "store_true", "help": told}
    kind: Callable[[str], Any] = str
    if isinstance(setting.between, tuple):
        kind = Number(type(setting.default), *setting.between)
    elif setting.between:
        told += ", within the model's limits"
        kind = _number_or_text if setting.names else Number(int)
    return {
        "type": kind,
        "metavar": setting.metavar,
        "help": f"{told} (default: {setting.usual or setting.default})",
    }


def _number_or_text(text: str) -> str | int:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else text


def add_number(parser: argparse.ArgumentParser, flag: str, low: int, high: int, default: int, told: str) -> None:
    """Declare an option that takes a whole number from `low` to `high`."""
    kind = Number(int, low, high)
    parser.add_argument(flag, type=kind, default=default, metavar="N", help=told)


def add_root_path(parser: argparse.ArgumentParser) -> None:
    """Declare --root-path, for servers behind a proxy."""

    def prefix(text: str) -> str:
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", text):
            raise argparse.ArgumentTypeError(f"{text!r} is no path of a server; allowed are /NAME, /NAME/NAME")
        return text.rstrip("/")

    told = "path below which a proxy shows the server, e.g. /captions (default: none)"
    parser.add_argument("--root-path", type=prefix, default="", metavar="/PREFIX", help=told)


def check_checkpoint(name: str) -> Path:
    """The directory of a checkpoint. As `find_model` does, raises ConfigError for a name of nothing, ModelFileError for
    a path of nothing ("./runs"), and for a bundled model's name or a model directory."""
    path = Path(name)
    if path.name == name not in available_models() and not path.exists():
        named = f"{name!r}{nearest(name, available_models())}"
        raise ConfigError(f"unknown checkpoint {named}; needed: a checkpoint directory, as training writes it")
    if not path.exists() and name not in available_models():
        raise ModelFileError(f"{name}: no such folder; needed: a checkpoint directory, as training writes it")
    if name in available_models() or (path / "model.json").is_file():
        made = shlex.join(["fastcap", "checkpoint", "--model", str(path), "--out", "DIR"])
        raise ModelFileError(f"{path} is an exported model; needed: a checkpoint directory, such as '{made}' writes")
    return path


def standard_input(verb: str) -> IO[bytes]:
    """The stream that a picture named `STDIN` comes from; ImageError if it is closed or a terminal."""
    if sys.stdin is None:
        raise ImageError("-: standard input is closed")
    if sys.stdin.buffer.isatty():
        raise ImageError(f"-: standard input is a terminal; pipe a picture into it: {verb} - < photo.jpg")
    return sys.stdin.buffer


def check_folder(flag: str, path: str | Path | None) -> None:
    """Raise FastcapError, before any work is done, if a file could not be written for want of its folder."""
    if path and path != "-" and not Path(path).resolve().parent.is_dir():
        raise FastcapError(f"{path}: its folder does not exist; {flag} takes a file in an existing folder")


def write_json(path: str | None, values: dict[str, Any]) -> bool:
    """Print `values` if `path` is "-", else write them to it, if there is one; returns whether they were printed."""
    text = json.dumps(values, indent=1, ensure_ascii=False)
    if path == "-":
        print(text)
    elif path:
        Path(path).write_text(text + "\n", encoding="utf-8")
    return path == "-"
