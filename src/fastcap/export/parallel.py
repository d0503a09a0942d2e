"""A captioning model as one ONNX graph: uint8 pixels of one picture in, token ids, lengths and confidences out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnx.compose
import onnxruntime
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from fastcap.decoder.attention import Memory, RankAugmentedLinearAttention
from fastcap.decoder.moe_decoder import DecoderLayer, ImageState, Routing
from fastcap.errors import FastcapError
from fastcap.export.packed import Layout, Packed, PackedDecoder
from fastcap.export.weights import note_weights
from fastcap.model import CaptionModel, Captions
from fastcap.vocabulary import MASK

__all__ = [
    "INPUTS",
    "OUTPUTS",
    "Agreement",
    "Parts",
    "assemble",
    "compare",
    "export_parts",
    "open_graph",
]

INPUTS = ("images", "length_range", "candidates", "penalties")
OUTPUTS = ("token_ids", "lengths", "confidences", "token_confidences")
IMAGE_VECTORS = "image_vectors"  # beside them, for `text.onnx`
TEXT_IDS, TEXT_VECTORS = "text_ids", "text_vectors"
CARRIED = ("token_ids", "probabilities", "scores", "masked")  # from one pass to the next
LAYOUT = ("rows_lengths", "rows_row", "rows_step")
RANKED = ("kept_token_ids", "kept_probabilities", "kept_scores", "log_p", IMAGE_VECTORS)
STEP, STEPPED = ("token_ids", "parents", "cache"), ("log_p", "new_cache")
VARIABLE: dict[str, tuple[int, ...]] = dict.fromkeys((*LAYOUT, *CARRIED, *RANKED[:4], "parents"), (0,))  # no fixed size
VARIABLE |= {"cache": (2, 3), TEXT_IDS: (1,)}
OPSET = 17
DOMAINS = ("", "com.microsoft")


@dataclass(frozen=True)
class Parts:
    """ONNX files: `encode` runs once, `refine` once a pass, `rank` once where `assemble` joins them; `step` runs once
    a token where `fastcap.export.causal` joins it with `encode`; `text` stands alone."""

    encode: Path
    refine: Path
    rank: Path
    step: Path
    text: Path


class Encode(nn.Module):
    """Pixels to all that the passes need: lengths and where their tokens stand, masked captions, image state."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model
        self.packed = PackedDecoder(model.decoder, model.refiner)

    def forward(
        self, images: Tensor, length_range: Tensor, candidates: Tensor, penalties: Tensor
    ) -> tuple[Tensor, ...]:
        image = self.model.encode(images)
        lengths, log_p = self.model.length_predictor.choose(image.pooled, length_range, candidates)
        layout = Layout.of(lengths[0])
        kept = self.packed.begin(layout)
        masked = kept.token_ids == MASK
        bias = self.packed.bias(penalties)
        vectors = self.model.alignment.embed_image(image)
        return (log_p[0], vectors, *layout, *kept, masked, bias, *flatten(self.model.decoder.prepare(image)))


class EmbedText(nn.Module):
    """`CaptionModel.embed_text` of one text."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, token_ids: Tensor) -> Tensor:
        length: Any = token_ids.shape[1]
        return self.model.embed_text(token_ids, torch.as_tensor(length).reshape(1))


class Refine(nn.Module):
    """One pass of `PackedDecoder.refine`."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model
        self.packed = PackedDecoder(model.decoder, model.refiner)

    def forward(
        self,
        index: Tensor,
        token_ids: Tensor,
        probabilities: Tensor,
        scores: Tensor,
        masked: Tensor,
        lengths: Tensor,
        row: Tensor,
        step: Tensor,
        bias: Tensor,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        kept = Packed(token_ids, probabilities, scores)
        layout = Layout(lengths, row, step)
        kept, masked = self.packed.refine(unflatten(self.model, state), layout, bias, kept, masked, index + 1)
        return (*kept, masked)


class Rank(nn.Module):
    """`CaptionModel.rank`."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model
        self.packed = PackedDecoder(model.decoder, model.refiner)

    def forward(
        self,
        token_ids: Tensor,
        probabilities: Tensor,
        scores: Tensor,
        log_p: Tensor,
        vectors: Tensor,
        lengths: Tensor,
        row: Tensor,
        step: Tensor,
        *state: Tensor,
    ) -> Captions:
        layout, image_state = Layout(lengths, row, step), unflatten(self.model, state)
        generation = self.model.config.generation
        if generation.causal_weight:
            causal = self.packed.causal_scores(image_state, layout, token_ids)
            scores = (scores + generation.causal_weight * causal) / (1 + generation.causal_weight)
        captions, each = self.packed.unpack(layout, Packed(token_ids, probabilities, scores))
        fit = scores + generation.length_weight * log_p
        if generation.alignment_weight:
            texts = self.model.embed_text(captions, lengths)
            fit = fit + generation.alignment_weight * (texts @ vectors[0])
        order = fit.argsort(dim=0, descending=True)
        found = (captions, lengths, scores.exp(), each)
        return Captions(*(part[order][None] for part in found))


class Step(nn.Module):
    """`PackedDecoder.step`."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model
        self.packed = PackedDecoder(model.decoder, model.refiner)

    def forward(self, token_ids: Tensor, parents: Tensor, cache: Tensor, *state: Tensor) -> tuple[Tensor, Tensor]:
        return self.packed.step(unflatten(self.model, state), token_ids, parents, cache)


def flatten(state: ImageState) -> list[Tensor]:
    """An image state as a list: context, then memory and routing of each layer."""
    tensors = [state.context]
    for memory, routing in zip(state.memories, state.routings, strict=True):
        tensors += [memory.buffer, memory.normaliser, routing.chosen, routing.weights]
    return tensors


def unflatten(model: CaptionModel, tensors: Sequence[Tensor]) -> ImageState:
    """The inverse of `flatten`, as far as decoding needs it: without the probabilities of all experts."""
    context, *parts = tensors
    quadruples = list(zip(*[iter(parts)] * 4, strict=True))
    layers = cast("Iterable[DecoderLayer]", model.decoder.layers)
    return ImageState(
        context,
        [Memory(buffer, normaliser) for buffer, normaliser, _, _ in quadruples],
        [Routing(chosen, weights, weights) for _, _, chosen, weights in quadruples],
        [
            layer.experts.select(chosen, weights)
            for layer, (_, _, chosen, weights) in zip(layers, quadruples, strict=True)
        ],
    )


def export_parts(model: CaptionModel, folder: Path) -> Parts:
    """Write the parts of the captioner as fp32 ONNX.

    The numbers of candidates and tokens stay variable. That is why the graphs are traced with the TorchScript exporter:
    there are as many tokens as the network itself has just predicted, a size that `torch.export` cannot reason about,
    and decoding to the fixed maximum instead would double the decoder's time.
    """
    parts = Parts(*(folder / f"{field.name}.onnx" for field in fields(Parts)))
    model.eval()
    images = torch.zeros(1, model.config.image_size, model.config.image_size, 3, dtype=torch.uint8)
    limits = torch.tensor([1, model.config.max_length])
    encode = Encode(model)
    asked = (images, limits, torch.tensor([3]), torch.zeros(model.config.vocab_size))
    with torch.no_grad():
        log_p, vectors, *begun = encode(*asked)
    layout, carried, state_values = begun[:3], begun[3 : 3 + len(CARRIED)], begun[3 + len(CARRIED) :]
    bias, *state_values = state_values
    state = [f"state{i}" for i in range(len(state_values))]
    trace(
        encode,
        asked,
        parts.encode,
        INPUTS,
        ("log_p", IMAGE_VECTORS, *LAYOUT, *CARRIED, "bias", *state),
    )
    inputs = (torch.tensor(1), *carried, *layout, bias, *state_values)
    outputs = tuple(f"new_{name}" for name in CARRIED)
    trace(Refine(model), inputs, parts.refine, ("index", *CARRIED, *LAYOUT, "bias", *state), outputs)
    given = (*carried[:3], log_p, vectors)
    trace(Rank(model), (*given, *layout, *state_values), parts.rank, (*RANKED, *LAYOUT, *state), OUTPUTS)
    decoder = model.config.decoder
    rows = torch.arange(2)
    cache = torch.zeros(2 * decoder.n_layers, decoder.n_heads, 2, 3, model.config.d_model // decoder.n_heads)
    trace(Step(model), (rows, rows, cache, *state_values), parts.step, (*STEP, *state), STEPPED)
    export_text(model, parts.text)
    return parts


def export_text(model: CaptionModel, path: Path) -> None:
    """Write the part that embeds one text: token ids (1, T) -> a unit vector (1, A)."""
    trace(EmbedText(model), (torch.arange(3)[None],), path, (TEXT_IDS,), (TEXT_VECTORS,))


def trace(
    module: nn.Module, arguments: tuple[Tensor, ...], path: Path, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Export one part."""
    axes = {name: {axis: f"{name}_{axis}" for axis in VARIABLE[name]} for name in inputs if name in VARIABLE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes that are constants of the graph, on purpose
        torch.onnx.export(
            module.eval(),
            arguments,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
        )
    graph = onnx.load(str(path))
    fold_padding(graph)
    name_weights(graph.graph, module)
    onnx.save(graph, str(path))


def name_weights(graph: onnx.GraphProto, module: nn.Module) -> None:
    """Give the weights of a traced graph the names of their parameters: tracing takes them from those that it turns
    round, reshapes or joins. Joined ones are called `a+b`, b without the prefix that all share."""
    values = {name: value.detach().numpy() for name, value in module.named_parameters()}
    for name, part in module.named_modules():
        if isinstance(part, RankAugmentedLinearAttention):  # as `PackedDecoder.look` joins them
            for kind in ("weight", "bias"):
                query, gate = f"{name}.query.{kind}", f"{name}.gate.{kind}"
                values[f"{query}+{gate.removeprefix('model.')}"] = np.concatenate([values[query], values[gate]])
    known = {version.tobytes(): name for name, value in values.items() for version in (value.T, value)}
    held = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    found = {}
    for tensor in graph.initializer:
        name = known.get(numpy_helper.to_array(tensor).tobytes())
        if name is not None and name not in held and tensor.name not in values:
            found[tensor.name] = name
            held.add(name)
    rename(graph, found)


def assemble(parts: Parts, passes: int, path: Path) -> None:
    """Join the parts into one graph: encode, a `Loop` of refinement passes, rank.

    The loop keeps the graph small: ONNX Runtime's start-up time grows with the square of the number of nodes. The
    weights of the decoder stand in the graph around it, where the ranking reads them too.
    """
    encode, refine, rank = (
        onnx.compose.add_prefix(onnx.load(str(part)), prefix)
        for part, prefix in ((parts.encode, "e/"), (parts.refine, "r/"), (parts.rank, "k/"))
    )
    share_weights(rank.graph, refine.graph)
    constant = [value.name.removeprefix("r/") for value in refine.graph.input][len(CARRIED) + 1 :]
    # the loop's body reads these from the graph around it
    rename(encode.graph, {f"e/{name}": f"r/{name}" for name in constant})
    hoisted, repeated = hoist(refine.graph, [f"r/{name}" for name in ("index", *CARRIED)])
    body = onnx.helper.make_graph(
        [*repeated, onnx.helper.make_node("Identity", ["r/condition"], ["r/condition_out"])],
        "pass",
        [
            refine.graph.input[0],
            onnx.helper.make_tensor_value_info("r/condition", onnx.TensorProto.BOOL, []),
            *refine.graph.input[1 : len(CARRIED) + 1],
        ],
        [onnx.helper.make_tensor_value_info("r/condition_out", onnx.TensorProto.BOOL, []), *refine.graph.output],
    )
    constants = [
        numpy_helper.from_array(np.array(passes), "passes"),
        numpy_helper.from_array(np.array(True), "always"),
    ]
    loop = onnx.helper.make_node(
        "Loop",
        ["passes", "always", *(f"e/{name}" for name in CARRIED)],
        [*(f"k/{name}" for name in RANKED[:3]), "masked_last"],
        body=body,
    )
    rename(
        rank.graph,
        {f"k/{name}": f"e/{name}" for name in ("log_p", IMAGE_VECTORS)}
        | {f"k/{name}": f"r/{name}" for name in constant},
    )
    public = {f"e/{name}": name for name in (*INPUTS, IMAGE_VECTORS)} | {f"k/{name}": name for name in OUTPUTS}
    vectors = next(value for value in encode.graph.output if value.name == f"e/{IMAGE_VECTORS}")
    outputs = [*rank.graph.output, vectors]
    graph = onnx.helper.make_graph(
        [*encode.graph.node, *hoisted, loop, *rank.graph.node],
        "fastcap",
        list(encode.graph.input),
        outputs,
        initializer=[*encode.graph.initializer, *refine.graph.initializer, *rank.graph.initializer, *constants],
    )
    rename(graph, public)
    merge_equal(graph)
    model = as_model(graph, encode, refine, rank)
    note_weights(model, shorten_names(model))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def as_model(graph: onnx.GraphProto, *parts: onnx.ModelProto) -> onnx.ModelProto:
    """A graph that was made of parts, as a model."""
    domains = {opset.domain: opset.version for part in parts for opset in part.opset_import}
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in domains.items() if domain in DOMAINS]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="fastcap")


def hoist(graph: onnx.GraphProto, varying: Sequence[str]) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The nodes of a loop's body apart: those whose results are the same each time, and those that depend on `varying`,
    its inputs that change."""
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
    """Let a graph use the equal weights of another one instead of its own."""

    def content(tensor: onnx.TensorProto) -> tuple[object, ...]:
        return tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()

    known = {content(tensor): tensor.name for tensor in other.initializer}
    shared = {tensor.name: known[content(tensor)] for tensor in graph.initializer if content(tensor) in known}
    kept = [tensor for tensor in graph.initializer if tensor.name not in shared]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    rename(graph, shared)


def merge_equal(graph: onnx.GraphProto) -> None:
    """Compute once what two nodes of a graph would compute from the same inputs, and drop what is never read."""
    public = {value.name for value in graph.output}
    first: dict[tuple[object, ...], onnx.NodeProto] = {}
    merged: dict[str, str] = {}
    kept = []
    for node in graph.node:
        node.input[:] = [merged.get(name, name) for name in node.input]
        settings = sorted(attribute.SerializeToString() for attribute in node.attribute)
        same = first.setdefault((node.domain, node.op_type, tuple(node.input), *settings), node)
        if same is node or node.op_type == "Loop" or not public.isdisjoint(node.output):
            kept.append(node)
        else:
            merged.update(zip(node.output, same.output, strict=True))
    del graph.node[:]
    graph.node.extend(kept)
    rename(graph, merged)
    read = set(read_names(graph))
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def read_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of all tensors that nodes read, those in loop bodies included."""
    for node in graph.node:
        yield from read_by(node)


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Names of all tensors that a node reads, itself or in loop bodies."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield from read_names(attribute.g)


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

    def collect(graph: onnx.GraphProto) -> None:
        del graph.value_info[:]
        for value in [*graph.input, *graph.output, *graph.initializer]:
            short.setdefault(value.name, f"t{len(short)}")
        for node in graph.node:
            node.name = ""
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
    """Move zero padding into the convolution that reads it: between them it would break integer arithmetic."""
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
        graph.node.remove(pad)


def resolve(name: str, constants: dict[str, np.ndarray], producers: dict[str, onnx.NodeProto]) -> np.ndarray:
    """The value of a name that the exporter computes from constants alone."""
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


def open_graph(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session as the runtime opens it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors; what ONNX Runtime could not optimise is no problem
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Agreement:
    """How far a graph is from the model it came from, over `images` pictures: the share of equal captions, and the
    largest difference of confidence among them."""

    images: int
    equal_captions: float
    confidence_difference: float


@torch.no_grad()
def compare(model: CaptionModel, graph: onnxruntime.InferenceSession, images: np.ndarray) -> Agreement:
    """Run both on real pictures (N, H, W, 3) uint8, three candidates each.

    Raises:
        FastcapError: there are no images.
    """
    if not len(images):
        raise FastcapError("comparing a graph with its model needs at least 1 image, got 0")
    limits = torch.tensor([model.config.generation.min_length, model.config.max_length])
    count = torch.tensor([min(3, int(limits[1] - limits[0]) + 1)])
    equal, difference = 0, 0.0
    ours: Captions = model(torch.from_numpy(images), limits, count)
    for index in range(len(images)):
        feeds = {
            "images": images[index, None],
            "length_range": limits.numpy(),
            "candidates": count.numpy(),
            "penalties": np.zeros(model.config.vocab_size, np.float32),
        }
        theirs = dict(zip(OUTPUTS, graph.run(list(OUTPUTS), feeds), strict=True))
        if same_caption(ours.token_ids[index, 0], theirs["token_ids"][0, 0]):
            equal += 1
            gap = abs(float(ours.confidences[index, 0]) - float(theirs["confidences"][0, 0]))
            difference = max(difference, gap)
    return Agreement(len(images), equal / len(images), difference)


def same_caption(ours: Tensor, theirs: np.ndarray) -> bool:
    """Equal tokens, whatever the padding (id 0) behind them."""
    return [i for i in ours.tolist() if i] == [i for i in theirs.tolist() if i]
