"""Scheduled sampling (Bengio et al. 2015): a causal reader is given fewer and fewer of the true words, and its own in
their place, so that it learns to go on from what it says itself.

A transformer reads all positions at once, so its own words come from readings beforehand (Mihaylova and Martins 2019);
with as many of these as there are tokens the result is the sequential procedure exactly (Duckworth et al. 2019).

Letters: R caption rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fastcap.losses.language import read_causally

__all__ = ["SCHEDULES", "forced_tokens", "forcing_probability"]

STEEPNESS = 10.0  # of the inverse sigmoid: flat at both ends, most of the way between 0.3 and 0.7


def inverse_sigmoid(progress: float) -> float:
    """Bengio's k / (k + exp(x / k)) as a curve over 0..1, stretched to reach 1 and 0 there."""

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
    """How likely a true word is given at a progress of 0..1: 1 at first, `end` at last; "always" stays at 1.

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
) -> Tensor:
    """What a causal reader is given in place of token_ids (R, T): each token itself where it is `given`, else the one
    that the reader would have said there, the likeliest that is no mark.

    With None these are the tokens themselves, and nothing is read. With none given and T passes they are what greedy
    decoding says when nothing ends it: after pass t the first t words are settled.

    Args:
        lengths: (R,) of the captions; what is beyond them stays as it is.
        given: (R, T), True with the probability of `forcing_probability`; None for all.
        passes: readings, at least 1; more than T change nothing.
    """
    if given is None:
        return token_ids
    own = ~given & (torch.arange(token_ids.shape[1], device=token_ids.device) < lengths[:, None])
    mixed = token_ids
    for _ in range(min(passes, token_ids.shape[1])):
        logits = decoder.project(read_causally(decoder, state, mixed, lengths)[:, :-1])
        said = decoder.without_marks(logits).argmax(dim=-1)
        mixed = torch.where(own, said, token_ids)
    return mixed
