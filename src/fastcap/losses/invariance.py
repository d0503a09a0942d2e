"""One answer for two versions of a picture: as it is, and re-saved by another program.

The same caption is forced in both, and what is predicted at each of its places is compared: distributions say more than
captions do, which change only where the first choice does. What is predicted of the one version is the target of the
other and gets no gradient, as in unsupervised data augmentation (Xie et al. 2020): two predictions that are pulled
towards each other agree soonest where they say what fits every picture.

Letters: B images, R caption rows, T tokens, N image tokens, D width, V classes, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fastcap.layers import Routing

__all__ = ["choice_divergence", "routing_divergence", "token_distance"]


def choice_divergence(target: Tensor, other: Tensor, known: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergence of a prediction from its target, both logits, in nats: `Σ_v p_v (log p_v - log q_v)`.

    Args:
        target, other: (R, T, V), or (R, V); p and q. The target gets no gradient.
        known: (R, T), the places that count; a row's are averaged first, so that all rows count alike. Each row has one
            at least.
    """
    if known is not None:
        weights = (known / known.sum(dim=1, keepdim=True) / len(known))[known]
        target, other = target[known], other[known]
    else:
        weights = torch.full(target.shape[:-1], 1 / target[..., 0].numel(), device=target.device)
    log_p, log_q = target.detach().log_softmax(dim=-1), other.log_softmax(dim=-1)
    return (weights * (log_p.exp() * (log_p - log_q)).sum(dim=-1)).sum()


def routing_divergence(target: Sequence[Routing], other: Sequence[Routing]) -> Tensor:
    """The same of the probabilities (B, E) by which layers choose their experts, the mean over layers: another expert
    says something else."""
    parts = [
        choice_divergence(*(routing.probabilities.clamp(min=1e-9).log() for routing in pair))
        for pair in zip(target, other, strict=True)
    ]
    return torch.stack(parts).mean()


def token_distance(target: Tensor, other: Tensor) -> Tensor:
    """1 minus the cosine of both versions' image tokens (B, N, D), the mean over all. The target gets no gradient."""
    return 1 - F.cosine_similarity(target.detach(), other, dim=-1).mean()
