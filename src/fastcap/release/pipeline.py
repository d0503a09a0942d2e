"""From a checkpoint to a model directory: export, compare with PyTorch, quantise, measure, write."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from fastcap.checkpoint import load_checkpoint
from fastcap.data.readers import Example, load_dataset
from fastcap.errors import ConfigError, DataError, ModelFileError, counted
from fastcap.evaluation.calibration import fit_alignment, fit_calibration
from fastcap.export.families import EXPORTS
from fastcap.export.weights import unheld
from fastcap.export.writer import check_destination, write_bundle
from fastcap.files import folder_written_aside
from fastcap.quantization.scales import quantised_layers, read_bits, tensor_bits
from fastcap.release.adapters import CARD, RECORD, pack, unpack, write_card, write_record
from fastcap.release.answers import answer_facts, check_answers_asked, fitted_error, load_questions
from fastcap.release.drawn import reading
from fastcap.release.gate import Measured, check_equal, check_gate, measure, network_milliseconds
from fastcap.release.memory import remember, remembered_captions
from fastcap.release.search import bits_under_size
from fastcap.release.settings import MIN_MEASURED, ExportSettings
from fastcap.release.sizes import half_graphs, quantised_graphs
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.encoding import encode
from fastcap.runtime.images import load_image

__all__ = ["export", "load_pictures", "ship"]


def export(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    data: str | os.PathLike[str],
    settings: ExportSettings | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    command: str | None = None,
) -> Bundle:
    """Export a checkpoint to a model directory, unless the graphs are another model or not worth having.

    The fp32 graphs are compared with PyTorch; then int8 or fp16 graphs are made and measured beside them. The gate lets
    them pass if they lose at most `settings.max_loss` and are smaller and, in int8, faster. `out` is written at the
    end, whole or not at all, and returned opened.

    Args:
        checkpoint: checkpoint directory.
        out: model directory to write.
        data: folder of the data set that calibrates and measures.
        settings: see `ExportSettings`, whose defaults apply.
        overwrite: whether a model directory that is at `out` already may be replaced.
        console: where progress is shown; None shows nothing.
        command: noted in the manifest as what made the directory; None notes this call.

    Raises:
        ModelFileError: the checkpoint is damaged, or something is at `out` that may not be replaced.
        ConfigError: a setting does not fit the model or the data set.
        DataError: the data set is damaged or too small.
        FastcapError: the graphs are another model, or the gate refuses them; the message says by how much.
    """
    settings, console, out = settings or ExportSettings(), console or Console(quiet=True), Path(out)
    check_destination(out, overwrite)
    command = command or f"fastcap.release.export({str(checkpoint)!r}, {str(out)!r}, {str(data)!r}, {settings!r})"
    write_exported(Path(checkpoint), out, data, settings, out, overwrite=overwrite, console=console, command=command)
    return Bundle.open(out)


def write_exported(
    checkpoint: Path,
    out: Path,
    data: str | os.PathLike[str],
    settings: ExportSettings,
    beside: Path,
    *,
    overwrite: bool = False,
    console: Console,
    command: str,
) -> dict[str, int]:
    """Do what `export` does, and give the bits of layers that were asked for or found.

    Args:
        beside: what a plan of bits for a target size is written beside, with its report.
    """
    model, tokenizer = load_checkpoint(checkpoint)
    config, family, layers = model.config, EXPORTS[model.config.kind], quantised_layers(model)
    bits = read_bits(Path(settings.bits), layers) if settings.bits else {}
    examples, calibrating = load_examples(settings, Path(data))
    questions = load_questions(settings)
    check_answers_asked(config, questions)
    captions = remembered_captions(settings.memory, examples)
    pictures = load_pictures(calibrating, settings.calibration, config.image_size)
    with tempfile.TemporaryDirectory() as aside:
        parts, fp32, int8 = (Path(aside) / name for name in ("parts", "fp32", "int8"))
        parts.mkdir()
        family.parts(model, parts)
        family.assemble(parts, fp32, config)
        check_equal(model, fp32, pictures, console)
        if target := settings.target_bytes:
            known = beside, checkpoint, parts, model, tokenizer, pictures, command, console
            bits = bits_under_size(target, *known)
        chosen = reference = measure(fp32, tokenizer, config, examples, console, questions)
        if settings.precision == "int8":
            if config.kind == "prefix":  # whose language model reads what everybody has
                pictures, texts = reading(
                    partial(encode, tokenizer), config.image_size, config.max_length, config.asked
                )
                quantised_graphs(parts, int8, model, pictures, tensor_bits(layers, bits), texts=texts)
            else:
                quantised_graphs(parts, int8, model, pictures, tensor_bits(layers, bits))
            chosen = measure(int8, tokenizer, config, examples, console, questions)
            fp32_ms, int8_ms = (network_milliseconds(graphs, config, pictures[:1]) for graphs in (fp32, int8))
            check_gate(reference, chosen, (fp32_ms, int8_ms), settings, console)
        elif settings.precision == "fp16":
            half = half_graphs(parts, Path(aside) / "fp16", config)
            check_equal(model, half, pictures, console, "fp16")
            chosen = measure(half, tokenizer, config, examples, console, questions)
            check_gate(reference, chosen, None, settings, console)
        chosen, memory = with_memory(chosen, captions, examples, console) if captions else (chosen, {})
        facts = manifest_facts(chosen, reference, examples, settings, command)
        rest = unheld(model, chosen.graphs) if config.kind != "prefix" else None  # nothing leads back from merged ones
        name = settings.name or out.resolve().name
        about = {"name": name, "description": settings.description, "unheld": rest, **facts, **memory}
        write_bundle(out, chosen.graphs, tokenizer, config, overwrite=overwrite, **about)
    return bits


def with_memory(
    chosen: Measured, captions: Mapping[Path, Sequence[str]], examples: Sequence[Example], console: Console
) -> tuple[Measured, dict[str, Any]]:
    """The graphs measured again with the words of pictures that have these captions; the words and the ranking."""
    with console.status("learning words of pictures and fitting the ranking"):
        made = remember(Bundle.open(chosen.directory), captions, examples)
    console.print(f"words of {counted(len(captions), 'picture')}: CIDEr {made.cider - chosen.cider:+.2f}")
    return replace(chosen, evaluation=made.evaluation), {"words": made.words, "ranking": made.ranking}


def ship(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    data: str | os.PathLike[str],
    settings: ExportSettings | None = None,
    *,
    console: Console | None = None,
    command: str | None = None,
) -> None:
    """Keep what was trained of a prefix model in a few megabytes, from which `fastcap.release.build` makes a model
    directory: matrices are rounded to 8 bits, what is rounded is exported as `export` does it, and measured. The bits
    of layers that `settings` ask for are those that the language model and towers have once they are built.

    Args:
        checkpoint: checkpoint directory of a prefix model.
        out: folder of adapters to write, whole or not at all; a card that is there stays.
        data, settings, console, command: as in `export`.

    Raises:
        ModelFileError: no checkpoint of a prefix model, or there is something else at `out`.
        FastcapError: as `export`.
    """
    out, settings, console = Path(out), settings or ExportSettings(), console or Console(quiet=True)
    settings = dataclasses.replace(settings, name=settings.name or out.resolve().name)
    command = command or f"fastcap.release.ship({str(checkpoint)!r}, {str(out)!r}, {str(data)!r}, {settings!r})"
    if out.exists() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise ModelFileError(f"{out} is there already and holds no adapters; allowed: a path that is free")
    with tempfile.TemporaryDirectory() as aside:
        packed, rounded, made = (Path(aside) / name for name in ("packed", "checkpoint", "model"))
        packed.mkdir()
        pack(Path(checkpoint), packed)
        unpack(packed, rounded)
        bits = write_exported(rounded, made, data, settings, out, console=console, command=command)
        write_record(packed, made, bits)
        with folder_written_aside(out) as folder:
            for file in (*packed.iterdir(), *out.glob(CARD)):
                shutil.copyfile(file, folder / file.name)
            write_card(folder)
    size = sum(path.stat().st_size for path in out.iterdir())
    console.print(f"{size / 1e6:.2f} MB of adapters; 'fastcap build {out}' makes a model directory of them")


def load_examples(settings: ExportSettings, data: Path) -> tuple[Sequence[Example], Sequence[Example]]:
    """The pictures to measure on, and those to calibrate on.

    Raises:
        DataError: too few to measure on, or the data set is damaged.
    """
    read = partial(
        load_dataset,
        settings.dataset,
        data,
        on_bad_data=settings.on_bad_data,
        max_bad_share=settings.max_bad_share,
        decode_images=settings.on_bad_data == "skip",
    )
    examples = read(settings.split)[: settings.limit]
    if len(examples) < MIN_MEASURED:
        raise DataError(
            f"{settings.dataset} {settings.split} has {counted(len(examples), 'picture')}; "
            f"needed: {MIN_MEASURED} or more"
        )
    return examples, read(settings.calibration_split)


def load_pictures(examples: Sequence[Example], count: int, size: int) -> np.ndarray:
    """At most `count` of the examples' pictures, spread evenly over them: (N, size, size, 3) uint8."""
    step = max(1, len(examples) // count)
    return np.stack([load_image(example.image, (size, size)) for example in examples[::step][:count]])


def manifest_facts(
    chosen: Measured, reference: Measured, examples: Sequence[Example], settings: ExportSettings, command: str
) -> dict[str, Any]:
    """What the manifest says of graphs beside what they are: calibration, alignment, quality, speed; of answers too, if
    they were measured.

    Args:
        chosen, reference: the graphs to write, and those in fp32.
        examples: what they were measured on.
    """
    evaluation, facts = chosen.evaluation, chosen.evaluation.as_json()
    confidences, supports = evaluation.calibration()
    alignment, told_apart = fitted_alignment(chosen.directory, examples)
    errors = [fitted_error(confidences, supports, part, 1 - part) for part in (0, 1)]
    measured = {
        "data": f"{settings.dataset} {settings.split}, {counted(facts['images'], 'picture')}",
        "command": command,
        "commit": facts["commit"],
        "date": facts["date"],
    }
    quality = {
        **{name: round(evaluation.metrics[name], 2) for name in ("cider", "bleu_4", "meteor", "rouge_l")},
        "cider_fp32": round(reference.cider, 2),
        "calibration_error": round(sum(errors) / 2, 4),
        "own_text_preferred": round(told_apart, 4),
        **measured,
    }
    speed = {**facts["latency"], "threads": 1, "machine": facts["machine"]["cpu"], **measured}
    calibration = fit_calibration(confidences, supports)
    found = {"calibration": calibration, "alignment": alignment, "quality": quality, "speed": speed}
    if chosen.answers and reference.answers:
        found["answering"], of_answers = answer_facts(chosen.answers, reference.answers)
        files = ", ".join(Path(file).name for file in settings.questions)
        quality |= {**of_answers, "questions_from": files}
    return found


def fitted_alignment(directory: Path, examples: Sequence[Example]) -> tuple[tuple[float, float], float]:
    """Scale and offset of the scores of texts, and the share of pictures that score their own first caption above that
    of the next picture."""
    captioner = Captioner.open(directory)
    images, texts = [], []
    for example in examples:
        for caption in example.captions:
            try:
                texts.append(captioner.embed_texts([caption])[0])
            except ConfigError:  # too long for this model
                continue
            images.append(example.image)
            break
    image_vectors, text_vectors = captioner.embed_images(images), np.stack(texts)
    own = (image_vectors * text_vectors).sum(axis=1)
    other = (image_vectors * np.roll(text_vectors, -1, axis=0)).sum(axis=1)
    return fit_alignment(own.tolist(), other.tolist()), float((own > other).mean())
