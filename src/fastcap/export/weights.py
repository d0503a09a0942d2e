"""From a model directory back to a model: what ships can be trained on.

Each graph notes in its metadata which of its tensors holds a parameter, so that `restore` can multiply integers by
their steps; the few parameters that the exporter folded into others are in `model.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from fastcap.config import ModelConfig, from_mapping
from fastcap.errors import ConfigError, ModelFileError
from fastcap.model import CaptionModel, build_model
from fastcap.runtime.contract import GRAPHS, MANIFEST

__all__ = ["note_weights", "restore", "stored_in", "unheld"]

NOTE = "weights"  # key of the metadata: parameter -> [tensor, tensor of steps or "", whether it is transposed]
JOINED = "+"  # between the names of two parameters that one tensor holds
PARAMETER = re.compile(r"(?:[a-z]/)?model\.(?P<name>.+?)(?P<form>_int8|_table|_quantized|)(?:_packed|_half|)")
BESIDE = ("_scale", "_zero_point", "_shape")  # tensors that belong to another
UNREAD: dict[str, frozenset[str]] = {
    "parallel": frozenset(),
    "autoregressive": frozenset({"backbone.pool.weight", "backbone.pool.bias"}),
}
"""By the kind of model, parameters that no graph reads: an image's summary serves the parallel family alone."""


def note_weights(model: onnx.ModelProto, renamed: Mapping[str, str]) -> None:
    """Note in a graph's metadata which tensors hold parameters; `renamed`: new names of its tensors by the old ones."""
    transposed = {node.input[1] for node in nodes(model.graph) if transposes_weight(node)}
    held = {tensor.name for tensor in model.graph.initializer}
    note = {}
    for old, new in renamed.items():
        match = PARAMETER.fullmatch(old)
        if match is None or new not in held or old.endswith(BESIDE):
            continue
        base = old[: match.end("name")]
        steps = next((s for s in (f"{base}_quantized_scale", f"{base}_scale") if renamed.get(s) in held), "")
        is_transposed = match["form"] == "_int8" or renamed.get(base) in transposed
        note[match["name"]] = [new, renamed.get(steps, "") if match["form"] else "", is_transposed]
    model.metadata_props.add(key=NOTE, value=json.dumps(note, separators=(",", ":")))


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those in loop bodies included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes(attribute.g)


def transposes_weight(node: onnx.NodeProto) -> bool:
    """Whether a product takes its weight as (in, out), where PyTorch keeps (out, in)."""
    as_in_pytorch = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return node.op_type == "MatMul" or (node.op_type == "Gemm" and not as_in_pytorch)


def held_by(directory: Path, shapes: Mapping[str, torch.Size]) -> dict[str, np.ndarray]:
    """The parameters of the given names and shapes that the graphs of a directory hold, in float32."""
    held: dict[str, np.ndarray] = {}
    for note, tensors in noted(directory):
        for joined, (value, steps, is_transposed) in note.items():
            names = joined.split(JOINED)
            if not shapes.keys() >= set(names):
                continue
            rows = [shapes[name][0] for name in names]
            array = values(tensors[value], (sum(rows), *shapes[names[0]][1:]), is_transposed)
            if steps:
                array = array * beside(numpy_helper.to_array(tensors[steps]), array.ndim)
            held |= zip(names, np.split(array, np.cumsum(rows)[:-1]), strict=True)
    return held


def noted(directory: Path) -> Iterator[tuple[dict[str, Any], dict[str, onnx.TensorProto]]]:
    """Of each graph of a directory: what `note_weights` noted, and its tensors by name."""
    for path in (directory / file for file in GRAPHS):
        if path.is_file():
            model = onnx.load(str(path))
            note = json.loads(next((entry.value for entry in model.metadata_props if entry.key == NOTE), "{}"))
            yield note, {tensor.name: tensor for tensor in model.graph.initializer}


def stored_in(directory: Path) -> str:
    """What the graphs of a model directory hold their weights in: int8 (some layers may have other bits), fp16 or
    fp32."""
    kinds = {
        "int8" if steps else "fp16" if tensors[value].data_type == TensorProto.FLOAT16 else "fp32"
        for note, tensors in noted(directory)
        for value, steps, _ in note.values()
    }
    return next(kind for kind in ("int8", "fp16", "fp32") if kind in kinds)


def values(tensor: onnx.TensorProto, shape: tuple[int, ...], is_transposed: bool) -> np.ndarray:
    """A tensor as a parameter of that shape, float32, before it is multiplied by its steps."""
    array = numpy_helper.to_array(tensor)
    if tensor.data_type == TensorProto.UINT8:  # 4-bit integers, two to a byte
        array = np.stack([array & 15, array >> 4], axis=-1).astype(np.float32) - 8
    array = array.astype(np.float32)
    if is_transposed and len(shape) == 2:
        return array.reshape(shape[::-1]).T
    return array.reshape(shape)


def beside(steps: np.ndarray, ndim: int) -> np.ndarray:
    """Steps of channels in a shape that multiplies a parameter: (out,) for (out, ...), (E, out) for experts
    (E, in, out)."""
    return steps[:, None] if steps.ndim == 2 else steps.reshape(-1, *(1,) * (ndim - 1))


def unheld(model: CaptionModel, directory: Path) -> dict[str, list[float]]:
    """The parameters that the graphs of a directory do not hold as such, flat: a few numbers that were folded into
    others, or that only training needs."""
    state = model.state_dict()
    held = held_by(directory, {name: value.shape for name, value in state.items()})
    known = held.keys() | UNREAD[model.config.kind]
    return {name: value.flatten().tolist() for name, value in state.items() if name not in known}


def restore(directory: Path) -> CaptionModel:
    """The model that a directory was exported from, but for the rounding of its weights.

    Raises:
        ModelFileError: the directory was exported without what this takes, or its files disagree.
    """
    path = directory / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if manifest["kind"] == "prefix":
            raise ModelFileError(f"{path}: its adapters are merged, and cannot be told from the language model again")
        config = from_mapping(ModelConfig, manifest["architecture"])
        rest = manifest["unheld"]
    except KeyError as error:
        raise ModelFileError(f"{path}: {error} is missing: it was exported by an older version") from error
    except (OSError, ValueError, ConfigError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    model = build_model(config)
    state = model.state_dict()
    shapes = {name: value.shape for name, value in state.items()}
    try:
        weights = {name: torch.from_numpy(value.copy()) for name, value in held_by(directory, shapes).items()}
        weights |= {name: torch.tensor(value).reshape(shapes[name]) for name, value in rest.items()}
        weights |= {name: state[name] for name in UNREAD[config.kind]}
        model.load_state_dict(weights)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{directory}: graphs and model.json disagree: {' '.join(str(error).split())}") from error
    return model.eval()
