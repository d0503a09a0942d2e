"""The weights of a model directory, back: what is shipped can be trained on.

Each graph notes in its metadata which of its tensors a parameter became, so that `restore` can take integers times
steps for the parameter; the few that the exporter computed away stand in `model.json`.
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
from fastcap.model import CaptionModel

__all__ = ["note_weights", "restore", "unheld"]

NOTE = "weights"  # key of the metadata: parameter -> [tensor, tensor of steps or "", whether it is turned round]
JOINED = "+"  # between the names of two parameters that one tensor holds
PARAMETER = re.compile(r"(?:[a-z]/)?model\.(?P<name>.+?)(?P<form>_int8|_table|_quantized|)(?:_packed|_half|)")
BESIDE = ("_scale", "_zero_point", "_shape")  # tensors that belong to another


def note_weights(model: onnx.ModelProto, renamed: Mapping[str, str]) -> None:
    """Note the tensors that hold parameters; `renamed`: what the tensors of the graph were called before."""
    turned = {node.input[1] for node in nodes(model.graph) if turns_weight(node)}
    held = {tensor.name for tensor in model.graph.initializer}
    note = {}
    for old, new in renamed.items():
        found = PARAMETER.fullmatch(old)
        if found is None or new not in held or old.endswith(BESIDE):
            continue
        base = old[: found.end("name")]
        steps = next((s for s in (f"{base}_quantized_scale", f"{base}_scale") if renamed.get(s) in held), "")
        round_about = found["form"] == "_int8" or renamed.get(base) in turned
        note[found["name"]] = [new, renamed.get(steps, "") if found["form"] else "", round_about]
    model.metadata_props.add(key=NOTE, value=json.dumps(note, separators=(",", ":")))


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those in loop bodies included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes(attribute.g)


def turns_weight(node: onnx.NodeProto) -> bool:
    """Whether a product takes its weight as (in, out), where PyTorch keeps (out, in)."""
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return node.op_type == "MatMul" or (node.op_type == "Gemm" and not transposed)


def held_by(directory: Path, shapes: Mapping[str, torch.Size]) -> dict[str, np.ndarray]:
    """The parameters that the graphs of a directory hold, in float32, for those of the given names and shapes."""
    found: dict[str, np.ndarray] = {}
    for file in ("model.onnx", "encode.onnx", "step.onnx", "text.onnx"):
        path = directory / file
        if not path.is_file():
            continue
        model = onnx.load(str(path))
        note = json.loads(next((each.value for each in model.metadata_props if each.key == NOTE), "{}"))
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        for name, (value, steps, turned) in note.items():
            names = name.split(JOINED)
            if not all(each in shapes for each in names):
                continue
            rows = sum(shapes[each][0] for each in names)
            array = values(tensors[value], (rows, *shapes[names[0]][1:]), turned)
            if steps:
                array = array * along(numpy_helper.to_array(tensors[steps]), array.ndim)
            found |= zip(names, np.split(array, np.cumsum([shapes[each][0] for each in names])[:-1]), strict=True)
    return found


def values(tensor: onnx.TensorProto, shape: tuple[int, ...], turned: bool) -> np.ndarray:
    """A tensor as the parameter of that shape, float32, without its steps; 4-bit integers come two to a byte."""
    array = numpy_helper.to_array(tensor)
    if tensor.data_type == TensorProto.UINT8:
        array = np.stack([array & 15, array >> 4], axis=-1).astype(np.float32) - 8
    array = array.astype(np.float32)
    if turned and len(shape) == 2:
        return array.reshape(shape[::-1]).T
    return array.reshape(shape)


def along(steps: np.ndarray, ndim: int) -> np.ndarray:
    """Steps of channels beside a parameter: (out,) of (out, ...), or (E, out) of experts (E, in, out)."""
    return steps[:, None] if steps.ndim == 2 else steps.reshape(-1, *(1,) * (ndim - 1))


def unheld(model: CaptionModel, directory: Path) -> dict[str, list[float]]:
    """The parameters that the graphs of a directory do not hold as such, flat: a few numbers that were folded into
    others, or that only training needs."""
    state = model.state_dict()
    held = held_by(directory, {name: value.shape for name, value in state.items()})
    known = held.keys() | unread(model.config)
    return {name: value.flatten().tolist() for name, value in state.items() if name not in known}


def unread(config: ModelConfig) -> set[str]:
    """The parameters that no reading of a model depends on: only lengths are predicted from an image's summary."""
    return set() if config.parallel else {"backbone.pool.weight", "backbone.pool.bias"}


def restore(directory: Path) -> CaptionModel:
    """The model that a directory was exported from, but for what rounding took.

    Raises:
        ModelFileError: the directory was exported without what this takes, or its files disagree.
    """
    path = directory / "model.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        config = from_mapping(ModelConfig, manifest["architecture"])
        rest = manifest["unheld"]
    except KeyError as error:
        raise ModelFileError(f"{path}: {error} is missing: exported by an older version, without it") from error
    except (OSError, ValueError, ConfigError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    model = CaptionModel(config)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    try:
        found = {name: torch.from_numpy(value.copy()) for name, value in held_by(directory, shapes).items()}
        found |= {name: torch.tensor(value).reshape(shapes[name]) for name, value in rest.items()}
        found |= {name: model.state_dict()[name] for name in unread(config)}
        model.load_state_dict(found)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{directory}: graphs and model.json disagree: {' '.join(str(error).split())}") from error
    return model.eval()
