"""How far exported graphs are from the PyTorch model that they came from, on real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
import torch

from fastcap.errors import FastcapError
from fastcap.generation.autoregressive import Hypothesis, Stepper, beam_search
from fastcap.model import CaptionModel, Captions
from fastcap.runtime.contract import KINDS, MODEL, scale_file
from fastcap.runtime.scales import Scales
from fastcap.runtime.stepper import OnnxStepper

__all__ = ["Agreement", "compare_parallel", "compare_questions", "compare_steps", "open_graph", "open_stepper"]


@dataclass(frozen=True)
class Agreement:
    """How far graphs are from their model, over `images` pictures.

    Attributes:
        decode: the way of decoding that was compared: "parallel", "beam-search" or "questions".
        equal_captions: share of pictures with the same best caption, 0 to 1.
        quantity, difference: what was compared as a number, and the largest absolute difference of it: confidences of
            equal captions, or the log-probabilities of all tokens on the way to the model's own caption.
    """

    decode: str
    images: int
    equal_captions: float
    quantity: str
    difference: float


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on one thread, as the runtime opens it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors; what ONNX Runtime could not optimise is no problem
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def open_stepper(folder: Path, kind: str = "autoregressive") -> OnnxStepper:
    """The graphs of a folder that decode from left to right; `kind`: of the model, parallel is as autoregressive."""
    sessions: dict[str, Any] = {name: open_graph(folder / name) for name in KINDS[kind].left_to_right}
    further = sorted(folder.glob(scale_file(1).replace("1", "*")))
    if further:  # whose exits nothing is sure enough for
        first = next(iter(sessions))
        sessions[first] = Scales([sessions[first], *map(open_graph, further)], [2.0] * len(further))
    return OnnxStepper(folder, sessions)


@torch.no_grad()
def compare_parallel(
    model: CaptionModel, graph: onnxruntime.InferenceSession, images: np.ndarray, candidates: int = 3
) -> Agreement:
    """Decode pictures (N, H, W, 3) uint8 in parallel with both.

    Raises:
        FastcapError: there are no images.
    """
    check_any(images)
    low, high = model.config.generation.min_length, model.config.max_length
    limits, count = np.array([low, high]), np.array([min(candidates, high - low + 1)])
    expected: Captions = model(*map(torch.from_numpy, (images, limits, count)))
    feeds = {"length_range": limits, "candidates": count, "penalties": np.zeros(model.config.vocab_size, np.float32)}
    equal, difference = 0, 0.0
    for index, best in enumerate(expected.best()):
        exported = Captions(
            *map(torch.from_numpy, graph.run(list(MODEL.outputs), {"images": images[index, None], **feeds}))
        )
        if exported.best() == [best]:
            equal += 1
            gap = abs(float(expected.confidences[index, 0]) - float(exported.confidences[0, 0]))
            difference = max(difference, gap)
    return Agreement("parallel", len(images), equal / len(images), "confidences", difference)


class TwoSteppers:
    """Two steppers as one: follows the first and notes how far the second is from it."""

    def __init__(self, first: Stepper, second: Stepper) -> None:
        self.first, self.second, self.difference = first, second, 0.0

    def start(self, image_state: Any, rows_per_image: int, prompt_ids: Sequence[int] = ()) -> Any:
        first, second = image_state
        start = rows_per_image, prompt_ids
        return self.first.start(first, *start), self.second.start(second, *start)

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        expected, first = self.first.step(token_ids, state[0], parents)
        log_p, second = self.second.step(token_ids, state[1], parents)
        self.difference = max(self.difference, float(np.abs(expected - log_p).max()))
        return expected, (first, second)


class PictureStepper(Stepper, Protocol):
    """A stepper that gives the state of a picture (1, H, W, 3) uint8."""

    def encode(self, picture: np.ndarray) -> Any: ...


@torch.no_grad()
def compare_steps(model: CaptionModel, stepper: PictureStepper, images: np.ndarray, beams: int = 3) -> Agreement:
    """Decode pictures (N, H, W, 3) uint8 from left to right with both, by beam search.

    Raises:
        FastcapError: there are no images.
    """
    check_any(images)

    def search(stepper: Stepper, state: Any) -> list[list[Hypothesis]]:
        return beam_search(stepper, state, 1, beams=beams, **model.limits())

    both, equal = TwoSteppers(model.stepper(), stepper), 0
    for image in images:
        state = stepper.encode(image[None])
        prepared = model.decoder.prepare(model.encode(torch.from_numpy(image[None])))
        (expected,), (exported,) = search(both, (prepared, state)), search(stepper, state)
        equal += expected[0].token_ids == exported[0].token_ids
    return Agreement("beam-search", len(images), equal / len(images), "log-probabilities", both.difference)


@torch.no_grad()
def compare_questions(model: CaptionModel, stepper: OnnxStepper, images: np.ndarray) -> Agreement:
    """Let both read two drawn questions of different lengths side by side, about each picture (N, H, W, 3) uint8.

    Raises:
        FastcapError: there are no images.
    """
    check_any(images)
    vocabulary, rng = model.vocabulary, np.random.default_rng(0)
    words = [token for token in range(vocabulary.size) if token not in vocabulary.barred]
    prompts = [[vocabulary.bos_id, *map(int, rng.choice(words, size))] for size in (9, 4)]
    reader: Any = model.stepper()
    equal, difference = 0, 0.0
    for image in images:
        expected, _ = reader.read(model.decoder.prepare(model.encode(torch.from_numpy(image[None]))), prompts)
        exported, _ = stepper.read(stepper.encode(image[None]), prompts)
        equal += bool((expected.argmax(axis=1) == exported.argmax(axis=1)).all())
        difference = max(difference, float(np.abs(expected - exported).max()))
    return Agreement("questions", len(images), equal / len(images), "log-probabilities", difference)


def check_any(images: np.ndarray) -> None:
    if not len(images):
        raise FastcapError("comparing graphs with their model needs at least 1 image, got 0")
