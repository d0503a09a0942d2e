"""The causal reading of a model directory: one picture's captions, from left to right, a token at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap.errors import ModelFileError
from fastcap.runtime.bundle import running

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from fastcap.runtime.bundle import Bundle

__all__ = ["OnnxStepper"]

_STEP = {"token_ids": "tensor(int64)", "parents": "tensor(int64)", "cache": "tensor(float)"}
_STEPPED = {"log_p": "tensor(float)", "new_cache": "tensor(float)"}
_VECTORS = "image_vectors"  # which the encoder of an autoregressive model says beside what decoding needs


class OnnxStepper:
    """A `fastcap.generation.autoregressive.Stepper` over `encode.onnx` and `step.onnx`; R rows, all of one picture.

    An int8 graph takes the scale of its activations from all rows at once, so that the hypotheses of a beam move one
    another's probabilities a little.
    """

    def __init__(self, folder: Path, encoder: InferenceSession, decoder: InferenceSession) -> None:
        """Raises ModelFileError where the two graphs do not fit each other."""
        self.folder = folder
        self._encoder, self._decoder = encoder, decoder
        self._state = [node.name for node in encoder.get_outputs() if node.name != _VECTORS]
        images = {node.name: node.type for node in encoder.get_inputs()}
        if images != {"images": "tensor(uint8)"}:
            raise ModelFileError(f"{folder / 'encode.onnx'}: inputs are {images}; expected images, tensor(uint8)")
        inputs = {node.name: node for node in decoder.get_inputs()}
        found = {name: node.type for name, node in inputs.items()}
        expected = _STEP | {node.name: node.type for node in encoder.get_outputs() if node.name != _VECTORS}
        outputs = {node.name: node.type for node in decoder.get_outputs()}
        if found != expected or outputs != _STEPPED:
            raise ModelFileError(
                f"{folder / 'step.onnx'}: inputs are {found}, outputs {outputs}; expected {expected} and {_STEPPED}"
            )
        self._cache = inputs["cache"].shape  # keys and values of all layers, heads, rows, tokens, width of a head
        if len(self._cache) != 5 or not all(type(self._cache[axis]) is int for axis in (0, 1, 4)):
            raise ModelFileError(f"{folder / 'step.onnx'}: cache has shape {self._cache}; expected [S, H, 'R', 'T', W]")

    @classmethod
    def open(cls, bundle: Bundle, threads: int = 1) -> OnnxStepper:
        """Load the two graphs; raises ModelFileError where they are no valid graphs, or not of these pictures or this
        vocabulary."""
        stepper = cls(bundle.folder, *(bundle.open_graph(name, threads) for name in ("encode.onnx", "step.onnx")))
        bundle.check_pictures("encode.onnx", stepper._encoder)
        size = stepper._decoder.get_outputs()[0].shape[-1]
        if size != bundle.vocabulary.size:
            raise ModelFileError(
                f"{bundle.folder / 'step.onnx'}: log_p is of {size} tokens; model.json states {bundle.vocabulary.size}"
            )
        return stepper

    def encode(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """picture (1,H,W,3) uint8 -> all that the decoder needs of it, by name."""
        with running(self.folder / "encode.onnx"):
            return dict(zip(self._state, self._encoder.run(self._state, {"images": picture}), strict=True))

    def embed(self, picture: np.ndarray) -> np.ndarray:
        """picture (1,H,W,3) uint8 -> its unit vector (1,A) beside those of texts."""
        with running(self.folder / "encode.onnx"):
            (vectors,) = self._encoder.run([_VECTORS], {"images": picture})
        return vectors

    def start(self, image_state: dict[str, np.ndarray], rows_per_image: int) -> Any:
        """The state of rows that have read nothing; how many there are, the first tokens tell."""
        return image_state, None

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        """Log-probabilities (R, V) after one more token a row, and the new state."""
        image_state, cache = state
        path = self.folder / "step.onnx"
        if cache is None:
            layers, heads, _, _, width = self._cache
            cache = np.zeros((layers, heads, len(token_ids), 0, width), np.float32)
        feed = {"token_ids": token_ids, "parents": parents, "cache": cache, **image_state}
        with running(path):
            log_p, cache = self._decoder.run(list(_STEPPED), feed)
        if len(log_p) != len(token_ids) or np.isnan(log_p).any():
            raise ModelFileError(f"{path}: log_p is {log_p.shape} or not a number; expected R={len(token_ids)} rows")
        return log_p, (image_state, cache)
