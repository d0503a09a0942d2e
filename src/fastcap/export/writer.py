"""The one writer of model directories, which `fastcap.runtime.bundle` reads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from fastcap.config import ModelConfig
from fastcap.errors import ModelFileError
from fastcap.files import folder_written_aside
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.contract import (
    MANIFEST,
    MEMORY,
    PHOTO,
    TEXT,
    TOKENIZER,
    WORDS,
    Alignment,
    Calibration,
    File,
    Manifest,
    Ranking,
)
from fastcap.runtime.memory import Memory
from fastcap.runtime.words import PictureWords

__all__ = ["add_photo", "check_destination", "rewrite_bundle", "write_bundle"]


def check_destination(directory: Path, overwrite: bool = False) -> None:
    """Refuse to write a model directory over something else.

    Raises:
        ModelFileError: something is there that is neither an empty folder nor, with `overwrite`, a model directory.
    """
    if not os.path.lexists(directory) or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not (directory / MANIFEST).is_file():
        raise ModelFileError(f"{directory} is there already and no model directory; allowed: a path that is free")
    if not overwrite:
        raise ModelFileError(
            f"{directory} is a model directory already; allowed: a path that is free, or to overwrite it"
        )


def write_bundle(
    directory: Path,
    graphs: Path,
    tokenizer: Tokenizer,
    config: ModelConfig,
    *,
    name: str,
    description: str = "",
    calibration: tuple[float, float] = (1.0, 0.0),
    alignment: tuple[float, float] = (1.0, 0.0),
    answering: tuple[float, float] = (1.0, 0.0),
    quality: Mapping[str, Any] | None = None,
    speed: Mapping[str, Any] | None = None,
    unheld: Mapping[str, Sequence[float]] | None = None,
    memory: Memory | None = None,
    words: PictureWords | None = None,
    ranking: Ranking | None = None,
    overwrite: bool = False,
) -> None:
    """Write the graphs, the tokenizer and their manifest, whole or not at all.

    Args:
        graphs: folder whose ONNX files, and files of their weights, are copied: those of the model's kind, and more if
            it has them.
        calibration: scale and offset (`fastcap.evaluation.calibration.fit_calibration`); the default changes nothing.
        alignment: scale and offset (`fastcap.evaluation.calibration.fit_alignment`), noted if there is a `text.onnx`.
        answering: scale and offset of an answer's confidence, noted if the model was trained to answer.
        quality, speed: measured figures, each with what is needed to measure them again.
        unheld: parameters that the graphs do not hold (`fastcap.export.weights.unheld`); without them, the directory
            cannot be turned back into a checkpoint.
        memory, words, ranking: what candidates are ranked by; a ranking with one or both of the others, or nothing.
        overwrite: whether a model directory that is there already may be replaced.

    Raises:
        ModelFileError: something is there that may not be replaced.
    """
    check_destination(directory, overwrite)
    with folder_written_aside(directory) as folder:
        for file in (*graphs.glob("*.onnx"), *graphs.glob("*.data")):
            shutil.copyfile(file, folder / file.name)
        tokenizer.save(str(folder / TOKENIZER), pretty=False)
        _save(folder, memory, words)
        files = _facts_of_files(folder)
        manifest = Manifest.of(
            config,
            name=name,
            description=description,
            licence="Apache-2.0",
            calibration=Calibration(*calibration),
            alignment=Alignment(*alignment) if TEXT.file in files else None,
            ranking=ranking,
            architecture=dataclasses.asdict(config),
            unheld=unheld,
            files=files,
            quality=quality or {},
            speed=speed or {},
        )
        if manifest.questions:
            questions = manifest.questions._replace(scale=answering[0], offset=answering[1])
            manifest = dataclasses.replace(manifest, questions=questions)
        _write_manifest(folder, manifest)


def rewrite_bundle(
    bundle: Bundle,
    directory: Path,
    memory: Memory | None = None,
    words: PictureWords | None = None,
    *,
    overwrite: bool = False,
    **changes: Any,
) -> None:
    """Write a copy of a model directory that ranks by these and no others, whole or not at all.

    `changes`: fields of its manifest.

    Raises:
        ModelFileError: something is there that may not be replaced.
    """
    check_destination(directory, overwrite)
    with folder_written_aside(directory) as folder:
        for name in bundle.files.keys() - {MEMORY, WORDS}:
            shutil.copyfile(bundle.folder / name, folder / name)
        _save(folder, memory, words)
        manifest = {field.name: getattr(bundle, field.name) for field in dataclasses.fields(Manifest)}
        _write_manifest(folder, Manifest(**{**manifest, **changes, "files": _facts_of_files(folder)}))


def add_photo(bundle: Bundle, directory: Path, photo: str, *, overwrite: bool = False) -> None:
    """Write a copy of a model directory with this content of `PHOTO`, whole or not at all. Raises ModelFileError."""
    check_destination(directory, overwrite)
    with folder_written_aside(directory) as folder:
        for name in bundle.files:
            shutil.copyfile(bundle.folder / name, folder / name)
        (folder / PHOTO).write_text(photo, encoding="utf-8")
        manifest = {field.name: getattr(bundle, field.name) for field in dataclasses.fields(Manifest)}
        _write_manifest(folder, Manifest(**{**manifest, "files": _facts_of_files(folder)}))


def _save(folder: Path, memory: Memory | None, words: PictureWords | None) -> None:
    for name, each in ((MEMORY, memory), (WORDS, words)):
        if each is not None:
            each.save(folder / name)


def _facts_of_files(folder: Path) -> dict[str, File]:
    files = {}
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        files[file.name] = File(len(content), hashlib.sha256(content).hexdigest())
    return files


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest.as_json(), indent=1) + "\n", encoding="utf-8")
