"""Dynamic quantisation of matrix products, experts and the token table of a graph: activations are quantised as they
come, weights have 4 or 8 bits with a step a column."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fastcap.quantization.integers import is_large, load_inferred, quiet, rewrite, to_integers
from fastcap.quantization.scales import largest_integer

__all__ = ["quantize_products"]

LAST_AXIS, MIDDLE_AXIS = "last_axis", "middle_axis"
CONTRIB = "com.microsoft"


@quiet()
def quantize_products(path: Path, bits: Mapping[str, int]) -> None:
    """Quantise the matrix products, experts and token table of a graph in place; `bits` as in
    `fastcap.quantization.post_training.quantize`."""
    model = load_inferred(path)
    quantize_matrices(model.graph, bits)
    quantize_experts(model.graph, bits)
    share_embedding(model.graph, bits)
    if all(opset.domain != CONTRIB for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    onnx.save(model, str(path))


def product(x: str, int8: str, scale: str, bias: str, y: str) -> onnx.NodeProto:
    """The node for y = x W + bias, or without bias where that is "": x is quantised when it is read, W is int8
    (in, out) with a scale a column."""
    return helper.make_node("DynamicQuantizeMatMul", [x, int8, scale, "", bias], [y], domain=CONTRIB)


def quantize_matrices(graph: onnx.GraphProto, bits: Mapping[str, int]) -> None:
    """Quantise `MatMul(x, W)`, and with a bias `Gemm(x, W, b)`, for constant W."""
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
    """Quantise the products of experts W (E, in, out), with a scale for each expert and column.

    They are `MatMul(x, Gather(Gather(W, chosen), 0))`, or `Gemm`, where the picture chooses the experts, and
    `MatMul(x, Gather(W, chosen))` for x (R, 1, in) where each row chooses its own.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    added: dict[str, onnx.TensorProto] = {}
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        picked = producers.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if picked is None or not picked.input:
            continue
        by_row = picked.op_type == "Gather" and picked.input[0] in weights
        gather = picked if by_row else producers.get(picked.input[0])
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
            source = f"{name}_{part}"
            for old, output in ((gather, f"{y}_{part}s"), *(() if by_row else ((picked, f"{y}_{part}"),))):
                new = onnx.NodeProto()
                new.CopyFrom(old)
                new.input[0], new.output[0] = source, output
                source = output
                nodes.append(new)
        int8, scale = (f"{y}_int8s", f"{y}_rows") if by_row else (f"{y}_int8", f"{y}_scale")
        if by_row:  # scales (R, out) beside weights (R, in, out)
            added[MIDDLE_AXIS] = numpy_helper.from_array(np.array([1]), MIDDLE_AXIS)
            nodes.append(helper.make_node("Unsqueeze", [f"{y}_scales", MIDDLE_AXIS], [scale]))
        replaced[y] = [*nodes, product(node.input[0], int8, scale, bias, y)]
    rewrite(graph, replaced, added.values())


def share_embedding(graph: onnx.GraphProto, bits: Mapping[str, int]) -> None:
    """Read the embedding (V, D) and the quantised output matrix (D, V) out of one table, with a scale a token.

    The table is stored as (V, D), since its rows are read often; ONNX Runtime transposes it once, when it loads. A
    graph without an output matrix gets the same table as one that has it.
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
            transposed = f"{matrix.name}_turned"
            changed = onnx.NodeProto()
            changed.CopyFrom(user)
            changed.input[:] = [transposed if name == matrix.name else name for name in user.input]
            replaced[user.output[0]] = [helper.make_node("Transpose", [table], [transposed], perm=[1, 0]), changed]
    added.append(numpy_helper.from_array(np.array([-1]), LAST_AXIS))
    rewrite(graph, replaced, added)
