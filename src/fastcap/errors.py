"""Every error a user can cause. Each message says what was got and what is allowed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

__all__ = ["ConfigError", "DataError", "FastcapError", "ImageError", "ModelFileError", "many", "nearest", "needs"]

T = TypeVar("T")


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
    """Values of which there may be many, as they are. Raises `error` for one text, bytes or path in their place, which
    Python would take for many letters."""
    kinds = {str: "text", bytes: "bytes object", bytearray: "bytes object", os.PathLike: "path"}
    for kind, name in kinds.items():
        if isinstance(values, kind):
            raise error(f"got one {name}; needed: a list of {what}")
    return values


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
