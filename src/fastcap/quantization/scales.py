"""Which layers are quantised, to how many bits, and with which steps: the same for sensitivity, training and export.

A weight of 4 or 8 bits is a whole multiple of its channel's step, symmetric about 0; 16 bits are half-precision floats,
which count as exact. The bits are those of the file: an exported graph unpacks 4 bits to 8 when it is loaded, and
computes with the same kernels.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fastcap.decoder.attention import RankAugmentedLinearAttention
from fastcap.errors import ConfigError
from fastcap.layers import FeedForward

__all__ = [
    "BITS",
    "LARGE",
    "Layer",
    "block_bits",
    "block_size",
    "channel_steps",
    "check_bits",
    "is_linear",
    "largest_integer",
    "quantised_layers",
    "read_bits",
    "tensor_bits",
]

BITS = (4, 8, 16)
LARGE = 2**14  # weights of a matrix; smaller ones are left as they are
LARGEST = {"depthwise": 127, "convolution": 64, "product": 63, "experts": 63, "table": 63, "stored": 127}
LARGEST_4 = 7
COARSE = re.compile(r"language_model\..*(?:gate_proj|up_proj|q_proj|k_proj|c_fc|fc1)\.weight")
"""Matrices of a language model that take 4 bits: those that read the hidden states, but for the values of attention.
What is written back into the hidden states keeps 8 bits (docs/prefix.md has what each costs)."""
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
    shapes: tuple[tuple[int, int], ...] = ()
    """Of the parameters (N, K), where they are stored in blocks; see `fastcap.quantization.blocks`."""
    transposed: bool = False
    """Whether the model keeps them as (K, N), as GPT-2 does."""

    @property
    def widths(self) -> tuple[int, ...]:
        """The bits that it may have."""
        return BITS[1:] if self.kind in ("stored", "rows") else BITS

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names in the exported graph."""
        names = ("+".join(self.parameters),) if self.kind == "product" else self.parameters
        return tuple(f"model.{name}" for name in names)

    def size(self, bits: int) -> int:
        """Bytes in a graph's file, or slightly more."""
        if self.shapes and bits < 16:
            sizes = ((n, k, block_size(k, bits)) for n, k in self.shapes)
            return sum(n * -(-k // size) * (size * bits // 8 + 4) for n, k, size in sizes)
        convolution = self.kind in ("depthwise", "convolution")
        scales = (13 if convolution else 4) * self.n_channels  # with those of int32 biases, and zero points
        nodes = NODES * len(self.tensors) if bits != 8 else 0
        return bits * self.n_weights // 8 + nodes + (scales if bits < 16 else 0)

    @property
    def smallest(self) -> int:
        """Least bytes that any bits take."""
        return min(self.size(bits) for bits in self.widths)


def largest_integer(kind: str, bits: int) -> int:
    """Largest integer of a kind of layer at 4 or 8 bits.

    x86 without VNNI sums two products of a weight and a byte in 16 bits: 2 x 64 x 255 fits, 2 x 127 x 255 does not.
    Depthwise convolutions have a kernel of their own there, which sums in 32 bits.
    """
    return LARGEST_4 if bits == 4 else LARGEST[kind]


def block_bits(name: str) -> int:
    """The bits of a weight of a prefix model by its name, if nobody asks for other ones."""
    return 4 if COARSE.search(name) else 8


def block_size(k: int, bits: int) -> int:
    """Numbers of K that share a step: 32 at 4 bits; at 8 bits, where steps hardly matter, the largest that leaves no
    padding."""
    return 32 if bits == 4 else next((size for size in (128, 64) if k % size == 0), 32)


def block_layers(model: Any, large: int) -> dict[str, Layer]:
    """The layers of a prefix model: matrices of one module that have the same bits by default, the token table, and the
    convolutions of each tower. Their parameters are named as they are once adapters are merged."""
    matrices: dict[str, list[str]] = {}
    stored: dict[str, list[str]] = {}
    layers: dict[str, Layer] = {}
    state = {name.replace(".base_layer.", "."): value for name, value in model.named_parameters()}
    table, transposed = model.decoder.embedding, set[str]()
    for name, module in model.named_modules():
        linear = is_linear(module) and ".lora_" not in name and not hasattr(module, "base_layer")
        if name.endswith(".base_layer"):
            name = name.removesuffix(".base_layer")
        if isinstance(module, nn.Conv2d):
            tower = re.match(r"backbone(?:\.towers\.towers\.\d+|\.tower)?", name)
            stored.setdefault(f"{tower[0] if tower else name}:convolutions", []).append(f"{name}.weight")
        elif module is table:
            layers[name] = layer_of(name, "rows", [f"{name}.weight"], state)
        elif linear and module.weight is not table.weight and module.weight.numel() >= large:
            parent, _, child = name.rpartition(".")
            matrices.setdefault(f"{parent} {block_bits(f'{name}.weight')}", []).append(child)
            transposed.update([parent] if not isinstance(module, nn.Linear) else [])
    for key, children in matrices.items():
        parent = key.rpartition(" ")[0]
        name = f"{parent}.{'+'.join(children)}"
        weights = [f"{parent}.{child}.weight" for child in children]
        layers[name] = layer_of(name, "blocks", weights, state, parent in transposed)
    return layers | {name: layer_of(name, "stored", weights, state) for name, weights in stored.items()}


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a matrix product: PyTorch's, or GPT-2's, whose weight is (K, N)."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def layer_of(
    name: str, kind: str, parameters: Sequence[str], state: Mapping[str, Any], transposed: bool = False
) -> Layer:
    """A layer of a prefix model."""
    values = [state[parameter].T if transposed else state[parameter] for parameter in parameters]
    axes = (1, 2, 3) if kind == "stored" else (1,)
    shapes = () if kind == "stored" else tuple((int(value.shape[0]), int(value.shape[1])) for value in values)
    n_channels = sum(int(value.shape[0]) for value in values)
    n_weights = sum(value.numel() for value in values)
    return Layer(name, kind, tuple(parameters), axes, n_weights, n_channels, shapes, transposed)


def quantised_layers(model: nn.Module, large: int = LARGE) -> dict[str, Layer]:
    """The layers of a model by name, in its order: convolutions, large matrices, the experts of each decoder layer, and
    the token table, which is the output matrix too; of a prefix model, `block_layers`.

    Args:
        large: matrices of fewer weights are left out.
    """
    if getattr(getattr(model, "config", None), "kind", "") == "prefix":
        return block_layers(model, large)
    layers: dict[str, Layer] = {}

    def add(name: str, kind: str, *parameters: str, axes: tuple[int, ...] = (1,)) -> None:
        weights = [model.get_parameter(parameter) for parameter in parameters]
        n_channels = sum(weight.amax(dim=axes).numel() for weight in weights)
        layer = Layer(name, kind, parameters, axes, sum(weight.numel() for weight in weights), n_channels)
        if len(axes) > 1 or layer.n_weights >= large * len(layer.tensors):
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
    """Bits of a graph's tensors by name, from those of layers; layers that are not named have 8, or `block_bits`."""
    return {
        tensor: bits.get(name, block_bits(tensor) if layer.shapes else 8)
        for name, layer in layers.items()
        for tensor in layer.tensors
    }


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
        if isinstance(chosen, bool) or chosen not in layers[name].widths:
            allowed = ", ".join(map(str, layers[name].widths))
            raise ConfigError(f"{source}: {name} is {chosen!r}; allowed: {allowed} bits")


def read_bits(path: Path, layers: Mapping[str, Layer]) -> dict[str, int]:
    """A plan, layer -> bits, from a JSON or YAML file; layers that it leaves out are for `tensor_bits` to choose.

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
