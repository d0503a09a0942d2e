"""Teaching a captioner by example: vectors of captioned pictures, kept as a user's own memory.

What takes time, the vectors, is written to a journal beside the file as it is computed: whatever interrupts a run, the
next one goes on from there, and the memory itself is written whole at the end.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastcap.errors import DataError, FastcapError, ImageError
from fastcap.runtime.bulk.journal import Journal
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.taught import Taught, vectors_of

__all__ = ["Learnt", "journal_of", "learn"]


class Learnt(NamedTuple):
    """The memory that was written, and of each picture that could not be read why."""

    taught: Taught
    errors: list[ImageError]


def journal_of(out: Path) -> Path:
    """Where the vectors of a run that is not finished lie."""
    return out.with_name(out.name + ".part")


def learn(
    captioner: Captioner,
    examples: Mapping[str, Sequence[str]],
    out: str | os.PathLike[str],
    *,
    add_to: Taught | None = None,
    on_picture: Callable[[], object] = lambda: None,
    on_error: Callable[[ImageError], object] = lambda error: None,
) -> Learnt:
    """Write a memory of captioned pictures, for `Captioner.open(memory=...)`.

    Args:
        examples: the captions of each picture, by its path.
        out: the file to write; `out.part` beside it holds the vectors of a run until it is finished.
        add_to: a memory whose pictures are kept; one that is among `examples` is replaced.
        on_picture: called after each picture.
        on_error: called for each picture that cannot be read.

    Raises:
        ConfigError: the model gives no vectors of pictures.
        DataError: no picture can be read, or `out.part` is something else.
        FastcapError: another run writes to it; OSError: it cannot be written.
    """
    out = Path(out)
    made_with = f"learn {vectors_of(captioner.bundle)}"
    vectors: dict[str, np.ndarray] = {}
    errors: list[ImageError] = []
    with Journal(journal_of(out), made_with) as journal:
        before = {row["image"]: row for row in journal.rows() if row["image"] in examples and "vector" in row}
        for image in examples:
            try:
                stamp = _stamp(image)
                row = before.get(image)
                if row is None or row.get("stamp") != stamp:
                    vector = captioner.embed_images([image])[0]
                    row = {"image": image, "caption": "", "stamp": stamp, "vector": _text(vector)}
                    journal.append(row)
                vectors[image] = np.frombuffer(base64.b64decode(row["vector"]), "<f4")
            except ImageError as error:
                errors.append(error)
                on_error(error)
            on_picture()
        if not vectors:
            raise DataError(f"{out}: no picture could be read" + (f"; {errors[0]}" if errors else ""))
        taught = _joined(
            captioner, {image: examples[image] for image in vectors}, np.stack([*vectors.values()]), add_to
        )
        taught.save(out)
    journal_of(out).unlink()
    return Learnt(taught, errors)


def _joined(
    captioner: Captioner, examples: Mapping[str, Sequence[str]], vectors: np.ndarray, add_to: Taught | None
) -> Taught:
    """A memory of these pictures after those of another that are not among them."""
    if add_to is None:
        return Taught.of(captioner.bundle, vectors, examples)
    if add_to.made_with != vectors_of(captioner.bundle):
        raise FastcapError(f"the memory was made with {add_to.made_with}; needed: {vectors_of(captioner.bundle)}")
    stays = [row for row, image in enumerate(add_to.examples) if image not in examples]
    old = {image: texts for image, texts in add_to.examples.items() if image not in examples}
    return Taught.of(captioner.bundle, np.concatenate([add_to.memory.vectors[stays], vectors]), {**old, **examples})


def _stamp(image: str) -> list[int]:
    """What changes when a picture does; for one that is missing, anything: reading it says so."""
    try:
        facts = os.stat(image)
    except (OSError, ValueError):
        return []
    return [facts.st_size, facts.st_mtime_ns]


def _text(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
