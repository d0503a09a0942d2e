"""Surgery on ONNX graphs: join, rename, merge and write them. Nothing here knows a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.compose
from onnx import numpy_helper
from onnx.external_data_helper import set_external_data
from onnx.reference import ReferenceEvaluator

from fastcap.export.weights import note_weights

__all__ = [
    "OPSET",
    "as_model",
    "fold_padding",
    "hoist",
    "load_prefixed",
    "merge_equal",
    "rename",
    "share_weights",
    "shorten_names",
    "write_graph",
]

OPSET = 17
DOMAINS = ("", "com.microsoft")
ZERO_POINT = "_zero_point"  # ends the names that ONNX Runtime's quantiser gives them
SHARED = 2**10  # bytes of a tensor that is worth looking up in another file


def load_prefixed(path: Path, prefix: str) -> onnx.ModelProto:
    """A graph from its file, every name in it with a prefix, so that several can be joined."""
    return onnx.compose.add_prefix(onnx.load(str(path)), prefix)


def as_model(graph: onnx.GraphProto, *parts: onnx.ModelProto) -> onnx.ModelProto:
    """A graph joined from parts, as a model with the operator sets of the parts."""
    domains = {opset.domain: opset.version for part in parts for opset in part.opset_import}
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in domains.items() if domain in DOMAINS]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="fastcap")


def write_graph(
    path: Path, part: onnx.ModelProto, whole: Path | None = None, noted: bool = False, weights: Path | None = None
) -> None:
    """Check a graph and write it, with short names.

    Args:
        whole: another graph in the same folder, or a file of weights; tensors whose bytes stand in its file are read
            out of that file.
        noted: whether the graph's metadata note which tensors hold parameters (`note_weights`); False where another
            graph of the directory holds the same ones.
        weights: a new file for its weights. ONNX Runtime maps such a file into memory, where it would copy what stands
            in the graph itself.
    """
    model = as_model(part.graph, part)
    renamed = shorten_names(model)
    if noted:
        note_weights(model, renamed)
    onnx.checker.check_model(model)
    if whole is not None:
        share_file(model, whole)
    if weights is None:
        onnx.save(model, str(path))
    else:
        onnx.save(model, str(path), save_as_external_data=True, location=weights.name, size_threshold=SHARED)


def share_file(model: onnx.ModelProto, other: Path) -> None:
    """Let a graph read its weights out of another file in the same folder, wherever that holds the same bytes.

    ONNX's external data may be any range of any file, hence also of a file that is a graph itself.
    """
    content, end = other.read_bytes(), 0
    for tensor in model.graph.initializer:
        length = len(tensor.raw_data)
        if length < SHARED:
            continue
        place = content.find(tensor.raw_data, end)  # both graphs have most of their tensors in one order
        if place < 0:
            place = content.find(tensor.raw_data)
        if place >= 0:
            end = place + length
            set_external_data(tensor, other.name, place, length)
            tensor.ClearField("raw_data")


def hoist(graph: onnx.GraphProto, varying: Sequence[str]) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The nodes of a loop's body in two lists: those with the same result in every iteration, and those that depend on
    `varying`, the inputs that change."""
    changing = set(varying)
    fixed, repeated = [], []
    for node in graph.node:
        if changing.isdisjoint(read_by(node)):
            fixed.append(node)
        else:
            repeated.append(node)
            changing.update(node.output)
    return fixed, repeated


def share_weights(graph: onnx.GraphProto, other: onnx.GraphProto) -> None:
    """Drop a graph's weights that another graph has as well, and read them under the names they have there."""
    known = {content(tensor): tensor.name for tensor in other.initializer}
    shared = {tensor.name: known[content(tensor)] for tensor in graph.initializer if content(tensor) in known}
    keep_weights(graph, {tensor.name for tensor in graph.initializer} - shared.keys())
    rename(graph, shared)


def keep_weights(graph: onnx.GraphProto, names: set[str]) -> None:
    """Drop all weights of a graph but those named."""
    weights = [tensor for tensor in graph.initializer if tensor.name in names]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def merge_equal(graph: onnx.GraphProto) -> None:
    """Compute once what two nodes of a graph would compute from the same inputs; drop weights that no node reads, and
    zero points that others equal, as most do: of the bundled model, a percent of its bytes."""
    public = {value.name for value in graph.output}
    first: dict[tuple[object, ...], onnx.NodeProto] = {}
    merged, held = dict[str, str](), dict[tuple[object, ...], str]()
    for tensor in graph.initializer:
        if tensor.name.endswith(ZERO_POINT) and tensor.name not in public:
            merged[tensor.name] = held.setdefault(content(tensor), tensor.name)
    rename_inputs(graph, merged)  # loop bodies read them, too
    merged = {}
    nodes = []
    for node in graph.node:
        node.input[:] = [merged.get(name, name) for name in node.input]
        settings = sorted(attribute.SerializeToString() for attribute in node.attribute)
        same = first.setdefault((node.domain, node.op_type, tuple(node.input), *settings), node)
        if same is node or node.op_type == "Loop" or not public.isdisjoint(node.output):
            nodes.append(node)
        else:
            merged.update(zip(node.output, same.output, strict=True))
    del graph.node[:]
    graph.node.extend(nodes)
    rename(graph, merged)
    keep_weights(graph, {name for node in graph.node for name in read_by(node)})


def rename_inputs(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Let nodes, those inside loop bodies included, read other tensors."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                rename_inputs(attribute.g, names)


def content(tensor: onnx.TensorProto) -> tuple[object, ...]:
    """What two tensors have in common that may be one."""
    return tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Names of all tensors that a node reads, those read inside its loop body included."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                yield from read_by(inner)


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename tensors of a graph, those that loop bodies inside it read included."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                rename(attribute.g, names)
    for value in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        value.name = names.get(value.name, value.name)


def shorten_names(model: onnx.ModelProto) -> dict[str, str]:
    """Number the inner tensors and drop what only people read: names are a tenth of such a small file. Returns the new
    names by the old ones."""
    public = {value.name for value in [*model.graph.input, *model.graph.output]} | {""}
    short: dict[str, str] = {}
    numbers = itertools.count()

    def collect(graph: onnx.GraphProto) -> None:
        del graph.value_info[:]
        for value in [*graph.input, *graph.output, *graph.initializer]:
            short.setdefault(value.name, f"t{len(short)}")
        for node in graph.node:
            node.name = f"n{next(numbers)}"  # optimisers of ONNX Runtime before 1.22 name their new nodes after it
            node.ClearField("doc_string")
            for name in [*node.input, *node.output]:
                short.setdefault(name, f"t{len(short)}")
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    collect(attribute.g)

    collect(model.graph)
    renamed = {name: name if name in public else new for name, new in short.items()}
    rename(model.graph, renamed)
    return renamed


def fold_padding(model: onnx.ModelProto) -> None:
    """Move zero padding into the convolution that reads it: between two convolutions it would break the chain of
    integer arithmetic."""
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for node in list(graph.node):
        pad = producers.get(node.input[0]) if node.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad":
            continue
        amounts = resolve(pad.input[1], constants, producers).reshape(2, -1)
        if amounts[:, :2].any():
            continue
        attribute = next(item for item in node.attribute if item.name == "pads")
        attribute.ints[:] = (np.array(attribute.ints) + amounts[:, 2:].reshape(-1)).tolist()
        node.input[0] = pad.input[0]
    read = {name for node in graph.node for name in node.input}
    for node in list(graph.node):
        if node.op_type == "Pad" and read.isdisjoint(node.output):
            graph.node.remove(node)


def resolve(name: str, constants: dict[str, np.ndarray], producers: dict[str, onnx.NodeProto]) -> np.ndarray:
    """The value of a tensor that the exporter computes from constants alone."""
    if name in constants:
        return constants[name]
    needed: list[onnx.NodeProto] = []
    waiting = [name]
    while waiting:
        producer = producers.get(waiting.pop())
        if producer is not None and producer not in needed:
            needed.append(producer)
            waiting += producer.input
    output = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, None)
    graph = onnx.helper.make_graph(list(reversed(needed)), "constants", [], [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    (value,) = ReferenceEvaluator(model).run(None, {})
    return np.asarray(value)
