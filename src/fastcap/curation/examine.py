"""What is measured on every picture of a data set, in worker processes; an interrupted run goes on.

Each picture is decoded once, for its fingerprint and for the model that judges its captions.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastcap.curation.scoring import PairScorer
from fastcap.errors import ImageError
from fastcap.files import full_disk_named
from fastcap.runtime.bulk.pool import WorkerPool, check_workers
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.images import load_image

__all__ = ["SIDE", "ExamineWorker", "Examined", "examine"]

SIDE = 32  # pixels of a fingerprint's grey picture
_SIZE = (224, 224)  # of decoded pictures, where no model says another one
_FORMAT = 1


@dataclass(frozen=True)
class Examined:
    """What is known of a picture.

    Attributes:
        problem: why it cannot be read; all else is then empty.
        size: width and height of the file's picture. bytes, format, digest: of the file; `digest` tells equal files.
        small: (SIDE, SIDE) uint8, the picture in grey, squashed.
        alignments, likelihoods: for each caption, see `PairScorer`; empty where the model says nothing.
    """

    problem: str = ""
    size: tuple[int, int] = (0, 0)
    bytes: int = 0
    format: str = ""
    digest: str = ""
    small: np.ndarray | None = None
    alignments: tuple[float | None, ...] = ()
    likelihoods: tuple[float | None, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Examined:
        """What a worker's row says."""
        if "error" in row:
            return cls(problem=row["error"])
        small = np.frombuffer(base64.b64decode(row["small"]), np.uint8).reshape(SIDE, SIDE)
        scores = (tuple(row.get(name, ())) for name in ("alignments", "likelihoods"))
        size = (row["size"][0], row["size"][1])
        return cls("", size, row["bytes"], row["format"], row["digest"], small, *scores)


class ExamineWorker:
    """What one worker process does. `model`: name or directory, or "" to judge no captions. `likelihoods`: whether to
    compute them, too. `captions`: by path."""

    def __init__(self, model: str, likelihoods: bool, captions: Mapping[str, Sequence[str]]) -> None:
        self._scorer = PairScorer(model) if model else None
        self._likelihoods = likelihoods and self._scorer is not None and self._scorer.explains
        self._captions = captions
        self._size = self._scorer.size if self._scorer else _SIZE

    def rows(self, images: Iterator[str], ready: Callable[[], bool] = lambda: True) -> Iterator[dict[str, Any]]:
        """A row for each picture, in order; `ready` is not needed, for nothing is read ahead."""
        for image in images:
            try:
                yield {"image": image, **self._examine(Path(image))}
            except (ImageError, OSError) as error:
                yield {"image": image, "error": str(error)}

    def _examine(self, path: Path) -> dict[str, Any]:
        data = path.read_bytes()
        pixels = load_image(path, self._size)  # checks what `open` below only reads the beginning of
        with Image.open(path) as image:
            size, kind = image.size, image.format or ""
        small = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        row = {
            "size": size,
            "bytes": len(data),
            "format": kind,
            "digest": hashlib.blake2b(data, digest_size=16).hexdigest(),
            "small": base64.b64encode(small.tobytes()).decode("ascii"),
        }
        captions = self._captions[str(path)]
        if self._scorer and self._scorer.aligns:
            row["alignments"] = self._scorer.alignments(pixels, captions)
        if self._scorer and self._likelihoods:
            row["likelihoods"] = self._scorer.likelihoods(pixels, captions)
        return row


def examine(
    captions: Mapping[Path, Sequence[str]],
    notes: Path,
    *,
    model: str = "fastcap-base",
    likelihoods: bool = False,
    workers: int | None = None,
    on_picture: Callable[[], object] = lambda: None,
) -> dict[Path, Examined]:
    """Examine pictures in worker processes.

    Args:
        captions: those of each picture.
        notes: a file of JSON lines to which each result is added at once. What stands there of an unchanged picture
            with the same captions and model is not done again.
        model: what judges the captions; "" to judge none.
        likelihoods: compute these, too, which takes about twice as long. What the notes have with them is taken
            without, too.
        workers: 1 to 64; as many as this process has cores by default.
        on_picture: called for every picture.

    Raises ConfigError or ModelFileError for the model, OSError if the notes cannot be written.
    """
    count, made_with = check_workers(workers), _made_with(model)
    keys = {str(path): _key(path, texts, made_with) for path, texts in captions.items()}
    found = {
        path: row
        for path, row in _noted(notes)
        if row.get("key") == keys.get(path) and ("likelihoods" in row or "error" in row or not likelihoods)
    }
    for _ in found:
        on_picture()
    todo = [path for path in keys if path not in found]
    if todo:
        texts = {path: list(captions[Path(path)]) for path in todo}
        pool = WorkerPool(min(count, len(todo)), ExamineWorker, model, likelihoods, texts)
        try:
            with full_disk_named(notes), notes.open("a", encoding="utf-8") as file:
                file.write("\n" if file.tell() else "")  # a line that was cut short ends here
                for row in pool.rows(iter(todo)):
                    row["key"] = keys[row["image"]]
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    found[row["image"]] = row
                    on_picture()
        finally:
            pool.close()
    return {path: Examined.of(found[str(path)]) for path in captions}


def _made_with(model: str) -> str:
    if not model:
        return ""
    bundle = Bundle.open(find_model(model))
    return "".join(file.sha256 for file in bundle.files.values())


def _key(path: Path, captions: Sequence[str], made_with: str) -> str:
    """What a result depends on."""
    try:
        facts = os.stat(path)
        file: list[Any] = [facts.st_size, facts.st_mtime_ns]
    except OSError:
        file = []
    parts = json.dumps([_FORMAT, str(path), file, list(captions), made_with])
    return hashlib.blake2b(parts.encode("utf-8", "backslashreplace"), digest_size=12).hexdigest()


def _noted(notes: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of earlier runs; a line that is empty, was cut short or is none of ours is passed over."""
    if not notes.is_file():
        return
    with notes.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
                yield row["image"], row
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
