"""Weights as integers, and the changes to graphs that every recipe of post-training quantisation makes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from onnxruntime.quantization.shape_inference import quant_pre_process

from fastcap.quantization.scales import LARGE, channel_steps

__all__ = ["is_large", "load_inferred", "quiet", "rewrite", "to_integers"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A context without the quantiser's advice about its own command line, and without its warnings of infinite ranges,
    which only tensors have that stay in floats: -inf bars a token."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with np.errstate(invalid="ignore"):
            yield
    finally:
        root.setLevel(before)


def load_inferred(path: Path) -> onnx.ModelProto:
    """A graph with the shapes of its tensors inferred; its file is changed in place."""
    quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
    return onnx.load(str(path))


def to_integers(weight: np.ndarray, axes: tuple[int, ...], largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 values of a weight, and the fp32 step of each channel; `axes` are those that a step spans."""
    steps = channel_steps(weight, axes, largest)
    return np.rint(weight / steps).clip(-largest, largest).astype(np.int8), steps


def is_large(tensor: onnx.TensorProto | None, rank: int) -> bool:
    """Whether a tensor holds fp32 weights of a rank, enough of them to be worth quantising."""
    if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != rank:
        return False
    return bool(np.prod(tensor.dims) >= LARGE)


def rewrite(
    graph: onnx.GraphProto, replaced: Mapping[str, list[onnx.NodeProto]], added: Iterable[onnx.TensorProto]
) -> None:
    """Put new nodes in place of old ones, named by their first output; drop nodes and weights that nobody reads any
    more."""
    nodes = [new for node in graph.node for new in replaced.get(node.output[0], [node])]
    public = {value.name for value in graph.output}
    used = public | {name for node in nodes for name in node.input}
    while unread := [node for node in nodes if used.isdisjoint(node.output)]:
        nodes = [node for node in nodes if node not in unread]
        used = public | {name for node in nodes for name in node.input}
    weights = [tensor for tensor in [*graph.initializer, *added] if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
