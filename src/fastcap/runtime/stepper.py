"""Left-to-right decoding with a model directory: encode a picture once, then read captions a token at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastcap.errors import ModelFileError
from fastcap.runtime.bundle import running
from fastcap.runtime.contract import GRAPHS, IMAGE_VECTORS, KINDS, STEP

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from fastcap.runtime.bundle import Bundle

__all__ = ["OnnxStepper", "Opened"]

# the picture's tensors by name, the cache, and how many columns of it are padding in each row
_State: TypeAlias = "tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]"

FEW = 4
"""Prompts up to which their common beginning is not worth a run of its own, which takes as long as eight tokens."""


class OnnxStepper:
    """A `fastcap.generation.autoregressive.Stepper` over the graphs of left-to-right decoding (`Kind.left_to_right`);
    R rows, all of one picture.

    An int8 graph takes the scale of its activations from all rows at once, so that the hypotheses of a beam move one
    another's probabilities a little.
    """

    def __init__(self, folder: Path, sessions: Mapping[str, InferenceSession]) -> None:
        """`sessions`: by file, in the order of `Kind.left_to_right`. Raises ModelFileError if two graphs do not fit
        each other."""
        *encoders, (step, self._decoder) = sessions.items()
        self._encoders = [(folder / file, session) for file, session in encoders]
        self._path = folder / step
        given = {name: tensor.type for name, tensor in GRAPHS[encoders[0][0]].inputs.items()}
        for path, session in self._encoders:
            self._check(path, session, given, encoders)
            given = {node.name: node.type for node in session.get_outputs() if node.name not in IMAGE_VECTORS}
        read = {name: tensor.type for name, tensor in GRAPHS[step].inputs.items()} | given
        self._check(self._path, self._decoder, read, encoders)
        self._reads_many = "padding" in read
        self._state = list(given)
        self._cache = next(node.shape for node in self._decoder.get_inputs() if node.name == "cache")
        if len(self._cache) != 5 or not all(type(self._cache[axis]) is int for axis in (0, 1, 4)):
            raise ModelFileError(f"{self._path}: cache has shape {self._cache}; expected [S, N, 'R', 'T', D]")

    @staticmethod
    def _check(path: Path, session: InferenceSession, expected: Mapping[str, str], before: Sequence[Any]) -> None:
        read = {node.name: node.type for node in session.get_inputs()}
        if read != expected:
            files = " and ".join(file for file, _ in before)
            raise ModelFileError(f"{path}: inputs are {read}; expected what it needs of {files}: {dict(expected)}")

    @classmethod
    def open(cls, bundle: Bundle, threads: int = 1) -> OnnxStepper:
        """Load these graphs of a model directory; raises as `Bundle.open_graph`, and as the constructor."""
        files = KINDS[bundle.kind].left_to_right
        sessions: dict[str, Any] = {file: bundle.open_graph(GRAPHS[file], threads) for file in files}
        if bundle.exits:
            from fastcap.runtime.scales import Scales

            sessions[files[0]] = Scales.open(bundle, sessions[files[0]], threads)
        return cls(bundle.folder, sessions)

    @property
    def exits_taken(self) -> list[int] | None:
        """How many pictures left at each exit so far; None without exits."""
        taken = getattr(self._encoders[0][1], "taken", None)
        return None if taken is None else list(taken)

    def encode(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """picture (1,H,W,3) uint8 -> the picture's state by name, and `image_vectors` (1,A) if a graph gives them."""
        vectors: dict[str, np.ndarray] = {}
        values = {"images": picture}
        for path, session in self._encoders:
            names = [node.name for node in session.get_outputs()]
            with running(path):
                values = dict(zip(names, session.run(names, values), strict=True))
            vectors |= {name: values.pop(name) for name in IMAGE_VECTORS if name in values}
        return values | vectors

    def start(self, image_state: dict[str, np.ndarray], rows_per_image: int, prompt_ids: Sequence[int] = ()) -> _State:
        """The state of rows that have read the prompt.

        Its cache has one row, which every row of the first `step` continues. A decoder of ours reads one token per run,
        so a prompt of T tokens takes T runs; a language model reads it in one go.
        """
        state = self._nothing_read(image_state, 1)
        if len(prompt_ids) and self._reads_many:
            return self.read(image_state, [prompt_ids])[1]
        for token in prompt_ids:
            _, state = self.step(np.array([token]), state, np.array([0]))
        return state

    def read(
        self, image_state: dict[str, np.ndarray], prompts: Sequence[Sequence[int]], opened: _State | None = None
    ) -> tuple[np.ndarray, _State]:
        """Let a language model read one prompt a row, each of one token or more, in one go.

        Args:
            opened: the state after tokens with which all prompts begin, as `start` gives it; they are not read again.
                Every prompt has more tokens than these.

        Returns:
            Log-probabilities (R, V) of the token after each prompt, and the state of these rows.
        """
        longest = max(map(len, prompts))
        padding = np.array([longest - len(prompt) for prompt in prompts])
        ids = np.array([[0] * short + list(prompt) for short, prompt in zip(padding, prompts, strict=True)])
        tensors, cache, _ = self._nothing_read(image_state, len(prompts))
        if opened is not None:
            cache = padded_rows(opened[1], padding)
        return self._run(ids[:, cache.shape[3] :], np.arange(len(prompts)), (tensors, cache, padding))

    def step(self, token_ids: np.ndarray, state: _State, parents: np.ndarray) -> tuple[np.ndarray, _State]:
        """Log-probabilities (R, V) after one more token of each row, and the new state."""
        tensors, cache, padding = state
        if cache.shape[2] == 1:  # the past of every row
            parents = np.zeros_like(parents)
        ids = token_ids[:, None] if self._reads_many else token_ids
        return self._run(ids, parents, (tensors, cache, padding[parents]))

    def _nothing_read(self, image_state: dict[str, np.ndarray], n_rows: int) -> _State:
        layers, heads, _, _, width = self._cache
        cache = np.zeros((layers, heads, n_rows, 0, width), np.float32)
        return {name: image_state[name] for name in self._state}, cache, np.zeros(n_rows, np.int64)

    def _run(self, token_ids: np.ndarray, parents: np.ndarray, state: _State) -> tuple[np.ndarray, _State]:
        """Run the decoder; `state` has the padding of the rows that are made, not of their parents."""
        tensors, cache, padding = state
        feed: dict[str, Any] = {"token_ids": token_ids, "parents": parents, "cache": cache, **tensors}
        if self._reads_many:
            feed["padding"] = padding
        with running(self._path):
            log_p, cache = self._decoder.run(list(STEP.outputs), feed)
        if len(log_p) != len(token_ids) or np.isnan(log_p).any():
            raise ModelFileError(
                f"{self._path}: log_p is {log_p.shape} or not a number; expected R={len(token_ids)} rows"
            )
        return log_p, (tensors, cache, padding)


class Opened:
    """A `fastcap.runtime.answering.Reader` of one picture that reads but once what all prompts begin with.

    What a language model makes of a token does not depend on those after it, so that the first prompt's own reading
    leaves what the next ones need. Threads may share it: two that come first read the same.
    """

    def __init__(self, stepper: OnnxStepper, opening: Sequence[int]) -> None:
        """`opening`: the tokens that every prompt begins with; each has more than these."""
        self._stepper, self._opening = stepper, opening
        self._opened: _State | None = None

    def read(self, image_state: dict[str, np.ndarray], prompts: Sequence[Sequence[int]]) -> tuple[np.ndarray, _State]:
        """As `OnnxStepper.read`."""
        if self._opened is None and len(prompts) > FEW:
            self._opened = self._stepper.start(image_state, 1, self._opening)
        log_p, state = self._stepper.read(image_state, prompts, self._opened)
        if self._opened is None:
            tensors, cache, padding = state
            kept = cache[:, :, :1, padding[0] : padding[0] + len(self._opening)].copy()
            self._opened = tensors, kept, np.zeros(1, np.int64)
        return log_p, state

    def step(self, token_ids: np.ndarray, state: _State, parents: np.ndarray) -> tuple[np.ndarray, _State]:
        """As `OnnxStepper.step`."""
        return self._stepper.step(token_ids, state, parents)


def padded_rows(cache: np.ndarray, padding: np.ndarray) -> np.ndarray:
    """A cache of one row (S, N, 1, T, D) for rows that have these numbers of padding before it (R,): (S, N, R, T, D).

    What of it no longer fits is read again by these rows, since all read equally many new tokens: shorter prompts end
    where longer ones do.
    """
    layers, heads, _, length, width = cache.shape
    rows = np.zeros((layers, heads, len(padding), length, width), cache.dtype)
    for row, short in enumerate(padding):
        rows[:, :, row, short:] = cache[:, :, 0, : max(0, length - short)]
    return rows
