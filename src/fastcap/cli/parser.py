"""The parser of one verb: argparse, but a misuse is one line and help states every default in the same way."""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fastcap.errors import ConfigError, nearest

__all__ = ["Number", "Parser", "one_of", "print_error", "print_wrapped"]

# What argparse says, and what we say. A message that is not here is passed on.
_WORDINGS = (
    (r"argument (\S+): expected .*", r"\1 needs a value"),
    (r"argument (\S+): not allowed with argument (\S+)", r"\1 and \2 exclude each other; allowed is one of them"),
    (r"argument (\S+): ignored explicit argument (.*)", r"\1 takes no value; got \2"),
    (r"one of the arguments (\S+) (\S+) is required", r"\1 or \2 is missing; needed is one of them"),
    (r"the following arguments are required: (\S+)(?:, \S+)*", r"\1 is missing"),
    (r"argument (\S+): (.*)", r"\1: \2"),
)


class Parser(argparse.ArgumentParser):
    """The options of a verb, which may stand before, between and after its arguments.

    Raises ConfigError, in place of printing the usage, for a command line that is refused.
    """

    def __init__(self, prog: str, description: str, epilog: str, **settings: Any) -> None:
        super().__init__(prog=prog, description=description, epilog=epilog, formatter_class=_Help, **settings)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """As argparse does it, but an unknown option is named before a missing argument, and in our words. `literal` in
        the result: how many words stand behind a "--"."""
        words = list(args or ())
        for word in words[: words.index("--") if "--" in words else None]:
            known = any(name.startswith(word.partition("=")[0]) for name in self._option_string_actions)
            if re.match(r"-(?![\d.]|$)", word) and " " not in word and not known:
                self._refuse(word)
        # Intermixed, argparse forgets a "--" and takes what follows for options.
        parse = self.parse_known_args if "--" in words else self.parse_known_intermixed_args
        parsed, rest = parse(words, namespace)
        if rest:
            self._refuse(rest[0])
        parsed.literal = len(words) - words.index("--") - 1 if "--" in words else 0
        return parsed

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError with argparse's message in our words."""
        for pattern, wording in _WORDINGS:
            if match := re.fullmatch(pattern, message, re.DOTALL):
                raise ConfigError(match.expand(wording) + self._told(match[1], wording))
        raise ConfigError(message)

    def _told(self, name: str, wording: str) -> str:
        """What a missing argument, or an option without its value, is for."""
        if not wording.endswith((" is missing", " needs a value")):
            return ""
        action = next(each for each in self._actions if name in ("/".join(each.option_strings), each.metavar))
        form = f" {action.metavar}," if action.option_strings and action.metavar else ""
        return f":{form} {self._get_formatter()._expand_help(action).removesuffix(' (required)')}"

    def _refuse(self, word: str) -> NoReturn:
        """Raise ConfigError for a word of the command line that means nothing here."""
        if not word.startswith("-"):
            places = [action.metavar for action in self._actions if not action.option_strings]
            allowed = " ".join(map(str, places)) or "no arguments, only options"
            raise ConfigError(f"{word!r} is one argument too many; allowed: {allowed}")
        name, options = word.partition("=")[0], sorted(set(self._option_string_actions) - {"-h"})
        if os.path.lexists(word):
            raise ConfigError(f"unknown option {name!r}; for the file of that name write {os.path.join('.', word)!r}")
        near = nearest(name, options)
        raise ConfigError(f"unknown option {name!r}{near or '; allowed are ' + ', '.join(options)}")


class _Help(argparse.HelpFormatter):
    """Ends the help of every option that takes a value in its range and "(default: ...)" or "(required)"."""

    def _get_help_string(self, action: argparse.Action) -> str:
        told, _, stated = (action.help or "").partition(" (default: ")
        if not action.option_strings or action.nargs == 0 or told.endswith("(required)"):
            return told
        if not stated and action.default not in (None, argparse.SUPPRESS, [], ""):
            stated = "%(default)s)"
        facts = [action.type.span] if isinstance(action.type, Number) and action.type.span else []
        facts += ["required)"] if action.required else [f"default: {stated}"] if stated else []
        return f"{told} ({'; '.join(facts)}" if facts else told

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text  # but for indented lines, which are examples
        return "\n".join(line if line[:1] in ("", " ") else fill(line, width, indent) for line in text.split("\n"))


@dataclass(frozen=True)
class Number:
    """A type for an option that takes a number of one kind, from `low` to `high` where they are given."""

    kind: type[int] | type[float]
    low: float | None = None
    high: float | None = None

    @property
    def span(self) -> str:
        """ "1 to 64", "1 or more", or nothing."""
        return "" if self.low is None else f"{self.low} or more" if self.high is None else f"{self.low} to {self.high}"

    def __call__(self, text: str) -> float:
        form = r"[+-]?\d{1,30}" if self.kind is int else r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"
        value = self.kind(text) if re.fullmatch(form, text, re.ASCII | re.IGNORECASE) else None
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if value is None or not low <= value <= high:
            span = f" {'of' if self.high is None else 'from'} {self.span}" if self.span else ""
            raise argparse.ArgumentTypeError(
                f"got {text!r}; allowed are {'whole numbers' if self.kind is int else 'numbers'}{span}"
            )
        return value


def one_of(names: Collection[str]) -> dict[str, Any]:
    """What `add_argument` is told of an option that takes one of a few texts."""

    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"got {text!r}{nearest(text, names)}; allowed are {', '.join(names)}")
        return text

    return {"type": parse, "metavar": "|".join(names)}


def print_error(message: object) -> None:
    """Print one line on standard error, though a file's name may hold a line break."""
    print("fastcap: error:", str(message).replace("\n", "\\n"), file=sys.stderr)


def print_wrapped(start: str, text: str, indent: int) -> None:
    """Print a text in lines that fit the terminal, or 80 columns where there is none.

    The first line begins with `start`, the others with `indent` spaces; none is broken at a no-break space, which is
    printed as a plain one.
    """
    width = max(60, shutil.get_terminal_size().columns)
    lines = textwrap.wrap(text, width, initial_indent=start, subsequent_indent=" " * indent, break_on_hyphens=False)
    for line in lines:
        print(line.replace("\xa0", " "))
