"""Static quantisation of the convolutional path of a graph: 8-bit activations calibrated on pictures, weights of 4 or 8
bits with a step a channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from fastcap.errors import ConfigError
from fastcap.quantization.integers import load_inferred, quiet, to_integers
from fastcap.quantization.scales import largest_integer

__all__ = ["quantize_convolutions"]

CORRECTION_IMAGES = 16


@quiet()
def quantize_convolutions(
    path: Path, images: np.ndarray, feeds: Mapping[str, np.ndarray], bits: Mapping[str, int], corrected: bool = True
) -> None:
    """Quantise the convolutions of a graph in place; arguments as in `fastcap.quantization.post_training.quantize`.

    Raises:
        ConfigError: no calibration images.
    """
    if not len(images):
        raise ConfigError("calibration needs at least 1 image, got 0")
    reference = load_inferred(path)
    chain = integer_chain(reference, bits)
    if not chain:  # the quantiser takes an empty list for all nodes
        return
    model = onnx.load(str(path))
    steps = round_weights(model, bits)
    onnx.save(model, str(path))
    quantize_static(
        str(path),
        str(path),
        Calibration(images, feeds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Clip", "Relu", "Add"],
        nodes_to_quantize=chain,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"TensorQuantOverrides": steps},
    )
    model = onnx.load(str(path))
    stem = next(node for node in reference.graph.node if node.op_type == "Conv").input[1]
    if bits.get(stem, 8) != 16:
        read_bytes(model.graph)
    if corrected:
        correct_biases(model, reference, images[:CORRECTION_IMAGES], feeds)
    onnx.save(model, str(path))


def read_bytes(graph: onnx.GraphProto) -> None:
    """Let the first convolution read the picture's bytes: `Quantize(pixel / a - b)` is the pixel itself.

    The zero point is rounded to an integer; the correction of biases compensates for that.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    # Some releases of ONNX Runtime leave constants as nodes.
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def only_reader(name: str, kind: str) -> onnx.NodeProto:
        (reader,) = readers[name]
        assert reader.op_type == kind, f"{kind} expected after the pixels, found {reader.op_type}"
        return reader

    transposed = only_reader("images", "Transpose")
    cast = only_reader(transposed.output[0], "Cast")
    divided = only_reader(cast.output[0], "Div")
    centred = only_reader(divided.output[0], "Sub")
    quantised = only_reader(centred.output[0], "QuantizeLinear")
    divisor, offset = (float(numpy_helper.to_array(constants[node.input[1]])) for node in (divided, centred))
    values: list[np.ndarray] = [np.array(1 / divisor, np.float32), np.array(np.rint(divisor * offset), np.uint8)]
    for name, value in zip(quantised.input[1:], values, strict=True):
        constants[name].CopyFrom(numpy_helper.from_array(value, name))
    transposed.output[0] = quantised.output[0]
    for node in (cast, divided, centred, quantised):
        graph.node.remove(node)


def round_weights(model: onnx.ModelProto, bits: Mapping[str, int]) -> dict[str, list[dict[str, object]]]:
    """Round the weights of convolutions in a graph, in place. Returns the step of each of their channels, as ONNX
    Runtime's quantiser takes it."""
    groups = {
        node.input[1]: next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    overrides: dict[str, list[dict[str, object]]] = {}
    for tensor in model.graph.initializer:
        if tensor.name not in groups or (chosen := bits.get(tensor.name, 8)) == 16:
            continue
        largest = largest_integer("depthwise" if groups[tensor.name] > 1 else "convolution", chosen)
        values, steps = to_integers(numpy_helper.to_array(tensor), (1, 2, 3), largest)
        tensor.CopyFrom(numpy_helper.from_array(values * steps, tensor.name))
        settings = {"quant_type": QuantType.QInt8, "axis": 0, "zero_point": 0}
        overrides[tensor.name] = [{**settings, "scale": step} for step in steps.ravel()]
    return overrides


def correct_biases(
    model: onnx.ModelProto, reference: onnx.ModelProto, images: np.ndarray, feeds: Mapping[str, np.ndarray]
) -> None:
    """Shift the bias of each quantised convolution, first to last, so that the mean of each channel is that of fp32.

    Rounded weights move the mean of a layer's output, and the layers after it then read inputs that they were not
    trained on (Nagel et al. 2019, section 4.2). `model` is changed in place; `reference` is the graph it came from.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    readers = {name: node for node in reversed(model.graph.node) for name in node.input}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and len(node.input) == 3]
    if not convolutions:  # those without a bias are followed by a normalisation
        return
    targets = channel_means(reference, [node.output[0] for node in convolutions], images, feeds)
    for node in convolutions:
        bias, name = producers.get(node.input[2]), node.output[0]
        if name not in targets or bias is None or bias.op_type != "DequantizeLinear":
            continue
        # the layer's output as the next layer reads it: rounded and clipped to 0..255, then floats again
        rounded = readers[name]
        output = readers[rounded.output[0]].output[0] if rounded.op_type == "QuantizeLinear" else name
        difference = targets[name] - channel_means(model, [output], images, feeds)[output]
        scale = numpy_helper.to_array(constants[bias.input[1]])
        tensor = constants[bias.input[0]]
        shifted = numpy_helper.to_array(tensor) + np.rint(difference / scale).astype(np.int32)
        tensor.CopyFrom(numpy_helper.from_array(shifted.astype(np.int32), tensor.name))


def channel_means(
    model: onnx.ModelProto, names: list[str], images: np.ndarray, feeds: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Mean over pictures and positions of each channel of (B, C, H, W) tensors of a graph; names that the graph does
    not have are left out."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    known = {output for node in model.graph.node for output in node.output}
    names = [name for name in names if name in known]
    del probed.graph.output[:]
    probed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = SessionOptions()
    options.log_severity_level = 3
    session = InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    runs = [session.run(names, {"images": image[None], **feeds}) for image in images]
    return {name: np.mean([run[i].mean(axis=(0, 2, 3)) for run in runs], axis=0) for i, name in enumerate(names)}


def integer_chain(model: onnx.ModelProto, bits: Mapping[str, int]) -> list[str]:
    """Names of the nodes that can hand integers to one another: convolutions with their activations and residuals.

    All other nodes stay in floats: a lone integer node between two floats costs more than it saves.
    """
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    chain = {node.name for node in graph.node if node.op_type == "Conv" and bits.get(node.input[1], 8) != 16}
    for node in graph.node:  # in topological order
        inputs = [producers[name] for name in node.input if name in producers]
        follows = bool(inputs) and all(source.name in chain for source in inputs)
        if node.op_type in ("Clip", "Relu", "Add") and follows:
            chain.add(node.name)
    return sorted(chain)


class Calibration(CalibrationDataReader):
    """Feeds pictures one at a time."""

    def __init__(self, images: np.ndarray, feeds: Mapping[str, np.ndarray]) -> None:
        self.feeds: Iterator[dict[str, np.ndarray]] = iter({"images": image[None], **feeds} for image in images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed, or None at the end."""
        return next(self.feeds, None)
