"""Losses of the two readings of a caption, of its length, and of the experts' use.

Letters: B images, R caption rows, T tokens, D width, V vocabulary, E experts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from fastcap.decoder.caption_decoder import CaptionDecoder
    from fastcap.decoder.moe_decoder import ImageState, MoEDecoder
    from fastcap.decoder.rope_decoder import RopeState

__all__ = [
    "balance_loss",
    "causal_loss",
    "length_loss",
    "mask_tokens",
    "masked_loss",
    "read_causally",
    "read_masked",
]


def read_causally(decoder: CaptionDecoder, state: Any, token_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Hidden states (R, T + 1, D) of which the t-th predicts token t of token_ids (R, T), or the end mark.

    `lengths` (R,) of the captions keep padding out of the statistics of routing; nothing else depends on them.
    """
    lengths = None if lengths is None else lengths + 1
    return decoder.hidden(decoder.inputs(token_ids), state, causal=True, lengths=lengths)


def read_masked(decoder: MoEDecoder, state: ImageState, token_ids: Tensor, lengths: Tensor, masked: Tensor) -> Tensor:
    """Hidden states (R, T, D) of token_ids (R, T) with those that are `masked` (R, T) hidden, read all at once."""
    return decoder.hidden(token_ids.masked_fill(masked, decoder.vocabulary.mask), state, causal=False, lengths=lengths)


def causal_loss(
    decoder: CaptionDecoder, hidden: Tensor, token_ids: Tensor, lengths: Tensor, smoothing: float
) -> Tensor:
    """Next-token cross-entropy of token_ids (R, T), padded, whose lengths are (R,); the end mark is a target too.

    `hidden` is what `read_causally` gives.
    """
    targets = decoder.targets(token_ids, lengths)
    known = torch.arange(targets.shape[1], device=targets.device) <= lengths[:, None]
    return F.cross_entropy(decoder.project(hidden[known]), targets[known], label_smoothing=smoothing)


def mask_tokens(token_ids: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
    """True at 1..L tokens of each row (R, T), the number drawn evenly, then the places (conditional masking)."""
    noise = torch.rand(token_ids.shape, generator=generator).to(token_ids.device)
    count = (torch.rand(lengths.shape, generator=generator).to(lengths.device) * lengths).long() + 1
    inside = torch.arange(token_ids.shape[1], device=token_ids.device) < lengths[:, None]
    rank = noise.masked_fill(~inside, 2.0).argsort(dim=1).argsort(dim=1)
    return (rank < count[:, None]) & inside


def masked_loss(decoder: MoEDecoder, hidden: Tensor, token_ids: Tensor, masked: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of the masked tokens given the others (Ghazvininejad et al. 2019); `masked` is (R, T).

    `hidden` is what `read_masked` gives.
    """
    return F.cross_entropy(decoder.project(hidden[masked]), token_ids[masked], label_smoothing=smoothing)


def length_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of length logits (B, L) against the distribution of the references' lengths (B, L)."""
    return F.cross_entropy(logits, target)


def balance_loss(state: ImageState | RopeState) -> Tensor:
    """`E Σ_e f_e P_e` averaged over layers (Switch, Fedus et al. 2021): f the share of images, or of tokens, routed to
    an expert, P its mean probability. 1 when even, E when one expert gets all."""
    losses = []
    for routing in state.routings:
        n_experts = routing.probabilities.shape[1]
        share = F.one_hot(routing.chosen, n_experts).to(routing.probabilities.dtype).mean(dim=(0, 1))
        losses.append(n_experts * (share * routing.probabilities.mean(dim=0)).sum())
    return torch.stack(losses).mean()
