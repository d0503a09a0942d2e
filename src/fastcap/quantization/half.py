"""A graph that computes in 16 bits."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx

__all__ = ["to_half"]

SQUARED = ("Pow", "ReduceMean")
"""Where a norm squares: a language model's largest hidden states, squared, are beyond what 16 bits hold."""
ROOT = ("Add", "Sqrt", "Reciprocal", "Div")


def to_half(path: Path) -> None:
    """Store and compute a graph's floats in 16 bits, in place; its inputs and outputs stay in 32, and so do the mean
    squares of its norms."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(str(path))
    readers: dict[str, list[onnx.NodeProto]] = {}
    for number, node in enumerate(model.graph.node):
        node.name = f"half{number}"
        for name in node.input:
            readers.setdefault(name, []).append(node)
    kept = [node for node in model.graph.node if node.op_type in SQUARED]
    for node in kept:  # grows: from a mean to the root of it
        if node.op_type not in SQUARED or node.op_type == "ReduceMean":
            kept += [
                reader
                for output in node.output
                for reader in readers.get(output, ())
                if reader.op_type in ROOT and reader not in kept
            ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says of each number how it was rounded
        half = convert_float_to_float16(model, keep_io_types=True, node_block_list=[node.name for node in kept])
    OnnxModel(half).topological_sort()  # casts stand at the end
    onnx.save(half, str(path))
