"""The causal reading of a captioning model, and its text encoder, as ONNX graphs beside the whole one, whose weights
they read.

`encode.onnx` turns uint8 pixels of one picture into all that decoding needs of it; `step.onnx` reads one more token of
each of R captions; `fastcap.runtime.stepper` runs them. `text.onnx` embeds one text; `fastcap.runtime.scorer` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.compose
import onnx.utils
import torch
from onnx.external_data_helper import set_external_data

from fastcap.errors import FastcapError
from fastcap.export.parallel import STEP, STEPPED, Parts, as_model, hoist, merge_equal, rename, shorten_names
from fastcap.export.weights import note_weights
from fastcap.generation.autoregressive import Stepper, beam_search
from fastcap.model import CaptionModel, TorchStepper
from fastcap.runtime.stepper import OnnxStepper
from fastcap.vocabulary import BOS, EOS, MASK, PAD, UNK

if TYPE_CHECKING:
    from fastcap.export.autoregressive import AutoregressiveParts

__all__ = ["StepAgreement", "assemble_causal", "assemble_text", "compare_steps"]

SHARED = 2**10  # bytes of a tensor that is worth looking up in another file


def assemble_causal(parts: Parts, whole: Path) -> None:
    """Write `encode.onnx` and `step.onnx` beside the whole graph that `assemble` made of the same parts.

    The first turns a picture into `state0`, `state1`, ..., the second reads them and one token a row. All that depends
    on the picture alone is in the first, so that the weights of its experts are gathered once. The weights of both are
    read out of the file of the whole graph, where the same bytes stand.
    """
    encode, step = (
        onnx.compose.add_prefix(onnx.load(str(part)), prefix)
        for part, prefix in ((parts.encode, "e/"), (parts.step, "s/"))
    )
    rename(encode.graph, {f"e/{value.name.removeprefix('s/')}": value.name for value in step.graph.input[len(STEP) :]})
    graph = onnx.helper.make_graph(
        [*encode.graph.node, *step.graph.node],
        "fastcap",
        [encode.graph.input[0], *step.graph.input[: len(STEP)]],
        list(step.graph.output),
        initializer=[*encode.graph.initializer, *step.graph.initializer],
        value_info=list(encode.graph.output),
    )
    rename(graph, {"e/images": "images"} | {f"s/{name}": name for name in (*STEP, *STEPPED)})
    merge_equal(graph)
    of_picture = {name for node in hoist(graph, ["images"])[1] for name in node.output}
    fixed, repeated = hoist(graph, STEP)
    of_picture.intersection_update(name for node in fixed for name in node.output)
    crossing = dict.fromkeys(name for node in repeated for name in node.input if name in of_picture)
    state = {name: f"state{index}" for index, name in enumerate(crossing)}
    rename(graph, state)
    joined = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(as_model(graph, encode, step)))
    for name, inputs, outputs in (
        ("encode.onnx", ["images"], [*state.values()]),
        ("step.onnx", [*STEP, *state.values()], [*STEPPED]),
    ):
        write_graph(whole.with_name(name), joined.extract_model(inputs, outputs), whole)


def assemble_text(parts: Parts | AutoregressiveParts, whole: Path) -> None:
    """Write `text.onnx` beside the graph that holds the table of words and was made of the same parts: token ids (1, T)
    of a text to a unit vector (1, A). The table is read out of that graph's file."""
    write_graph(whole.with_name("text.onnx"), onnx.load(str(parts.text)), whole, noted=True)


def write_graph(path: Path, part: onnx.ModelProto, whole: Path | None = None, noted: bool = False) -> None:
    """Write a graph, which reads its weights out of the file `whole` beside it where that holds them; `noted`: with
    what `note_weights` notes, for the parameters that no other graph has."""
    model = as_model(part.graph, part)
    renamed = shorten_names(model)
    if noted:
        note_weights(model, renamed)
    onnx.checker.check_model(model)
    if whole is not None:
        share_file(model, whole)
    onnx.save(model, str(path))


def share_file(model: onnx.ModelProto, other: Path) -> None:
    """Let a graph read its weights out of the file of another one in the same folder, where that holds the same bytes.

    ONNX's external data may be any range of any file, hence also of one that is a graph itself.
    """
    content = other.read_bytes()
    for tensor in model.graph.initializer:
        length = len(tensor.raw_data)
        place = content.find(tensor.raw_data) if length >= SHARED else -1
        if place >= 0:
            set_external_data(tensor, other.name, place, length)
            tensor.ClearField("raw_data")


@dataclass(frozen=True)
class StepAgreement:
    """How far the causal graphs are from the model they came from, over `images` pictures: the share of equal captions
    of beam search, and the largest difference of a log-probability on the way to the model's own."""

    images: int
    equal_captions: float
    log_p_difference: float


class Both:
    """Two steppers as one: goes where the first leads, and notes how far the second is from it."""

    def __init__(self, first: Stepper, second: Stepper) -> None:
        self.first, self.second, self.difference = first, second, 0.0

    def start(self, image_state: Any, rows_per_image: int) -> Any:
        first, second = image_state
        return self.first.start(first, rows_per_image), self.second.start(second, rows_per_image)

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        expected, first = self.first.step(token_ids, state[0], parents)
        found, second = self.second.step(token_ids, state[1], parents)
        self.difference = max(self.difference, float(np.abs(expected - found).max()))
        return expected, (first, second)


@torch.no_grad()
def compare_steps(model: CaptionModel, stepper: OnnxStepper, images: np.ndarray, beams: int = 3) -> StepAgreement:
    """Decode real pictures (N, H, W, 3) uint8 with both.

    Raises:
        FastcapError: there are no images.
    """
    if not len(images):
        raise FastcapError("comparing graphs with their model needs at least 1 image, got 0")
    search = partial(
        beam_search,
        n_images=1,
        beams=beams,
        min_length=model.config.generation.min_length,
        max_length=model.config.max_length,
        bos_id=BOS,
        eos_id=EOS,
        forbidden=(PAD, BOS, MASK, UNK),
    )
    both, equal = Both(TorchStepper(model.decoder), stepper), 0
    for image in images:
        state = stepper.encode(image[None])
        prepared = model.decoder.prepare(model.encode(torch.from_numpy(image[None])))
        (ours,), (theirs,) = search(both, (prepared, state)), search(stepper, state)
        equal += ours[0].token_ids == theirs[0].token_ids
    return StepAgreement(len(images), equal / len(images), both.difference)
