"""A captioning model as one ONNX graph: uint8 pixels in, token ids, lengths and confidences out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
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
    graph = onnx.load(str(path))
    fold_padding(graph)
    onnx.save(graph, str(path))


def fold_padding(model: onnx.ModelProto) -> None:
    """Move zero padding into the convolution that reads it: between them it would break integer arithmetic."""
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for node in list(graph.node):
        pad = producers.get(node.input[0]) if node.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad":
            continue
        amounts = resolve(pad.input[1], constants, producers).reshape(2, -1)
        if amounts[:, :2].any():
            continue
        attribute = next(item for item in node.attribute if item.name == "pads")
        attribute.ints[:] = (np.array(attribute.ints) + amounts[:, 2:].reshape(-1)).tolist()
        node.input[0] = pad.input[0]
        graph.node.remove(pad)


def resolve(name: str, constants: dict[str, np.ndarray], producers: dict[str, onnx.NodeProto]) -> np.ndarray:
    """The value of a name that the exporter computes from constants alone."""
    if name in constants:
        return constants[name]
    needed: list[onnx.NodeProto] = []
    waiting = [name]
    while waiting:
        producer = producers.get(waiting.pop())
        if producer is not None and producer not in needed:
            needed.append(producer)
            waiting += producer.input
    output = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, None)
    graph = onnx.helper.make_graph(list(reversed(needed)), "constants", [], [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    return ReferenceEvaluator(model).run(None, {})[0]


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
