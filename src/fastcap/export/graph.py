"""A captioning model as one ONNX graph: uint8 pixels in, token ids, lengths and confidences out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from fastcap.errors import FastcapError
from fastcap.model import CaptionModel, Captions

__all__ = ["INPUTS", "OUTPUTS", "Agreement", "compare", "export_graph", "open_graph"]

INPUTS = ("images", "length_range", "candidates")
OUTPUTS = ("token_ids", "lengths", "confidences", "token_confidences")
OPSET = 17


def export_graph(model: CaptionModel, path: Path) -> None:
    """Write the parallel captioner, refinement passes inside, as fp32 ONNX.

    The numbers of images, candidates and tokens stay variable. That is why the graph is traced with the TorchScript
    exporter: a caption is as wide as the longest length that the network itself has just predicted, a size that
    `torch.export` cannot reason about, and decoding to the fixed maximum instead would double the decoder's time.
    """
    images = torch.zeros(2, model.config.image_size, model.config.image_size, 3, dtype=torch.uint8)
    limits = torch.tensor([1, model.config.max_length])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes that are constants of the graph, on purpose
        torch.onnx.export(
            model.eval(),
            (images, limits, torch.tensor([3])),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes={"images": {0: "batch"}},
        )


def open_graph(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session as the runtime opens it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Agreement:
    """How far a graph is from the model it came from, over `images` pictures: the share of equal captions, and the
    largest difference of confidence among them."""

    images: int
    equal_captions: float
    confidence_difference: float


@torch.no_grad()
def compare(model: CaptionModel, graph: onnxruntime.InferenceSession, images: np.ndarray, batch: int = 16) -> Agreement:
    """Run both on real pictures (N, H, W, 3) uint8, three candidates each.

    Raises:
        FastcapError: there are no images.
    """
    if not len(images):
        raise FastcapError("comparing a graph with its model needs at least 1 image, got 0")
    limits = torch.tensor([model.config.generation.min_length, model.config.max_length])
    count = torch.tensor([min(3, int(limits[1] - limits[0]) + 1)])
    equal, difference = 0, 0.0
    for start in range(0, len(images), batch):
        pixels = images[start : start + batch]
        ours: Captions = model(torch.from_numpy(pixels), limits, count)
        feeds = {"images": pixels, "length_range": limits.numpy(), "candidates": count.numpy()}
        theirs = dict(zip(OUTPUTS, graph.run(list(OUTPUTS), feeds), strict=True))
        for index in range(len(pixels)):
            if same_caption(ours.token_ids[index, 0], theirs["token_ids"][index, 0]):
                equal += 1
                gap = abs(float(ours.confidences[index, 0]) - float(theirs["confidences"][index, 0]))
                difference = max(difference, gap)
    return Agreement(len(images), equal / len(images), difference)


def same_caption(ours: Tensor, theirs: np.ndarray) -> bool:
    """Equal tokens, whatever the padding (id 0) behind them."""
    return [i for i in ours.tolist() if i] == [i for i in theirs.tolist() if i]
