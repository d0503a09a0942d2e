"""Post-training int8 quantisation of an exported graph, one recipe for each kind of layer.

- Convolutions: static, activations u8 calibrated on real images, weights s8 a channel. Dynamic quantisation of
  convolutions is several times slower than fp32 in ONNX Runtime.
- Matrix products with constant weights: activations quantised as they come (a caption has few rows, so measuring
  their range costs nothing and follows every refinement pass), weights s8 a column.
- Experts, whose weights are gathered, and the token embedding: the same arithmetic spelled out in ONNX operators,
  because ONNX Runtime's quantiser only knows constant weights.

Weights keep 7 bits (-64..63): on x86 without VNNI the 8-bit product saturates, and a model must answer alike on every
machine.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from fastcap.errors import ConfigError

__all__ = ["quantize"]

BITS_7 = 63


def quantize(source: Path, target: Path, images: np.ndarray, feeds: dict[str, np.ndarray]) -> None:
    """Quantise the fp32 graph `source` and write it to `target`.

    Args:
        images: calibration pictures (N, H, W, 3) uint8; a hundred or two of the training set.
        feeds: values of the graph's other inputs.

    Raises:
        ConfigError: no calibration images.
    """
    if not len(images):
        raise ConfigError("calibration needs at least 1 image, got 0")
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        prepared, spelled, dynamic = (Path(folder) / f"{name}.onnx" for name in ("prepared", "spelled", "dynamic"))
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(str(prepared))
        quantize_gathered(model)
        onnx.save(model, str(spelled))
        quantize_dynamic(
            str(spelled),
            str(dynamic),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        quantize_static(
            str(dynamic),
            str(target),
            Calibration(images, feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Clip", "Relu", "Add"],
            nodes_to_quantize=integer_chain(dynamic),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )


def integer_chain(path: Path) -> list[str]:
    """Names of the nodes that can hand integers to one another: convolutions with their activations and residuals.

    Everything else stays as it is; an integer island between two floats costs more than it saves.
    """
    graph = onnx.load(str(path), load_external_data=False).graph
    producers = {output: node for node in graph.node for output in node.output}
    chain = {node.name for node in graph.node if node.op_type == "Conv"}
    for node in graph.node:  # in topological order
        inputs = [producers[name] for name in node.input if name in producers]
        follows = bool(inputs) and all(source.name in chain for source in inputs)
        if node.op_type in ("Clip", "Relu", "Add") and follows:
            chain.add(node.name)
    return sorted(chain)


class Calibration(CalibrationDataReader):
    """Feeds pictures one at a time."""

    def __init__(self, images: np.ndarray, feeds: dict[str, np.ndarray]) -> None:
        self.feeds: Iterator[dict[str, np.ndarray]] = iter({"images": image[None], **feeds} for image in images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed, or None at the end."""
        return next(self.feeds, None)


def to_int8(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric 7-bit values and their fp32 scales; `axis` is the one that a scale sums over."""
    scale = np.abs(weight).max(axis=axis, keepdims=True) / BITS_7
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale


def quantize_gathered(model: onnx.ModelProto) -> None:
    """Quantise weights that reach the arithmetic through a Gather: the embedding, and the experts' matrices.

    `Gather(W) -> MatMul(x, W)` becomes `MatMulInteger(quantised x, Gather(W int8)) * scale of x * Gather(scales)`,
    exact but for the rounding of x and W. A gathered embedding is rounded and scaled back.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    added: list[onnx.TensorProto] = []
    replaced: dict[str, list[onnx.NodeProto]] = {}  # first output of an old node -> the new nodes in its place
    done: set[str] = set()

    def stored(name: str, axis: int) -> tuple[str, str]:
        values, scale = to_int8(numpy_helper.to_array(weights[name]), axis)
        if name not in done:
            done.add(name)
            added.append(numpy_helper.from_array(values, f"{name}_int8"))
            added.append(numpy_helper.from_array(scale, f"{name}_scale"))
        return f"{name}_int8", f"{name}_scale"

    for node in graph.node:
        if node.op_type != "Gather" or node.input[0] not in weights:
            continue
        weight, out = weights[node.input[0]], node.output[0]
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < 2**14:
            continue
        users = consumers.get(out, [])
        if len(weight.dims) == 3 and users and all(user.op_type == "MatMul" for user in users):
            int8, scale = stored(weight.name, axis=1)  # (E, in, out): a scale for each expert and column
            replaced[out] = [
                helper.make_node("Gather", [int8, node.input[1]], [f"{out}_int8"], axis=0),
                helper.make_node("Gather", [scale, node.input[1]], [f"{out}_scale"], axis=0),
            ]
            for user in users:
                x, y = user.input[0], user.output[0]
                parts = [f"{y}_x", f"{y}_x_scale", f"{y}_x_zero"]
                replaced[y] = [
                    helper.make_node("DynamicQuantizeLinear", [x], parts),
                    helper.make_node("MatMulInteger", [parts[0], f"{out}_int8", parts[2]], [f"{y}_int32"]),
                    helper.make_node("Cast", [f"{y}_int32"], [f"{y}_sum"], to=TensorProto.FLOAT),
                    helper.make_node("Mul", [f"{y}_sum", parts[1]], [f"{y}_scaled"]),
                    helper.make_node("Mul", [f"{y}_scaled", f"{out}_scale"], [y]),
                ]
        elif len(weight.dims) == 2:
            int8, scale = stored(weight.name, axis=1)  # (V, D): a scale for each token
            replaced[out] = [
                helper.make_node("Gather", [int8, node.input[1]], [f"{out}_int8"], axis=0),
                helper.make_node("Gather", [scale, node.input[1]], [f"{out}_scale"], axis=0),
                helper.make_node("Cast", [f"{out}_int8"], [f"{out}_float"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{out}_float", f"{out}_scale"], [out]),
            ]
    nodes = [new for node in graph.node for new in replaced.get(node.output[0], [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(added)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
