"""Left-to-right decoding, greedy and beam search, in numpy over a two-method protocol.

PyTorch and ONNX decoders serve it alike: whatever can `start` on images and `step` by one token.
Letters: B images, k hypotheses an image, R = B k rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """A finished caption: its tokens without marks, its log-probability divided by length ** penalty, and of what that
    is the sum: the log-probability of each token, and last of the end mark."""

    token_ids: list[int]
    score: float
    log_p: list[float]


def beam_search(
    stepper: Stepper,
    image_state: Any,
    n_images: int,
    *,
    beams: int,
    max_length: int | Sequence[int],
    bos_id: int,
    eos_id: int,
    forbidden: Sequence[int] = (),
    min_length: int | Sequence[int] = 1,
    length_penalty: float = 0.7,
) -> list[list[Hypothesis]]:
    """The `beams` best captions of each image, best first.

    Args:
        beams: hypotheses kept, 1 or more; 1 is greedy search.
        min_length, max_length: tokens a caption may have, marks not counted; for all images, or for each.
        forbidden: token ids never produced; the token just produced is never repeated either.
        length_penalty: exponent of the length that divides the log-probability; 0.7 as in Wu et al. (2016).

    Raises:
        ValueError: beams < 1, or a range of lengths that is empty.
    """
    if beams < 1:
        raise ValueError(f"beams is {beams}; allowed: 1 or more")
    low, high = (np.broadcast_to(limit, n_images) for limit in (min_length, max_length))
    if not ((low >= 0) & (low <= high)).all():
        raise ValueError(f"lengths {min_length}..{max_length} are an empty range")
    low, high = low.repeat(beams), high.repeat(beams)  # (R,)
    state = stepper.start(image_state, beams)
    rows = np.arange(n_images * beams)
    first_row = np.arange(n_images)[:, None] * beams
    scores = np.full((n_images, beams), -np.inf)
    scores[:, 0] = 0.0  # all rows are equal at first: only one of them may branch
    tokens, token_log_p = np.zeros((len(rows), 0), dtype=np.int64), np.zeros((len(rows), 0))
    last = np.full(len(rows), bos_id)
    finished = np.zeros(len(rows), dtype=bool)
    parents, barred = rows, list(forbidden)
    for position in range(high.max(initial=0) + 1):
        log_p, state = stepper.step(last, state, parents)
        log_p = log_p.astype(np.float64)
        log_p[:, barred] = -np.inf
        log_p[rows, last] = -np.inf
        log_p[position < low, eos_id] = -np.inf
        ends = log_p[:, eos_id].copy()
        log_p[position == high] = -np.inf
        log_p[:, eos_id] = ends
        log_p[finished] = -np.inf
        log_p[finished, eos_id] = 0.0  # a finished hypothesis goes on as itself
        totals = (scores.reshape(-1, 1) + log_p).reshape(n_images, -1)
        best = np.argpartition(-totals, min(beams, totals.shape[1] - 1), axis=1)[:, :beams]
        order = np.argsort(-np.take_along_axis(totals, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        scores = np.take_along_axis(totals, best, axis=1)
        beam, token = np.divmod(best, log_p.shape[1])
        parents, last = (first_row + beam).reshape(-1), token.reshape(-1)
        tokens = np.column_stack([tokens[parents], last])
        token_log_p = np.column_stack([token_log_p[parents], log_p[parents, last]])
        finished = finished[parents] | (last == eos_id)
        if finished.all():
            break
    results = []
    for image in range(n_images):
        hypotheses = []
        for row, score in enumerate(scores[image].tolist(), start=image * beams):
            if np.isfinite(score):
                length = int((tokens[row] == eos_id).argmax())
                each = token_log_p[row, : length + 1].tolist()
                hypotheses.append(
                    Hypothesis(tokens[row, :length].tolist(), score / max(1, length) ** length_penalty, each)
                )
        results.append(sorted(hypotheses, key=lambda hypothesis: -hypothesis.score))
    return results


def greedy_search(stepper: Stepper, image_state: Any, n_images: int, **settings: Any) -> list[Hypothesis]:
    """The most likely token at every step: beam search with one beam, and its settings."""
    return [found[0] for found in beam_search(stepper, image_state, n_images, beams=1, **settings)]
