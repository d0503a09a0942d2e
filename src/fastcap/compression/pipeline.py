"""From a model to a model directory within a size: measured, searched, pruned, trained again, quantised, and refused
unless it is as good."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from tokenizers import Tokenizer

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.compression.report import Tried, write_report
from fastcap.compression.source import as_checkpoint
from fastcap.config import TrainConfig
from fastcap.data.readers import Example
from fastcap.decoder.prefix_lm import all_layers
from fastcap.errors import ConfigError, FastcapError, listed
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.export.families import EXPORTS
from fastcap.export.weights import unheld
from fastcap.export.writer import check_destination, write_bundle
from fastcap.files import written_aside
from fastcap.model import CaptionModel
from fastcap.model.prefix import PrefixCaptionModel, merged, unfrozen
from fastcap.quantization.pruning import prune, prune_words, sort_units
from fastcap.quantization.scales import quantised_layers, tensor_bits
from fastcap.release.answers import check_answers_asked, load_questions
from fastcap.release.drawn import reading
from fastcap.release.gate import Measured, check_equal, check_gate, measure, network_milliseconds, same_captions
from fastcap.release.measured import Measurements, digest_of
from fastcap.release.pipeline import load_examples, load_pictures, manifest_facts
from fastcap.release.search import ATTEMPTS, Candidate, Shape, candidates, check_reachable, shapes_of
from fastcap.release.settings import ExportSettings
from fastcap.release.sizes import Sizes, directory_size, own_batches, quantised_graphs
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.conversation import Conversation
from fastcap.runtime.encoding import encode
from fastcap.training.recovery import recovery
from fastcap.training.trainer import train

__all__ = ["OPTIMIZATIONS", "compress"]

OPTIMIZATIONS = ("quantization", "pruning", "distillation")


@dataclass(frozen=True)
class Work:
    """What does not change while candidates are made: the whole model, its data, its settings."""

    checkpoint: Path
    model: CaptionModel
    tokenizer: Tokenizer
    data: Path
    folder: Path
    settings: ExportSettings
    optimization: tuple[str, ...]
    steps: int
    precision: Literal["no", "bf16"]
    questions: Sequence[Conversation]
    examples: Sequence[Example]
    calibrating: Sequence[Example]
    pictures: np.ndarray
    console: Console

    @property
    def target(self) -> int:
        """Bytes."""
        assert self.settings.target_bytes is not None
        return self.settings.target_bytes


def compress(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    data: str | os.PathLike[str],
    settings: ExportSettings,
    *,
    optimization: Sequence[str] = ("quantization", "pruning"),
    steps: int = 500,
    precision: Literal["no", "bf16"] = "no",
    overwrite: bool = False,
    console: Console | None = None,
    command: str | None = None,
) -> Bundle:
    """Make a model directory of at most `settings.target_size` that loses at most `settings.max_loss` points.

    What is measured on the way is kept in `OUT.compress/`: the same call goes on where another was interrupted. The
    report is `OUT.compress.json` and `OUT.compress.png`. `out` is written at the end, whole or not at all.

    Args:
        model: a checkpoint directory of any family, a folder of adapters, or a model directory that can be turned back
            into a checkpoint.
        out: model directory to write.
        data: folder of the data set that calibrates, trains and measures.
        settings: with a target size; see `ExportSettings`. With `questions`, answers are measured, too.
        optimization: any of `OPTIMIZATIONS`: bits for each layer, fewer units and words, and training by the whole
            model with the rounded weights of what is left.
        steps: of that training.
        precision: of that training, no or bf16; see `fastcap.config.TrainConfig`.
        overwrite, console, command: as in `fastcap.release.export`.

    Raises:
        ConfigError: no target size; the size cannot be reached, and the message names the nearest that can.
        ModelFileError: no such model, or something is at `out` that may not be replaced.
        DataError: the data set is damaged or too small.
        FastcapError: everything that fits loses too much; the message says what was tried.
    """
    console, out, data = console or Console(quiet=True), Path(out), Path(data)
    chosen = tuple(dict.fromkeys(listed(optimization, "optimizations")))
    if not chosen or not set(chosen) <= set(OPTIMIZATIONS):
        raise ConfigError(f"optimization is {', '.join(chosen) or 'empty'}; allowed: any of {', '.join(OPTIMIZATIONS)}")
    if chosen == ("distillation",):
        raise ConfigError(
            "optimization is distillation alone; allowed: with quantization or pruning, whose losses it brings back"
        )
    if settings.target_bytes is None:
        raise ConfigError("there is no target size; needed: one, such as 100MB")
    check_destination(out, overwrite)
    folder = out.with_name(f"{out.name}.compress")
    examples, calibrating = load_examples(settings, data)  # before anything is written
    questions = load_questions(settings)
    with removed_if_refused(folder), removed_if_refused(folder / "checkpoint"):
        checkpoint = as_checkpoint(Path(model), folder, console)
        whole, tokenizer = load_checkpoint(checkpoint)
        if whole.config.pruned and "pruning" in chosen:
            raise ConfigError(f"{model} was pruned before; allowed: what it was pruned from, or quantization alone")
        pictures = load_pictures(calibrating, settings.calibration, whole.config.image_size)
        check_answers_asked(whole.config, questions)
    work = Work(
        checkpoint,
        whole,
        tokenizer,
        data,
        folder,
        settings,
        chosen,
        steps,
        precision,
        questions,
        examples,
        calibrating,
        pictures,
        console,
    )
    command = command or f"fastcap.compression.pipeline.compress({str(model)!r}, {str(out)!r}, {str(data)!r}, ...)"
    with tempfile.TemporaryDirectory() as aside:
        found, reference = search(work, Path(aside))
        return make_one(work, found, reference, out, Path(aside), overwrite, command)


@contextlib.contextmanager
def removed_if_refused(folder: Path) -> Iterator[None]:
    """Leave no folder behind after an error, unless it was there before."""
    is_new = not folder.exists()
    try:
        yield
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def search(work: Work, aside: Path) -> tuple[list[Candidate], Measured]:
    """The candidates that fit, and the whole model's fp32 graphs, measured."""
    model, family = work.model, EXPORTS[work.model.config.kind]
    readable = merged(model) if isinstance(model, PrefixCaptionModel) else model
    batches = own_batches(readable, work.tokenizer, work.pictures)
    known = Measurements(work.folder, digest_of(work.checkpoint, work.pictures), work.console)
    prunes = "pruning" in work.optimization
    worth = sort_units(readable, known.importance(readable, batches)) if prunes else {}
    shapes = shapes_of(readable, worth) if prunes else [Shape({}, {})]
    parts, fp32 = aside / "parts", aside / "fp32"
    parts.mkdir()
    family.parts(model, parts)
    sizes = Sizes.of(parts, model, work.tokenizer, work.pictures)
    sensitivity, quantises = None, "quantization" in work.optimization
    check_reachable(readable, shapes, sizes, work.target, quantises)
    if quantises:
        sensitivity = known.sensitivity(readable, sizes.layers, batches)
    recovers = "distillation" in work.optimization
    found = candidates(readable, shapes, sizes, work.target, known, batches, sensitivity, recovers)
    work.console.print(
        f"{len(found)} of {len(shapes)} shapes fit {work.target / 1e6:.1f} MB; the first: {found[0].shape.name}"
    )
    family.assemble(parts, fp32, model.config)
    return found, measure(fp32, work.tokenizer, model.config, work.examples, work.console, work.questions)


def make_one(
    work: Work,
    found: Sequence[Candidate],
    reference: Measured,
    out: Path,
    aside: Path,
    overwrite: bool,
    command: str,
) -> Bundle:
    """Make candidates until one passes the gate, and write that.

    Raises:
        FastcapError: none does.
    """
    config = work.model.config
    fp32_ms = network_milliseconds(reference.graphs, config, work.pictures[:1])
    whole = {
        "bytes": directory_size(reference.directory),
        "score": round(reference.cider, 2),
        "accuracy": round(reference.accuracy, 2) if reference.answers else None,
        "milliseconds": round(fp32_ms, 2),
    }
    tried: list[Tried] = []
    facts = {
        "target_bytes": work.target,
        "data": f"{work.settings.dataset} {work.settings.split}, {len(work.examples)} pictures",
        "optimization": list(work.optimization),
        "command": command,
        "commit": git_commit(),
        "date": now(),
        "machine": machine_facts(),
    }
    for index, candidate in enumerate(found[:ATTEMPTS]):
        model, tokenizer = shaped(work, candidate)
        made = aside / f"candidate{index}"
        made.mkdir()
        chosen = quantised(work, model, tokenizer, candidate, made)
        milliseconds = network_milliseconds(chosen.graphs, model.config, work.pictures[:1])
        refused = refusal(work, reference, chosen, (fp32_ms, milliseconds))
        size = directory_size(chosen.directory)
        same = same_captions(reference, chosen)
        accuracy = round(chosen.accuracy, 2) if chosen.answers else None
        tried.append(Tried(candidate, size, chosen.cider, accuracy, milliseconds, same, refused))
        write_report(out, whole, list(found), tried, facts)
        if not refused:
            measured = manifest_facts(chosen, reference, work.examples, work.settings, command)
            rest = unheld(model, chosen.graphs) if config.kind != "prefix" else None
            name = work.settings.name or out.resolve().name
            about: Any = {"name": name, "description": work.settings.description, "unheld": rest, **measured}
            write_bundle(out, chosen.graphs, tokenizer, model.config, overwrite=overwrite, **about)
            work.console.print(f"{size / 1e6:.2f} MB, {candidate.shape.name}; {out}.compress.png shows what was tried")
            return Bundle.open(out)
        work.console.print(f"{candidate.shape.name}: refused: {refused}")
    told = "; ".join(f"{each.candidate.shape.name}: {each.refused}" for each in tried)
    raise FastcapError(f"nothing of at most {work.target} bytes is good enough ({told}). Nothing was written")


def shaped(work: Work, candidate: Candidate) -> tuple[CaptionModel, Tokenizer]:
    """The model of a candidate's shape: pruned, trained again if that was asked for, with the words that captions
    need."""
    model, tokenizer, kept = work.model, work.tokenizer, candidate.shape.kept
    model = prune(model, kept) if kept else model
    if recovers(work, candidate):
        if isinstance(model, PrefixCaptionModel):  # adapters alone hardly bring back what lost units did
            whole: Any = work.model
            model = unfrozen(model, len(all_layers(whole.decoder.language_model)))
        model, tokenizer = load_checkpoint(train(recovery_of(work, candidate, model)))
    if "pruning" in work.optimization:
        texts = [caption for example in work.calibrating for caption in example.captions]
        texts += [getattr(work.model.config.decoder, "template", "").replace("{question}", "")]
        smaller, fewer = prune_words(model, tokenizer, texts)
        if smaller.vocabulary.size < model.vocabulary.size:
            return smaller.eval(), fewer
    return model.eval(), tokenizer


def recovers(work: Work, candidate: Candidate) -> bool:
    """Whether a candidate is trained."""
    return "distillation" in work.optimization and bool(candidate.shape.kept or candidate.bits)


def recovery_of(work: Work, candidate: Candidate, model: CaptionModel) -> TrainConfig:
    """The recipe that trains a candidate, whose files are written: its weights before training, and its bits."""
    plan = json.dumps(dict(candidate.bits), indent=1) + "\n"
    shape = "".join(letter if letter.isalnum() else "-" for letter in candidate.shape.name)
    name = f"{shape}-{hashlib.sha256(plan.encode()).hexdigest()[:8]}"
    smaller, bits = work.folder / f"smaller-{shape}", work.folder / f"{name}.bits.json"
    save_checkpoint(smaller, model.config, model.state_dict(), work.tokenizer)
    with written_aside(bits) as path:
        path.write_text(plan, encoding="utf-8")
    settings: Any = {"dataset": work.settings.dataset, "split": work.settings.calibration_split}
    settings |= {"val_split": work.settings.split, "steps": work.steps, "images": len(work.calibrating)}
    settings |= {"precision": work.precision, "bits": bits if candidate.bits else None}
    recipe = recovery(smaller, work.checkpoint, work.folder / f"recovered-{name}", work.data, **settings)
    told = hashlib.sha256(repr(recipe).encode()).hexdigest()[:8]  # another recipe is another run
    return dataclasses.replace(recipe, output=f"{recipe.output}-{told}")


def quantised(work: Work, model: CaptionModel, tokenizer: Tokenizer, candidate: Candidate, folder: Path) -> Measured:
    """The int8 graphs of a candidate, measured; its fp32 graphs are compared with it first.

    Raises:
        FastcapError: they are another model.
    """
    family, config = EXPORTS[model.config.kind], model.config
    parts, fp32, int8 = (folder / name for name in ("parts", "fp32", "int8"))
    parts.mkdir()
    family.parts(model, parts)
    family.assemble(parts, fp32, config)
    check_equal(model, fp32, work.pictures, work.console)
    bits = tensor_bits(quantised_layers(model), dict(candidate.bits))
    if config.kind == "prefix":
        pictures, texts = reading(partial(encode, tokenizer), config.image_size, config.max_length, config.asked)
        texts = [] if recovers(work, candidate) else texts  # rounding makes up for no errors that training knew
        quantised_graphs(parts, int8, model, pictures, bits, texts=texts)
    else:
        quantised_graphs(parts, int8, model, work.pictures, bits)
    return measure(int8, tokenizer, config, work.examples, work.console, work.questions)


def refusal(work: Work, reference: Measured, chosen: Measured, milliseconds: tuple[float, float]) -> str:
    """Why a candidate is refused; "" if it is good enough."""
    try:
        check_gate(reference, chosen, milliseconds, work.settings, work.console)
    except FastcapError as error:
        return (
            str(error)
            .removeprefix(f"the {work.settings.precision} model is refused: ")
            .removesuffix(". Nothing was written")
        )
    return ""
