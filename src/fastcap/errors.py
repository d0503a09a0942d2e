"""Every error a user can cause. Each message says what was got and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ConfigError", "DataError", "FastcapError", "ImageError", "ModelFileError", "nearest"]


class FastcapError(Exception):
    """Base of all errors that fastcap raises on purpose; the CLI prints it as one line and exits with 1."""


class ImageError(FastcapError):
    """An input picture cannot be read: not an image, truncated, empty, too large."""


class ModelFileError(FastcapError):
    """A model directory is damaged or not a model directory; the message names the file."""


class ConfigError(FastcapError):
    """A setting is unknown, of the wrong type or out of its range."""


class DataError(FastcapError):
    """A data set is missing a file or holds a bad row; the message names the file and the row."""


def nearest(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" for the closest of `known`, or "" when none is close; for the text of an error."""
    import difflib  # only once somebody has misspelt a name: `import fastcap` stays light

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
