"""Weights of a language model in blocks, as ONNX Runtime's `MatMulNBits` reads them: 4 or 8 bits, with a step for each
block of a row.

A language model keeps large values in a few places of its hidden states, so activations that share one step lose the
small ones. `MatMulNBits` gives each block of an activation its own step as well, and what it makes of a row does not
depend on the rows beside it. Activations need no calibration. The rounding of weights to 4 bits is better for knowing
what they are multiplied with (`fastcap.quantization.moments`), for which some sentences and any pictures do: no data
set is needed.

Letters: K and N numbers of the input and output of a product, B numbers of a block, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fastcap.quantization.integers import is_large, rewrite, to_integers
from fastcap.quantization.scales import block_bits, block_size

__all__ = ["from_blocks", "quantize_blocks", "store_convolutions", "to_blocks"]

CONTRIB = "com.microsoft"
ACCURACY = 4  # activations in 8 bits, a step for each block
CLIPPED = np.linspace(1.0, 0.7, 7)  # shares of the largest number that the 8 steps of 4 bits may span
DAMPING = 0.01  # share of the mean square of an input that is added to each: few texts say little of rare directions
LARGEST = 127  # integer of a convolution's weight; it is only stored as one


def to_blocks(weight: np.ndarray, bits: int, moments: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Integers and steps of a weight (N, K): bytes (N, blocks, B * bits / 8) as `MatMulNBits` packs them, and (N *
    blocks,) float32.

    Args:
        moments: (K, K), sums of products of the input's numbers. With them, what rounding a number does to the output
            is made up for by the numbers that are rounded after it (GPTQ, Frantar et al. 2023).
    """
    n, k = weight.shape
    block, half = block_size(k, bits), 1 << bits - 1
    rest = np.pad(weight.astype(np.float64), ((0, 0), (0, -k % block)))
    inverse = inverse_factor(moments, rest.shape[1])
    values, steps = np.empty(rest.shape, np.uint8), np.empty((n, rest.shape[1] // block), np.float32)
    for index, start in enumerate(range(0, rest.shape[1], block)):
        end = start + block
        step = block_steps(rest[:, start:end], bits)
        steps[:, index] = step
        if inverse is None:
            values[:, start:end] = np.rint(rest[:, start:end] / step[:, None]).clip(-half, half - 1) + half
            continue
        errors = np.empty((n, block))
        for at in range(start, end):
            integers = np.rint(rest[:, at] / step).clip(-half, half - 1)
            values[:, at] = integers + half
            errors[:, at - start] = (rest[:, at] - integers * step) / inverse[at, at]
            rest[:, at:end] -= np.outer(errors[:, at - start], inverse[at, at:end])
        rest[:, end:] -= errors @ inverse[start:end, end:]
    packed: np.ndarray = values.reshape(n, -1, block)
    if bits == 4:
        packed = packed[..., ::2] | packed[..., 1::2] << 4
    return packed, steps.reshape(-1)


def from_blocks(packed: np.ndarray, steps: np.ndarray, bits: int, k: int) -> np.ndarray:
    """The weight (N, K), float32, that `MatMulNBits` computes with; arguments as `to_blocks` gives them."""
    if bits == 4:
        packed = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:2], -1)
    values = (packed.astype(np.float32) - (1 << bits - 1)) * steps.reshape(*packed.shape[:2], 1)
    weight: np.ndarray = values.reshape(len(packed), -1)[:, :k]
    return weight


def block_steps(block: np.ndarray, bits: int) -> np.ndarray:
    """The step of each row of one block (N, B): (N,) float32.

    An integer is `round(w / step)` from -2^(bits - 1), stored with that added. The step's sign is that of the block's
    largest number, which then takes the one integer more that negative numbers have. At 4 bits a step may span less
    than the largest number, where that has the least squared error.
    """
    half = 1 << bits - 1
    largest = np.take_along_axis(block, np.abs(block).argmax(axis=1)[:, None], axis=1)[:, 0]
    widest = np.where(largest == 0, 1.0, -largest / half).astype(np.float32)
    steps, least = widest, np.full(len(block), np.inf)
    for share in CLIPPED if bits == 4 else ():
        step = widest * np.float32(share)
        rounded = np.rint(block / step[:, None]).clip(-half, half - 1) * step[:, None]
        error = np.square(rounded - block).sum(axis=1)
        steps, least = np.where(error < least, step, steps), np.minimum(error, least)
    return steps


def inverse_factor(moments: np.ndarray | None, size: int) -> np.ndarray | None:
    """The upper triangular U (K, K) with U^T U the inverse of damped moments; None without moments of that size."""
    if moments is None or len(moments) != size:
        return None
    damped = moments.astype(np.float64)
    damped[np.diag_indices(size)] += DAMPING * max(np.trace(damped) / size, 1e-12)
    return np.ascontiguousarray(np.linalg.cholesky(np.linalg.inv(damped)).T)


def quantize_blocks(
    path: Path,
    bits: Mapping[str, int],
    moments: Mapping[str, np.ndarray] | None = None,
    known: dict[str, tuple[np.ndarray, np.ndarray]] | None = None,
    accuracy: int = ACCURACY,
) -> None:
    """Quantise the matrix products and the token table of a graph in place. A table that the output matrix repeats is
    stored once.

    Args:
        bits: of tensors by name, 4, 8 or 16 (left as they are), in place of `block_bits`.
        moments: of the inputs of weights of 4 bits, by the weight's name; see `to_blocks`.
        known: what other graphs with the same weights were given, by name and bits; filled.
        accuracy: `ACCURACY`, or 1 for activations in floats: slower, and the same on every processor but for the last
            digits.
    """
    moments, known = moments or {}, {} if known is None else known
    model = onnx.load(str(path))
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    tables = [node for node in graph.node if node.op_type == "Gather" and is_large(weights.get(node.input[0]), rank=2)]
    contents = {numpy_helper.to_array(weights[node.input[0]]).tobytes(): node.input[0] for node in tables}
    added: dict[str, onnx.TensorProto] = {}
    replaced: dict[str, list[onnx.NodeProto]] = {}

    def blocks_of(name: str, weight: np.ndarray, chosen: int) -> list[str]:
        names, key = [f"{name}_blocks", f"{name}_steps"], f"{name} {chosen}"
        if key not in known:
            known[key] = to_blocks(weight, chosen, moments.get(name) if chosen == 4 else None)
        if names[0] not in added:
            for tensor, array in zip(names, known[key], strict=True):
                added[tensor] = numpy_helper.from_array(array, tensor)
        return names

    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm") or not is_large(weights.get(node.input[1]), rank=2):
            continue
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        weight = numpy_helper.to_array(weights[node.input[1]])
        weight = np.ascontiguousarray(weight if settings.get("transB", 0) else weight.T)
        name = contents.get(weight.tobytes(), node.input[1])
        if (chosen := bits.get(name, block_bits(name))) == 16:
            continue
        rest = ["", "", node.input[2]] if len(node.input) > 2 else []
        size = block_size(weight.shape[1], chosen)
        about = {"K": weight.shape[1], "N": weight.shape[0], "bits": chosen, "block_size": size}
        inputs = [node.input[0], *blocks_of(name, weight, chosen), *rest]
        replaced[node.output[0]] = [
            helper.make_node("MatMulNBits", inputs, [node.output[0]], domain=CONTRIB, accuracy_level=accuracy, **about)
        ]
    for node in tables:
        table = numpy_helper.to_array(weights[node.input[0]])
        if bits.get(node.input[0], 8) == 8:
            names = blocks_of(node.input[0], table, 8)
            replaced[node.output[0]] = row_nodes(node, names, table.shape, added)
    rewrite(graph, replaced, added.values())
    if all(opset.domain != CONTRIB for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    onnx.save(model, str(path))


def row_nodes(
    node: onnx.NodeProto, names: Sequence[str], shape: tuple[int, ...], added: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """The nodes that read rows of a table (V, D) of 8 bits, for ids of any shape: `(integer - 128) * step`."""
    (values, steps), ids, out, (v, d) = names, node.input[1], node.output[0], shape
    size = block_size(d, 8)
    blocks = -(-d // size)
    constants: dict[str, np.ndarray] = {
        "by_token": np.array([v, blocks, 1]),
        "width": np.array([blocks * size]),
        "zero": np.array(128, np.float32),
        "start": np.array([0]),
        "end": np.array([d]),
        "last": np.array([-1]),
    }
    given = {name: f"{out}_{name}" for name in constants}
    added |= {given[name]: numpy_helper.from_array(array, given[name]) for name, array in constants.items()}
    return [
        helper.make_node("Gather", [values, ids], [f"{out}_bytes"], axis=0),  # (..., blocks, B)
        helper.make_node("Cast", [f"{out}_bytes"], [f"{out}_floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{out}_floats", given["zero"]], [f"{out}_integers"]),
        helper.make_node("Reshape", [steps, given["by_token"]], [f"{out}_steps"]),
        helper.make_node("Gather", [f"{out}_steps", ids], [f"{out}_own"], axis=0),  # (..., blocks, 1)
        helper.make_node("Mul", [f"{out}_integers", f"{out}_own"], [f"{out}_blocks"]),
        helper.make_node("Shape", [ids], [f"{out}_places"]),
        helper.make_node("Concat", [f"{out}_places", given["width"]], [f"{out}_shape"], axis=0),
        helper.make_node("Reshape", [f"{out}_blocks", f"{out}_shape"], [f"{out}_padded"]),
        helper.make_node("Slice", [f"{out}_padded", given["start"], given["end"], given["last"]], [out]),
    ]


def store_convolutions(path: Path, bits: Mapping[str, int] | None = None) -> None:
    """Store the weights of a graph's convolutions in 8 bits with a step a channel, in place, unless `bits` has 16 for
    them. They are floats again once the graph is loaded: activations in 8 bits would need pictures to calibrate on."""
    model = onnx.load(str(path))
    graph = model.graph
    read = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    nodes: list[onnx.NodeProto] = []
    for tensor in list(graph.initializer):
        name = tensor.name
        if name not in read or tensor.data_type != TensorProto.FLOAT or (bits or {}).get(name) == 16:
            continue
        values, steps = to_integers(numpy_helper.to_array(tensor), (1, 2, 3), LARGEST)
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(values, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(steps, f"{name}_step"))
        nodes.append(helper.make_node("Cast", [f"{name}_int8"], [f"{name}_float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [f"{name}_float", f"{name}_step"], [name]))
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(path))
