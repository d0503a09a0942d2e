"""Pictures of a committee: which ones, what people say of them, and which are alike. All paths are absolute."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fastcap.data.cache import build_array
from fastcap.data.readers import load_dataset
from fastcap.errors import DataError
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.memory import Memory
from fastcap.runtime.signatures import READ_SUFFIXES

__all__ = ["described", "memory_of", "pictures_in", "vectors_of"]

Source = Sequence[str]  # NAME or NAME:SPLIT, and a folder


def described(sources: Iterable[Source]) -> dict[Path, list[str]]:
    """All that data sets say of each picture; `NAME` means the split train."""
    captions: dict[Path, list[str]] = {}
    for source, root in sources:
        name, _, split = source.partition(":")
        for example in load_dataset(name, Path(root), split or "train"):
            captions.setdefault(Path(os.path.abspath(example.image)), []).extend(example.captions)
    return captions


def pictures_in(sources: Iterable[Source], folders: Iterable[Path]) -> list[Path]:
    """The pictures of data sets, and then those in folders, each once.

    Raises:
        DataError: there are none, or a folder is missing.
    """
    images = list(described(sources))
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"no folder {folder}")
        found = (path for path in folder.iterdir() if path.suffix.lower() in READ_SUFFIXES)
        images += sorted(Path(os.path.abspath(path)) for path in found)
    if not images:
        raise DataError("no picture is named; needed: a data set or a folder of pictures")
    return list(dict.fromkeys(images))


def vectors_of(model: str, images: Sequence[Path], cache: Path) -> dict[Path, np.ndarray]:
    """The unit vectors of pictures by a model's alignment, cached; an interrupted job goes on where it stopped.

    Raises:
        ModelFileError: the model gives no vectors.
    """
    captioner = Captioner.open(model)
    graphs = sorted((name, file.sha256) for name, file in captioner.bundle.files.items() if name.endswith(".onnx"))
    facts = json.dumps([graphs, [str(image) for image in images]])
    path = cache / f"vectors-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.npy"
    if not path.is_file():
        width = captioner.embed_images(images[:1]).shape[1]

        def rows(part: range) -> np.ndarray:
            return captioner.embed_images([images[place] for place in part])

        build_array(path, (len(images), width), np.float32, rows, chunk=32, title="vectors of pictures")
    return dict(zip(images, np.load(path), strict=True))


def memory_of(captions: Mapping[Path, Sequence[str]], vectors: Mapping[Path, np.ndarray]) -> Memory:
    """A memory of all that is said of pictures; empty if there are none."""
    memory = Memory()
    if captions:
        memory.add(np.stack([vectors[image] for image in captions]), list(captions.values()))
    return memory
