"""Every error a user can cause. Each message says what was got and what is allowed."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

__all__ = [
    "MAX_BAD_SHARE",
    "ConfigError",
    "DataError",
    "FastcapError",
    "ImageError",
    "ModelFileError",
    "counted",
    "each",
    "listed",
    "many",
    "mapping",
    "nearest",
    "needs",
    "one_text",
]

T = TypeVar("T")

MAX_BAD_SHARE = 0.10
"""Share of a data set's rows that may be bad; beyond that the path or the format is wrong, not a row."""


class FastcapError(Exception):
    """Base of all errors that fastcap raises on purpose; the CLI prints it as one line and exits with 1."""


class ImageError(FastcapError):
    """An input picture cannot be read: not an image, truncated, empty, too large."""


class ModelFileError(FastcapError):
    """A model directory is damaged or not a model directory; the message names the file."""


class ConfigError(FastcapError):
    """A setting is unknown, of the wrong type or out of its range; the CLI exits with 2."""


class DataError(FastcapError):
    """A data set is missing a file or holds a bad row; the message names the file and the row."""


def many(values: T, what: str, error: type[FastcapError] = ConfigError) -> T:
    """Values of which there may be many, as they are: a list, a tuple, a set, an array, a generator. Raises `error` for
    what is none of these, and for one text, bytes or path, which Python would take for many letters, or a mapping,
    which it would take for its keys."""
    if isinstance(values, (str, bytes, bytearray, os.PathLike, Mapping)) or not isinstance(values, Iterable):
        raise error(f"got {_described(values)}; needed: a list of {what}")
    return values


def listed(
    values: Iterable[T], what: str, kind: type | tuple[type, ...] = str, error: type[FastcapError] = ConfigError
) -> list[T]:
    """Many values as a list, all of one kind. Raises `error` as `many` does, and for the first member of another."""
    return list(each(values, what, kind, error))


def each(
    values: Iterable[T], what: str, kind: type | tuple[type, ...] = str, error: type[FastcapError] = ConfigError
) -> Iterator[T]:
    """`listed`, but what is not many is refused now, and a member when it is come upon."""
    many(values, what, error)

    def checked() -> Iterator[T]:
        for place, value in enumerate(values):
            if not isinstance(value, kind):
                raise error(f"item {place} of the {what} is {_described(value)}; needed: {_name_of(kind)}")
            yield value

    return checked()


def mapping(values: T, what: str, error: type[FastcapError] = ConfigError) -> T:
    """A mapping as it is. Raises `error` for anything else. `what`: its values, by what: "captions by image id"."""
    if not isinstance(values, Mapping):
        raise error(f"got {_described(values)}; needed: a mapping (dict) of {what}")
    return values


def one_text(value: T, what: str, error: type[FastcapError] = ConfigError) -> T:
    """A text as it is. Raises `error` for anything else."""
    if not isinstance(value, str):
        raise error(f"{what} is {_described(value)}; needed: a text (str)")
    return value


def _described(value: object) -> str:
    """What was got in place of something else, in a few words."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return "one text"
    if isinstance(value, (bytes, bytearray)):
        return "one bytes object"
    if isinstance(value, os.PathLike):
        return "one path"
    if isinstance(value, (bool, int, float, complex)):
        return f"the {type(value).__name__} {value!r}"
    return f"a value of type {type(value).__name__}"


def _name_of(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    names: dict[type, str] = {
        str: "a text (str)",
        os.PathLike: "a path",
        Iterable: "a list",
        Hashable: "a word or an id",
    }
    return " or ".join(names.get(one, one.__name__) for one in kinds)


def counted(number: int, noun: str) -> str:
    """ "1 picture", "2 pictures"; for nouns whose plural ends in s."""
    return f"{number} {noun}{'s' * (number != 1)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" for the closest of `known`, or "" when none is close; for the text of an error."""
    import difflib  # only once somebody has misspelt a name: `import fastcap` stays light

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def needs(package: str, extra: str) -> str:
    """'needs PACKAGE: pip install ...' for the text of an error: a clone is installed in place, all else by its wheel.

    Never by name: on the public index that is another project's.
    """
    from importlib.metadata import version
    from pathlib import Path

    clone = Path(__file__).parents[2]
    if (clone / "pyproject.toml").is_file():
        return f'needs {package}: pip install -e "{"." if clone == Path.cwd() else clone}[{extra}]"'
    return f'needs {package}: pip install "enhanced_fastcap-{version("enhanced-fastcap")}-py3-none-any.whl[{extra}]"'
