"""Scheduled sampling (Bengio et al. 2015): more and more input tokens of the causal reading are its own predictions
instead of the true ones, so that it learns to continue what it has written itself.

A transformer reads all positions at once, so the predictions come from passes beforehand (Mihaylova and Martins 2019);
with as many passes as tokens this is exactly the sequential procedure (Duckworth et al. 2019).

Letters: R caption rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fastcap.losses.language import read_causally

__all__ = ["SCHEDULES", "forced_tokens", "forcing_probability"]

STEEPNESS = 10.0  # of the inverse sigmoid: flat at both ends, steep between 0.3 and 0.7


def inverse_sigmoid(progress: float) -> float:
    """Bengio's k / (k + exp(x / k)) over 0..1, scaled to go from 1 to 0."""

    def falling(x: float) -> float:
        return 1 / (1 + math.exp(STEEPNESS * (x - 0.5)))

    return (falling(progress) - falling(1)) / (falling(0) - falling(1))


SCHEDULES = {
    "always": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "inverse_sigmoid": inverse_sigmoid,
}


def forcing_probability(schedule: str, progress: float, end: float) -> float:
    """The probability that an input token is the true one, at a progress of 0..1: from 1 to `end`; "always" stays at 1.

    Raises:
        ValueError: progress outside 0..1.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress}; allowed: 0 to 1")
    return end + (1 - end) * SCHEDULES[schedule](progress)


@torch.no_grad()
def forced_tokens(
    decoder: Any,
    state: Any,
    token_ids: Tensor,
    lengths: Tensor,
    given: Tensor | None,
    passes: int,
    begin: Tensor | None = None,
) -> Tensor:
    """Input tokens for the causal reading of token_ids (R, T): the true token where `given`, else the decoder's
    likeliest token there that is no mark.

    Where no token is given, T passes are greedy decoding without an end: pass t settles token t.

    Args:
        lengths: (R,) of the captions; padding stays as it is.
        given: (R, T), True with the probability of `forcing_probability`; None for all of them, without a pass.
        passes: how often the decoder predicts, 1 or more; more than T change nothing.
        begin: (R,) see `read_causally`.
    """
    if given is None:
        return token_ids
    own = ~given & (torch.arange(token_ids.shape[1], device=token_ids.device) < lengths[:, None])
    mixed = token_ids
    for _ in range(min(passes, token_ids.shape[1])):
        logits = decoder.project(read_causally(decoder, state, mixed, lengths, begin)[:, :-1])
        predicted = decoder.without_marks(logits).argmax(dim=-1)
        mixed = torch.where(own, predicted, token_ids)
    return mixed
