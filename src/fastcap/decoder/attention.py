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
    return positive + (x - positive).exp()  # a third of the time of ONNX Runtime's Elu


class Memory(NamedTuple):
    """Keys and values of an image, summed over its tokens: computed once for a layer, read in every pass.

    `buffer` (B, H, K, K) is 1/N Σ_j α_j κ(K_j)ᵀ V_j, `normaliser` (B, H, K) is 1/N Σ_j α_j κ(K_j).
    """

    buffer: Tensor
    normaliser: Tensor


class CrossAttention(nn.Module):
    """What the kinds below share: projections to keys, values and queries of H heads.

    Args:
        d_model: D, the width of caption positions and image tokens.
        n_heads: H.
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
        """(B, M, H K) -> (B, H, M, K); H K is D, or less where heads were removed."""
        return x.reshape(x.shape[0], -1, self.n_heads, self.d_head).transpose(1, 2)

    def weights(self, x: Tensor, image_tokens: Tensor) -> Tensor:
        """x (B, M, D), image_tokens (B, N, D) -> attention weights (B, H, M, N), of which each row sums to 1."""
        raise NotImplementedError


class KeysValues(NamedTuple):
    """Keys and values of an image for one layer of softmax attention, (B, H, N, K) each."""

    keys: Tensor
    values: Tensor


class SoftmaxAttention(CrossAttention):
    """Softmax cross-attention (Vaswani et al. 2017); a caption position costs O(N K) per head."""

    def prepare(self, image_tokens: Tensor) -> KeysValues:
        """image_tokens (B, N, D) -> what `forward` reads."""
        return KeysValues(self.split(self.key(image_tokens)), self.split(self.value(image_tokens)))

    def weights_of(self, x: Tensor, keys: Tensor) -> Tensor:
        """x (B, M, D), keys (B, H, N, K) -> attention weights (B, H, M, N)."""
        scores = self.split(self.query(x)) @ keys.transpose(-1, -2) * self.d_head**-0.5
        return scores.softmax(dim=-1)

    def forward(self, x: Tensor, memory: KeysValues) -> Tensor:
        """x (B, M, D) -> (B, M, D)."""
        read = self.weights_of(x, memory.keys) @ memory.values
        return self.project_out(read.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, image_tokens: Tensor) -> Tensor:
        """As in `CrossAttention`."""
        return self.weights_of(x, self.prepare(image_tokens).keys)


class LinearAttention(CrossAttention):
    """Linear cross-attention (Katharopoulos et al. 2020); a caption position costs O(K²) per head, whatever N is.

    Few wide heads suit it: the memory of a head is K x K.
    """

    def keys_values_weights(self, image_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """κ(keys) and values (B, H, N, K), and weights α (B, H, N) whose sum over N is N: here all of them 1."""
        keys = kernel(self.split(self.key(image_tokens)))
        return keys, self.split(self.value(image_tokens)), torch.ones_like(keys[..., 0])

    def prepare(self, image_tokens: Tensor) -> Memory:
        """image_tokens (B, N, D) of a square grid -> the memory that `forward` reads."""
        keys, values, weights = self.keys_values_weights(image_tokens)
        weighted = keys * weights[..., None]
        # means instead of sums: their ratio is the same, and their range suits int8 and fp16
        n_tokens = image_tokens.shape[1]
        return Memory(weighted.transpose(-1, -2) @ values / n_tokens, weighted.sum(dim=2) / n_tokens)

    def weights(self, x: Tensor, image_tokens: Tensor) -> Tensor:
        """As in `CrossAttention`; RALA's gate, which comes after it, has no part in it."""
        keys, _, weights = self.keys_values_weights(image_tokens)
        scores = kernel(self.split(self.query(x))) @ keys.transpose(-1, -2) * weights[:, :, None]
        return scores / scores.sum(dim=-1, keepdim=True)

    def read(self, x: Tensor, memory: Memory) -> Tensor:
        """x (B, M, D) -> `κ(Q) S ⊙ z`, (B, M, D)."""
        queries = kernel(self.split(self.query(x)))
        read = queries @ memory.buffer
        read = read / (queries * memory.normaliser[:, :, None]).sum(dim=-1, keepdim=True)
        return read.transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """x (B, M, D) -> (B, M, D)."""
        return self.project_out(self.read(x, memory))


class RankAugmentedLinearAttention(LinearAttention):
    """RALA: linear attention with keys weighted by a global query and a gated output, both of which restore rank.

    Two departures from the paper, so that the memory depends on the image alone and is computed once for all passes:
    the global query is the mean of queries of the *image*, and the local positional encoding (LePE, a depthwise 3x3
    convolution) is added to the values before they are summed.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        self.image_query = nn.Linear(d_model, d_model)
        self.local_position = nn.Conv2d(d_model, d_model, 3, padding=1, groups=d_model)
        self.gate = nn.Linear(d_model, d_model)
        nn.init.ones_(self.gate.bias)  # begins as plain linear attention

    def keys_values_weights(self, image_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As in `LinearAttention`, α = N softmax_j(q̄ · κ(K_j) / √K)."""
        batch, n_tokens, _ = image_tokens.shape
        side, width = math.isqrt(int(n_tokens)), self.n_heads * self.d_head
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
    """The slow O(M N) twin of `LinearAttention.read`: every query attends to every image token.

    queries (B, H, M, K) and keys (B, H, N, K) after κ, values (B, H, N, K), weights α (B, H, N) -> (B, H, M, K).
    """
    attention = queries @ keys.transpose(-1, -2) * weights[:, :, None]
    return attention / attention.sum(dim=-1, keepdim=True) @ values
