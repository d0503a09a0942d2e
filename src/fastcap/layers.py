"""Layers that backbones, decoders and the alignment share.

Letters: B images, N image tokens, R rows of T tokens, D width, H heads, K width of a head, E experts of inner width F.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "Expert",
    "FeedForward",
    "ImageTokens",
    "KeyValueCache",
    "Rotation",
    "Routing",
    "SelfAttention",
    "pool_grid",
    "rotate",
    "rotation",
]


class ImageTokens(NamedTuple):
    """What every backbone returns: `tokens` (B, N, D), and `pooled` (B, D), one vector for the whole image."""

    tokens: Tensor
    pooled: Tensor


def pool_grid(tokens: Tensor, count: int) -> Tensor:
    """Mean-pool the tokens of a square grid (B, N, C) to a smaller square grid: (B, count, C).

    Raises:
        ValueError: N or `count` is not a square number, or `count` is more than N.
    """
    side, target = math.isqrt(tokens.shape[1]), math.isqrt(count)
    if side * side != tokens.shape[1] or target * target != count or not 1 <= target <= side:
        raise ValueError(
            f"{tokens.shape[1]} tokens cannot be pooled to {count}; allowed: square numbers up to the first"
        )
    if target == side:
        return tokens
    grid = tokens.transpose(1, 2).unflatten(2, (side, side))
    return F.adaptive_avg_pool2d(grid, target).flatten(2).transpose(1, 2)


Rotation = tuple[Tensor, Tensor]  # cosines and sines, (T, K/2) each


def rotation(start: int, length: int, width: int, device: torch.device | None = None) -> Rotation:
    """Rotary positions (RoPE, Su et al. 2021) start, start + 1, ..., T = `length` of them, for heads K = `width` wide.

    K is even. The i-th pair of a head's numbers is rotated by the angle `position / 10000^(2i/K)`, so that the product
    of a rotated query and a rotated key depends only on the distance between them.
    """
    positions = torch.arange(start, start + length, device=device, dtype=torch.float32)
    angles = positions[:, None] * 10000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """x (..., T, K) -> (..., T, K); numbers i and i + K/2 are a pair."""
    cosine, sine = (part.to(x.dtype) for part in by)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


class KeyValueCache:
    """Keys and values of the tokens read so far: for each layer, two tensors (R, H, T, K)."""

    def __init__(self, n_layers: int) -> None:
        self.layers: list[tuple[Tensor, Tensor] | None] = [None] * n_layers

    @property
    def length(self) -> int:
        """T, the number of tokens read so far; the next one has this position."""
        return 0 if self.layers[0] is None else self.layers[0][0].shape[2]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values of new tokens to those of a layer, and return all of them."""
        past = self.layers[layer]
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        self.layers[layer] = (keys, values)
        return keys, values

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was: beam search continues some hypotheses and drops others."""
        self.layers = [pair and (pair[0][rows], pair[1][rows]) for pair in self.layers]


class SelfAttention(nn.Module):
    """Multi-head softmax attention of a sequence to itself (Vaswani et al. 2017)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} is not a multiple of n_heads {n_heads}")
        self.n_heads, self.d_head = n_heads, d_model // n_heads
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
        positions: Rotation | None = None,
    ) -> Tensor:
        """x (R, T, D) -> (R, T, D).

        Args:
            causal: whether a token attends only to itself and to those before it.
            padding_mask: (R, T), True at keys that no token attends to.
            cache, layer: keys and values of earlier tokens, and where in the cache this layer keeps its own.
            positions: rotary positions of x.
        """
        rows, length, _ = x.shape
        heads = self.project_in(x).view(rows, length, 3, self.n_heads, self.d_head)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # (R, H, T, K) each
        if positions is not None:
            queries, keys = rotate(queries, positions), rotate(keys, positions)
        if cache is not None:
            keys, values = cache.append(layer, keys, values)
        scores = queries @ keys.transpose(-1, -2) * self.d_head**-0.5
        if causal and length > 1:
            past = keys.shape[2] - length
            future = torch.ones(length, keys.shape[2], dtype=torch.bool, device=x.device).triu(past + 1)
            scores = scores.masked_fill(future, -torch.inf)
        if padding_mask is not None:
            scores = scores.masked_fill(padding_mask[:, None, None, :], -torch.inf)
        y = scores.softmax(dim=-1) @ values
        return self.project_out(y.transpose(1, 2).flatten(2))


class Routing(NamedTuple):
    """The k experts of each of M images or tokens: their indices `chosen` (M, k), the `weights` (M, k) of their
    outputs, and the router's `probabilities` (M, E) of all experts."""

    chosen: Tensor
    weights: Tensor
    probabilities: Tensor


class Expert(NamedTuple):
    """One expert for each image, gathered: weights (B, D, F) and (B, F, D), biases (B, 1, F) and (B, 1, D), and `share`
    (B, 1, 1), the weight of its output."""

    weight_in: Tensor
    bias_in: Tensor
    weight_out: Tensor
    bias_out: Tensor
    share: Tensor


class FeedForward(nn.Module):
    """E two-layer ReLU networks, the experts, of which each image, or each token, uses a few.

    Routed by image, the weights of an image's experts are gathered once (`select`) and applied to many tokens
    (`forward`). Routed by token, tokens are sorted by expert (`dispatch`). Neither computes an expert that is not used.
    ReLU rather than GELU: as good at this size, and cheaper in integer arithmetic.
    """

    def __init__(self, d_model: int, d_hidden: int, n_experts: int) -> None:
        super().__init__()
        self.weight_in = nn.Parameter(torch.randn(n_experts, d_model, d_hidden) * d_model**-0.5)
        self.bias_in = nn.Parameter(torch.zeros(n_experts, d_hidden))
        self.weight_out = nn.Parameter(torch.randn(n_experts, d_hidden, d_model) * d_hidden**-0.5 * 0.5)
        self.bias_out = nn.Parameter(torch.zeros(n_experts, d_model))

    def select(self, chosen: Tensor, weights: Tensor) -> list[Expert]:
        """Gather the experts of B images: indices and weights (B, k) -> k experts."""
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
        """x (B, M, D), M tokens of each image, and the images' experts from `select` -> (B, M, D)."""
        y = torch.zeros_like(x)
        for expert in experts:
            hidden = F.relu(x @ expert.weight_in + expert.bias_in)
            y = y + expert.share * (hidden @ expert.weight_out + expert.bias_out)
        return y

    def dispatch(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Tokens x (M, D), and indices and weights (M, k) of their experts -> (M, D).

        The tokens of each expert are copied into one buffer (E, most tokens of an expert, D), so that all experts run
        as one batched product. No token is dropped; uneven use of experts costs padding.
        """
        n_experts, top_k = len(self.weight_in), chosen.shape[1]
        if chosen.numel() <= n_experts:  # a few tokens, as in decoding: most experts are not read from memory
            return self.forward(x[:, None], self.select(chosen, weights))[:, 0]
        expert, order = chosen.flatten().sort(stable=True)
        counts = expert.bincount(minlength=n_experts)
        slot = torch.arange(len(expert), device=x.device) - (counts.cumsum(dim=0) - counts)[expert]
        token = order // top_k
        tokens = x.new_zeros(n_experts, int(counts.max()), x.shape[1]).index_put((expert, slot), x[token])
        hidden = F.relu(tokens @ self.weight_in + self.bias_in[:, None])
        outputs = (hidden @ self.weight_out + self.bias_out[:, None])[expert, slot]
        return torch.zeros_like(x).index_add(0, token, outputs * weights.flatten()[order, None])

    def forward_reference(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """The slow twin of `forward` and, with x (M, 1, D), of `dispatch`: one image, expert and token at a time."""
        y = torch.zeros_like(x)
        for image in range(x.shape[0]):
            for rank in range(chosen.shape[1]):
                expert = int(chosen[image, rank])
                for position in range(x.shape[1]):
                    hidden = F.relu(x[image, position] @ self.weight_in[expert] + self.bias_in[expert])
                    out = hidden @ self.weight_out[expert] + self.bias_out[expert]
                    y[image, position] += weights[image, rank] * out
        return y
