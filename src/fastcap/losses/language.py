"""Losses of the causal and the parallel reading, of caption lengths, and of the use of experts.

Letters: B images, R caption rows, T tokens, D width, V vocabulary, E experts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from fastcap.decoder.caption_decoder import CaptionDecoder, Decoder
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


def read_causally(
    decoder: Decoder, state: Any, token_ids: Tensor, lengths: Tensor | None = None, begin: Tensor | None = None
) -> Tensor:
    """Hidden states (R, T + 1, D) of the causal reading of token_ids (R, T): state t predicts token t, or the end mark.

    `lengths` (R,) of the captions keep padding out of the statistics of routing; the hidden states do not depend on
    them. `begin` (R,): the mark that each begins with, if not the begin mark.
    """
    lengths = None if lengths is None else lengths + 1
    return decoder.hidden(decoder.inputs(token_ids, begin), state, causal=True, lengths=lengths)


def read_masked(decoder: MoEDecoder, state: ImageState, token_ids: Tensor, lengths: Tensor, masked: Tensor) -> Tensor:
    """Hidden states (R, T, D) of the parallel reading of token_ids (R, T), those that are `masked` (R, T) replaced."""
    return decoder.hidden(token_ids.masked_fill(masked, decoder.vocabulary.mask), state, causal=False, lengths=lengths)


def causal_loss(
    decoder: CaptionDecoder, hidden: Tensor, token_ids: Tensor, lengths: Tensor,
    smoothing: float, learned: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Next-token cross-entropy of token_ids (R, T), padded behind their lengths (R,), end marks included; `hidden` of
    `read_causally`. `learned` (R, T + 1): which of them count, the end mark at the end; None for all."""
    targets = decoder.targets(token_ids, lengths)
    known = torch.arange(targets.shape[1], device=targets.device) <= lengths[:, None]
    known = known if learned is None else known & learned
    return F.cross_entropy(decoder.project(hidden[known]), targets[known], label_smoothing=smoothing)


def mask_tokens(token_ids: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
    """A random mask (R, T) for token_ids (R, T): the number of masked tokens of each row is uniform in 1..length, and
    so are their places (Ghazvininejad et al. 2019)."""
    noise = torch.rand(token_ids.shape, generator=generator).to(token_ids.device)
    count = (torch.rand(lengths.shape, generator=generator).to(lengths.device) * lengths).long() + 1
    inside = torch.arange(token_ids.shape[1], device=token_ids.device) < lengths[:, None]
    rank = noise.masked_fill(~inside, 2.0).argsort(dim=1).argsort(dim=1)
    return (rank < count[:, None]) & inside


def masked_loss(decoder: MoEDecoder, hidden: Tensor, token_ids: Tensor, masked: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of the tokens that are `masked` (R, T); `hidden` of `read_masked`."""
    return F.cross_entropy(decoder.project(hidden[masked]), token_ids[masked], label_smoothing=smoothing)


def length_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of logits over lengths (B, L) with the distribution of the references' lengths (B, L)."""
    return F.cross_entropy(logits, target)


def balance_loss(state: ImageState | RopeState) -> Tensor:
    """`E Σ_e f_e P_e`, the mean over layers (Switch, Fedus et al. 2021): f is the share of images, or of tokens, routed
    to an expert, P its mean probability. 1 when use is even, E when one expert gets all."""
    losses = []
    for routing in state.routings:
        n_experts = routing.probabilities.shape[1]
        share = F.one_hot(routing.chosen, n_experts).to(routing.probabilities.dtype).mean(dim=(0, 1))
        losses.append(n_experts * (share * routing.probabilities.mean(dim=0)).sum())
    return torch.stack(losses).mean()
