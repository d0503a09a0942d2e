"""Mixture-of-experts transformer decoder: one network with two readings of a caption, causal and parallel.

The causal reading is an autoregressive captioner, the parallel one predicts masked tokens. Both share all weights, so
that each can train, score and correct the other.

Letters: B images, R caption rows (a multiple of B, the rows of one image side by side), T tokens, D width,
E experts, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from fastcap.decoder.attention import CROSS_ATTENTIONS, Memory
from fastcap.decoder.caption_decoder import CaptionDecoder
from fastcap.layers import Expert, FeedForward, ImageTokens, KeyValueCache, Routing, SelfAttention
from fastcap.vocabulary import Vocabulary

__all__ = ["ImageState", "MoEDecoder", "Router", "Routing"]


class ImageState(NamedTuple):
    """What the decoder reads of B images, the same in every pass, for every length and hypothesis."""

    context: Tensor  # (B, D), added to every caption position
    memories: list[Memory]  # one per layer
    routings: list[Routing]  # one per layer
    experts: list[list[Expert]]  # k per layer

    @property
    def n_images(self) -> int:
        """B."""
        return self.context.shape[0]


class Router(nn.Module):
    """Chooses the experts of an image: the top k of E, weighted by a softmax over those k (Shazeer et al. 2017).

    With k = 1 the weight is the constant 1, which has no gradient. In training it is therefore multiplied by
    p / stop_gradient(p), where p is the sum of the chosen experts' probabilities.
    """

    def __init__(self, d_model: int, n_experts: int, top_k: int) -> None:
        super().__init__()
        if not 1 <= top_k <= n_experts:
            raise ValueError(f"top_k is {top_k}; allowed: 1..{n_experts} (n_experts)")
        self.top_k = top_k
        self.gate = nn.Linear(d_model, n_experts)

    def forward(self, pooled: Tensor) -> Routing:
        """pooled (B, D) -> Routing."""
        probabilities = self.gate(pooled).softmax(dim=-1)
        top, chosen = probabilities.topk(self.top_k, dim=-1)
        total = top.sum(dim=-1, keepdim=True)
        weights = top / total
        if self.training:
            weights = weights * (total / total.detach())
        return Routing(chosen, weights, probabilities)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention to the image, the image's experts: pre-norm residual branches."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_hidden: int,
        n_experts: int,
        top_k: int,
        dropout: float,
        cross_attention: str,
    ) -> None:
        super().__init__()
        self.router = Router(d_model, n_experts, top_k)
        self.norm_self = nn.LayerNorm(d_model)
        self.self_attention = SelfAttention(d_model, n_heads)
        self.norm_cross = nn.LayerNorm(d_model)
        self.cross_attention = CROSS_ATTENTIONS[cross_attention](d_model, n_heads)
        self.norm_experts = nn.LayerNorm(d_model)
        self.experts = FeedForward(d_model, d_hidden, n_experts)
        self.dropout = nn.Dropout(dropout)

    def prepare(self, image: ImageTokens) -> tuple[Memory, Routing, list[Expert]]:
        """image -> its memory for cross-attention, its routing, and the weights of its experts."""
        routing = self.router(image.pooled)
        memory = self.cross_attention.prepare(image.tokens)
        return memory, routing, self.experts.select(routing.chosen, routing.weights)

    def forward(
        self,
        x: Tensor,
        memory: Memory,
        experts: Sequence[Expert],
        *,
        causal: bool,
        padding_mask: Tensor | None,
        cache: KeyValueCache | None,
        layer: int,
    ) -> Tensor:
        """x (R, T, D) -> (R, T, D)."""
        rows, length, width = x.shape
        attended = self.self_attention(
            self.norm_self(x), causal=causal, padding_mask=padding_mask, cache=cache, layer=layer
        )
        x = x + self.dropout(attended)
        # the rows of an image share its memory and its experts: (R, T, D) -> (B, R/B * T, D)
        x = x.reshape(memory.buffer.shape[0], -1, width)
        x = x + self.dropout(self.cross_attention(self.norm_cross(x), memory))
        x = x + self.dropout(self.experts(self.norm_experts(x), experts))
        return x.reshape(rows, length, width)


class MoEDecoder(CaptionDecoder):
    """A `CaptionDecoder` with a causal and a parallel reading, whose experts are chosen by the image.

    Args:
        vocabulary, d_model, max_length, dropout: see `CaptionDecoder`; the parallel reading needs a mask mark.
        n_layers, n_heads: layers, and heads of both attentions.
        d_hidden: width inside one expert.
        n_experts, top_k: experts of a layer, and how many of them an image uses.
        cross_attention: attention to the image, a name in `fastcap.decoder.attention.CROSS_ATTENTIONS`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        d_model: int,
        n_layers: int,
        n_heads: int,
        d_hidden: int,
        n_experts: int,
        top_k: int,
        max_length: int,
        dropout: float,
        cross_attention: str,
    ) -> None:
        super().__init__(vocabulary, d_model, max_length, dropout)
        self.position = nn.Parameter(torch.zeros(max_length + 1, d_model))  # counted from the first token
        self.remaining = nn.Parameter(torch.zeros(max_length + 1, d_model))  # counted back from the last
        self.context = nn.Linear(d_model, d_model)
        self.layers = nn.ModuleList(
            DecoderLayer(d_model, n_heads, d_hidden, n_experts, top_k, dropout, cross_attention)
            for _ in range(n_layers)
        )
        nn.init.normal_(self.position, std=0.02)
        nn.init.normal_(self.remaining, std=0.02)

    def prepare(self, image: ImageTokens) -> ImageState:
        prepared = [layer.prepare(image) for layer in cast(Iterable[DecoderLayer], self.layers)]
        return ImageState(
            self.context(image.pooled),
            [memory for memory, _, _ in prepared],
            [routing for _, routing, _ in prepared],
            [experts for _, _, experts in prepared],
        )

    def hidden(
        self,
        token_ids: Tensor,
        image_state: ImageState,
        *,
        causal: bool = True,
        lengths: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """See `Decoder.hidden`. With `causal` False, the parallel reading: position t predicts token t of captions of
        known `lengths`, without begin and end mark, some tokens masked. All positions attend to one another; how many
        tokens follow is an input."""
        rows, length = token_ids.shape
        start = cache.length if cache is not None else 0
        x = self.embed(token_ids) + self.position[start : start + length]
        padding_mask = None
        if not causal:
            if lengths is None:
                raise ValueError("the parallel reading needs the lengths of the captions")
            steps = torch.arange(length, device=token_ids.device)
            remaining = (lengths[:, None] - 1 - steps).clamp(min=0)
            x = x + self.remaining[remaining]
            padding_mask = steps >= lengths[:, None]
        x = x.reshape(image_state.n_images, -1, length, self.d_model) + image_state.context[:, None, None]
        x = self.dropout(x.reshape(rows, length, self.d_model))
        for index, layer in enumerate(self.layers):
            x = layer(
                x,
                image_state.memories[index],
                image_state.experts[index],
                causal=causal,
                padding_mask=padding_mask,
                cache=cache,
                layer=index,
            )
        return self.norm(x)
