"""One answer for two versions of a picture: as it is, and re-saved by another program.

The same caption is forced in both, and what is predicted at each of its places is compared: distributions say more than
captions do, which change only where the first choice does. Consistency of predictions under changes that keep the
meaning is from unsupervised data augmentation (Xie et al. 2020); here both versions get a gradient, and captions too.

Letters: B images, R caption rows, T tokens, N image tokens, D width, V classes, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fastcap.layers import Routing

__all__ = ["choice_divergence", "routing_divergence", "token_distance"]


def choice_divergence(first: Tensor, second: Tensor, known: Tensor | None = None) -> Tensor:
    """Symmetric Kullback-Leibler divergence of two predictions as logits, in nats; both get a gradient:
    `½ Σ_v (p_v - q_v)(log p_v - log q_v)`.

    Args:
        first, second: (R, T, V), or (R, V).
        known: (R, T), the places that count; a row's are averaged first, so that all rows count alike. Each row has one
            at least.
    """
    if known is not None:
        weights = (known / known.sum(dim=1, keepdim=True) / len(known))[known]
        first, second = first[known], second[known]
    else:
        weights = torch.full(first.shape[:-1], 1 / first[..., 0].numel(), device=first.device)
    log_p, log_q = first.log_softmax(dim=-1), second.log_softmax(dim=-1)
    return (weights * 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1)).sum()


def routing_divergence(first: Sequence[Routing], second: Sequence[Routing]) -> Tensor:
    """The same of the probabilities (B, E) by which layers choose their experts, the mean over layers: another expert
    says something else."""
    parts = [
        choice_divergence(*(routing.probabilities.clamp(min=1e-9).log() for routing in pair))
        for pair in zip(first, second, strict=True)
    ]
    return torch.stack(parts).mean()


def token_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 minus the cosine of the image tokens (B, N, D) of both versions, the mean over all."""
    return 1 - F.cosine_similarity(first, second, dim=-1).mean()
