"""How each family of models is exported: a new family is one more entry of `EXPORTS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fastcap.config import ModelConfig
from fastcap.export.autoregressive import assemble_autoregressive, export_autoregressive
from fastcap.export.compare import (
    Agreement,
    compare_parallel,
    compare_questions,
    compare_steps,
    open_graph,
    open_stepper,
)
from fastcap.export.parallel import assemble_parallel, export_parallel
from fastcap.export.prefix import assemble_prefix, export_prefix
from fastcap.model import CaptionModel
from fastcap.runtime.contract import MODEL

__all__ = ["EXPORTS", "Export"]

COMPARED, COMPARED_STEPS = 48, 20  # pictures that graphs and model decode in parallel, and from left to right
ROWS, TOKENS = 3, 12  # of a search whose time is measured: the default beams, and a caption's usual length

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Export:
    """What differs between families when a model becomes the graphs of a model directory.

    Attributes:
        parts: (model, folder): write the fp32 ONNX parts into the folder.
        assemble: (parts, folder, config): join the parts, or quantised copies of them, to graphs in a new folder.
        compare: (model, folder, pictures): the graphs against the model, in every way of decoding; pictures
            (N, H, W, 3) uint8.
        feeds: (config): inputs of the part that reads pictures beside `images`, at their defaults.
        timed: (folder, picture, feeds): the action whose time is that of the network; picture (1, H, W, 3) uint8.
    """

    parts: Callable[[CaptionModel, Path], None]
    assemble: Callable[[Path, Path, ModelConfig], None]
    compare: Callable[[CaptionModel, Path, np.ndarray], list[Agreement]]
    feeds: Callable[[ModelConfig], Feeds]
    timed: Callable[[Path, np.ndarray, Feeds], Callable[[], object]]


def compare_both(model: CaptionModel, folder: Path, pictures: np.ndarray) -> list[Agreement]:
    whole = open_graph(folder / MODEL.file)
    return [compare_parallel(model, whole, pictures[:COMPARED]), *compare_searches(model, folder, pictures)]


def compare_searches(model: CaptionModel, folder: Path, pictures: np.ndarray) -> list[Agreement]:
    stepper = open_stepper(folder, model.config.kind)
    searched = compare_steps(model, stepper, pictures[:COMPARED_STEPS])
    if not getattr(model.config.decoder, "question_tokens", 0):
        return [searched]
    return [searched, compare_questions(model, stepper, pictures[:COMPARED_STEPS])]


def parallel_feeds(config: ModelConfig) -> Feeds:
    return {
        "length_range": np.array([config.generation.min_length, config.max_length]),
        "candidates": np.array([config.generation.candidates]),
        "penalties": np.zeros(config.vocab_size, np.float32),
    }


def whole_graph(folder: Path, picture: np.ndarray, feeds: Feeds) -> Callable[[], object]:
    session = open_graph(folder / MODEL.file)
    return lambda: session.run(None, {"images": picture, **feeds})


def steps(folder: Path, picture: np.ndarray, feeds: Feeds, kind: str = "autoregressive") -> Callable[[], object]:
    """Encode the picture and read a fixed number of tokens, whatever a search would choose."""
    stepper, rows = open_stepper(folder, kind), np.arange(ROWS)

    def decode() -> None:
        state = stepper.start(stepper.encode(picture), ROWS)
        for _ in range(TOKENS):
            _, state = stepper.step(rows, state, rows)

    return decode


EXPORTS = {
    "parallel": Export(export_parallel, assemble_parallel, compare_both, parallel_feeds, whole_graph),
    "autoregressive": Export(export_autoregressive, assemble_autoregressive, compare_searches, lambda _: {}, steps),
    "prefix": Export(export_prefix, assemble_prefix, compare_searches, lambda _: {}, partial(steps, kind="prefix")),
}
"""By the kind of model, `ModelConfig.kind`."""
