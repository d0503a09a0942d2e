"""From image tokens to the prefix that a language model reads: pooled to a few, projected to its width.

Letters: B images, N image tokens, C their width, K tokens of the prefix, D width of the language model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fastcap.layers import pool_grid

__all__ = ["PROJECTIONS", "Projection"]

PROJECTIONS = ("linear", "mlp")


class Projection(nn.Module):
    """Image tokens to the prefix of a language model, as in LLaVA (Liu et al. 2023).

    Args:
        d_image: C, width of the image tokens.
        d_model: D, width of the language model.
        n_tokens: K, a square number: the prefix dominates the time to the first word, and 16 are nearly as good as 49.
        kind: "linear", or "mlp" (two layers with GELU between).
        d_hidden: width inside the MLP.
        dropout: of the pooled image tokens, in training only.
        scale: root mean square of the prefix at the start; that of the language model's own embeddings, so that the
            frozen layers see nothing unusual.

    Raises:
        ValueError: another kind, or a number of tokens that is not a square.
    """

    def __init__(
        self,
        d_image: int,
        d_model: int,
        n_tokens: int = 16,
        kind: str = "linear",
        d_hidden: int = 1024,
        dropout: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if kind not in PROJECTIONS:
            raise ValueError(f"projection is {kind!r}; allowed: {', '.join(PROJECTIONS)}")
        if math.isqrt(n_tokens) ** 2 != n_tokens or n_tokens < 1:
            raise ValueError(f"n_tokens is {n_tokens}; allowed: square numbers (1, 4, 9, 16, 25, 36, 49, 64)")
        self.n_tokens = n_tokens
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(d_image)
        last = nn.Linear(d_image if kind == "linear" else d_hidden, d_model)
        self.project = last if kind == "linear" else nn.Sequential(nn.Linear(d_image, d_hidden), nn.GELU(), last)
        self.scale = nn.Parameter(torch.full((d_model,), scale))
        nn.init.normal_(last.weight, std=last.in_features**-0.5)
        nn.init.zeros_(last.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, N, C) -> prefix (B, K, D)."""
        return self.read(pool_grid(tokens, self.n_tokens))

    def read(self, pooled: Tensor) -> Tensor:
        """Pooled tokens (B, K, C) -> prefix (B, K, D)."""
        return self.project(self.dropout(self.norm(pooled))) * self.scale
