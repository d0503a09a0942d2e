"""Left-to-right decoding with a model directory: encode a picture once, then read captions a token at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastcap.errors import ModelFileError
from fastcap.runtime.bundle import running
from fastcap.runtime.contract import ENCODE, IMAGE_VECTORS, STATE, STEP

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from fastcap.runtime.bundle import Bundle

__all__ = ["OnnxStepper"]

_State: TypeAlias = "tuple[dict[str, np.ndarray], np.ndarray]"  # the picture's tensors by name, and the cache


class OnnxStepper:
    """A `fastcap.generation.autoregressive.Stepper` over `encode.onnx` and `step.onnx`; R rows, all of one picture.

    An int8 graph takes the scale of its activations from all rows at once, so that the hypotheses of a beam move one
    another's probabilities a little.
    """

    def __init__(self, folder: Path, encoder: InferenceSession, decoder: InferenceSession) -> None:
        """Raises ModelFileError if the two graphs do not fit each other."""
        self.folder = folder
        self._encoder, self._decoder = encoder, decoder
        given = {node.name: node.type for node in encoder.get_outputs()}
        read = {node.name: node.type for node in decoder.get_inputs()}
        self._outputs = list(given)
        self._state = [name for name in read if name.startswith(STATE)]
        if read != {name: tensor.type for name, tensor in STEP.inputs.items()} | {
            name: kind for name, kind in given.items() if name not in IMAGE_VECTORS
        }:
            raise ModelFileError(
                f"{folder / STEP.file}: inputs are {read}; expected {', '.join(STEP.inputs)} and the state that "
                f"{ENCODE.file} gives: {given}"
            )
        self._cache = next(node.shape for node in decoder.get_inputs() if node.name == "cache")
        if len(self._cache) != 5 or not all(type(self._cache[axis]) is int for axis in (0, 1, 4)):
            raise ModelFileError(f"{folder / STEP.file}: cache has shape {self._cache}; expected [S, N, 'R', 'T', D]")

    @classmethod
    def open(cls, bundle: Bundle, threads: int = 1) -> OnnxStepper:
        """Load the two graphs of a model directory; raises as `Bundle.open_graph`, and as the constructor."""
        return cls(bundle.folder, *(bundle.open_graph(graph, threads) for graph in (ENCODE, STEP)))

    def encode(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """picture (1,H,W,3) uint8 -> all outputs of the graph by name: the picture's state, and `image_vectors` (1,A)
        if the graph gives them."""
        with running(self.folder / ENCODE.file):
            return dict(zip(self._outputs, self._encoder.run(self._outputs, {"images": picture}), strict=True))

    def start(self, image_state: dict[str, np.ndarray], rows_per_image: int, prompt_ids: Sequence[int] = ()) -> _State:
        """The state of rows that have read the prompt.

        Its cache has one row, which every row of the first `step` continues. `step.onnx` reads one token per run, so a
        prompt of T tokens takes T runs.
        """
        layers, heads, _, _, width = self._cache
        cache = np.zeros((layers, heads, 1, 0, width), np.float32)
        state = {name: image_state[name] for name in self._state}, cache
        for token in prompt_ids:
            _, state = self.step(np.array([token]), state, np.array([0]))
        return state

    def step(self, token_ids: np.ndarray, state: _State, parents: np.ndarray) -> tuple[np.ndarray, _State]:
        """Log-probabilities (R, V) after one more token of each row, and the new state."""
        tensors, cache = state
        path = self.folder / STEP.file
        if cache.shape[2] == 1:  # the past of every row
            parents = np.zeros_like(parents)
        feed: dict[str, Any] = {"token_ids": token_ids, "parents": parents, "cache": cache, **tensors}
        with running(path):
            log_p, cache = self._decoder.run(list(STEP.outputs), feed)
        if len(log_p) != len(token_ids) or np.isnan(log_p).any():
            raise ModelFileError(f"{path}: log_p is {log_p.shape} or not a number; expected R={len(token_ids)} rows")
        return log_p, (tensors, cache)
