"""Post-training int8 quantisation of an exported graph, one recipe for each kind of layer.

- Convolutions: static, activations u8 calibrated on real images, weights s8 a channel. Dynamic quantisation of
  convolutions is several times slower than fp32 in ONNX Runtime.
- Matrix products with constant weights: activations quantised as they come (a caption has few rows, so measuring
  their range costs nothing and follows every refinement pass), weights s8 a column.
- Experts, whose weights are gathered: the same arithmetic spelled out in ONNX operators, because ONNX Runtime's
  quantiser only knows constant weights.
- The token embedding is read out of the quantised output matrix, of which it is the transpose: stored once.

Weights keep 7 bits (-64..63) wherever x86 without VNNI would sum 8-bit products in 16 bits and saturate: a model must
answer alike on every machine.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions
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

__all__ = ["quantize_convolutions", "quantize_products"]

BITS_7 = 63
CORRECTION_IMAGES = 16
LARGE = 2**14  # weights; smaller tables are left as they are
LAST_AXIS = "last_axis"


def quantize_convolutions(path: Path, images: np.ndarray, feeds: dict[str, np.ndarray]) -> None:
    """Quantise the convolutional path of a graph in place, statically.

    Args:
        images: calibration pictures (N, H, W, 3) uint8; a hundred or two of the training set.
        feeds: values of the graph's other inputs.

    Raises:
        ConfigError: no calibration images.
    """
    if not len(images):
        raise ConfigError("calibration needs at least 1 image, got 0")
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser's advice is about its own command line
    quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
    reference = onnx.load(str(path))
    quantize_static(
        str(path),
        str(path),
        Calibration(images, feeds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Clip", "Relu", "Add"],
        nodes_to_quantize=integer_chain(reference),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"TensorQuantOverrides": seven_bits(reference)},
    )
    model = onnx.load(str(path))
    correct_biases(model, reference, images[:CORRECTION_IMAGES], feeds)
    onnx.save(model, str(path))


def seven_bits(model: onnx.ModelProto) -> dict[str, list[dict[str, object]]]:
    """The convolutions whose products are summed in pairs of 16 bits on x86 without VNNI: all but depthwise ones.

    Depthwise convolutions have a kernel of their own there, sum in 32 bits, and keep 8-bit weights.
    """
    found: dict[str, list[dict[str, object]]] = {}
    for node in model.graph.node:
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        if node.op_type == "Conv" and groups == 1:
            settings = {"quant_type": QuantType.QInt8, "axis": 0, "symmetric": True, "reduce_range": True}
            found[node.input[1]] = [settings]
    return found


def correct_biases(
    model: onnx.ModelProto, reference: onnx.ModelProto, images: np.ndarray, feeds: dict[str, np.ndarray]
) -> None:
    """Shift the bias of each quantised convolution, first to last, so that the mean of each channel is that of fp32.

    Rounded weights move the mean of what a layer puts out, and the layers after it see an input that they were not
    trained on (Nagel et al. 2019, section 4.2). `model` is changed in place; `reference` is the graph it came from.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    readers = {name: node for node in reversed(model.graph.node) for name in node.input}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and len(node.input) == 3]
    wanted = channel_means(reference, [node.output[0] for node in convolutions], images, feeds)
    for node in convolutions:
        bias, name = producers.get(node.input[2]), node.output[0]
        if name not in wanted or bias is None or bias.op_type != "DequantizeLinear":
            continue
        # what leaves the layer is what the next one reads: clipped by rounding to 0..255, back in floats
        rounded = readers[name]
        seen = readers[rounded.output[0]].output[0] if rounded.op_type == "QuantizeLinear" else name
        difference = wanted[name] - channel_means(model, [seen], images, feeds)[seen]
        scale = numpy_helper.to_array(constants[bias.input[1]])
        tensor = constants[bias.input[0]]
        shifted = numpy_helper.to_array(tensor) + np.rint(difference / scale).astype(np.int32)
        tensor.CopyFrom(numpy_helper.from_array(shifted.astype(np.int32), tensor.name))


def channel_means(
    model: onnx.ModelProto, names: list[str], images: np.ndarray, feeds: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Mean over pictures and places of each channel of some (B, C, H, W) tensors of a graph; unknown ones left out."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    known = {output for node in model.graph.node for output in node.output}
    names = [name for name in names if name in known]
    del probed.graph.output[:]
    probed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = SessionOptions()
    options.log_severity_level = 3
    session = InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sums = [session.run(names, {"images": image[None], **feeds}) for image in images]
    return {name: np.mean([run[i].mean(axis=(0, 2, 3)) for run in sums], axis=0) for i, name in enumerate(names)}


def quantize_products(path: Path) -> None:
    """Quantise the matrix products, experts and embedding of a graph in place, dynamically."""
    logging.getLogger().setLevel(logging.ERROR)
    quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
    model = onnx.load(str(path))
    quantize_experts(model)
    onnx.save(model, str(path))
    quantize_dynamic(
        str(path),
        str(path),
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    model = onnx.load(str(path))
    share_embedding(model)
    onnx.save(model, str(path))


def integer_chain(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that can hand integers to one another: convolutions with their activations and residuals.

    Everything else stays as it is; an integer island between two floats costs more than it saves.
    """
    graph = model.graph
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


def large_gathers(graph: onnx.GraphProto, rank: int) -> Iterator[tuple[onnx.NodeProto, onnx.TensorProto]]:
    """Gather nodes that read fp32 weights of a rank, with the weights; small tables are not worth the trouble."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        weight = weights.get(node.input[0]) if node.op_type == "Gather" else None
        if weight is None or weight.data_type != TensorProto.FLOAT or len(weight.dims) != rank:
            continue
        if np.prod(weight.dims) >= LARGE:
            yield node, weight


def rewrite(
    graph: onnx.GraphProto, replaced: Mapping[str, list[onnx.NodeProto]], added: list[onnx.TensorProto]
) -> None:
    """Put new nodes in place of old ones, named by their first output; drop weights that nobody reads any more."""
    nodes = [new for node in graph.node for new in replaced.get(node.output[0], [node])]
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in [*graph.initializer, *added] if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def quantize_experts(model: onnx.ModelProto) -> None:
    """`MatMul(x, Gather(W))` -> `MatMulInteger(quantised x, Gather(W int8)) * scale of x * Gather(scales)`.

    W is (E, in, out), with a scale for each expert and column; exact but for the rounding of x and W.
    """
    graph = model.graph
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    added: dict[str, onnx.TensorProto] = {}
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node, weight in large_gathers(graph, rank=3):
        out, users = node.output[0], consumers.get(node.output[0], [])
        if any(user.op_type != "MatMul" or user.input[1] != out for user in users):
            continue
        int8, scale = f"{weight.name}_int8", f"{weight.name}_scale"
        if int8 not in added:
            values, scales = to_int8(numpy_helper.to_array(weight), axis=1)
            added[int8] = numpy_helper.from_array(values, int8)
            added[scale] = numpy_helper.from_array(scales, scale)
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
    rewrite(graph, replaced, list(added.values()))


def share_embedding(model: onnx.ModelProto) -> None:
    """Read the embedding (V, D) out of the quantised output matrix (D, V), whose columns have a scale each."""
    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node, weight in large_gathers(graph, rank=2):
        int8 = next(
            (n for n, a in arrays.items() if a.dtype == np.int8 and a.shape == tuple(reversed(weight.dims))), None
        )
        if int8 is None:
            continue
        scale = int8.removesuffix("_quantized") + "_scale"
        out = node.output[0]
        rank_out = 3  # (rows, T, D)
        replaced[out] = [
            helper.make_node("Gather", [int8, node.input[1]], [f"{out}_columns"], axis=1),  # (D, rows, T)
            helper.make_node("Transpose", [f"{out}_columns"], [f"{out}_int8"], perm=[*range(1, rank_out), 0]),
            helper.make_node("Cast", [f"{out}_int8"], [f"{out}_float"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [scale, node.input[1]], [f"{out}_scale"], axis=0),
            helper.make_node("Unsqueeze", [f"{out}_scale", LAST_AXIS], [f"{out}_scales"]),
            helper.make_node("Mul", [f"{out}_float", f"{out}_scales"], [out]),
        ]
    rewrite(graph, replaced, [numpy_helper.from_array(np.array([-1]), LAST_AXIS)])
