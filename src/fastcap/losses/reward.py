"""Self-critical training: raise the probability of sampled captions with a higher reward than others of the same image
(Rennie et al. 2017; for parallel decoders, CMAL, Guo et al. 2020).

Letters: B images, R caption rows, S samples, T tokens, M masked tokens of all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fastcap.losses.language import read_causally, read_masked

if TYPE_CHECKING:
    from fastcap.decoder.caption_decoder import CaptionDecoder
    from fastcap.decoder.moe_decoder import ImageState, MoEDecoder

__all__ = ["causal_reward_loss", "reward_loss"]


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
    """Policy gradient of one refinement pass; the baseline of a sample is the mean reward of the row's other samples.

    Args:
        token_ids: (R, T); those that are not masked are the context.
        masked: (R, T), positions that are sampled.
        samples: S >= 2 captions sampled for each row.
        reward: captions (S, R, T) -> rewards (S, R).

    Returns:
        the loss, and the mean reward.
    """
    hidden = read_masked(decoder, state, token_ids, lengths, masked)
    logits = decoder.without_marks(decoder.project(hidden[masked]), -1e4)  # (M, V)
    log_p = logits.log_softmax(dim=-1)
    drawn = torch.multinomial(log_p.detach().exp(), samples, replacement=True, generator=generator)  # (M, S)
    captions = token_ids.repeat(samples, 1, 1)
    captions[:, masked] = drawn.t()
    rewards = reward(captions)
    row = masked.nonzero()[:, 0]
    better = advantage(rewards)[:, row].t()  # (M, S)
    return -(better * log_p.gather(1, drawn)).mean(), rewards.mean()


def causal_reward_loss(
    decoder: CaptionDecoder,
    state: Any,
    token_ids: Tensor,
    lengths: Tensor,
    samples: int,
    reward: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Policy gradient of captions sampled from left to right; the baseline of one is the mean reward of the others of
    its image.

    Args:
        token_ids, lengths: (B S, T) padded and (B S,): S >= 2 captions of each image, side by side.
        reward: captions (S, B, T) -> rewards (S, B).

    Returns:
        the loss, a mean over all tokens and end marks, and the mean reward.
    """
    rewards = reward(token_ids.unflatten(0, (-1, samples)).transpose(0, 1))
    targets = decoder.targets(token_ids, lengths)
    known = torch.arange(targets.shape[1], device=targets.device) <= lengths[:, None]
    logits = decoder.project(read_causally(decoder, state, token_ids, lengths)[known])
    better = advantage(rewards).t().flatten()[:, None].expand_as(known)[known].to(logits)
    return (better * F.cross_entropy(logits, targets[known], reduction="none")).mean(), rewards.mean()


def advantage(rewards: Tensor) -> Tensor:
    """Each of S rewards minus the mean of the others: (S, R) -> (S, R)."""
    return (rewards - rewards.mean(dim=0)) * len(rewards) / (len(rewards) - 1)
