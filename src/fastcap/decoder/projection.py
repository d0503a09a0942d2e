"""From image tokens to the prefix that a language model reads: brought to a few, projected to its width.

Letters: B images, N image tokens, C their width, K tokens of the prefix, D width of the language model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["PROJECTIONS", "Projection"]

PROJECTIONS = ("linear", "mlp")


class Projection(nn.Module):
    """Image tokens to the prefix of a language model, as in LLaVA (Liu et al. 2023).

    Args:
        d_image: C, width of the image tokens.
        d_model: D, width of the language model.
        selection: from the image tokens to K of them, (B, N, C) -> (B, K, C), with `n_tokens`, their number: the prefix
            dominates the time to the first word, and 16 are nearly as good as 49.
        kind: "linear", or "mlp" (two layers with GELU between).
        d_hidden: width inside the MLP.
        dropout: of the selected image tokens, in training only.
        scale: root mean square of the prefix at the start; that of the language model's own embeddings, so that the
            frozen layers see nothing unusual.

    Raises:
        ValueError: another kind.
    """

    selection: Any

    def __init__(
        self,
        d_image: int,
        d_model: int,
        selection: nn.Module,
        kind: str = "linear",
        d_hidden: int = 1024,
        dropout: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if kind not in PROJECTIONS:
            raise ValueError(f"projection is {kind!r}; allowed: {', '.join(PROJECTIONS)}")
        self.selection = selection
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(d_image)
        last = nn.Linear(d_image if kind == "linear" else d_hidden, d_model)
        self.project = last if kind == "linear" else nn.Sequential(nn.Linear(d_image, d_hidden), nn.GELU(), last)
        self.scale = nn.Parameter(torch.full((d_model,), scale))
        nn.init.normal_(last.weight, std=last.in_features**-0.5)
        nn.init.zeros_(last.bias)

    @property
    def n_tokens(self) -> int:
        """K."""
        return int(self.selection.n_tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, N, C) -> prefix (B, K, D)."""
        return self.read(self.selection(tokens))

    def read(self, selected: Tensor) -> Tensor:
        """Selected tokens (B, K, C) -> prefix (B, K, D)."""
        return self.project(self.dropout(self.norm(selected))) * self.scale

    @torch.no_grad()
    def weights(self, tokens: Tensor) -> Tensor:
        """How much each prefix token holds of each image token (B, K, N), rows sum to 1."""
        return self.selection.weights(tokens)
