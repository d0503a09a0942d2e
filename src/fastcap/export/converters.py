"""From a model to a folder that another runtime loads.

A converted folder is whole by itself: what the converter wrote, the tokenizer, and `manifest.json` with the constants
of preprocessing and decoding, the tensors of each part, and the size and SHA-256 of every file. It is no model
directory; `fastcap.export.converted` opens it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from fastcap.checkpoint import load_checkpoint
from fastcap.errors import ConfigError, ModelFileError, nearest, needs
from fastcap.export.converted import FORMAT, MANIFEST, fact_of
from fastcap.export.targets import CONVERTERS, Converter
from fastcap.export.weights import restore, stored_in
from fastcap.files import folder_written_aside
from fastcap.model import CaptionModel
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.contract import MANIFEST as MODEL_MANIFEST
from fastcap.runtime.contract import MEMORY, PHOTO, TOKENIZER, WORDS, Manifest

__all__ = ["Source", "convert_all"]


@dataclass(frozen=True)
class Source:
    """What is converted: a model in PyTorch, and what a model directory says of it.

    Attributes:
        folder: the model directory or the checkpoint directory.
        model: in evaluation mode; of a model directory, with its weights as they are rounded there, and as many
            candidates as it decodes by default.
        manifest: sizes, marks, limits and calibration; `files` are those of a model directory.
    """

    folder: Path
    model: CaptionModel
    tokenizer: Tokenizer
    manifest: Manifest

    @classmethod
    def open(cls, name_or_dir: str | os.PathLike[str]) -> Source:
        """Read a bundled model, a model directory of one of our own decoders, or a checkpoint directory.

        Raises:
            ConfigError: neither a name nor a path.
            ModelFileError: it is damaged, or a prefix model's directory, which cannot be turned back to PyTorch.
        """
        folder = find_model(name_or_dir)
        if (folder / MODEL_MANIFEST).is_file() or not (folder / "model.safetensors").is_file():
            bundle, whole = Bundle.open(folder), restore(folder)
            decodes = dataclasses.replace(whole.config.generation, candidates=bundle.decoding.default_candidates)
            whole.config = dataclasses.replace(whole.config, generation=decodes)
            return cls(folder, whole, bundle.tokenizer(), bundle)
        model, tokenizer = load_checkpoint(folder)
        return cls(folder, model, tokenizer, Manifest.of(model.config, name=folder.resolve().name, files={}))


def convert_all(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    targets: Mapping[str, str],
    precision: str | None = None,
    *,
    overwrite: bool = False,
    told: Callable[[str], object] = lambda _: None,
) -> list[Path]:
    """Write converted folders into a folder, each whole or not at all.

    Args:
        model: a bundled model's name, a model directory, or a checkpoint directory.
        targets: keys of `CONVERTERS` by the name of the folder.
        precision: one that each of the converters has; unset: the default of each, or of a converter that takes the
            graphs of a model directory as they are, theirs.
        overwrite: whether converted folders that are there already may be replaced.
        told: is told what is being done.

    Raises:
        ConfigError: an unknown converter, or a precision that it lacks, or that the graphs it takes are not stored in.
        ModelFileError: something is in the way, a converter is not installed, or it lacks an operator.
    """
    plan: list[tuple[Path, str, Converter]] = []
    for name, chosen in targets.items():  # everything is checked before anything is written
        converter, folder = find_converter(chosen), Path(out) / name
        if precision not in (None, *converter.precisions):
            raise ConfigError(f"precision is {precision!r}; {chosen} writes {' or '.join(converter.precisions)}")
        check_free(folder, overwrite)
        if importlib.util.find_spec(converter.package) is None:
            raise ModelFileError(f"converting for {name} {needs(converter.package, converter.extra)}")
        plan.append((folder, chosen, converter))
    source = Source.open(model)
    kinds = [kind_of(source, chosen, converter, precision) for _, chosen, converter in plan]
    for (folder, chosen, converter), kind in zip(plan, kinds, strict=True):
        told(f"{chosen}, {kind}: {folder}")
        write(source, folder, chosen, converter, kind)
    return [folder for folder, *_ in plan]


def find_converter(name: str) -> Converter:
    if name not in CONVERTERS:
        raise ConfigError(f"unknown converter {name!r}{nearest(name, CONVERTERS)}; allowed: {', '.join(CONVERTERS)}")
    return CONVERTERS[name]


def kind_of(source: Source, name: str, converter: Converter, precision: str | None) -> str:
    """The precision that a converter writes of a model. Raises ConfigError where another one is asked for."""
    if not (converter.as_stored and source.manifest.files):
        return precision or converter.precisions[0]
    stored = stored_in(source.folder)
    if precision not in (None, stored):
        raise ConfigError(
            f"precision is {precision!r}; {name} takes the graphs of the model directory {source.manifest.name!r} as "
            f"they are stored; allowed: {stored}"
        )
    return stored


def check_free(out: Path, overwrite: bool) -> None:
    """Refuse to write over something else. Raises ModelFileError."""
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MANIFEST).is_file():
        raise ModelFileError(f"{out} is there already and no converted model; allowed: a path that is free")
    if not overwrite:
        raise ModelFileError(f"{out} is a converted model already; allowed: a path that is free, or to overwrite it")


def write(source: Source, out: Path, name: str, converter: Converter, precision: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with folder_written_aside(out) as folder:
        facts = importlib.import_module(converter.module).convert(source, folder, precision)
        if not (folder / TOKENIZER).exists():
            source.tokenizer.save(str(folder / TOKENIZER), pretty=False)
        for file in {PHOTO, WORDS, MEMORY} & source.manifest.files.keys():
            shutil.copyfile(source.folder / file, folder / file)
        write_manifest(folder, source.manifest, {"converter": name, "precision": precision, **facts})


def write_manifest(folder: Path, manifest: Manifest, facts: Mapping[str, Any]) -> None:
    listed = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: fact_of(path)._asdict() for name, path in listed.items()}
    kept = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(Manifest)}
    left: dict[str, Any] = {
        "architecture": None,
        "unheld": None,
        "quality": {},
        "speed": {},
    }
    model = Manifest(**kept | left | {"files": {}}).as_json()
    for key in ("format", "files"):
        del model[key]
    text = json.dumps({"format": FORMAT, **facts, "model": model, "files": files}, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
