"""Left-to-right decoding, greedy and beam search, in numpy over a two-method protocol.

PyTorch and ONNX decoders serve it alike: whatever can `start` on images and `step` by one token.
Letters: B images, k hypotheses an image, R = B k rows, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

__all__ = ["Hypothesis", "Stepper", "beam_search", "greedy_search"]


class Stepper(Protocol):
    """An autoregressive decoder. `start` gives the state of R = B k rows that have read nothing yet; `step` reads
    one token a row and returns log-probabilities (R, V) and the new state. Row r continues the past of row
    `parents[r]` of the state: that is how beam search reorders."""

    def start(self, image_state: Any, rows_per_image: int) -> Any: ...

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]: ...


class Hypothesis(NamedTuple):
    """A finished caption: its tokens without marks, and its log-probability divided by length ** penalty."""

    token_ids: list[int]
    score: float


def beam_search(
    stepper: Stepper,
    image_state: Any,
    n_images: int,
    *,
    beams: int,
    max_length: int,
    bos_id: int,
    eos_id: int,
    forbidden: tuple[int, ...] = (),
    min_length: int = 1,
    length_penalty: float = 0.7,
) -> list[list[Hypothesis]]:
    """The `beams` best captions of each image, best first.

    Args:
        beams: hypotheses kept, 1 or more; 1 is greedy search.
        min_length, max_length: tokens a caption may have, marks not counted.
        forbidden: token ids never produced; the token just produced is never repeated either.
        length_penalty: exponent of the length that divides the log-probability; 0.7 as in Wu et al. (2016).

    Raises:
        ValueError: beams < 1, or a range of lengths that is empty.
    """
    if beams < 1:
        raise ValueError(f"beams is {beams}; allowed: 1 or more")
    if not 0 <= min_length <= max_length:
        raise ValueError(f"lengths {min_length}..{max_length} are an empty range")
    state = stepper.start(image_state, beams)
    rows = np.arange(n_images * beams)
    first_row = np.arange(n_images)[:, None] * beams
    scores = np.full((n_images, beams), -np.inf)
    scores[:, 0] = 0.0  # all rows are equal at first: only one of them may branch
    tokens = np.full((n_images, beams, 0), bos_id)
    last = np.full(n_images * beams, bos_id)
    finished = np.zeros((n_images, beams), dtype=bool)
    parents = rows
    for position in range(max_length + 1):
        log_p, state = stepper.step(last, state, parents)
        log_p = log_p.astype(np.float64)
        log_p[:, list(forbidden)] = -np.inf
        log_p[rows, last] = -np.inf
        if position < min_length:
            log_p[:, eos_id] = -np.inf
        if position == max_length:
            log_p[:, np.arange(log_p.shape[1]) != eos_id] = -np.inf
        done = finished.reshape(-1)
        log_p[done] = -np.inf
        log_p[done, eos_id] = 0.0  # a finished hypothesis goes on as itself
        totals = (scores.reshape(-1, 1) + log_p).reshape(n_images, -1)
        best = np.argpartition(-totals, min(beams, totals.shape[1] - 1), axis=1)[:, :beams]
        order = np.argsort(-np.take_along_axis(totals, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        scores = np.take_along_axis(totals, best, axis=1)
        beam, token = np.divmod(best, log_p.shape[1])
        tokens = np.concatenate([np.take_along_axis(tokens, beam[..., None], axis=1), token[..., None]], axis=2)
        finished = np.take_along_axis(finished, beam, axis=1) | (token == eos_id)
        parents, last = (first_row + beam).reshape(-1), token.reshape(-1)
        if finished.all():
            break
    results = []
    for image in range(n_images):
        hypotheses = []
        for row, score in zip(tokens[image].tolist(), scores[image].tolist(), strict=True):
            if np.isfinite(score):
                caption = row[: row.index(eos_id)] if eos_id in row else row
                hypotheses.append(Hypothesis(caption, score / max(1, len(caption)) ** length_penalty))
        results.append(sorted(hypotheses, key=lambda hypothesis: -hypothesis.score))
    return results


def greedy_search(stepper: Stepper, image_state: Any, n_images: int, **settings: Any) -> list[Hypothesis]:
    """The most likely token at every step: beam search with one beam, and its settings."""
    return [found[0] for found in beam_search(stepper, image_state, n_images, beams=1, **settings)]
