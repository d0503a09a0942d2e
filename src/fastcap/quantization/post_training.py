"""Post-training quantisation of an exported graph, one recipe for each kind of layer.

- Convolutions: static, activations u8 calibrated on real images, weights s8 a channel. Dynamic quantisation of
  convolutions is several times slower than fp32 in ONNX Runtime.
- Matrix products with constant weights: activations quantised as they come (a caption has few rows, so measuring
  their range costs nothing and follows every refinement pass), weights s8 a column.
- Experts: the same arithmetic on the gathered weights, which ONNX Runtime's own quantiser leaves alone, since they are
  not constant.
- The token embedding and the output matrix are each other's transpose: stored once.

That is 8 bits, of which weights use 7 wherever x86 would saturate (`largest_integer`): a model must answer alike on
every machine. A tensor of 4 bits computes in the same way, with its values between -7 and 7, and is stored two to a
byte; one of 16 is a half-precision float that computes in fp32. ONNX Runtime unpacks both when it loads the graph.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from fastcap.errors import ConfigError
from fastcap.quantization.scales import LARGE, channel_steps, largest_integer

__all__ = ["pack", "quantize", "quantize_convolutions", "quantize_products"]

CORRECTION_IMAGES = 16
LAST_AXIS, MIDDLE_AXIS = "last_axis", "middle_axis"
CONTRIB = "com.microsoft"
EVERYWHERE_8: Mapping[str, int] = {}
INTEGERS = ("_int8", "_table", "_quantized")  # what follows a weight's name in that of its integers
PAIRS = "pairs_of_4_bits"  # table from a byte to two integers


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the quantiser's advice, which is about its own command line."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def quantize(
    encode: Path,
    others: Sequence[Path],
    images: np.ndarray,
    feeds: dict[str, np.ndarray],
    bits: Mapping[str, int],
    *,
    corrected: bool = True,
) -> None:
    """Quantise the parts of a captioner in place.

    Args:
        encode: the part that reads pictures.
        others: those that do not.
        images: calibration pictures (N, H, W, 3) uint8; a hundred or two of the training set.
        feeds: values of the first part's other inputs.
        bits: of tensors by name, 4, 8 or 16; those left out have 8.
        corrected: whether biases are corrected; without, a graph has the same size, and sooner.

    Raises:
        ConfigError: no calibration images.
    """
    for path in (encode, *others):
        quantize_products(path, bits)
    quantize_convolutions(encode, images, feeds, bits, corrected=corrected)
    for path in (encode, *others):
        pack(path, bits)


@quiet()
def quantize_convolutions(
    path: Path,
    images: np.ndarray,
    feeds: dict[str, np.ndarray],
    bits: Mapping[str, int] = EVERYWHERE_8,
    *,
    corrected: bool = True,
) -> None:
    """Quantise the convolutional path of a graph in place, statically; arguments as in `quantize`.

    Raises:
        ConfigError: no calibration images.
    """
    if not len(images):
        raise ConfigError("calibration needs at least 1 image, got 0")
    quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
    reference = onnx.load(str(path))
    chain = integer_chain(reference, bits)
    if not chain:  # which the quantiser would take for all nodes
        return
    model = onnx.load(str(path))
    told = round_weights(model, bits)
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
        extra_options={"TensorQuantOverrides": told},
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

    Its zero point is rounded to an integer; what that moves, the correction of biases takes back.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def only_reader(name: str, kind: str) -> onnx.NodeProto:
        (reader,) = readers[name]
        assert reader.op_type == kind, f"{kind} expected after the pixels, found {reader.op_type}"
        return reader

    turned = only_reader("images", "Transpose")
    cast = only_reader(turned.output[0], "Cast")
    divided = only_reader(cast.output[0], "Div")
    centred = only_reader(divided.output[0], "Sub")
    quantised = only_reader(centred.output[0], "QuantizeLinear")
    divisor, offset = (float(numpy_helper.to_array(constants[node.input[1]])) for node in (divided, centred))
    values: list[np.ndarray] = [np.array(1 / divisor, np.float32), np.array(np.rint(divisor * offset), np.uint8)]
    for name, value in zip(quantised.input[1:], values, strict=True):
        constants[name].CopyFrom(numpy_helper.from_array(value, name))
    turned.output[0] = quantised.output[0]
    for node in (cast, divided, centred, quantised):
        graph.node.remove(node)


def round_weights(model: onnx.ModelProto, bits: Mapping[str, int]) -> dict[str, list[dict[str, object]]]:
    """Round the weights of convolutions in a graph, in place; returns the step of each channel of them, as ONNX
    Runtime's quantiser wants to be told."""
    groups = {
        node.input[1]: next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    told: dict[str, list[dict[str, object]]] = {}
    for tensor in model.graph.initializer:
        if tensor.name not in groups or (chosen := bits.get(tensor.name, 8)) == 16:
            continue
        largest = largest_integer("depthwise" if groups[tensor.name] > 1 else "convolution", chosen)
        values, steps = to_integers(numpy_helper.to_array(tensor), (1, 2, 3), largest)
        tensor.CopyFrom(numpy_helper.from_array(values * steps, tensor.name))
        settings = {"quant_type": QuantType.QInt8, "axis": 0, "zero_point": 0}
        told[tensor.name] = [{**settings, "scale": step} for step in steps.ravel()]
    return told


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
    if not convolutions:  # a group normalisation after each, instead
        return
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


@quiet()
def quantize_products(path: Path, bits: Mapping[str, int] = EVERYWHERE_8) -> None:
    """Quantise the matrix products, experts and embedding of a graph in place, dynamically; `bits` as in `quantize`."""
    quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
    model = onnx.load(str(path))
    quantize_matrices(model.graph, bits)
    quantize_experts(model.graph, bits)
    share_embedding(model.graph, bits)
    if all(opset.domain != CONTRIB for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    onnx.save(model, str(path))


def pack(path: Path, bits: Mapping[str, int]) -> None:
    """Store a quantised graph's tensors of 4 and 16 bits as such, in place; nodes at its beginning unpack them. They
    depend on nothing else, so they run once, when the graph is loaded."""
    model = onnx.load(str(path))
    byte = np.arange(256)
    pairs = np.stack([byte & 15, byte >> 4], axis=1) - 8
    tensors = [numpy_helper.from_array(pairs.astype(np.int8), PAIRS)]
    nodes: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        name, values = tensor.name, numpy_helper.to_array(tensor)
        chosen = bits.get(next((name.removesuffix(end) for end in INTEGERS if name.endswith(end)), name), 8)
        if chosen == 16 and values.dtype == np.float32:
            tensors.append(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
            nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        elif chosen == 4 and values.dtype == np.int8 and values.size % 2 == 0:
            low, high = (values.reshape(-1, 2) + 8).astype(np.uint8).T
            tensors.append(numpy_helper.from_array(low | high << 4, f"{name}_packed"))
            tensors.append(numpy_helper.from_array(np.array(values.shape), f"{name}_shape"))
            nodes += [
                helper.make_node("Cast", [f"{name}_packed"], [f"{name}_bytes"], to=TensorProto.INT32),
                helper.make_node("Gather", [PAIRS, f"{name}_bytes"], [f"{name}_pairs"], axis=0),
                helper.make_node("Reshape", [f"{name}_pairs", f"{name}_shape"], [name]),
            ]
        else:
            tensors.append(tensor)
    unpacked = [*nodes, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(tensors)
    model.graph.node.extend(unpacked)
    rewrite(model.graph, {}, [])  # drops what no tensor needed
    onnx.save(model, str(path))


def integer_chain(model: onnx.ModelProto, bits: Mapping[str, int]) -> list[str]:
    """Names of the nodes that can hand integers to one another: convolutions with their activations and residuals.

    Everything else stays as it is; an integer island between two floats costs more than it saves.
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

    def __init__(self, images: np.ndarray, feeds: dict[str, np.ndarray]) -> None:
        self.feeds: Iterator[dict[str, np.ndarray]] = iter({"images": image[None], **feeds} for image in images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed, or None at the end."""
        return next(self.feeds, None)


def to_integers(weight: np.ndarray, axes: tuple[int, ...], largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 values of a weight, and the fp32 steps of its channels; `axes` are what a step spans."""
    steps = channel_steps(weight, axes, largest)
    return np.rint(weight / steps).clip(-largest, largest).astype(np.int8), steps


def is_large(tensor: onnx.TensorProto | None, rank: int) -> bool:
    """Whether a tensor is a table of fp32 weights of a rank that is worth the trouble."""
    if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != rank:
        return False
    return bool(np.prod(tensor.dims) >= LARGE)


def rewrite(
    graph: onnx.GraphProto, replaced: Mapping[str, list[onnx.NodeProto]], added: Iterable[onnx.TensorProto]
) -> None:
    """Put new nodes in place of old ones, named by their first output; drop what nobody reads any more."""
    nodes = [new for node in graph.node for new in replaced.get(node.output[0], [node])]
    public = {value.name for value in graph.output}
    used = public | {name for node in nodes for name in node.input}
    while unread := [node for node in nodes if used.isdisjoint(node.output)]:
        nodes = [node for node in nodes if node not in unread]
        used = public | {name for node in nodes for name in node.input}
    kept = [tensor for tensor in [*graph.initializer, *added] if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def product(x: str, int8: str, scale: str, bias: str, y: str) -> onnx.NodeProto:
    """y = x W + bias: x is quantised as it comes; W int8 (in, out) with a scale a column. `bias` may be ""."""
    return helper.make_node("DynamicQuantizeMatMul", [x, int8, scale, "", bias], [y], domain=CONTRIB)


def quantize_matrices(graph: onnx.GraphProto, bits: Mapping[str, int]) -> None:
    """`MatMul(x, W)`, and with a bias `Gemm(x, W, b)`, for constant W."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    added: dict[str, onnx.TensorProto] = {}
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm") or not is_large(weights.get(node.input[1]), rank=2):
            continue
        if (chosen := bits.get(node.input[1], 8)) == 16:
            continue
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        weight = numpy_helper.to_array(weights[node.input[1]])
        transposed = bool(settings.get("transB", 0))
        int8, scale = f"{node.input[1]}_int8", f"{node.input[1]}_scale"
        if int8 not in added:
            values, scales = to_integers(weight.T if transposed else weight, (0,), largest_integer("product", chosen))
            added[int8] = numpy_helper.from_array(np.ascontiguousarray(values), int8)
            added[scale] = numpy_helper.from_array(scales[0], scale)
        bias = node.input[2] if len(node.input) > 2 else ""
        replaced[node.output[0]] = [product(node.input[0], int8, scale, bias, node.output[0])]
    rewrite(graph, replaced, added.values())


def quantize_experts(graph: onnx.GraphProto, bits: Mapping[str, int]) -> None:
    """`MatMul(x, Gather(Gather(W, chosen), 0))`, or `Gemm`, for the W (E, in, out) of which a picture uses a part; and
    `MatMul(x, Gather(W, chosen))` for x (R, 1, in) whose every row uses a part of its own.

    Each expert and column has a scale.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    added: dict[str, onnx.TensorProto] = {}
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        taken = producers.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if taken is None or not taken.input:
            continue
        by_row = taken.op_type == "Gather" and taken.input[0] in weights
        gather = taken if by_row else producers.get(taken.input[0])
        if gather is None or gather.op_type != "Gather":
            continue
        if not is_large(weights.get(gather.input[0]), rank=3):
            continue
        name = gather.input[0]
        if (chosen_bits := bits.get(name, 8)) == 16:
            continue
        if f"{name}_int8" not in added:
            weight = numpy_helper.to_array(weights[name])
            values, scales = to_integers(weight, (1,), largest_integer("experts", chosen_bits))
            added[f"{name}_int8"] = numpy_helper.from_array(values, f"{name}_int8")
            added[f"{name}_scale"] = numpy_helper.from_array(scales[:, 0], f"{name}_scale")
        y, nodes = node.output[0], []
        bias = node.input[2] if len(node.input) > 2 else ""
        for part in ("int8", "scale"):
            held = f"{name}_{part}"
            for old, found in ((gather, f"{y}_{part}s"), *(() if by_row else ((taken, f"{y}_{part}"),))):
                new = onnx.NodeProto()
                new.CopyFrom(old)
                new.input[0], new.output[0] = held, found
                held = found
                nodes.append(new)
        int8, scale = (f"{y}_int8s", f"{y}_rows") if by_row else (f"{y}_int8", f"{y}_scale")
        if by_row:  # scales (R, out) beside weights (R, in, out)
            added[MIDDLE_AXIS] = numpy_helper.from_array(np.array([1]), MIDDLE_AXIS)
            nodes.append(helper.make_node("Unsqueeze", [f"{y}_scales", MIDDLE_AXIS], [scale]))
        replaced[y] = [*nodes, product(node.input[0], int8, scale, bias, y)]
    rewrite(graph, replaced, added.values())


def share_embedding(graph: onnx.GraphProto, bits: Mapping[str, int]) -> None:
    """Read the embedding (V, D) and the quantised output matrix (D, V) out of one table, with a scale a token.

    The table is stored by tokens, whose rows are read often; ONNX Runtime turns it round once, when it loads. A graph
    without an output matrix gets the table that one with it has.
    """
    tables = {tensor.name: tensor for tensor in graph.initializer}
    looked_up = [
        node for node in graph.node if node.op_type == "Gather" and is_large(tables.get(node.input[0]), rank=2)
    ]
    if not looked_up:
        return
    weight = tables[looked_up[0].input[0]]
    shape = tuple(reversed(weight.dims))
    matrix = next((t for t in tables.values() if t.data_type == TensorProto.INT8 and tuple(t.dims) == shape), None)
    table, scale = f"{weight.name}_table", f"{weight.name}_scale"
    added: list[onnx.TensorProto] = []
    if matrix is not None:
        scale, values = matrix.name.removesuffix("_int8") + "_scale", numpy_helper.to_array(matrix)
    elif (chosen := bits.get(weight.name, 8)) != 16:
        values, scales = to_integers(numpy_helper.to_array(weight).T, (0,), largest_integer("table", chosen))
        added.append(numpy_helper.from_array(scales[0], scale))
    else:
        return
    added.append(numpy_helper.from_array(np.ascontiguousarray(values.T), table))
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in looked_up:
        if node.input[0] != weight.name:
            continue
        out = node.output[0]
        replaced[out] = [
            helper.make_node("Gather", [table, node.input[1]], [f"{out}_int8"], axis=0),  # (..., D)
            helper.make_node("Cast", [f"{out}_int8"], [f"{out}_float"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [scale, node.input[1]], [f"{out}_scale"], axis=0),
            helper.make_node("Unsqueeze", [f"{out}_scale", LAST_AXIS], [f"{out}_scales"]),
            helper.make_node("Mul", [f"{out}_float", f"{out}_scales"], [out]),
        ]
    for user in graph.node:
        if matrix is not None and matrix.name in user.input:
            turned = f"{matrix.name}_turned"
            changed = onnx.NodeProto()
            changed.CopyFrom(user)
            changed.input[:] = [turned if name == matrix.name else name for name in user.input]
            replaced[user.output[0]] = [helper.make_node("Transpose", [table], [turned], perm=[1, 0]), changed]
    added.append(numpy_helper.from_array(np.array([-1]), LAST_AXIS))
    rewrite(graph, replaced, added)
