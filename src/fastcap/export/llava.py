"""A prefix model as the three graphs of a LLaVA that transformers.js loads, any runtime of ONNX among them.

| graph | from | to |
| --- | --- | --- |
| `vision_encoder` | `pixel_values` (1, 3, H, W), 0..255, of any size | `image_features` (1, P + 1, D) |
| `embed_tokens` | `input_ids` (B, T) | `inputs_embeds` (B, T, D) |
| `decoder_model_merged` | both, merged; keys and values of the tokens before | `logits`, grown keys and values |

A picture is resized within the first graph, as the runtime resizes it: every program that decodes it gets the same
features, whatever its own way of resizing. The features end in the model's prompt and the begin mark, so that a caption
is what follows the bare picture, and a question is a text behind it.

Letters: B rows, P tokens of the prefix with the prompt, T new tokens, L tokens before them, D width, V vocabulary, G
heads of keys, W width of a head, S side of the pictures that the towers read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import torch
from torch import Tensor, nn

from fastcap.export.compare import open_graph
from fastcap.export.prefix import Language, ReadText, with_merged_adapters
from fastcap.export.surgery import merge_equal, write_graph
from fastcap.export.trace import trace
from fastcap.model import CaptionModel

__all__ = [
    "DECODER",
    "EMBED",
    "GRAPHS",
    "PIXELS",
    "VISION",
    "LlavaStepper",
    "ReadOn",
    "Squash",
    "assemble_llava",
    "cache_names",
    "cache_sizes",
    "export_llava",
]

VISION, EMBED, DECODER = GRAPHS = ("vision_encoder", "embed_tokens", "decoder_model_merged")
PIXELS = "resize"
"""The part of `VISION` that resizes, apart until the rest of it is quantised or brought to 16 bits."""

REDUCING_GAP = 2
"""As in `fastcap.runtime.images`: pictures more than so many times too large are first averaged."""
ONE = 2**22  # the weights of Pillow's filters are integers, and this is 1
HIDDEN = -1e4  # added to the scores of what a token may not read; 16 bits hold it, and its exponential is 0


def number(length: Any) -> Any:
    """A length as a tensor, so that a graph keeps it variable."""
    return torch.as_tensor(length)


class Squash(nn.Module):
    """A picture (1, 3, H, W), 0..255, to (1, 3, S, S), byte for byte as `fastcap.runtime.images` does it with Pillow:
    large ones are averaged, and then mixed across and down by a bilinear filter, whose weights are integers of 22 bits.

    Its operators are sums and products, since those that resize differ between runtimes.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def cells(self, length: Any) -> tuple[Any, Any]:
        """How many pixels are averaged to one, and how many there are then, of `length` (a tensor while traced)."""
        length = torch.as_tensor(length)
        factor = torch.div(length, self.size * REDUCING_GAP, rounding_mode="floor").clamp(min=1)
        return factor, torch.div(length + factor - 1, factor, rounding_mode="floor")

    def averaged(self, pixels: Tensor) -> Tensor:
        """The last row and column may have fewer pixels."""
        height, width = map(number, pixels.shape[2:])
        (tall, rows), (wide, columns) = self.cells(height), self.cells(width)
        pixels = torch.cat([pixels, torch.zeros(1, 3, height, columns * wide - width)], dim=3)
        pixels = torch.cat([pixels, torch.zeros(1, 3, rows * tall - height, columns * wide)], dim=2)
        sums = pixels.reshape(1, 3, rows, tall, columns, wide).sum(dim=(3, 5))
        down = torch.minimum(tall, height - torch.arange(rows) * tall)
        across = torch.minimum(wide, width - torch.arange(columns) * wide)
        count = down[:, None] * across
        one = (2**24 / count.float()).floor().double()  # Pillow multiplies by this, and divides by 2^24
        return ((sums + torch.div(count, 2, rounding_mode="floor")).double() * one / 2**24).floor()

    def weights(self, length: Any) -> Tensor:
        """What each of S pixels takes of each cell of `length` pixels: (S, cells), integers in float64."""
        factor, cells = self.cells(length)
        # of one dimension, since the exporter takes what has none for a number of 32 bits
        scale = torch.as_tensor(length).reshape(1).double() / factor.reshape(1).double() / self.size
        centre = (torch.arange(self.size, dtype=torch.float64) + 0.5) * scale
        distance = (torch.arange(cells).double() + 0.5 - centre[:, None]).abs() / scale.clamp(min=1)
        weights = (1 - distance).clamp(min=0)
        return (weights / weights.sum(dim=1, keepdim=True) * ONE + 0.5).floor()

    def forward(self, pixels: Tensor) -> Tensor:
        """Rounded after each step, as Pillow's bytes are."""
        across = ((self.averaged(pixels) @ self.weights(pixels.shape[3]).T + ONE / 2) / ONE).floor()
        return ((self.weights(pixels.shape[2]) @ across + ONE / 2) / ONE).floor().float()


class Features(nn.Module):
    """A picture (1, 3, S, S), 0..255, to what the language model reads before a caption's first word (1, P + 1, D)."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model
        ids = [*model.decoder.prompt_ids, model.vocabulary.bos_id]
        self.after = model.decoder.embed(torch.tensor(ids))[None]

    def forward(self, images: Tensor) -> Tensor:
        prefix = self.model.decoder.projection(self.model.backbone(images).tokens)
        return torch.cat([prefix, self.after], dim=1)


class Embed(nn.Module):
    """Token ids (B, T) to (B, T, D). The id that marks the picture's place is beyond the table: what it gives is
    replaced by the picture's features."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.model.decoder.embed(input_ids.clamp(max=self.model.vocabulary.size - 1))


class ReadOn:
    """Causal attention of T new tokens of each row to the L tokens before them and among themselves."""

    def __init__(self, past: Sequence[Tensor], bias: Tensor) -> None:
        """past: keys and values in turn of each layer, (B, G, L, W), nothing if no token was read before; bias (B or 1,
        1, T, L + T), added to the scores."""
        self.past, self.bias = iter(past), bias
        self.grown: list[Tensor] = []

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        heads, width, groups = int(queries.shape[1]), int(queries.shape[3]), int(keys.shape[1])
        shared = heads // groups
        n_new: Any = queries.shape[2]  # a tensor, so that the graph keeps it variable
        before = next(self.past, None), next(self.past, None)
        grown = [
            new if old is None else torch.cat([old, new], dim=2)
            for old, new in zip(before, (keys, values), strict=True)
        ]
        self.grown += grown
        rows = queries.reshape(-1, groups, shared * n_new, width)
        scores = rows @ grown[0].transpose(-1, -2)  # (B, G, H / G * T, L + T)
        n_all: Any = scores.shape[3]
        scores = scores.reshape(-1, groups * shared, n_new, n_all) + self.bias
        weights = scores.softmax(dim=-1).reshape(-1, groups, shared * n_new, n_all)
        return (weights @ grown[1]).reshape(-1, heads, n_new, width).transpose(1, 2)


class Decode(Language):
    """New tokens of each row, and the keys and values of those before them."""

    def forward(
        self, inputs_embeds: Tensor, attention_mask: Tensor, position_ids: Tensor, keep: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """`attention_mask` (B, L + T): 0 at padding; `keep`: of how many last tokens logits are wanted, 0 for all."""
        n_new: Any = inputs_embeds.shape[1]
        n_all: Any = attention_mask.shape[1]
        columns = torch.arange(n_all)
        later = columns > columns[n_all - n_new :][:, None]  # (T, L + T)
        unread = (later | (attention_mask == 0)[:, None, :])[:, None]
        attention = ReadOn(past, torch.zeros_like(unread, dtype=inputs_embeds.dtype).masked_fill(unread, HIDDEN))
        hidden = self.hidden(attention, inputs_embeds, position_ids)
        first = torch.where(keep == 0, torch.zeros_like(keep), n_new - keep)
        return self.model.decoder.project(hidden[:, first:]), *attention.grown


def cache_names(begin: str, layers: int) -> list[str]:
    """Names of the keys and values in turn of each layer; `begin`: past_key_values or present."""
    return [f"{begin}.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


@torch.no_grad()
def export_llava(model: CaptionModel, folder: Path) -> None:
    """Write the fp32 parts of a prefix model into a folder, its adapters merged with what they belong to.

    Raises:
        ModelFileError: the language model is too large for one file.
    """
    merged = with_merged_adapters(model)
    side, embed, decode, rows = merged.config.image_size, Embed(merged), Decode(merged), "batch_size"
    pixels, ids = torch.zeros(1, 3, side + 9, side - 5), torch.tensor([[5, 6, 7], [6, 5, 4]])
    axes: dict[str, dict[int, str]] = {"pixel_values": {2: "height", 3: "width"}}
    trace(Squash(side), (pixels,), folder / f"{PIXELS}.onnx", axes, ["images"], axes)
    images = torch.zeros(1, 3, side, side)
    trace(Features(merged), (images,), folder / f"{VISION}.onnx", ["images"], ["image_features"], {})
    axes = {"input_ids": {0: rows, 1: "sequence_length"}}
    trace(embed, (ids,), folder / f"{EMBED}.onnx", axes, ["inputs_embeds"], axes)
    words = embed(ids)
    layers, heads, _, width = decode.read(ReadText(3), words[:1], torch.arange(3)[None])[1].shape
    past = cache_names("past_key_values", layers // 2)
    axes = {
        "inputs_embeds": {0: rows, 1: "sequence_length"},
        "attention_mask": {0: rows, 1: "total_sequence_length"},
        "position_ids": {0: rows, 1: "sequence_length"},
        "num_logits_to_keep": {},
        **{name: {0: rows, 2: "past_sequence_length"} for name in past},
    }
    places = torch.arange(4, 7).repeat(2, 1), torch.tensor(1)
    given = words, torch.ones(2, 7, dtype=torch.long), *places, *torch.zeros(layers, 2, heads, 4, width)
    outputs = ["logits", *cache_names("present", layers // 2)]
    trace(decode, given, folder / f"{DECODER}.onnx", axes, outputs, axes)


def assemble_llava(parts: Path, folder: Path, suffix: str = "") -> None:
    """Write the three graphs of the parts in a folder, or of quantised copies of them, into another folder; `suffix`
    stands at the end of their names."""
    graphs = {name: onnx.load(str(parts / f"{name}.onnx")) for name in GRAPHS}
    resize = onnx.load(str(parts / f"{PIXELS}.onnx"))
    graphs[VISION] = onnx.compose.merge_models(
        onnx.compose.add_prefix(resize, "r/", rename_inputs=False, rename_outputs=False),
        onnx.compose.add_prefix(graphs[VISION], "v/", rename_inputs=False, rename_outputs=False),
        [("images", "images")],
    )
    for name, graph in graphs.items():
        merge_equal(graph.graph)
        write_graph(folder / f"{name}{suffix}.onnx", graph)


def cache_sizes(decoder: Path) -> tuple[int, int, int]:
    """Layers, heads of keys, and their width, of a decoder's file."""
    inputs = onnx.load(str(decoder), load_external_data=False).graph.input
    shapes = [given.type.tensor_type.shape.dim for given in inputs if given.name.startswith("past_key_values.")]
    return len(shapes) // 2, shapes[0][1].dim_value, shapes[0][3].dim_value


class LlavaStepper:
    """A `fastcap.generation.autoregressive.Stepper` over the three graphs, by ONNX Runtime alone; all rows are of one
    picture, whose features are its state. Its own state: words (R, T, D) that the next step reads before its token, as
    transformers.js reads picture and text in one go; the attention mask; keys and values by name."""

    def __init__(self, folder: Path, suffix: str = "") -> None:
        self._vision, self._embed, self._decoder = (open_graph(folder / f"{name}{suffix}.onnx") for name in GRAPHS)
        self._outputs = [node.name for node in self._decoder.get_outputs()]
        self._past = {
            node.name: (int(node.shape[1]), int(node.shape[3]))
            for node in self._decoder.get_inputs()
            if node.name.startswith("past_key_values.")
        }

    def encode(self, picture: np.ndarray) -> np.ndarray:
        """picture (1, H, W, 3) uint8, of any size -> features (1, P + 1, D)."""
        pixels = np.ascontiguousarray(picture.transpose(0, 3, 1, 2), np.float32)
        return np.asarray(self._vision.run(None, {"pixel_values": pixels})[0])

    def start(self, image_state: np.ndarray, rows_per_image: int, prompt_ids: Sequence[int] = ()) -> Any:
        """The state of rows that have read the picture, without the begin mark at the end of its features, and then the
        prompt."""
        words = image_state[:, :-1].repeat(rows_per_image, axis=0)
        empty = {name: np.zeros((rows_per_image, heads, 0, width), np.float32)
                 for name, (heads, width) in self._past.items()}  # fmt: skip
        if len(prompt_ids):
            ids = np.array(prompt_ids, np.int64)[None].repeat(rows_per_image, axis=0)
            words = np.concatenate([words, self._words(ids)], axis=1)
        return words, np.zeros((rows_per_image, 0), np.int64), empty

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        """Log-probabilities (R, V) after one more token of each row, and the new state."""
        before, mask, past = state
        words = np.concatenate([before[parents], self._words(np.asarray(token_ids, np.int64)[:, None])], axis=1)
        mask = np.concatenate([mask[parents], np.ones(words.shape[:2], np.int64)], axis=1)
        places = (mask.cumsum(axis=1) - 1)[:, -words.shape[1] :]
        feed = {
            "inputs_embeds": words,
            "attention_mask": mask,
            "position_ids": places,
            "num_logits_to_keep": np.array(1),
        }
        feed |= {name: tensor[parents] for name, tensor in past.items()}
        logits, *grown = self._decoder.run(self._outputs, feed)
        logits = logits[:, -1] - logits[:, -1].max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return log_p, (words[:, :0], mask, dict(zip(past, grown, strict=True)))

    def _words(self, ids: np.ndarray) -> np.ndarray:
        return np.asarray(self._embed.run(None, {"input_ids": ids})[0])
