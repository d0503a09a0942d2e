"""The parallel family as ONNX: a whole graph from the pixels of one picture to its captions, and beside it the graphs
that decode from left to right, whose weights are read out of the whole graph's file.

Parts are traced one by one and joined: `encode` runs once, `refine` once a pass and `rank` once in `model.onnx`, whose
image half is also `encode.onnx`; `step` becomes `step.onnx`, which reads one more token of each of R captions; `text`
becomes `text.onnx`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnx.utils
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from fastcap.config import ModelConfig
from fastcap.decoder.attention import Memory
from fastcap.decoder.moe_decoder import DecoderLayer, ImageState, Routing
from fastcap.export.packed import Layout, Packed, PackedDecoder
from fastcap.export.surgery import as_model, hoist, load_prefixed, merge_equal, rename, share_weights, write_graph
from fastcap.export.text import assemble_text, export_text
from fastcap.export.trace import trace, trace_step
from fastcap.model import CaptionModel, Captions
from fastcap.runtime.contract import ENCODE, IMAGE_VECTORS, MODEL, STATE, STEP, TEXT

__all__ = ["assemble_parallel", "assemble_steps", "assemble_whole", "export_parallel"]

CARRIED = ("token_ids", "probabilities", "scores", "masked")  # from one pass to the next
LAYOUT = ("rows_lengths", "rows_row", "rows_step")
KEPT = ("kept_token_ids", "kept_probabilities", "kept_scores")  # after the last pass
CHANGING = dict.fromkeys((*LAYOUT, *CARRIED, *KEPT, "log_p"), (0,))


class Part(nn.Module):
    """A part of the exported captioner."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model
        self.packed = PackedDecoder(model.decoder, model.refiner, model.vocabulary)


class Encode(Part):
    """Pixels to all that the passes need: lengths and their log-probabilities, the layout of the tokens, masked
    captions, what is added to logits, and the image state; and the picture's vector."""

    def forward(
        self, images: Tensor, length_range: Tensor, candidates: Tensor, penalties: Tensor
    ) -> tuple[Tensor, ...]:
        image = self.model.encode(images)
        lengths, log_p = self.model.length_predictor.choose(image.pooled, length_range, candidates)
        layout = Layout.of(lengths[0])
        best = self.packed.begin(layout)
        masked = best.token_ids == self.packed.refiner.mask_id
        bias = self.packed.bias(penalties)
        vectors = self.model.alignment.embed_image(image)
        return (log_p[0], vectors, *layout, *best, masked, bias, *flatten(self.model.decoder.prepare(image)))


class Refine(Part):
    """One pass of `PackedDecoder.refine`."""

    def forward(self, index: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """`tensors`: as the graph's inputs after `index`."""
        best, masked, layout, bias = Packed(*tensors[:3]), tensors[3], Layout(*tensors[4:7]), tensors[7]
        best, masked = self.packed.refine(unflatten(self.model, tensors[8:]), layout, bias, best, masked, index + 1)
        return (*best, masked)


class Rank(Part):
    """`ParallelCaptionModel.rank`."""

    def forward(self, *tensors: Tensor) -> Captions:
        """`tensors`: as the graph's inputs."""
        token_ids, probabilities, scores, log_p, vectors, lengths, row, step, *state = tensors
        layout, image_state = Layout(lengths, row, step), unflatten(self.model, state)
        generation = self.model.config.generation
        if generation.causal_weight:
            causal = self.packed.causal_scores(image_state, layout, token_ids)
            scores = (scores + generation.causal_weight * causal) / (1 + generation.causal_weight)
        captions, token_confidences = self.packed.unpack(layout, Packed(token_ids, probabilities, scores))
        ranks = scores + generation.length_weight * log_p
        if generation.alignment_weight:
            texts = self.model.embed_text(captions, lengths)
            ranks = ranks + generation.alignment_weight * (texts @ vectors[0])
        order = ranks.argsort(dim=0, descending=True)
        candidates = (captions, lengths, scores.exp(), token_confidences)
        return Captions(*(part[order][None] for part in candidates))


class Step(Part):
    """`PackedDecoder.step`."""

    def forward(self, token_ids: Tensor, parents: Tensor, cache: Tensor, *state: Tensor) -> tuple[Tensor, Tensor]:
        return self.packed.step(unflatten(self.model, state), token_ids, parents, cache)


def flatten(state: ImageState) -> list[Tensor]:
    """An image state as a list: the context, then each layer's memory and routing."""
    tensors = [state.context]
    for memory, routing in zip(state.memories, state.routings, strict=True):
        tensors += [memory.buffer, memory.normaliser, routing.chosen, routing.weights]
    return tensors


def unflatten(model: CaptionModel, tensors: Sequence[Tensor]) -> ImageState:
    """The inverse of `flatten`; in place of the probabilities of all experts, which decoding does not need, it repeats
    the weights of the chosen ones."""
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


def export_parallel(model: CaptionModel, folder: Path) -> None:
    """Write the fp32 parts of a model with a parallel reading into a folder; the numbers of candidates and tokens may
    change."""
    model.eval()
    config = model.config
    images = torch.zeros(1, config.image_size, config.image_size, 3, dtype=torch.uint8)
    encode = Encode(model)
    arguments = (images, torch.tensor([1, config.max_length]), torch.tensor([3]), torch.zeros(config.vocab_size))
    with torch.no_grad():
        log_p, vectors, *begun = encode(*arguments)
    layout, carried, (bias, *values) = begun[:3], begun[3 : 3 + len(CARRIED)], begun[3 + len(CARRIED) :]
    state = {f"{STATE}{index}": value for index, value in enumerate(values)}
    outputs = ["log_p", *IMAGE_VECTORS, *LAYOUT, *CARRIED, "bias", *state]
    trace(encode, arguments, folder / ENCODE.file, MODEL.inputs, outputs, CHANGING)
    arguments = (torch.tensor(1), *carried, *layout, bias, *values)
    inputs, outputs = ["index", *CARRIED, *LAYOUT, "bias", *state], [f"new_{name}" for name in CARRIED]
    trace(Refine(model), arguments, folder / "refine.onnx", inputs, outputs, CHANGING)
    arguments = (*carried[:3], log_p, vectors, *layout, *values)
    inputs = [*KEPT, "log_p", *IMAGE_VECTORS, *LAYOUT, *state]
    trace(Rank(model), arguments, folder / "rank.onnx", inputs, MODEL.outputs, CHANGING)
    trace_step(Step(model), model.decoder.layers, folder / STEP.file, state)
    export_text(model, folder / TEXT.file)


def assemble_parallel(parts: Path, folder: Path, config: ModelConfig) -> None:
    """Write `model.onnx`, `encode.onnx`, `step.onnx` and `text.onnx` of the parts in a folder into a new folder. The
    last three read the weights that the first has out of its file."""
    folder.mkdir()
    whole = folder / MODEL.file
    assemble_whole(parts, whole, config.generation.passes)
    assemble_steps(parts, whole)
    assemble_text(parts / TEXT.file, whole)


def assemble_whole(parts: Path, path: Path, passes: int) -> None:
    """Join the parts into one graph: encode, a `Loop` of refinement passes, rank.

    The loop keeps the graph small: ONNX Runtime's start-up time grows with the square of the number of nodes. The
    weights of the decoder stand in the graph around it, where the ranking reads them too.
    """
    encode, refine, rank = (
        load_prefixed(parts / name, prefix)
        for name, prefix in ((ENCODE.file, "e/"), ("refine.onnx", "r/"), ("rank.onnx", "k/"))
    )
    share_weights(rank.graph, refine.graph)
    constant = [value.name.removeprefix("r/") for value in refine.graph.input][len(CARRIED) + 1 :]
    # the loop's body reads these from the graph around it
    rename(encode.graph, {f"e/{name}": f"r/{name}" for name in constant})
    hoisted, repeated = hoist(refine.graph, [f"r/{name}" for name in ("index", *CARRIED)])
    body = helper.make_graph(
        [*repeated, helper.make_node("Identity", ["r/condition"], ["r/condition_out"])],
        "pass",
        [
            refine.graph.input[0],
            helper.make_tensor_value_info("r/condition", onnx.TensorProto.BOOL, []),
            *refine.graph.input[1 : len(CARRIED) + 1],
        ],
        [helper.make_tensor_value_info("r/condition_out", onnx.TensorProto.BOOL, []), *refine.graph.output],
    )
    constants = [
        numpy_helper.from_array(np.array(passes), "passes"),
        numpy_helper.from_array(np.array(True), "always"),
    ]
    loop = helper.make_node(
        "Loop",
        ["passes", "always", *(f"e/{name}" for name in CARRIED)],
        [*(f"k/{name}" for name in KEPT), "masked_last"],
        body=body,
    )
    rename(
        rank.graph,
        {f"k/{name}": f"e/{name}" for name in ("log_p", *IMAGE_VECTORS)}
        | {f"k/{name}": f"r/{name}" for name in constant},
    )
    vectors = [value for value in encode.graph.output if value.name.removeprefix("e/") in IMAGE_VECTORS]
    graph = helper.make_graph(
        [*encode.graph.node, *hoisted, loop, *rank.graph.node],
        "fastcap",
        list(encode.graph.input),
        [*rank.graph.output, *vectors],
        initializer=[*encode.graph.initializer, *refine.graph.initializer, *rank.graph.initializer, *constants],
    )
    public = {f"e/{name}": name for name in (*MODEL.inputs, *IMAGE_VECTORS)}
    rename(graph, public | {f"k/{name}": name for name in MODEL.outputs})
    merge_equal(graph)
    write_graph(path, as_model(graph, encode, refine, rank), noted=True)


def assemble_steps(parts: Path, whole: Path) -> None:
    """Write `encode.onnx` and `step.onnx` beside the whole graph that `assemble_whole` made of the same parts.

    The first turns a picture into its vector and `state0`, `state1`, ..., the second reads the state and one token a
    row. All that depends on the picture alone is in the first, so that the weights of its experts are gathered once.
    Both read their weights out of the file of the whole graph, where the same bytes stand.
    """
    encode, step = load_prefixed(parts / ENCODE.file, "e/"), load_prefixed(parts / STEP.file, "s/")
    rename(
        encode.graph,
        {f"e/{value.name.removeprefix('s/')}": value.name for value in step.graph.input[len(STEP.inputs) :]},
    )
    graph = helper.make_graph(
        [*encode.graph.node, *step.graph.node],
        "fastcap",
        [encode.graph.input[0], *step.graph.input[: len(STEP.inputs)]],
        list(step.graph.output),
        initializer=[*encode.graph.initializer, *step.graph.initializer],
        value_info=list(encode.graph.output),
    )
    public = {f"e/{name}": name for name in (*ENCODE.inputs, *IMAGE_VECTORS)}
    rename(graph, public | {f"s/{name}": name for name in (*STEP.inputs, *STEP.outputs)})
    merge_equal(graph)
    of_picture = {name for node in hoist(graph, [*ENCODE.inputs])[1] for name in node.output}
    fixed, repeated = hoist(graph, [*STEP.inputs])
    of_picture.intersection_update(name for node in fixed for name in node.output)
    crossing = dict.fromkeys(name for node in repeated for name in node.input if name in of_picture)
    state = {name: f"{STATE}{index}" for index, name in enumerate(crossing)}
    rename(graph, state)
    joined = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(as_model(graph, encode, step)))
    for name, inputs, outputs in (
        (ENCODE.file, [*ENCODE.inputs], [*IMAGE_VECTORS, *state.values()]),
        (STEP.file, [*STEP.inputs, *state.values()], [*STEP.outputs]),
    ):
        write_graph(whole.with_name(name), joined.extract_model(inputs, outputs), whole)
