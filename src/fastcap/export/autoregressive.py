"""A model that reads from left to right only as ONNX graphs: `encode.onnx`, `step.onnx` and `text.onnx`.

They do what those of `fastcap.export.causal` do, and hold their weights themselves, since there is no whole graph.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from fastcap.decoder.attention import KeysValues
from fastcap.export.causal import assemble_text, write_graph
from fastcap.export.packed import PackedRopeDecoder
from fastcap.export.parallel import IMAGE_VECTORS, STEP, STEPPED, export_text, merge_equal, trace
from fastcap.model import CaptionModel

__all__ = ["AutoregressiveParts", "assemble_autoregressive", "export_autoregressive"]


@dataclass(frozen=True)
class AutoregressiveParts:
    """ONNX files: `encode` runs once a picture, `step` once a token, `text` once a text."""

    encode: Path
    step: Path
    text: Path


class Encode(nn.Module):
    """Pixels to the picture's vector, for scores, and the keys and values of each layer."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        image = self.model.encode(images)
        state = self.model.decoder.prepare(image)
        return (self.model.alignment.embed_image(image), *(part for memory in state.memories for part in memory))


class Step(nn.Module):
    """`PackedRopeDecoder.step`."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model
        self.packed = PackedRopeDecoder(model.decoder)

    def forward(self, token_ids: Tensor, parents: Tensor, cache: Tensor, *state: Tensor) -> tuple[Tensor, Tensor]:
        memories = [KeysValues(*pair) for pair in zip(state[::2], state[1::2], strict=True)]
        return self.packed.step(memories, token_ids, parents, cache)


@torch.no_grad()
def export_autoregressive(model: CaptionModel, folder: Path) -> AutoregressiveParts:
    """Write the parts of a model with a RoPE decoder as fp32 ONNX; how many rows and tokens there are stays variable,
    as in `fastcap.export.parallel.export_parts`."""
    parts = AutoregressiveParts(*(folder / f"{field.name}.onnx" for field in fields(AutoregressiveParts)))
    model.eval()
    config = model.config
    images = torch.zeros(1, config.image_size, config.image_size, 3, dtype=torch.uint8)
    encode = Encode(model)
    _, *state_values = encode(images)
    state = [f"state{i}" for i in range(len(state_values))]
    trace(encode, (images,), parts.encode, ("images",), (IMAGE_VECTORS, *state))
    rows = torch.arange(2)
    heads = config.decoder.n_heads
    cache = torch.zeros(2 * config.decoder.n_layers, heads, len(rows), 3, config.d_model // heads)
    trace(Step(model), (rows, rows, cache, *state_values), parts.step, (*STEP, *state), STEPPED)
    export_text(model, parts.text)
    return parts


def assemble_autoregressive(parts: AutoregressiveParts, folder: Path) -> None:
    """Write `encode.onnx`, `step.onnx` and `text.onnx`, which reads the table of words out of the file of the second,
    into a folder."""
    for part in (parts.encode, parts.step):
        graph = onnx.load(str(part))
        merge_equal(graph.graph)
        write_graph(folder / part.name, graph, noted=True)
    assemble_text(parts, folder / parts.step.name)
