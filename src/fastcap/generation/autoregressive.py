"""Decoding from left to right in NumPy: greedy search, beam search and sampling.

The decoder may be PyTorch, ONNX or anything else with the two methods of `Stepper`.
Letters: B images, k hypotheses of an image, R = B k rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

__all__ = ["Hypothesis", "Stepper", "beam_search", "every_length", "greedy_search", "sample"]


class Stepper(Protocol):
    """An autoregressive decoder. `start` gives the state of R = B k rows that have all read the same prompt, or nothing
    yet. `step` reads one more token of each row and returns log-probabilities (R, V) of the next one, and a new state.
    Row r continues row `parents[r]` of the state, as beam search needs."""

    def start(self, image_state: Any, rows_per_image: int, prompt_ids: Sequence[int] = ()) -> Any: ...

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]: ...


class Hypothesis(NamedTuple):
    """A finished caption: its tokens without marks; `score`, its log-probability divided by length ** penalty; and
    `log_p`, the log-probability of each token and then of the end mark."""

    token_ids: list[int]
    score: float
    log_p: list[float]


class Limits:
    """Which tokens may come next in R rows: a range of lengths, forbidden tokens, and no repetitions.

    Args:
        n_images, rows_per_image: B and k.
        min_length, max_length: tokens of a caption, marks not counted; one number for all images, or one for each.
        eos_id: the end mark.
        forbidden: token ids that never come. The latest token never comes twice in a row either.
        no_repeat: length of the sequences that never occur twice in a caption: 1 bars every token that occurred before,
            0 bars none.

    Raises:
        ValueError: the range of lengths is empty, or `no_repeat` is negative.
    """

    def __init__(
        self,
        n_images: int,
        rows_per_image: int,
        min_length: int | Sequence[int],
        max_length: int | Sequence[int],
        eos_id: int,
        forbidden: Sequence[int],
        no_repeat: int,
    ) -> None:
        low, high = (np.broadcast_to(limit, n_images) for limit in (min_length, max_length))
        if not ((low >= 0) & (low <= high)).all():
            raise ValueError(f"lengths {min_length}..{max_length} are an empty range")
        if no_repeat < 0:
            raise ValueError(f"no_repeat is {no_repeat}; allowed: 0 or more")
        self.low, self.high = low.repeat(rows_per_image), high.repeat(rows_per_image)  # (R,)
        self.steps = int(self.high.max(initial=0)) + 1
        self.eos_id, self.forbidden, self.no_repeat = eos_id, list(forbidden), no_repeat

    def __call__(self, log_p: np.ndarray, last: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Log-probabilities (R, V) with -inf at barred tokens, for captions that begin with `tokens` (R, position); the
        latest token, or what came before the caption, is `last` (R,)."""
        position = tokens.shape[1]
        log_p = log_p.astype(np.float64)
        log_p[:, self.forbidden] = -np.inf
        log_p[np.arange(len(last)), last] = -np.inf
        log_p[position < self.low, self.eos_id] = -np.inf
        ends = log_p[:, self.eos_id].copy()
        log_p[position == self.high] = -np.inf
        if 0 < self.no_repeat <= position:
            before = np.lib.stride_tricks.sliding_window_view(tokens, self.no_repeat, axis=1)  # (R, windows, n)
            start = tokens[:, None, position - self.no_repeat + 1 :]
            row, window = (before[:, :, :-1] == start).all(axis=2).nonzero()
            log_p[row, before[row, window, -1]] = -np.inf
        log_p[:, self.eos_id] = ends
        return log_p


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
    no_repeat: int = 0,
    prompt_ids: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """The `beams` best captions of each image, best first.

    Args:
        beams: k, 1 or more; 1 is greedy search.
        min_length, max_length, forbidden, no_repeat: see `Limits`.
        length_penalty: exponent of the length that divides the log-probability; 0.7 as in Wu et al. (2016).
        prompt_ids: tokens after the begin mark that every caption continues; part neither of captions nor of scores.

    Raises:
        ValueError: beams < 1, or as `Limits`.
    """
    if beams < 1:
        raise ValueError(f"beams is {beams}; allowed: 1 or more")
    limits = Limits(n_images, beams, min_length, max_length, eos_id, forbidden, no_repeat)
    *read, newest = bos_id, *prompt_ids
    state = stepper.start(image_state, beams, read)
    rows = np.arange(n_images * beams)
    first_row = np.arange(n_images)[:, None] * beams
    scores = np.full((n_images, beams), -np.inf)
    scores[:, 0] = 0.0  # the rows of an image are equal at first: only one of them may branch
    tokens, token_log_p = np.zeros((len(rows), 0), dtype=np.int64), np.zeros((len(rows), 0))
    last = np.full(len(rows), newest)
    finished = np.zeros(len(rows), dtype=bool)
    parents = rows
    for _ in range(limits.steps):
        log_p, state = stepper.step(last, state, parents)
        log_p = limits(log_p, last, tokens)
        log_p[finished] = -np.inf
        log_p[finished, eos_id] = 0.0  # a finished hypothesis stays as it is
        scores, beam, token = _likeliest(scores, log_p)
        parents, last = (first_row + beam).reshape(-1), token.reshape(-1)
        tokens = np.column_stack([tokens[parents], last])
        token_log_p = np.column_stack([token_log_p[parents], log_p[parents, last]])
        finished = finished[parents] | (last == eos_id)
        if finished.all():
            break
    return hypotheses(tokens, token_log_p, scores, eos_id, length_penalty)


def _likeliest(scores: np.ndarray, log_p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k likeliest continuations of the k hypotheses of each image, best first: of their log-probabilities (B, k)
    and those of their next tokens (B k, V) to new log-probabilities, hypotheses and tokens, each (B, k)."""
    n_images, beams = scores.shape
    totals = (scores.reshape(-1, 1) + log_p).reshape(n_images, -1)
    best = np.argpartition(-totals, min(beams, totals.shape[1] - 1), axis=1)[:, :beams]
    order = np.argsort(-np.take_along_axis(totals, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    return np.take_along_axis(totals, best, axis=1), *np.divmod(best, log_p.shape[1])


def every_length(
    stepper: Stepper,
    image_state: Any,
    *,
    beams: int,
    max_length: int,
    bos_id: int,
    eos_id: int,
    forbidden: Sequence[int] = (),
    min_length: int = 1,
    length_penalty: float = 0.7,
    no_repeat: int = 0,
) -> list[Hypothesis]:
    """Captions of one picture, up to `beams` of each length from `min_length` to `max_length` tokens, best first.

    A beam search in which the end mark competes with no token: the likeliest beginnings go on whether or not they could
    end, and each is a caption as well, with the end mark's probability at that place. It is small where a sentence may
    not end.

    Args:
        beams: k, 1 or more; 1 follows the likeliest token.
        min_length, max_length, forbidden, no_repeat: see `Limits`. length_penalty: see `beam_search`.

    Raises:
        ValueError: beams < 1, or as `Limits`.
    """
    if beams < 1:
        raise ValueError(f"beams is {beams}; allowed: 1 or more")
    Limits(1, beams, min_length, max_length, eos_id, forbidden, no_repeat)  # refuses an empty range
    limits = Limits(1, beams, max_length, max_length, eos_id, forbidden, no_repeat)  # bars the end mark
    state = stepper.start(image_state, beams)
    scores = np.full((1, beams), -np.inf)
    scores[:, 0] = 0.0  # the rows are equal at first: only one of them may branch
    tokens, token_log_p = np.zeros((beams, 0), dtype=np.int64), np.zeros((beams, 0))
    last, parents = np.full(beams, bos_id), np.arange(beams)
    captions = []
    for length in range(max_length + 1):
        log_p, state = stepper.step(last, state, parents)
        if length >= min_length:
            for row in np.isfinite(scores[0]).nonzero()[0].tolist():
                each = [*token_log_p[row].tolist(), float(log_p[row, eos_id])]
                captions.append(Hypothesis(tokens[row].tolist(), sum(each) / max(1, length) ** length_penalty, each))
        if length < max_length:
            log_p = limits(log_p, last, tokens)
            scores, beam, token = _likeliest(scores, log_p)
            parents, last = beam[0], token[0]
            tokens = np.column_stack([tokens[parents], last])
            token_log_p = np.column_stack([token_log_p[parents], log_p[parents, last]])
    return sorted(captions, key=lambda caption: -caption.score)


def hypotheses(
    tokens: np.ndarray, log_p: np.ndarray, scores: np.ndarray, eos_id: int, length_penalty: float
) -> list[list[Hypothesis]]:
    """The hypotheses of each of B images, best first: of tokens and log-probabilities (B k, T) and their sums (B, k),
    where -inf marks a row to which the limits left no token."""
    images = []
    for image, totals in enumerate(scores.tolist()):
        captions = []
        for row, total in enumerate(totals, start=image * len(totals)):
            if np.isfinite(total):
                length = int((tokens[row] == eos_id).argmax())
                score = total / max(1, length) ** length_penalty
                captions.append(Hypothesis(tokens[row, :length].tolist(), score, log_p[row, : length + 1].tolist()))
        images.append(sorted(captions, key=lambda caption: -caption.score))
    return images


def greedy_search(stepper: Stepper, image_state: Any, n_images: int, **settings: Any) -> list[Hypothesis]:
    """The most likely token at every step: beam search with one beam; settings of `beam_search`."""
    return [captions[0] for captions in beam_search(stepper, image_state, n_images, beams=1, **settings)]


def choice_probabilities(log_p: np.ndarray, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """The distribution that sampling draws from: log-probabilities (R, V), some of them -inf, to probabilities (R, V).

    Log-probabilities are divided by the temperature; then the `top_k` likeliest tokens remain, all if it is 0; then the
    likeliest whose sum first reaches `top_p` (nucleus sampling, Holtzman et al. 2020). A row of -inf becomes zeros.
    """
    highest = log_p.max(axis=1, keepdims=True)
    weights = np.exp((log_p - np.where(np.isfinite(highest), highest, 0.0)) / temperature)
    if not top_k and top_p == 1:  # all remain: no need to sort
        return weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    order = np.argsort(-weights, axis=1, kind="stable")
    ranked = np.take_along_axis(weights, order, axis=1)
    if top_k:
        ranked[:, top_k:] = 0.0
    ranked /= np.maximum(ranked.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    ranked[ranked.cumsum(axis=1) - ranked >= top_p] = 0.0  # a token is dropped if those before it reach top_p
    ranked /= np.maximum(ranked.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    probabilities = np.zeros_like(ranked)
    np.put_along_axis(probabilities, order, ranked, axis=1)
    return probabilities


def sample(
    stepper: Stepper,
    image_state: Any,
    n_images: int,
    *,
    max_length: int | Sequence[int],
    bos_id: int,
    eos_id: int,
    samples: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    forbidden: Sequence[int] = (),
    min_length: int | Sequence[int] = 1,
    length_penalty: float = 0.7,
    no_repeat: int = 0,
    prompt_ids: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """`samples` captions of each image, drawn at random, the most probable first; the same one may be drawn twice.

    Args:
        seed: decides the draws, together with an image's place in the batch.
        temperature: above 0; below 1 prefers likely tokens, above 1 levels the differences.
        top_k: how many of the likeliest tokens may be drawn, 0 for all. top_p: the share of the probability of these
            that may be drawn, the likeliest first.
        min_length, max_length, forbidden, no_repeat: see `Limits`.
        length_penalty: as in `beam_search`; scores are those of the model, without temperature, top_k and top_p.
        prompt_ids: see `beam_search`.

    Raises:
        ValueError: a setting out of its range.
    """
    for name, value, holds, allowed in (
        ("samples", samples, samples >= 1, "1 or more"),
        ("temperature", temperature, 0 < temperature < np.inf, "above 0"),
        ("top_k", top_k, top_k >= 0, "0 (all) or more"),
        ("top_p", top_p, 0 < top_p <= 1, "above 0, at most 1"),
    ):
        if not holds:
            raise ValueError(f"{name} is {value}; allowed: {allowed}")
    limits = Limits(n_images, samples, min_length, max_length, eos_id, forbidden, no_repeat)
    generators = [np.random.default_rng([seed, image]) for image in range(n_images)]
    *read, newest = bos_id, *prompt_ids
    state = stepper.start(image_state, samples, read)
    rows = np.arange(n_images * samples)
    tokens, token_log_p = np.zeros((len(rows), 0), dtype=np.int64), np.zeros((len(rows), 0))
    last, finished = np.full(len(rows), newest), np.zeros(len(rows), dtype=bool)
    for _ in range(limits.steps):
        log_p, state = stepper.step(last, state, rows)
        log_p = limits(log_p, last, tokens)
        cumulated = choice_probabilities(log_p, temperature, top_k, top_p).cumsum(axis=1)
        drawn = np.concatenate([generator.random(samples) for generator in generators]) * cumulated[:, -1]
        last = np.where(cumulated[:, -1] > 0, (cumulated <= drawn[:, None]).sum(axis=1), eos_id)
        last = np.where(finished, eos_id, last)  # where the limits leave no token, a row ends, at -inf
        token_log_p = np.column_stack([token_log_p, np.where(finished, 0.0, log_p[rows, last])])
        tokens = np.column_stack([tokens, last])
        finished |= last == eos_id
        if finished.all():
            break
    return hypotheses(tokens, token_log_p, token_log_p.sum(axis=1).reshape(n_images, samples), eos_id, length_penalty)
