"""The autoregressive family, which reads from left to right only, as ONNX parts: `encode`, `step` and `text`.

In the model directory they are `encode.onnx`, `step.onnx` and `text.onnx`. They do what those of
`fastcap.export.parallel` do, and hold their weights themselves, since there is no whole graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.config import ModelConfig
from fastcap.decoder.attention import KeysValues
from fastcap.decoder.rope_decoder import TokenExperts
from fastcap.export.packed import Attend, attention_scores, continued, with_self_attention
from fastcap.export.surgery import merge_equal, write_graph
from fastcap.export.text import assemble_text, export_text
from fastcap.export.trace import trace, trace_step
from fastcap.layers import rotate, rotation
from fastcap.model import CaptionModel
from fastcap.runtime.contract import ENCODE, IMAGE_VECTORS, LEFT_TO_RIGHT, STATE, STEP, TEXT

if TYPE_CHECKING:
    from fastcap.decoder.rope_decoder import RopeDecoder, RopeLayer

__all__ = ["PackedRopeDecoder", "assemble_autoregressive", "export_autoregressive"]


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


class PackedRopeDecoder:
    """One step of a `RopeDecoder`, for one picture. Letters as in `fastcap.export.packed`."""

    def __init__(self, decoder: RopeDecoder) -> None:
        self.decoder = decoder
        self.rotation = rotation(0, decoder.max_length + 1, decoder.d_head)  # of the start mark and of every token

    def step(
        self, memories: Sequence[KeysValues], token_ids: Tensor, parents: Tensor, cache: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `PackedDecoder.step`; `memories`: of the picture, one a layer."""
        attend, grown = continued(cache, parents)
        return self.log_p(memories, token_ids, attend, cache.shape[3]), torch.stack(grown)

    def log_p(
        self, memories: Sequence[KeysValues], token_ids: Tensor, attend: Attend, position: int | Tensor
    ) -> Tensor:
        """Log-probabilities (R, V) after one more token of each row at this position, an int or (1,)."""
        decoder = self.decoder
        cosines, sines = (part[position] for part in self.rotation)

        def attend_rotated(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            return attend(rotate(queries, (cosines, sines)), rotate(keys, (cosines, sines)), values)

        x = decoder.embed(token_ids)
        for layer, memory in zip(cast("Iterable[RopeLayer]", decoder.layers), memories, strict=True):
            x = with_self_attention(layer, x, attend_rotated)
            x = x + self.cross_attend(layer, layer.norm_cross(x), memory)
            x = x + self.feed_forward(layer, layer.norm_network(x))
        return F.linear(decoder.norm(x), decoder.embedding.weight, decoder.bias).log_softmax(dim=-1)

    @staticmethod
    def cross_attend(layer: RopeLayer, x: Tensor, memory: KeysValues) -> Tensor:
        """Attention of x (R, D) to the picture's keys and values (1, H, N, W)."""
        attention = layer.cross_attention
        queries = attention.query(x).reshape(-1, attention.n_heads, attention.d_head).transpose(0, 1)  # (H, R, W)
        read = (attention_scores(queries, memory.keys[0]).softmax(dim=-1) @ memory.values[0]).transpose(0, 1)
        return cast(Tensor, attention.project_out(read.reshape(-1, attention.n_heads * attention.d_head)))

    @staticmethod
    def feed_forward(layer: RopeLayer, x: Tensor) -> Tensor:
        """The feed-forward network, or each row's own experts, on x (R, D)."""
        network = layer.network
        if not isinstance(network, TokenExperts):
            return cast(Tensor, network(x))
        chosen, weights, _ = network.route(x)
        y = network.routed(x[:, None], network.routed.select(chosen, weights))[:, 0]
        return y if network.shared is None else y + network.shared(x)


@torch.no_grad()
def export_autoregressive(model: CaptionModel, folder: Path) -> None:
    """Write the fp32 parts of a model with a RoPE decoder into a folder; the numbers of rows and tokens may change."""
    model.eval()
    images = torch.zeros(1, model.config.image_size, model.config.image_size, 3, dtype=torch.uint8)
    encode = Encode(model)
    _, *values = encode(images)
    state = {f"{STATE}{index}": value for index, value in enumerate(values)}
    trace(encode, (images,), folder / ENCODE.file, ENCODE.inputs, (*IMAGE_VECTORS, *state), {})
    trace_step(Step(model), model.decoder.layers, folder / STEP.file, state)
    export_text(model, folder / TEXT.file)


def assemble_autoregressive(parts: Path, folder: Path, config: ModelConfig) -> None:
    """Write `encode.onnx`, `step.onnx` and `text.onnx` of the parts in a folder into a new folder. The last reads the
    token table out of the file of `step.onnx`."""
    folder.mkdir()
    for name in LEFT_TO_RIGHT:
        graph = onnx.load(str(parts / name))
        merge_equal(graph.graph)
        write_graph(folder / name, graph, noted=True)
    assemble_text(parts / TEXT.file, folder / STEP.file)
