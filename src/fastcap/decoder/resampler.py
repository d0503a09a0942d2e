"""A cross-modal resampler: a few learned queries read all image tokens, and become the prefix of a language model.

Letters: B images, N image tokens, C their width, K tokens of the prefix, D width of the language model, H heads, W
width of the resampler.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastcap.attention import ATTENTIONS, attend, attention_weights

__all__ = ["Resampler"]


class Resampler(nn.Module):
    """Image tokens to the prefix of a language model, as in Flamingo (Alayrac et al. 2022), by one layer of
    cross-attention and one feed-forward network.

    Args:
        d_image: C, width of the image tokens.
        d_model: D, width of the language model.
        n_image: N, how many image tokens there are; each has a learned position.
        n_tokens: K, tokens of the prefix.
        d_hidden: W, a multiple of `n_heads`.
        n_heads: H; 8, as is usual.
        attention: one of `fastcap.attention.ATTENTIONS`.
        stride: of attention "strided".
        dropout: of the image tokens, in training only.
        scale: root mean square of the prefix at the start; see `Projection`.

    Raises:
        ValueError: another kind of attention, a width that does not divide, or a stride above N.
    """

    def __init__(
        self,
        d_image: int,
        d_model: int,
        n_image: int,
        n_tokens: int = 16,
        d_hidden: int = 1024,
        n_heads: int = 8,
        attention: str = "flash",
        stride: int = 2,
        dropout: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if attention not in ATTENTIONS:
            raise ValueError(f"attention is {attention!r}; allowed: {', '.join(ATTENTIONS)}")
        if d_hidden % n_heads:
            raise ValueError(f"d_hidden is {d_hidden}; allowed: multiples of n_heads, {n_heads}")
        if attention == "strided" and not 1 <= stride <= n_image:
            raise ValueError(f"attention stride is {stride}; allowed: 1 to {n_image}, the number of image tokens")
        self.n_tokens, self.n_heads, self.attention, self.stride = n_tokens, n_heads, attention, stride
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(d_image)
        self.read = nn.Linear(d_image, 2 * d_hidden)  # keys and values
        self.position = nn.Parameter(torch.randn(n_image, d_hidden) * 0.02)
        self.queries = nn.Parameter(torch.randn(n_tokens, d_hidden))
        self.after = nn.LayerNorm(d_hidden)
        self.mix = nn.Sequential(nn.Linear(d_hidden, d_hidden), nn.GELU(), nn.Linear(d_hidden, d_hidden))
        self.project = nn.Linear(d_hidden, d_model)
        self.scale = nn.Parameter(torch.full((d_model,), scale))

    def heads(self, x: Tensor) -> Tensor:
        """(B, T, W) -> (B, H, T, W / H)."""
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)

    def inputs(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of tokens (B, N, C), in heads."""
        keys, values = self.read(self.dropout(self.norm(tokens))).chunk(2, dim=2)
        queries = self.queries.expand(len(tokens), -1, -1)
        return self.heads(queries), self.heads(keys + self.position), self.heads(values)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, N, C) -> prefix (B, K, D)."""
        read = attend(self.attention, *self.inputs(tokens), self.stride).transpose(1, 2).flatten(2)
        read = self.after(read)
        return self.project(read + self.mix(read)) * self.scale

    @torch.no_grad()
    def weights(self, tokens: Tensor) -> Tensor:
        """How much each prefix token reads of each image token: (B, K, N), the mean over heads."""
        queries, keys, _ = self.inputs(tokens)
        return attention_weights(self.attention, queries, keys, self.stride).mean(dim=1)
