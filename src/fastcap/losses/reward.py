"""Self-critical training of the parallel reading: raise the probability of captions that score better than their
siblings (Rennie et al. 2017; for parallel decoders as in CMAL, Guo et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastcap.tokens import MASK, SPECIAL_TOKENS

if TYPE_CHECKING:
    from fastcap.decoder.moe_decoder import ImageState, MoEDecoder

__all__ = ["reward_loss"]


def reward_loss(
    decoder: MoEDecoder,
    state: ImageState,
    token_ids: Tensor,
    lengths: Tensor,
    masked: Tensor,
    samples: int,
    reward: Callable[[Tensor], Tensor],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Policy gradient of one refinement pass, each sample's baseline being the mean of its siblings.

    Args:
        token_ids: (R, T); the tokens where not masked are the context.
        masked: (R, T) positions to fill by sampling.
        samples: S >= 2 captions drawn a row.
        reward: captions (S, R, T) -> rewards (S, R).

    Returns:
        the loss, and the mean reward.
    """
    hidden = decoder.hidden(token_ids.masked_fill(masked, MASK), state, causal=False, lengths=lengths)
    logits = decoder.project(hidden[masked])  # (M, V)
    logits = torch.cat(
        [torch.full_like(logits[:, : len(SPECIAL_TOKENS)], -1e4), logits[:, len(SPECIAL_TOKENS) :]], dim=1
    )
    log_p = logits.log_softmax(dim=-1)
    drawn = torch.multinomial(log_p.detach().exp(), samples, replacement=True, generator=generator)  # (M, S)
    captions = token_ids.repeat(samples, 1, 1)
    captions[:, masked] = drawn.t()
    rewards = reward(captions)
    baseline = (rewards.sum(dim=0) - rewards) / (samples - 1)
    row = masked.nonzero()[:, 0]
    advantage = (rewards - baseline)[:, row].t()  # (M, S)
    return -(advantage * log_p.gather(1, drawn)).mean(), rewards.mean()
