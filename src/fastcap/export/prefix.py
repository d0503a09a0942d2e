"""The prefix family as ONNX: `vision_encoder`, `projection`, `prefix_init` and `language_model`; and `text` for scores.

The first three run once a picture and end in the keys and values of the prefix, which all captions of the picture
share: they are one `state` tensor, never copied for a row of a beam. `language_model` reads more tokens of each row:
one while a search writes, all at once of a question. Its cache holds the row's own keys and values, one head for each
group of queries; rows of different lengths are padded at their start. The weights of the language model are a file of
their own, which `language_model`, `prefix_init` and `text` share.

Any decoder-only model of transformers is traced as it is; its attention alone is replaced, through the interface that
transformers has for that.

Letters: R rows, P tokens of the prefix, T tokens of a caption, H heads of queries, G heads of keys, W width of a head,
S keys and values in turn of each layer, D width, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from torch import Tensor, nn

from fastcap.backbone.multiscale import MultiScaleBackbone
from fastcap.config import ModelConfig
from fastcap.errors import ModelFileError
from fastcap.export.scales import export_scales
from fastcap.export.surgery import merge_equal, write_graph
from fastcap.export.trace import changing_axes, trace
from fastcap.model import CaptionModel
from fastcap.model.prefix import merged
from fastcap.runtime.contract import (
    IMAGE_VECTORS,
    LANGUAGE_MODEL,
    LANGUAGE_WEIGHTS,
    PREFIX_INIT,
    PROJECTION,
    STATE,
    TEXT,
    VISION_ENCODER,
    scale_file,
)

__all__ = [
    "Language",
    "PrefixInit",
    "ReadText",
    "assemble_prefix",
    "export_prefix",
    "export_step",
    "with_merged_adapters",
]

ATTENTION = "fastcap_export"  # the name under which transformers finds `attend`
LARGEST = 2**31 - 2**24  # bytes of a graph in one file: ONNX's limit, less room for its nodes

_attending: list[Any] = []  # what attends at the moment, last; filled by `attending`


def attend(
    module: nn.Module, queries: Tensor, keys: Tensor, values: Tensor, *_: Any, **rest: Any
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: queries (R, H, T, W), keys and values (R, G, T, W) -> (R, T, H, W)."""
    scale = rest.get("scaling") or int(queries.shape[-1]) ** -0.5
    return _attending[-1](queries * scale, keys, values), None


@contextlib.contextmanager
def attending(language_model: Any, attention: Any) -> Iterator[None]:
    """Let a language model attend by `attention(scaled queries, keys, values)`, called layer by layer."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attend)
    config = language_model.config
    before, config._attn_implementation = config._attn_implementation, ATTENTION
    _attending.append(attention)
    try:
        yield
    finally:
        _attending.pop()
        config._attn_implementation = before


class ReadText:
    """Causal attention within one text, keys and values not repeated for the queries of a group."""

    def __init__(self, length: Any) -> None:
        """`length`: T, a tensor where the graph is to keep it variable."""
        steps = torch.arange(length)
        self.later = steps[None, :] > steps[:, None]  # (T, T)
        self.grown: list[Tensor] = []  # (G, T, W) each

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        heads, width = int(queries.shape[1]), int(queries.shape[3])
        groups = int(keys.shape[1])
        self.grown += [keys[0], values[0]]
        queries = queries.reshape(groups, heads // groups, -1, width)
        scores = queries @ keys[0][:, None].transpose(-1, -2)  # (G, H / G, T, T)
        read = scores.masked_fill(self.later, -torch.inf).softmax(dim=-1) @ values[0][:, None]
        return read.reshape(1, heads, -1, width).transpose(1, 2)


class ReadTokens:
    """Attention of T new tokens of each row to the prefix, which all rows share, to the row's own L tokens before them,
    and among themselves from left to right."""

    def __init__(self, prefix: Tensor, cache: Tensor, parents: Tensor, hidden: Tensor) -> None:
        """prefix (S, G, P, W), cache (S, G, R, L, W), parents (R,), hidden (R, T, L + T): which keys no query reads."""
        self.prefix, self.past = iter(prefix), iter(cache.index_select(2, parents))
        self.n_prefix = int(prefix.shape[2])
        self.bias = torch.zeros_like(hidden, dtype=prefix.dtype).masked_fill(hidden, -torch.inf)[:, None]
        self.grown: list[Tensor] = []  # (G, R, L + T, W) each

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        heads, width = int(queries.shape[1]), int(queries.shape[3])
        groups = int(keys.shape[1])
        shared = heads // groups
        of_prefix = next(self.prefix), next(self.prefix)
        grown = [torch.cat([next(self.past), new.transpose(0, 1)], dim=2) for new in (keys, values)]
        self.grown += grown
        n_new: Any = queries.shape[2]  # a tensor, so that the graph keeps it variable
        rows = queries.reshape(-1, groups, shared * n_new, width).transpose(0, 1)  # (G, R, H/G * T, W)
        to_prefix = (rows.reshape(groups, -1, width) @ of_prefix[0].transpose(-1, -2)).reshape(
            groups, -1, shared * n_new, self.n_prefix
        )
        own = rows @ grown[0].transpose(-1, -2)  # (G, R, H/G * T, L + T)
        n_own: Any = own.shape[3]
        own = (own.reshape(groups, -1, shared, n_new, n_own) + self.bias).reshape(groups, -1, shared * n_new, n_own)
        weights = torch.cat([to_prefix, own], dim=-1).softmax(dim=-1)
        read = (weights[..., : self.n_prefix].reshape(groups, -1, self.n_prefix) @ of_prefix[1]).reshape(
            groups, -1, shared * n_new, width
        ) + weights[..., self.n_prefix :] @ grown[1]
        return read.transpose(0, 1).reshape(-1, heads, n_new, width).transpose(1, 2)


class VisionEncoder(nn.Module):
    """Pixels to image tokens, and to the picture's vector."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        image = self.model.encode(images)
        return image.tokens, self.model.alignment.embed_image(image)


class Project(nn.Module):
    """Image tokens (1, N, C) to the prefix (1, P, D), a prompt at its end if the model has one."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model
        self.prompt = model.decoder.embed(torch.tensor(model.decoder.prompt_ids, dtype=torch.long))[None]

    def forward(self, tokens: Tensor) -> Tensor:
        prefix = self.model.decoder.projection(tokens)
        return torch.cat([prefix, self.prompt], dim=1) if self.prompt.shape[1] else prefix


class Language(nn.Module):
    """A part that reads with the language model."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model

    def hidden(self, attention: Any, words: Tensor, positions: Tensor) -> Tensor:
        """What the language model makes of words (R, T, D) at positions (R, T), or (1, T) for all rows."""
        decoder = self.model.decoder
        with attending(decoder.language_model, attention):
            return decoder.body(inputs_embeds=words, position_ids=positions, use_cache=False)[0]

    def read(self, attention: ReadText | ReadTokens, words: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """As `hidden`, and the keys and values on the way."""
        hidden = self.hidden(attention, words, positions)
        return hidden, torch.stack(attention.grown)


class PrefixInit(Language):
    """The prefix (1, P, D) to its keys and values (S, G, P, W)."""

    def forward(self, prefix: Tensor) -> Tensor:
        length = int(prefix.shape[1])
        return self.read(ReadText(length), prefix, torch.arange(length)[None])[1]


class Step(Language):
    """More tokens of each row; inputs and outputs as `fastcap.runtime.contract.LANGUAGE_MODEL` has them."""

    def forward(
        self, token_ids: Tensor, parents: Tensor, cache: Tensor, padding: Tensor, prefix: Tensor
    ) -> tuple[Tensor, Tensor]:
        decoder = self.model.decoder
        before: Any = cache.shape[3]  # tensors, so that the graph keeps them variable
        new: Any = token_ids.shape[1]
        columns = torch.arange(before + new)
        queries, first = columns[before:], padding[:, None]  # of each row's own first token
        hidden = (columns > queries[:, None]) | (columns < first)[:, None]
        positions = (queries - first).clamp(min=0) + int(prefix.shape[2])
        attention = ReadTokens(prefix, cache, parents, hidden)
        hidden, grown = self.read(attention, decoder.embed(token_ids), positions)
        return decoder.project(hidden[:, -1]).log_softmax(dim=-1), grown


class EmbedText(Language):
    """`CaptionModel.embed_text` of one text (1, T)."""

    def forward(self, token_ids: Tensor) -> Tensor:
        decoder = self.model.decoder
        given = decoder.inputs(token_ids)
        length: Any = given.shape[1]
        hidden, _ = self.read(ReadText(length), decoder.embed(given), torch.arange(length)[None])
        return self.model.alignment.embed_text(hidden, torch.as_tensor(length).reshape(1))


def with_merged_adapters(model: CaptionModel) -> CaptionModel:
    """A copy of a prefix model in evaluation mode, its adapters merged with what they belong to.

    Raises:
        ModelFileError: the language model is too large for one file.
    """
    whole: Any = merged(model)
    size = 4 * sum(parameter.numel() for parameter in whole.decoder.language_model.parameters())
    if size > LARGEST:
        raise ModelFileError(
            f"the language model has {size} bytes in fp32; an ONNX file holds {LARGEST}: smaller ones can be exported"
        )
    return cast(CaptionModel, whole)


@torch.no_grad()
def export_prefix(model: CaptionModel, folder: Path) -> None:
    """Write the fp32 parts of a prefix model into a folder, its adapters merged with what they belong to.

    Raises:
        ModelFileError: the language model is too large for one file.
    """
    whole = with_merged_adapters(model)
    images = torch.zeros(1, model.config.image_size, model.config.image_size, 3, dtype=torch.uint8)
    vision, prefix_init = VisionEncoder(whole), PrefixInit(whole)
    has_scales = isinstance(whole.backbone, MultiScaleBackbone)
    tokens = export_scales(whole, images, folder) if has_scales else vision(images)[0]
    project = Project(whole)
    prefix = project(tokens)
    state = prefix_init(prefix)
    seeing = (vision, images, VISION_ENCODER, (*VISION_ENCODER.outputs, *IMAGE_VECTORS))
    for module, given, graph, names in (
        *([] if has_scales else [seeing]),
        (project, tokens, PROJECTION, PROJECTION.outputs),
        (prefix_init, prefix, PREFIX_INIT, (f"{STATE}0",)),
        (EmbedText(whole), torch.arange(3)[None], TEXT, TEXT.outputs),
    ):
        trace(module, (given,), folder / graph.file, graph.inputs, names, changing_axes(graph))
    export_step(whole, state, folder)


def export_step(whole: CaptionModel, state: Tensor, folder: Path) -> None:
    """Write the part that reads tokens; `state`: keys and values of a prefix, as `PrefixInit` gives them."""
    rows, step = torch.arange(2), LANGUAGE_MODEL
    layers, heads, _, width = state.shape
    given = torch.zeros(2, 4, dtype=torch.long), rows, torch.zeros(layers, heads, len(rows), 3, width), rows
    inputs = (*step.inputs, f"{STATE}0")
    trace(Step(whole), (*given, state), folder / step.file, inputs, step.outputs, changing_axes(step))


def assemble_prefix(parts: Path, folder: Path, config: ModelConfig) -> None:
    """Write the graphs of the parts in a folder into a new folder, and `language_model.data`: the weights of the
    language model, which all graphs that read with it share."""
    folder.mkdir()
    weights = folder / LANGUAGE_WEIGHTS
    scales = [path.name for path in sorted(parts.glob(scale_file(1).replace("1", "*")))]
    for name in (LANGUAGE_MODEL.file, VISION_ENCODER.file, *scales, PROJECTION.file, PREFIX_INIT.file, TEXT.file):
        graph = onnx.load(str(parts / name))
        merge_equal(graph.graph)
        if name == LANGUAGE_MODEL.file:
            write_graph(folder / name, graph, weights=weights)
        else:
            write_graph(folder / name, graph, weights if name in (PREFIX_INIT.file, TEXT.file) else None)
