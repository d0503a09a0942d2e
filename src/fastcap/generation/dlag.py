"""DLAG, dynamic length-aware generation: the length of a caption is predicted before its words (as in mask-predict,
Ghazvininejad et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LengthPredictor"]


class LengthPredictor(nn.Module):
    """A classifier over caption lengths in tokens, from the pooled image vector.

    Args:
        d_model: width D of the pooled vector.
        max_length: the largest length; classes are 0..max_length, of which 0 is never chosen.
    """

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.classify = nn.Sequential(nn.Linear(d_model, d_model), nn.ReLU(), nn.Linear(d_model, max_length + 1))

    def forward(self, pooled: Tensor) -> Tensor:
        """pooled (B, D) -> logits (B, max_length + 1)."""
        return self.classify(pooled)

    def choose(self, pooled: Tensor, length_range: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """The most likely lengths within a range.

        Args:
            pooled: (B, D).
            length_range: (2,) smallest and largest length allowed.
            candidates: (1,) how many lengths, at most the size of the range.

        Returns:
            lengths (B, K) and their log-probabilities (B, K), most likely first.
        """
        lengths = torch.arange(self.max_length + 1, device=pooled.device)
        outside = (lengths < length_range[0]) | (lengths > length_range[1]) | (lengths == 0)
        log_p = self(pooled).masked_fill(outside, -torch.inf).log_softmax(dim=-1)
        ordered, order = log_p.sort(dim=-1, descending=True)
        return order[:, :candidates], ordered[:, :candidates]
