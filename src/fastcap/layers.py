"""Pieces that more than one part of a model is built from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Expert", "FeedForward", "ImageTokens", "KeyValueCache", "SelfAttention"]


class ImageTokens(NamedTuple):
    """What every backbone returns: `tokens` (B, N, D), and `pooled` (B, D), one vector for the whole image."""

    tokens: Tensor
    pooled: Tensor


class KeyValueCache:
    """Keys and values of the positions decoded so far, a pair of (R, H, T, K) tensors a layer."""

    def __init__(self, n_layers: int) -> None:
        self.layers: list[tuple[Tensor, Tensor] | None] = [None] * n_layers

    @property
    def length(self) -> int:
        """Positions held."""
        return 0 if self.layers[0] is None else self.layers[0][0].shape[2]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add new positions to a layer and return all of them."""
        held = self.layers[layer]
        if held is not None:
            keys, values = torch.cat([held[0], keys], dim=2), torch.cat([held[1], values], dim=2)
        self.layers[layer] = (keys, values)
        return keys, values

    def reorder(self, rows: Tensor) -> None:
        """Keep the given rows, in that order: what beam search does when hypotheses change places."""
        self.layers = [pair and (pair[0][rows], pair[1][rows]) for pair in self.layers]


class SelfAttention(nn.Module):
    """Softmax attention of a caption to itself, causal or not (Vaswani et al. 2017)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} is not a multiple of n_heads {n_heads}")
        self.n_heads = n_heads
        self.project_in = nn.Linear(d_model, 3 * d_model)
        self.project_out = nn.Linear(d_model, d_model)

    def forward(
        self,
        x: Tensor,
        *,
        causal: bool,
        padding_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """x (R, T, D) -> (R, T, D); `padding_mask` (R, T) is True where padded."""
        rows, length, width = x.shape
        heads = self.project_in(x).view(rows, length, 3, self.n_heads, width // self.n_heads)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # (R, H, T, K) each
        if cache is not None:
            keys, values = cache.append(layer, keys, values)
        scores = queries @ keys.transpose(-1, -2) * (width // self.n_heads) ** -0.5
        if causal and length > 1:
            seen = keys.shape[2] - length
            future = torch.ones(length, keys.shape[2], dtype=torch.bool, device=x.device).triu(seen + 1)
            scores = scores.masked_fill(future, -torch.inf)
        if padding_mask is not None:
            scores = scores.masked_fill(padding_mask[:, None, None, :], -torch.inf)
        y = scores.softmax(dim=-1) @ values
        return self.project_out(y.transpose(1, 2).reshape(rows, length, width))


class Expert(NamedTuple):
    """One feed-forward network an image: weights (B, D, F) and (B, F, D), biases (B, 1, F) and (B, 1, D), and how much
    its answer counts, (B, 1, 1)."""

    weight_in: Tensor
    bias_in: Tensor
    weight_out: Tensor
    bias_out: Tensor
    share: Tensor


class FeedForward(nn.Module):
    """E two-layer ReLU networks side by side, of which each image uses the `chosen` ones only.

    The weights of the chosen experts are gathered once an image, so that the arithmetic of the others is never
    done. ReLU rather than GELU: as good at this size, and cheaper in integer arithmetic.
    """

    def __init__(self, d_model: int, d_hidden: int, n_experts: int) -> None:
        super().__init__()
        self.weight_in = nn.Parameter(torch.randn(n_experts, d_model, d_hidden) * d_model**-0.5)
        self.bias_in = nn.Parameter(torch.zeros(n_experts, d_hidden))
        self.weight_out = nn.Parameter(torch.randn(n_experts, d_hidden, d_model) * d_hidden**-0.5 * 0.5)
        self.bias_out = nn.Parameter(torch.zeros(n_experts, d_model))

    def select(self, chosen: Tensor, weights: Tensor) -> list[Expert]:
        """The networks of B images, to be read as often as needed: indices and weights (B, k) -> k experts."""
        experts = []
        for rank in range(int(chosen.shape[1])):
            # index_select, because the gradient of plain indexing is a fifth of a training step on a CPU
            weight_in, bias_in, weight_out, bias_out = (
                part.index_select(0, chosen[:, rank])
                for part in (self.weight_in, self.bias_in[:, None], self.weight_out, self.bias_out[:, None])
            )
            experts.append(Expert(weight_in, bias_in, weight_out, bias_out, weights[:, rank, None, None]))
        return experts

    @staticmethod
    def forward(x: Tensor, experts: Sequence[Expert]) -> Tensor:
        """x (B, M, D), and what `select` found for these images -> (B, M, D)."""
        y = torch.zeros_like(x)
        for expert in experts:
            hidden = F.relu(x @ expert.weight_in + expert.bias_in)
            y = y + expert.share * (hidden @ expert.weight_out + expert.bias_out)
        return y

    def forward_reference(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """The slow twin of `forward`: one image, one expert and one position at a time."""
        y = torch.zeros_like(x)
        for image in range(x.shape[0]):
            for rank in range(chosen.shape[1]):
                expert = int(chosen[image, rank])
                for position in range(x.shape[1]):
                    hidden = F.relu(x[image, position] @ self.weight_in[expert] + self.bias_in[expert])
                    out = hidden @ self.weight_out[expert] + self.bias_out[expert]
                    y[image, position] += weights[image, rank] * out
        return y
