"""A model as one ONNX file: a picture and the tokens of texts to the logits of their next tokens.

It is what PyTorch computes in one forward pass, for those who write their own search or measure likelihoods; nothing is
cached from token to token. What captions fast is a model directory (`fastcap export`).

Letters: R texts about one picture, T tokens, V vocabulary.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from fastcap.errors import ConfigError, FastcapError
from fastcap.export.compare import Agreement, open_graph
from fastcap.export.converters import Source
from fastcap.export.llava import ReadOn
from fastcap.export.prefix import Language, with_merged_adapters
from fastcap.export.surgery import merge_equal, write_graph
from fastcap.export.trace import trace
from fastcap.files import written_aside
from fastcap.model import CaptionModel
from fastcap.runtime.images import ImageSource, load_image

__all__ = ["export_onnx"]

PICTURES, DIFFERENCE = 4, 1e-3  # that are compared where none are given; most by which log-probabilities may differ


INPUTS = ("images", "token_ids")


class Whole(nn.Module):
    """A picture (1, H, W, 3) uint8 and token ids (R, T), the begin mark first -> logits (R, T, V), the causal reading
    of a decoder of ours."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, token_ids: Tensor) -> Tensor:
        decoder = self.model.decoder
        return decoder.logits(token_ids, decoder.prepare(self.model.encode(images)), causal=True)


class WholePrefix(Language):
    """The same of a prefix model, without packing: every text reads the prefix for itself."""

    def forward(self, images: Tensor, token_ids: Tensor) -> Tensor:
        decoder = self.model.decoder
        words = decoder.embed(token_ids)
        prefix = decoder.prepare(self.model.encode(images)) + torch.zeros_like(words[:, :1])  # (R, P, D)
        given = torch.cat([prefix, words], dim=1)
        length: Any = given.shape[1]
        places = torch.arange(length)
        later = (places > places[:, None])[None, None]
        attention = ReadOn((), torch.zeros_like(later, dtype=given.dtype).masked_fill(later, -torch.inf))
        return decoder.project(self.hidden(attention, given, places[None])[:, int(prefix.shape[1]) :])


@torch.no_grad()
def export_onnx(
    model_path: str | os.PathLike[str],
    output_path: str | os.PathLike[str],
    optimize: bool = True,
    dynamic_axes: bool = True,
    *,
    images: Sequence[ImageSource] = (),
) -> Agreement:
    """Write a model as one ONNX file, if it computes what PyTorch does.

    Inputs: `images` (1, H, W, 3) uint8, of the size that the model reads; `token_ids` (R, T) int64, the begin mark
    first.
    Output: `logits` (R, T, V) of the token after each.

    Args:
        model_path: a checkpoint directory, a file in one, or a model directory of a decoder of ours.
        output_path: the file to write, whole or not at all; one that is there is replaced.
        optimize: whether ONNX Runtime folds what is constant, and drops what nothing needs; for any processor.
        dynamic_axes: whether R and T may change from run to run; else they are 1 and the longest caption with its begin
            mark.
        images: pictures to compare on; four drawn ones if there are none.

    Returns:
        How far the file is from PyTorch, on the model's own captions of the pictures.

    Raises:
        ModelFileError: no such model, or one that is too large for one file.
        ConfigError: `output_path` is a folder.
        FastcapError: the file differs from PyTorch; nothing is written.
    """
    source, out = Path(model_path), Path(output_path)
    if out.is_dir():
        raise ConfigError(f"output_path is {out}, a folder; allowed: the path of a file, such as {out / 'model.onnx'}")
    model = Source.open(source.parent if source.is_file() else source).model
    module: Whole | WholePrefix
    if model.config.kind == "prefix":
        model = with_merged_adapters(model)
        module = WholePrefix(model)
    else:
        module = Whole(model)
    size = model.config.image_size
    pictures = np.stack([load_image(image, (size, size)) for image in images]) if len(images) else drawn(size)
    rows, length = (2, 5) if dynamic_axes else (1, model.config.max_length + 1)
    ids = torch.full((rows, length), model.vocabulary.bos_id)
    changing = {"token_ids": {0: "texts", 1: "tokens"}} if dynamic_axes else {}
    with tempfile.TemporaryDirectory() as aside:
        traced, graph = Path(aside) / "traced.onnx", Path(aside) / "graph.onnx"
        trace(module, (torch.zeros(1, size, size, 3, dtype=torch.uint8), ids), traced, INPUTS, ["logits"], changing)
        part = onnx.load(str(traced))
        merge_equal(part.graph)
        write_graph(graph, part)
        if optimize:
            graph = optimized(graph, Path(aside) / "optimized.onnx")
        agreement = compared(model, module, graph, pictures, None if dynamic_axes else length)
        out.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(out) as path:
            path.write_bytes(graph.read_bytes())
    return agreement


def optimized(graph: Path, out: Path) -> Path:
    """Write a graph as ONNX Runtime simplifies it for any processor; returns its path."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return out


def compared(
    model: CaptionModel, module: nn.Module, graph: Path, pictures: np.ndarray, length: int | None
) -> Agreement:
    """Let both read the model's own caption of each picture; `length`: to which it is padded, where that is fixed.

    Raises:
        FastcapError: they differ.
    """
    session, equal, difference = open_graph(graph), 0, 0.0
    for picture in pictures:
        image = torch.from_numpy(picture[None])
        caption = model.search(model.encode(image), beams=1)[0][0].token_ids
        ids = torch.tensor([[model.vocabulary.bos_id, *caption]])
        if length is not None:
            ids = nn.functional.pad(ids, (0, length - ids.shape[1]), value=model.vocabulary.eos_id)
        (found,) = session.run(None, dict(zip(INPUTS, (image.numpy(), ids.numpy()), strict=True)))
        one, other = (logits.log_softmax(dim=-1) for logits in (module(image, ids), torch.from_numpy(found)))
        equal += bool((one.argmax(dim=-1) == other.argmax(dim=-1)).all())
        difference = max(difference, float((one - other).abs().max()))
    if not difference <= DIFFERENCE:
        raise FastcapError(
            f"the ONNX file's log-probabilities differ from PyTorch's by {difference:.1e}; allowed: {DIFFERENCE}. "
            "Nothing was written"
        )
    return Agreement("logits", len(pictures), equal / len(pictures), "log-probabilities", difference)


def drawn(size: int) -> np.ndarray:
    """Pictures of coloured cells, the same every time: (N, size, size, 3) uint8."""
    cells = np.random.RandomState(0).randint(0, 256, (PICTURES, 8, 8, 3), dtype=np.int64)
    places = np.arange(size) * 8 // size
    return cells[:, places][:, :, places].astype(np.uint8)
