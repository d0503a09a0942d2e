"""A PyTorch module as one fp32 ONNX file, its weights under the names of their parameters."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from fastcap.decoder.attention import RankAugmentedLinearAttention
from fastcap.export.surgery import OPSET, fold_padding, rename
from fastcap.export.weights import JOINED
from fastcap.runtime.contract import STEP, Graph

__all__ = ["changing_axes", "trace", "trace_step"]

CHANGING = ("K", "R", "T", "U")  # letters of `fastcap.runtime.contract.Tensor` whose sizes change from run to run


def trace(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    path: Path,
    inputs: Iterable[str],
    outputs: Iterable[str],
    changing: Mapping[str, Sequence[int] | Mapping[int, str]],
) -> None:
    """Export a module.

    TorchScript traces it: a graph decodes as many tokens as the network itself has just predicted, a size that
    `torch.export` cannot reason about, and decoding to the fixed maximum instead would double the decoder's time.

    Args:
        arguments: an example of its inputs.
        inputs, outputs: their names in the graph.
        changing: axes of inputs, by name, whose sizes change from run to run; a mapping says what the graph calls them.
    """
    inputs = list(inputs)
    axes = {
        name: dict(given) if isinstance(given, Mapping) else {axis: f"{name}_{axis}" for axis in given}
        for name, given in changing.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes that are constants of the graph, on purpose
        torch.onnx.export(
            module.eval(),
            arguments,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=list(outputs),
            dynamic_axes=axes,
        )
    graph = onnx.load(str(path))
    fold_padding(graph)
    name_weights(graph.graph, module)
    onnx.save(graph, str(path))


def changing_axes(graph: Graph) -> dict[str, list[int]]:
    """The axes of a graph's inputs, by name, whose sizes change from run to run."""
    return {
        name: [axis for axis, size in enumerate(tensor.shape) if size in CHANGING]
        for name, tensor in graph.inputs.items()
    }


def trace_step(module: nn.Module, layers: Sequence[Any], path: Path, state: Mapping[str, Tensor]) -> None:
    """Export the module that reads one more token of each row: the inputs and outputs of `PackedDecoder.step`, and the
    tensors of the image `state`, by name. `layers`: the decoder's."""
    rows, attention = torch.arange(2), layers[0].self_attention
    cache = torch.zeros(2 * len(layers), attention.n_heads, len(rows), 3, attention.d_head)
    trace(module, (rows, rows, cache, *state.values()), path, (*STEP.inputs, *state), STEP.outputs, changing_axes(STEP))


def name_weights(graph: onnx.GraphProto, module: nn.Module) -> None:
    """Give the weights of a traced graph the names of their parameters: tracing renames those that it transposes,
    reshapes or joins. Two joined ones are called `a+b`, b without the prefix that all share."""
    values = {name: value.detach().numpy() for name, value in module.named_parameters()}
    for name, part in module.named_modules():
        if isinstance(part, RankAugmentedLinearAttention):  # as `PackedDecoder.cross_attend` joins them
            for kind in ("weight", "bias"):
                query, gate = f"{name}.query.{kind}", f"{name}.gate.{kind}"
                joined = np.concatenate([values[query], values[gate]])
                values[f"{query}{JOINED}{gate.removeprefix('model.')}"] = joined
    known = {version.tobytes(): name for name, value in values.items() for version in (value.T, value)}
    taken = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    names = {}
    for tensor in graph.initializer:
        name = known.get(numpy_helper.to_array(tensor).tobytes())
        if name is not None and name not in taken and tensor.name not in values:
            names[tensor.name] = name
            taken.add(name)
    rename(graph, names)
