"""A user's own pictures with what was said of them: in a table, in files beside them, or in their metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fastcap.data.readers import caption_problem, load_dataset
from fastcap.errors import DataError, ImageError
from fastcap.files import text_encoding
from fastcap.runtime.bulk.photos import read_texts
from fastcap.runtime.bulk.sidecar import sidecar_path
from fastcap.runtime.sources import find_pictures

__all__ = ["Own", "own_pictures"]


class Own(NamedTuple):
    """`captions` by picture; `problems`, a line each, of what cannot be used; the number of pictures that are
    `uncaptioned`; and of those of which only `fastcap caption --write` has said something, which are left out."""

    captions: dict[str, list[str]]
    problems: list[str]
    uncaptioned: int = 0
    machine: int = 0


def own_pictures(source: Path, recursive: bool = False) -> Own:
    """Pictures and captions of a table with the columns image and caption, or of a folder.

    In a folder, the captions of a picture are the lines of the `.txt` beside it; else the alternative text, or the
    description, in the `.xmp` beside it or in its own metadata.

    Raises DataError where nothing is captioned, or for a table without these columns.
    """
    if source.is_file():
        examples = load_dataset("csv", source, "all", on_bad_data="skip", max_bad_share=1 - 1e-9)
        problems = [f"{row.where}: {row.problem}" for row in examples.bad_rows]
        return Own({str(example.image): list(example.captions) for example in examples}, problems)
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder; needed: a table of image and caption, or a folder")
    captions: dict[str, list[str]] = {}
    problems, uncaptioned, machine = [], 0, 0
    for image, problem in find_pictures(source, recursive=recursive):
        try:
            if problem:
                raise problem
            said, is_ours = _said(image)
        except (DataError, ImageError, OSError) as error:
            told = (error.strerror or "") if isinstance(error, OSError) else str(error)
            problems.append(told if isinstance(error, ImageError) else f"{image}: {told}")
            continue
        if said:
            captions[image] = said
        machine += is_ours and not said
        uncaptioned += not (is_ours or said)
    if not captions:
        told = f"; {problems[0]}" if problems else ""
        raise DataError(
            f"{source}: no captioned picture; needed: photo.txt or photo.xmp beside a picture, a description in its "
            f"metadata, or a table of image and caption in place of the folder{told}"
        )
    return Own(captions, problems, uncaptioned, machine)


def _said(image: str) -> tuple[list[str], bool]:
    """The captions of a picture, and whether only we said something. Raises DataError, OSError."""
    beside = Path(sidecar_path(image, "txt"))
    if beside.is_file():
        lines = list(_lines(beside))
        if not lines:
            raise DataError(f"{beside.name} is empty")
        return lines, False
    stated = read_texts(image)
    # A text of ours is no example: the model would learn from itself.
    alt = "" if stated.made_by else stated.alt
    description = "" if stated.made_by and stated.writer == stated.made_by else stated.description
    said = alt.strip() or description.strip()
    return [said] if said else [], bool(stated.made_by)


def _lines(path: Path) -> Iterator[str]:
    data = path.read_bytes()
    try:
        text = data.decode(text_encoding(data[:2]), "surrogateescape")
    except UnicodeDecodeError as error:  # of UTF-8 the bytes become surrogates, of UTF-16 half a character cannot
        raise DataError(f"{path.name}: not valid {error.encoding}: {error.reason}") from None
    for line in filter(str.strip, text.split("\n")):
        if problem := caption_problem(line):
            raise DataError(f"{path.name}: {problem}")
        yield line.strip()
