"""Which shape of a model, and which bits of its layers, lose least within a size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fastcap.compression.measured import Measurements
from fastcap.errors import ConfigError
from fastcap.model import CaptionModel
from fastcap.model.shrinking import groups_of
from fastcap.quantization.bits import Option, choose_bits, options_of, total
from fastcap.quantization.pruning import choose_units, prune
from fastcap.quantization.scales import Layer, block_bits, quantised_layers
from fastcap.quantization.sensitivity import Batch, Change
from fastcap.release.sizes import Sizes

__all__ = ["Candidate", "Shape", "candidates", "check_reachable", "shapes_of"]

SHARES = (0.125, 0.25, 0.375, 0.5)
TOGETHER = (("units",), ("channels",), ("units", "channels"), ("units", "channels", "heads"), ("experts",), ("layers",))
"""Kinds of units of which a shape has fewer: some alone, and those that make a model narrower as a whole."""
RECOVERED = 0.5  # a guess: the share of what pruning costs that distillation brings back


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
        raise ConfigError(f"target size is {target} bytes; the nearest that can be reached is {size} bytes ({name})")


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
    """The shapes that can be made to fit a size, those that are expected to lose least first.

    Args:
        sizes: of the whole model's directory.
        target: one that `check_reachable` allows.
        sensitivity: of the whole model's layers; None for the bits that an export has if nobody asks for other ones.
        recovers: whether pruned shapes will be trained.
    """
    found = []
    for shape in shapes:
        layers, floats = layers_left(model, shape, sizes.layers)
        other = sizes.other + floats
        bits: dict[str, int] = {}
        if sensitivity is None:
            size, loss = other + sum(layer.size(default_bits(layer)) for layer in layers.values()), 0.0
        else:
            options = options_of(layers, {name: sensitivity[original(name, shape)] for name in layers})
            if other + sum(min(option.size for option in each.values()) for each in options.values()) > target:
                continue
            bits = choose_bits(options, target - other)
            size, loss = total_of(options, bits, other)
        if size > target:
            continue
        if shape.kept:
            change = measured.change(shape.name, model, shape.kept, batches)
            loss += (max(0.0, change.mean) + change.error) * (RECOVERED if recovers else 1.0)
        found.append(Candidate(shape, bits, size, loss))
    return sorted(found, key=lambda candidate: candidate.loss)


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
