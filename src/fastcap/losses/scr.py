"""SCR, semantic consistency regularisation: the causal and the parallel reading are trained to predict alike.

They know different things: the causal reading keeps word order better, the parallel one sees the words that follow.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["agreement", "consistency_loss"]


def consistency_loss(causal: Tensor, parallel: Tensor) -> Tensor:
    """Symmetric Kullback-Leibler divergence of two predictions of the same M tokens, each (M, V) logits, in nats.

    `½ Σ_v (p_v - q_v)(log p_v - log q_v)`, the mean over tokens; both get a gradient.
    """
    log_p, log_q = causal.log_softmax(dim=-1), parallel.log_softmax(dim=-1)
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1).mean()


@torch.no_grad()
def agreement(causal: Tensor, parallel: Tensor) -> Tensor:
    """The share of M tokens for which both readings, each as (M, V) logits, rank the same token first."""
    return (causal.argmax(dim=-1) == parallel.argmax(dim=-1)).float().mean()
