"""One answer for two versions of a picture, as it is and re-saved by another program; or of two versions of a model, as
it is and made smaller.

The same caption is forced in both, and what is predicted at each of its places is compared: distributions say more than
captions do, which change only where the first choice does. What is predicted of the one version is the target of the
other and gets no gradient, as in unsupervised data augmentation (Xie et al. 2020): two predictions that are pulled
towards each other agree soonest where they say what fits every picture.

Letters: B images, R caption rows, T tokens, N image tokens, D width, V classes, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fastcap.layers import ImageTokens, Routing
from fastcap.losses.language import read_causally, read_masked

if TYPE_CHECKING:
    from fastcap.model import CaptionModel

__all__ = ["Reader", "choice_divergence", "reading_divergence", "routing_divergence", "token_distance"]


class Reader(NamedTuple):
    """A model, and what it has made of a batch's images: their tokens, and its decoder's state."""

    model: CaptionModel
    image: ImageTokens
    state: Any


def reading_divergence(target: Reader, other: Reader, batch: Mapping[str, Tensor]) -> Tensor:
    """How far all that is predicted of a batch's captions is from a target: what is read causally; and where a model
    reads in parallel, that reading, the lengths, and the choice of experts. The mean over these, in nats.

    Args:
        target: gets no gradient.
        batch: `token_ids` (R, T) padded, `lengths` (R,), and `masked` (R, T) for the parallel reading.
    """
    token_ids, lengths = batch["token_ids"], batch["lengths"]
    both = target, other

    def compare(hidden: Sequence[Tensor], places: Tensor) -> Tensor:
        target_logits, logits = (each.model.decoder.project(h) for each, h in zip(both, hidden, strict=True))
        return choice_divergence(target_logits, logits, places)

    places = torch.arange(token_ids.shape[1] + 1, device=token_ids.device) <= lengths[:, None]
    parts = [compare([read_causally(each.model.decoder, each.state, token_ids, lengths) for each in both], places)]
    if other.model.config.kind == "parallel":
        masked = batch["masked"]
        hidden = [read_masked(each.model.decoder, each.state, token_ids, lengths, masked) for each in both]
        parts.append(compare(hidden, masked))
        parts.append(choice_divergence(*(each.model.length_predictor(each.image.pooled) for each in both)))
        routings = [each.state.routings for each in both]
        shapes = [[routing.probabilities.shape for routing in each] for each in routings]
        if shapes[0] == shapes[1]:  # neither experts nor layers are gone
            parts.append(routing_divergence(*routings))
    return torch.stack(parts).mean()


def choice_divergence(target: Tensor, other: Tensor, known: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergence of a prediction from its target, both logits, in nats: `Σ_v p_v (log p_v - log q_v)`.

    Args:
        target, other: (R, T, V), or (R, V); p and q. The target gets no gradient.
        known: (R, T), the places that count; a row's are averaged first, so that all rows count alike. Each row has one
            at least.
    """
    if known is not None:
        weights = (known / known.sum(dim=1, keepdim=True) / len(known))[known]
        target, other = target[known], other[known]
    else:
        weights = torch.full(target.shape[:-1], 1 / target[..., 0].numel(), device=target.device)
    exact = torch.promote_types(other.dtype, torch.float32)  # of bf16
    log_p, log_q = target.detach().log_softmax(dim=-1, dtype=exact), other.log_softmax(dim=-1, dtype=exact)
    return (weights * (log_p.exp() * (log_p - log_q)).sum(dim=-1)).sum()


def routing_divergence(target: Sequence[Routing], other: Sequence[Routing]) -> Tensor:
    """The same of the probabilities (B, E) by which layers choose their experts, the mean over layers: another expert
    says something else."""
    parts = [
        choice_divergence(*(routing.probabilities.clamp(min=1e-9).log() for routing in pair))
        for pair in zip(target, other, strict=True)
    ]
    return torch.stack(parts).mean()


def token_distance(target: Tensor, other: Tensor) -> Tensor:
    """1 minus the cosine of both versions' image tokens (B, N, D), the mean over all. The target gets no gradient."""
    return 1 - F.cosine_similarity(target.detach(), other, dim=-1).mean()
