"""Which shape of a model, and which bits of its layers, lose least within a size."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from tokenizers import Tokenizer
from torch import Tensor

from fastcap.errors import ConfigError
from fastcap.evaluation.machine import git_commit, now
from fastcap.model import CaptionModel
from fastcap.model.prefix import PrefixCaptionModel, merged
from fastcap.model.shrinking import groups_of
from fastcap.quantization.bits import Option, choose_bits, options_of, total, write_report
from fastcap.quantization.pruning import choose_units, prune
from fastcap.quantization.scales import Layer, block_bits, quantised_layers
from fastcap.quantization.sensitivity import Batch, Change
from fastcap.release.measured import Measurements, digest_of
from fastcap.release.sizes import Sizes, own_batches

__all__ = ["ATTEMPTS", "Candidate", "Shape", "bits_under_size", "candidates", "check_reachable", "shapes_of"]

SHARES = (0.125, 0.25, 0.375, 0.5)
TOGETHER = (("units",), ("channels",), ("units", "channels"), ("units", "channels", "heads"), ("experts",), ("layers",))
"""Kinds of units of which a shape has fewer: some alone, and those that make a model narrower as a whole."""
ATTEMPTS = 3  # candidates that are made and measured before giving up
RECOVERED = 0.5  # a guess: the share of what rounding and pruning cost that distillation brings back


@dataclass(frozen=True)
class Shape:
    """What is left of a model: `shares` that go, by kind, and the units that are `kept`, by group."""

    shares: Mapping[str, float]
    kept: Mapping[str, Sequence[int]]

    @property
    def name(self) -> str:
        """In words, such as "units -25 %"; "whole" if nothing goes."""
        return ", ".join(f"{kind} -{share:.1%}".replace(".0%", "%") for kind, share in self.shares.items()) or "whole"


@dataclass(frozen=True)
class Candidate:
    """A shape with the bits of its layers, by name; bytes of the model directory, and how much the loss is expected to
    rise, in nats."""

    shape: Shape
    bits: Mapping[str, int]
    size: int
    loss: float


def shapes_of(model: CaptionModel, importance: Mapping[str, Tensor]) -> list[Shape]:
    """The shapes that are tried, the whole model first.

    Args:
        importance: as `sort_units` gives it.
    """
    has = {group.kind for group in groups_of(model).values() if group.size > group.least}
    shapes = [Shape({}, {})]
    seen: list[Mapping[str, Sequence[int]]] = [{}]
    for kinds in TOGETHER:
        if not set(kinds) <= has:
            continue
        for share in SHARES:
            shares = dict.fromkeys(kinds, share)
            kept = choose_units(model, dict(importance), shares)
            if kept not in seen:  # a share of few units may be none
                seen.append(kept)
                shapes.append(Shape(shares, kept))
    return shapes


def check_reachable(model: CaptionModel, shapes: Sequence[Shape], sizes: Sizes, target: int, quantises: bool) -> None:
    """Refuse a size that no shape fits, before anything is measured layer by layer.

    Raises:
        ConfigError: none does; names the nearest size that can be reached.
    """
    reached = []
    for shape in shapes:
        layers, floats = layers_left(model, shape, sizes.layers)
        least = (layer.smallest if quantises else layer.size(default_bits(layer)) for layer in layers.values())
        reached.append((sizes.other + floats + sum(least), shape.name))
    size, name = min(reached)
    if target < size:
        told = f"{name}, 4 bits wherever they save space" if quantises else name
        raise ConfigError(f"target size is {target} bytes; the nearest that can be reached is {size} bytes ({told})")


def candidates(
    model: CaptionModel,
    shapes: Sequence[Shape],
    sizes: Sizes,
    target: int,
    measured: Measurements,
    batches: Sequence[Batch],
    sensitivity: Mapping[str, Mapping[int, Change]] | None,
    recovers: bool,
) -> list[Candidate]:
    """The shapes that can be made to fit a size, those that are expected to lose least first. What the units of a shape
    are worth is measured only where its bits alone do not lose more than `ATTEMPTS` others do in all.

    Args:
        sizes: of the whole model's directory.
        target: one that `check_reachable` allows.
        sensitivity: of the whole model's layers; None for the bits that an export has if nobody asks for other ones.
        recovers: whether shapes will be trained, with their weights rounded.
    """
    fitting, frozen = [], frozen_parameters(model)
    for shape in shapes:
        layers, floats = layers_left(model, shape, sizes.layers)
        other = sizes.other + floats
        bits: dict[str, int] = {}
        if sensitivity is None:
            size, loss = other + sum(layer.size(default_bits(layer)) for layer in layers.values()), 0.0
        else:
            options = options_of(layers, {name: sensitivity[original(name, shape)] for name in layers})
            if recovers:
                channels = "channels" in shape.shares
                learning = {name for name, layer in layers.items() if channels or frozen.isdisjoint(layer.parameters)}
                options = {name: recovered(each) if name in learning else each for name, each in options.items()}
            if other + sum(min(option.size for option in each.values()) for each in options.values()) > target:
                continue
            bits = choose_bits(options, target - other)
            size, loss = total_of(options, bits, other)
        if size > target:
            continue
        fitting.append(Candidate(shape, bits, size, loss))
    found: list[Candidate] = []
    for candidate in sorted(fitting, key=lambda candidate: candidate.loss):
        if len(found) >= ATTEMPTS and candidate.loss >= sorted(each.loss for each in found)[ATTEMPTS - 1]:
            break
        shape, loss = candidate.shape, candidate.loss
        if shape.kept:
            change = measured.change(shape.name, model, shape.kept, batches)
            loss += (max(0.0, change.mean) + change.error) * (1 - RECOVERED if recovers else 1.0)
        found.append(dataclasses.replace(candidate, loss=loss))
    return sorted(found, key=lambda candidate: candidate.loss)


def bits_under_size(
    target: int,
    out: Path,
    checkpoint: Path,
    parts: Path,
    model: CaptionModel,
    tokenizer: Tokenizer,
    pictures: np.ndarray,
    command: str,
    console: Console,
) -> dict[str, int]:
    """The bits of the layers of a whole model with which its directory `out` takes at most `target` bytes. Plan and
    report are written beside it, and what was measured is kept there, in `OUT.compress`.

    Raises:
        ConfigError: the target is too small, and the message names the smallest; or fewer than 16 pictures.
    """
    sizes, whole = Sizes.of(parts, model, tokenizer, pictures), [Shape({}, {})]
    readable = merged(model) if isinstance(model, PrefixCaptionModel) else model
    check_reachable(readable, whole, sizes, target, quantises=True)
    batches = own_batches(readable, tokenizer, pictures)
    known = Measurements(out.with_name(f"{out.name}.compress"), digest_of(checkpoint, pictures), console)
    sensitivity = known.sensitivity(readable, sizes.layers, batches)
    (found,) = candidates(readable, whole, sizes, target, known, batches, sensitivity, recovers=False)
    facts = {
        "target_bytes": target,
        "smallest_bytes": sizes.smallest,
        "other_bytes": sizes.other,
        "images": sum(len(batch.lengths) for batch in batches),
        "command": command,
        "commit": git_commit(),
        "date": now(),
    }
    write_report(out, sizes.layers, sensitivity, found.bits, facts)
    counts = [list(found.bits.values()).count(width) for width in (4, 8, 16)]
    console.print(
        f"bits of {len(found.bits)} layers: {counts[0]} with 4, {counts[1]} with 8, {counts[2]} with 16; "
        f"{out}.bits.json, {out}.report.png"
    )
    return dict(found.bits)


def frozen_parameters(model: CaptionModel) -> set[str]:
    """Names of the weights that stay as they are while a model is trained from cached features."""
    frozen = {id(weight) for module in model.backbone.cuts["convolutions"].frozen for weight in module.parameters()}
    return {name for name, weight in model.named_parameters() if id(weight) in frozen}


def recovered(options: Mapping[int, Option]) -> dict[int, Option]:
    """A layer's options, of whose losses training brings a share back."""
    return {bits: option._replace(loss=option.loss * (1 - RECOVERED)) for bits, option in options.items()}


def total_of(options: Mapping[str, Mapping[int, Option]], bits: Mapping[str, int], other: int) -> tuple[int, float]:
    chosen = total(options, bits)
    return other + chosen.size, chosen.loss


def default_bits(layer: Layer) -> int:
    """The bits that an export gives a layer if nobody asks for other ones."""
    return block_bits(layer.parameters[0]) if layer.kind == "blocks" else 8


def layers_left(model: CaptionModel, shape: Shape, known: Mapping[str, Layer]) -> tuple[dict[str, Layer], int]:
    """The layers of a shape that its graphs hold as integers, and the bytes of those that have become too small for
    that."""
    smaller = prune(model, shape.kept) if shape.kept else model
    layers, every = quantised_layers(smaller), quantised_layers(smaller, 0)
    left = {name: layer for name, layer in layers.items() if original(name, shape) in known}
    floats = [layer for name, layer in every.items() if name not in layers and original(name, shape) in known]
    return left, sum(4 * layer.n_weights for layer in floats)


def original(name: str, shape: Shape) -> str:
    """A layer's name in the whole model, where layers have other numbers."""
    for group, kept in shape.kept.items():
        module, _, kind = group.rpartition(":")
        match = re.match(rf"{re.escape(module)}\.(\d+)\.", name) if kind == "layers" else None
        if match:
            return f"{module}.{kept[int(match[1])]}.{name[match.end() :]}"
    return name
