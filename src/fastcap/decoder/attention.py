"""Attention of a caption to its image: softmax, linear, and rank-augmented linear (RALA; Fan et al., CVPR 2025).

Letters: B images, N image tokens, M caption positions of one image, H heads, K width of a head, D model width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "CROSS_ATTENTIONS",
    "CrossAttention",
    "KeysValues",
    "LinearAttention",
    "Memory",
    "RankAugmentedLinearAttention",
    "SoftmaxAttention",
    "kernel",
    "read_memory_reference",
]


def kernel(x: Tensor) -> Tensor:
    """κ(x) = elu(x) + 1, positive everywhere (Katharopoulos et al. 2020)."""
    positive = F.relu(x)
    return positive + (x - positive).exp()  # ONNX Runtime's own Elu takes three times as long


class Memory(NamedTuple):
    """An image as one layer sees it, whatever its number of tokens: computed once, read at every pass.

    `buffer` (B, H, K, K) is 1/N Σ_j α_j κ(K_j)ᵀ V_j, `normaliser` (B, H, K) is 1/N Σ_j α_j κ(K_j).
    """

    buffer: Tensor
    normaliser: Tensor


class CrossAttention(nn.Module):
    """Heads, and projections to keys, values and queries.

    Args:
        d_model: width D of caption positions and image tokens.
        n_heads: heads H.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} is not a multiple of n_heads {n_heads}")
        self.n_heads = n_heads
        self.d_head = d_model // n_heads
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.query = nn.Linear(d_model, d_model)
        self.project_out = nn.Linear(d_model, d_model)

    def split(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, H, M, K)."""
        return x.reshape(x.shape[0], -1, self.n_heads, self.d_head).transpose(1, 2)

    def weights(self, x: Tensor, image_tokens: Tensor) -> Tensor:
        """How much each of M caption positions looks at each image token, for pictures of it: x (B, M, D) and
        image_tokens (B, N, D) -> (B, H, M, N), whose rows sum to 1."""
        raise NotImplementedError


class KeysValues(NamedTuple):
    """An image as one layer of softmax attention sees it: `keys` and `values` (B, H, N, K)."""

    keys: Tensor
    values: Tensor


class SoftmaxAttention(CrossAttention):
    """Cross-attention as usual (Vaswani et al. 2017), of cost O(N K) for a caption position."""

    def prepare(self, image_tokens: Tensor) -> KeysValues:
        """image_tokens (B, N, D) -> what `forward` reads."""
        return KeysValues(self.split(self.key(image_tokens)), self.split(self.value(image_tokens)))

    def look(self, x: Tensor, keys: Tensor) -> Tensor:
        """x (B, M, D), keys (B, H, N, K) -> weights (B, H, M, N)."""
        scores = self.split(self.query(x)) @ keys.transpose(-1, -2) * self.d_head**-0.5
        return scores.softmax(dim=-1)

    def forward(self, x: Tensor, memory: KeysValues) -> Tensor:
        """x (B, M, D) -> (B, M, D)."""
        read = self.look(x, memory.keys) @ memory.values
        return self.project_out(read.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, image_tokens: Tensor) -> Tensor:
        """As in `CrossAttention`."""
        return self.look(x, self.prepare(image_tokens).keys)


class LinearAttention(CrossAttention):
    """Cross-attention whose cost for a caption position is O(K²), independent of N (Katharopoulos et al. 2020).

    Its heads should be few and wide, since the memory holds K x K numbers a head.
    """

    def keys_values_weights(self, image_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """κ(keys) and values (B, H, N, K), and weights α (B, H, N) whose sum over N is N: here all of them 1."""
        keys = kernel(self.split(self.key(image_tokens)))
        return keys, self.split(self.value(image_tokens)), torch.ones_like(keys[..., 0])

    def prepare(self, image_tokens: Tensor) -> Memory:
        """image_tokens (B, N, D) of a square grid -> the memory that `forward` reads."""
        keys, values, weights = self.keys_values_weights(image_tokens)
        weighted = keys * weights[..., None]
        # means instead of sums: y is their ratio, and means stay in a range that int8 and fp16 like
        n_tokens = image_tokens.shape[1]
        return Memory(weighted.transpose(-1, -2) @ values / n_tokens, weighted.sum(dim=2) / n_tokens)

    def weights(self, x: Tensor, image_tokens: Tensor) -> Tensor:
        """As in `CrossAttention`; RALA's gate scales what is read, not where."""
        keys, _, weights = self.keys_values_weights(image_tokens)
        found = kernel(self.split(self.query(x))) @ keys.transpose(-1, -2) * weights[:, :, None]
        return found / found.sum(dim=-1, keepdim=True)

    def read(self, x: Tensor, memory: Memory) -> Tensor:
        """x (B, M, D) -> `κ(Q) S ⊙ z`, (B, M, D)."""
        queries = kernel(self.split(self.query(x)))
        read = queries @ memory.buffer
        read = read / (queries * memory.normaliser[:, :, None]).sum(dim=-1, keepdim=True)
        return read.transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """x (B, M, D) -> (B, M, D): what is read, projected."""
        return self.project_out(self.read(x, memory))


class RankAugmentedLinearAttention(LinearAttention):
    """Linear attention whose keys are weighed by a global query, and whose output by a gate: both restore rank.

    Two departures that cross-attention asks for, both so that the memory depends on the image alone and can be
    kept for all refinement passes: the global query that weighs the keys is the mean of *image* queries, and the
    local positional encoding (LePE, a depthwise 3x3 convolution) is added to the values before they are summed.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        self.image_query = nn.Linear(d_model, d_model)
        self.local_position = nn.Conv2d(d_model, d_model, 3, padding=1, groups=d_model)
        self.gate = nn.Linear(d_model, d_model)
        nn.init.ones_(self.gate.bias)  # begins as plain linear attention

    def keys_values_weights(self, image_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As in `LinearAttention`, α = N softmax_j(q̄ · κ(K_j) / √K)."""
        batch, n_tokens, width = image_tokens.shape
        side = math.isqrt(int(n_tokens))
        keys = kernel(self.split(self.key(image_tokens)))
        values = self.value(image_tokens)
        grid = values.transpose(1, 2).reshape(batch, width, side, side)
        values = self.split(values + self.local_position(grid).flatten(2).transpose(1, 2))
        global_query = kernel(self.split(self.image_query(image_tokens))).mean(dim=2, keepdim=True)
        similarity = (global_query * keys).sum(dim=-1) * self.d_head**-0.5
        return keys, values, n_tokens * similarity.softmax(dim=-1)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """x (B, M, D) -> (B, M, D): `(κ(Q) S ⊙ z) ⊙ φ(x)`, projected."""
        return self.project_out(self.read(x, memory) * self.gate(x))


CROSS_ATTENTIONS = {"rala": RankAugmentedLinearAttention, "linear": LinearAttention}


def read_memory_reference(queries: Tensor, keys: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """The slow O(M N) twin of reading a memory: every query weighs every image token.

    queries (B, H, M, K) and keys (B, H, N, K) after κ, values (B, H, N, K), weights α (B, H, N) -> (B, H, M, K).
    """
    attention = queries @ keys.transpose(-1, -2) * weights[:, :, None]
    return attention / attention.sum(dim=-1, keepdim=True) @ values
