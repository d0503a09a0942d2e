"""Which layers are quantised, to how many bits, and with which steps: the same for sensitivity, training and export.

A weight of 4 or 8 bits is a whole multiple of its channel's step, symmetric about 0; 16 bits are half-precision floats,
which count as exact. The bits are those of the file: an exported graph unpacks 4 bits to 8 when it is loaded, and
computes with the same kernels.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from fastcap.decoder.attention import RankAugmentedLinearAttention
from fastcap.errors import ConfigError
from fastcap.layers import FeedForward

__all__ = [
    "BITS",
    "LARGE",
    "Layer",
    "channel_steps",
    "check_bits",
    "largest_integer",
    "quantised_layers",
    "read_bits",
    "tensor_bits",
]

BITS = (4, 8, 16)
LARGE = 2**14  # weights of a matrix; smaller ones are left as they are
LARGEST = {"depthwise": 127, "convolution": 64, "product": 63, "experts": 63, "table": 63}
LARGEST_4 = 7
CLIPPED = np.linspace(1.0, 0.5, 11)  # shares of the peak: in 4 bits a narrower step may be worth clipping the largest
NODES = 448  # bytes, at most, of the nodes that unpack a tensor


@dataclass(frozen=True)
class Layer:
    """Weights that share their number of bits.

    `kind` is a key of LARGEST. A graph holds each of `parameters` as a tensor, or all of a product as one. One step
    spans `axes` of a parameter.
    """

    name: str
    kind: str
    parameters: tuple[str, ...]
    axes: tuple[int, ...]
    n_weights: int
    n_channels: int

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names in the exported graph."""
        names = ("+".join(self.parameters),) if self.kind == "product" else self.parameters
        return tuple(f"model.{name}" for name in names)

    def size(self, bits: int) -> int:
        """Bytes in a graph's file, or slightly more."""
        convolution = self.kind in ("depthwise", "convolution")
        scales = (13 if convolution else 4) * self.n_channels  # with those of int32 biases, and zero points
        nodes = NODES * len(self.tensors) if bits != 8 else 0
        return bits * self.n_weights // 8 + nodes + (scales if bits < 16 else 0)

    @property
    def smallest(self) -> int:
        """Least bytes that any bits take."""
        return min(self.size(bits) for bits in BITS)


def largest_integer(kind: str, bits: int) -> int:
    """Largest integer of a kind of layer at 4 or 8 bits.

    x86 without VNNI sums two products of a weight and a byte in 16 bits: 2 x 64 x 255 fits, 2 x 127 x 255 does not.
    Depthwise convolutions have a kernel of their own there, which sums in 32 bits.
    """
    return LARGEST_4 if bits == 4 else LARGEST[kind]


def quantised_layers(model: nn.Module) -> dict[str, Layer]:
    """The layers of a model by name, in its order: convolutions, large matrices, the experts of each decoder layer, and
    the token table, which is the output matrix too."""
    layers: dict[str, Layer] = {}

    def add(name: str, kind: str, *parameters: str, axes: tuple[int, ...] = (1,)) -> None:
        weights = [model.get_parameter(parameter) for parameter in parameters]
        n_channels = sum(weight.amax(dim=axes).numel() for weight in weights)
        layer = Layer(name, kind, parameters, axes, sum(weight.numel() for weight in weights), n_channels)
        if len(axes) > 1 or layer.n_weights >= LARGE * len(layer.tensors):
            layers[name] = layer

    joined: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            kind = "depthwise" if module.groups > 1 else "convolution"
            add(name, kind, f"{name}.weight", axes=(1, 2, 3))
        elif isinstance(module, RankAugmentedLinearAttention):  # query and gate have the same input: one product
            joined.update((f"{name}.query", f"{name}.gate"))
            add(f"{name}.query_gate", "product", f"{name}.query.weight", f"{name}.gate.weight")
        elif isinstance(module, nn.Linear) and name not in joined:
            add(name, "product", f"{name}.weight")
        elif isinstance(module, FeedForward):
            add(name, "experts", f"{name}.weight_in", f"{name}.weight_out")
        elif isinstance(module, nn.Embedding):
            add(name, "table", f"{name}.weight")
    return layers


def channel_steps(weight: np.ndarray, axes: tuple[int, ...], largest: int) -> np.ndarray:
    """The step of each channel, of size 1 along `axes`: its largest weight divided by `largest`, or, at 4 bits, the
    share of that with the least squared error.

    From rounded weights whose peak is `largest` steps, the same steps are computed again; so learned steps need not be
    stored.
    """
    peak = np.abs(weight).max(axis=axes, keepdims=True).astype(np.float32)
    widest = np.where(peak == 0, np.float32(1), peak / np.float32(largest))
    best = widest
    if largest == LARGEST_4:
        least = np.full_like(peak, np.inf)
        for share in CLIPPED:
            step = widest * np.float32(share)
            rounded = np.rint(weight / step).clip(-largest, largest) * step
            error = np.square(rounded - weight).sum(axis=axes, keepdims=True)
            best, least = np.where(error < least, step, best), np.minimum(error, least)
    return best.astype(np.float32)


def tensor_bits(layers: Mapping[str, Layer], bits: Mapping[str, int]) -> dict[str, int]:
    """Bits of a graph's tensors by name, from those of layers; layers that are not named have 8."""
    return {tensor: bits.get(name, 8) for name, layer in layers.items() for tensor in layer.tensors}


def check_bits(layers: Mapping[str, Layer], bits: Mapping[str, int], source: str) -> None:
    """Check a plan, layer -> bits.

    Raises:
        ConfigError: the model has no such layer, or bits are none of 4, 8 and 16; names `source` and the entry.
    """
    for name, chosen in bits.items():
        if name not in layers:
            near = difflib.get_close_matches(str(name), layers, n=1, cutoff=0.4)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise ConfigError(f"{source}: the model has no layer {name!r}{hint}")
        if isinstance(chosen, bool) or chosen not in BITS:
            raise ConfigError(f"{source}: {name} is {chosen!r}; allowed: {', '.join(map(str, BITS))} bits")


def read_bits(path: Path, layers: Mapping[str, Layer]) -> dict[str, int]:
    """A plan, layer -> bits, from a JSON or YAML file; layers that it leaves out have 8.

    Raises:
        ConfigError: no such file, not a mapping, or a plan for another model.
    """
    import yaml

    try:
        bits = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the bits of layers cannot be read from {path}: {' '.join(str(error).split())}") from error
    if not isinstance(bits, dict):
        raise ConfigError(f"{path} holds {type(bits).__name__}; a mapping from layers to bits is needed")
    check_bits(layers, bits, str(path))
    return bits
