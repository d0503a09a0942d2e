"""RoPE decoder: an autoregressive transformer with rotary positions, cross-attention to the image, optional experts.

Letters: B images, R caption rows (a multiple of B, the rows of one image side by side), T tokens, D width, E experts,
M tokens of all rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from fastcap.decoder.attention import KeysValues, SoftmaxAttention
from fastcap.decoder.caption_decoder import CaptionDecoder
from fastcap.layers import FeedForward, ImageTokens, KeyValueCache, Rotation, Routing, SelfAttention, rotation
from fastcap.vocabulary import Vocabulary

__all__ = ["RopeDecoder", "RopeState", "TokenExperts"]

BIAS_RATE = 1e-3  # by which a step moves an expert's bias, as in DeepSeek-V3


class RopeState(NamedTuple):
    """What the decoder reads of B images: `memories`, one per layer. A forward pass in training mode with gradients
    appends to `routings` how each layer routed the tokens, for the balance loss."""

    memories: list[KeysValues]
    routings: list[Routing]

    @property
    def n_images(self) -> int:
        """B."""
        return self.memories[0].keys.shape[0]


class TokenExperts(nn.Module):
    """DeepSeekMoE (Dai et al. 2024): each token uses its own `top_k` of many small experts, and all tokens use the
    shared ones. The output of a routed expert is weighted by its probability among all of them.

    Args:
        d_model: D.
        d_hidden: width inside one expert, a fraction of that of a dense network.
        n_experts, top_k: routed experts E, and how many of them a token uses.
        n_shared: shared experts, 0 for none.
        balancing: "loss" leaves even use to `fastcap.losses.language.balance_loss`; "bias" adds a bias to each expert's
            probability when experts are chosen, not when outputs are weighted. A training step raises it for experts
            with fewer tokens than the mean and lowers it for the others, without a gradient (Wang et al. 2024).
    """

    bias: Tensor

    def __init__(self, d_model: int, d_hidden: int, n_experts: int, top_k: int, n_shared: int, balancing: str) -> None:
        super().__init__()
        if not 1 <= top_k <= n_experts:
            raise ValueError(f"top_k is {top_k}; allowed: 1..{n_experts} (n_experts)")
        if balancing not in ("loss", "bias"):
            raise ValueError(f"balancing is {balancing!r}; allowed: 'loss', 'bias'")
        self.top_k, self.balancing = top_k, balancing
        self.gate = nn.Linear(d_model, n_experts, bias=False)
        self.routed = FeedForward(d_model, d_hidden, n_experts)
        self.shared = dense_network(d_model, n_shared * d_hidden) if n_shared else None
        self.register_buffer("bias", torch.zeros(n_experts))

    def route(self, x: Tensor) -> Routing:
        """Tokens x (M, D) -> their experts."""
        probabilities = self.gate(x).softmax(dim=-1)
        chosen = (probabilities + self.bias).topk(self.top_k, dim=-1).indices
        return Routing(chosen, probabilities.gather(1, chosen), probabilities)

    def forward(self, x: Tensor, real: Tensor | None = None) -> tuple[Tensor, Routing]:
        """x (R, T, D) -> (R, T, D), and the routing of tokens that are no padding.

        Args:
            real: (R, T), False at padding, which is computed like any token but left out of the routing and of the
                balance; None where there is no padding.
        """
        tokens = x.flatten(0, 1)
        routing = self.route(tokens)
        y = self.routed.dispatch(tokens, routing.chosen, routing.weights).view_as(x)
        if self.shared is not None:
            y = y + self.shared(x)
        if real is not None:
            routing = Routing(*(part[real.flatten()] for part in routing))
        if self.balancing == "bias" and self.training and torch.is_grad_enabled():
            load = routing.chosen.flatten().bincount(minlength=len(self.bias)).to(self.bias.dtype)
            self.bias += BIAS_RATE * (load.mean() - load).sign()
        return y, routing


def dense_network(d_model: int, d_hidden: int) -> nn.Sequential:
    """A dense two-layer ReLU network, like one expert of `FeedForward`."""
    return nn.Sequential(nn.Linear(d_model, d_hidden), nn.ReLU(), nn.Linear(d_hidden, d_model))


class RopeLayer(nn.Module):
    """Causal self-attention with rotary positions, cross-attention to the image, a dense network or experts: pre-norm
    residual branches."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_hidden: int,
        n_experts: int,
        top_k: int,
        n_shared: int,
        balancing: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(d_model)
        self.self_attention = SelfAttention(d_model, n_heads)
        self.norm_cross = nn.LayerNorm(d_model)
        self.cross_attention = SoftmaxAttention(d_model, n_heads)
        self.norm_network = nn.LayerNorm(d_model)
        self.network = (
            TokenExperts(d_model, d_hidden, n_experts, top_k, n_shared, balancing)
            if n_experts
            else dense_network(d_model, d_hidden)
        )
        self.dropout = nn.Dropout(dropout)

    def prepare(self, image: ImageTokens) -> KeysValues:
        """image -> its keys and values for cross-attention."""
        return self.cross_attention.prepare(image.tokens)

    def forward(
        self,
        x: Tensor,
        memory: KeysValues,
        positions: Rotation,
        real: Tensor | None,
        cache: KeyValueCache | None,
        layer: int,
    ) -> tuple[Tensor, Routing | None]:
        """x (R, T, D) -> (R, T, D), and the routing of its tokens if there are experts."""
        attended = self.self_attention(self.norm_self(x), causal=True, cache=cache, layer=layer, positions=positions)
        x = x + self.dropout(attended)
        # the rows of an image share its memory: (R, T, D) -> (B, R/B * T, D)
        grouped = self.norm_cross(x).reshape(memory.keys.shape[0], -1, x.shape[2])
        x = x + self.dropout(self.cross_attention(grouped, memory).reshape(x.shape))
        y, routing = self.norm_network(x), None
        if isinstance(self.network, TokenExperts):
            y, routing = self.network(y, real)
        else:
            y = self.network(y)
        return x + self.dropout(y), routing


class RopeDecoder(CaptionDecoder):
    """A `CaptionDecoder` with rotary positions, which reads from left to right only.

    Args:
        vocabulary, d_model, max_length, dropout: see `CaptionDecoder`.
        n_layers, n_heads: layers, and heads of both attentions; a head's width is even, as `rotation` needs.
        d_hidden: width inside the feed-forward network, or inside one expert.
        n_experts, top_k, n_shared, balancing: see `TokenExperts`; n_experts 0 is one dense network.
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
        n_shared: int,
        balancing: str,
        max_length: int,
        dropout: float,
    ) -> None:
        super().__init__(vocabulary, d_model, max_length, dropout)
        if d_model % (2 * n_heads):
            raise ValueError(f"d_model is {d_model}; allowed: multiples of {2 * n_heads}, twice the heads")
        self.d_head = d_model // n_heads
        self.layers = nn.ModuleList(
            RopeLayer(d_model, n_heads, d_hidden, n_experts, top_k, n_shared, balancing, dropout)
            for _ in range(n_layers)
        )

    def prepare(self, image: ImageTokens) -> RopeState:
        layers = cast(Iterable[RopeLayer], self.layers)
        return RopeState([layer.prepare(image) for layer in layers], [])

    def hidden(
        self,
        token_ids: Tensor,
        image_state: RopeState,
        *,
        causal: bool = True,
        lengths: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """See `Decoder.hidden`; `causal` is True. `lengths` keep padding out of the statistics of routing; the hidden
        states do not depend on them."""
        if not causal:
            raise ValueError("the RoPE decoder reads from left to right only; the parallel reading is MoEDecoder's")
        length, device = token_ids.shape[1], token_ids.device
        positions = rotation(cache.length if cache is not None else 0, length, self.d_head, device)
        real = None if lengths is None else torch.arange(length, device=device) < lengths[:, None]
        x = self.dropout(self.embed(token_ids))
        for index, layer in enumerate(self.layers):
            x, routing = layer(x, image_state.memories[index], positions, real, cache, index)
            if routing is not None and self.training and torch.is_grad_enabled():
                image_state.routings.append(routing)
        return self.norm(x)
