"""Quantised graphs, and what a model directory of them takes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from tokenizers import Tokenizer

from fastcap.config import ModelConfig
from fastcap.export.families import EXPORTS
from fastcap.export.writer import write_bundle
from fastcap.model import CaptionModel
from fastcap.quantization.half import to_half
from fastcap.quantization.moments import input_moments
from fastcap.quantization.post_training import quantize, quantize_prefix
from fastcap.quantization.scales import Layer, quantised_layers, tensor_bits
from fastcap.quantization.sensitivity import Batch, batches_of
from fastcap.runtime.encoding import decode

__all__ = ["MANIFEST", "Sizes", "directory_size", "half_graphs", "own_batches", "quantised_graphs"]

SENSITIVITY_IMAGES = {"parallel": 64, "autoregressive": 64, "prefix": 16}
"""Of those that calibrate, by the kind of model: with a language model, each takes a second a layer."""
MANIFEST = 2**12  # bytes, at most, that a manifest gains when the model is measured


def quantised_graphs(
    parts: Path,
    folder: Path,
    model: CaptionModel,
    pictures: np.ndarray,
    bits: Mapping[str, int],
    corrected: bool = True,
    texts: Sequence[Sequence[int]] = (),
) -> Path:
    """Write the graphs made of quantised copies of fp32 parts into a new folder, which is returned.

    `pictures` to `corrected`: as in `fastcap.quantization.post_training.quantize`, for families whose convolutions are
    calibrated. `texts`: token ids, for the family whose language model reads them of pictures.
    """
    family = EXPORTS[model.config.kind]
    with tempfile.TemporaryDirectory() as aside:
        copies = shutil.copytree(parts, Path(aside) / "parts")
        if model.config.kind == "prefix":
            quantize_prefix(copies, input_moments(model, pictures, texts, bits) if texts else {}, bits)
        else:
            quantize(copies, pictures, family.feeds(model.config), bits, corrected)
        family.assemble(copies, folder, model.config)
    return folder


def half_graphs(parts: Path, folder: Path, config: ModelConfig) -> Path:
    """Write the graphs made of fp32 parts, computing in 16 bits, into a new folder, which is returned."""
    with tempfile.TemporaryDirectory() as aside:
        copies = shutil.copytree(parts, Path(aside) / "parts")
        for part in sorted(copies.glob("*.onnx")):
            to_half(part)
        EXPORTS[config.kind].assemble(copies, folder, config)
    return folder


def directory_size(directory: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in directory.iterdir())


@dataclass(frozen=True)
class Sizes:
    """What the model directory takes in bytes: the quantised `layers` by name, and all `other` things."""

    layers: dict[str, Layer]
    other: int

    @classmethod
    def of(cls, parts: Path, model: CaptionModel, tokenizer: Tokenizer, pictures: np.ndarray) -> Sizes:
        """From a directory with 8 bits in every layer; what calibrates it does not change its size."""
        held = {tensor.name for part in parts.iterdir() for tensor in onnx.load(str(part)).graph.initializer}
        layers = {name: layer for name, layer in quantised_layers(model).items() if held.issuperset(layer.tensors)}
        with tempfile.TemporaryDirectory() as aside:
            eight = tensor_bits(layers, dict.fromkeys(layers, 8))
            graphs = quantised_graphs(parts, Path(aside) / "int8", model, pictures[:1], eight, corrected=False)
            bundle = Path(aside) / "bundle"
            write_bundle(bundle, graphs, tokenizer, model.config, name="")
            size = directory_size(bundle) + MANIFEST
        return cls(layers, size - sum(layer.size(8) for layer in layers.values()))

    @property
    def smallest(self) -> int:
        """Least bytes that the directory can have."""
        return self.other + sum(layer.smallest for layer in self.layers.values())


def own_batches(model: CaptionModel, tokenizer: Tokenizer, pictures: np.ndarray) -> list[Batch]:
    """Pictures (N, H, W, 3) uint8 with the model's own greedy captions, to measure sensitivity on; `SENSITIVITY_IMAGES`
    of them at most.

    Rounding can only take the model away from its own captions. On people's captions it may seem to help, since a model
    is surer than people are.

    Raises:
        ConfigError: fewer than 16 pictures.
    """
    pictures = pictures[: SENSITIVITY_IMAGES[model.config.kind]]
    with torch.no_grad():
        searched = [model.search(model.encode(torch.from_numpy(picture[None])), beams=1)[0] for picture in pictures]
    captions = [decode(tokenizer, best.token_ids) for best, *_ in searched]
    pad_id = model.vocabulary.pad_id
    return batches_of(pictures, captions, tokenizer, model.config.max_length, pad_id=pad_id)
