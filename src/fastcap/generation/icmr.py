"""ICMR, iterative conditional masked refinement: mask-predict decoding (Ghazvininejad et al. 2019).

All tokens of a caption are predicted at once from masks; then, pass by pass, the least certain are masked again and
predicted anew from the rest. Letters: R caption rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from fastcap.vocabulary import Vocabulary

if TYPE_CHECKING:
    from fastcap.decoder.moe_decoder import ImageState, MoEDecoder

__all__ = ["ICMRDecoder", "Refined"]


class Refined(NamedTuple):
    """`token_ids` (R, T), padded past the length; `probabilities` (R, T), 1 where padded; `scores` (R,), the mean
    log-probability of a row's tokens."""

    token_ids: Tensor
    probabilities: Tensor
    scores: Tensor


class ICMRDecoder(nn.Module):
    """Refines captions of given lengths with a decoder's parallel reading; it has no weights of its own.

    Pass t of P leaves `⌊L (P - t) / P⌋` of a caption's L tokens masked for the next: each pass masks fewer (strictly,
    where L >= P), the last none. A pass is accepted only if it raises the caption's score, which therefore never falls.

    Args:
        vocabulary: V tokens; no mark is ever predicted.
        passes: P. 1 is the arg-max of every position; more trade time for coherence.
        forbidden: further token ids that are never predicted.
    """

    barred: Tensor

    def __init__(self, vocabulary: Vocabulary, passes: int, forbidden: Sequence[int] = ()) -> None:
        super().__init__()
        if passes < 1:
            raise ValueError(f"passes is {passes}; allowed: 1 or more")
        self.passes = passes
        self.pad_id = vocabulary.pad_id
        self.mask_id = vocabulary.mask
        barred = torch.zeros(vocabulary.size)
        barred[[*vocabulary.barred, *forbidden]] = -torch.inf
        self.register_buffer("barred", barred, persistent=False)

    def forward(
        self,
        decoder: MoEDecoder,
        image_state: ImageState,
        lengths: Tensor,
        width: int | Tensor,
        passes: int | None = None,
        penalties: Tensor | None = None,
    ) -> Refined:
        """Captions after `passes` passes, by default all.

        Args:
            image_state: of `decoder.prepare`.
            lengths: (R,) in 1..width.
            width: T, the columns of the result.
            penalties: (V,), added to the logits: a large negative number rules a token out.
        """
        kept, masked = self.begin(lengths, width)
        for done in range(1, (passes or self.passes) + 1):
            kept, masked = self.refine(decoder, image_state, kept, masked, lengths, done, penalties)
        return kept

    def begin(self, lengths: Tensor, width: int | Tensor) -> tuple[Refined, Tensor]:
        """Captions of masks alone, with the lowest score, and where they are masked, (R, T)."""
        steps = torch.arange(width, device=lengths.device)  # type: ignore[arg-type]  # a tensor will do
        padded = steps >= lengths[:, None]
        token_ids = torch.full_like(padded, self.mask_id, dtype=torch.long).masked_fill(padded, self.pad_id)
        probabilities = torch.ones_like(padded, dtype=self.barred.dtype)
        scores = torch.full_like(lengths, -torch.inf, dtype=self.barred.dtype)
        return Refined(token_ids, probabilities, scores), ~padded

    def refine(
        self,
        decoder: MoEDecoder,
        image_state: ImageState,
        kept: Refined,
        masked: Tensor,
        lengths: Tensor,
        done: int | Tensor,
        penalties: Tensor | None = None,
    ) -> tuple[Refined, Tensor]:
        """Pass number `done` (1..P): predict the masked tokens, keep the better caption, mask for the next pass."""
        padded = torch.arange(masked.shape[1], device=lengths.device) >= lengths[:, None]
        token_ids = kept.token_ids.masked_fill(masked, self.mask_id)
        logits = decoder.logits(token_ids, image_state, causal=False, lengths=lengths)
        logits = logits + (self.barred if penalties is None else self.barred + penalties)
        token_ids, probabilities = self.predict(logits, token_ids, kept.probabilities, masked)
        scores = probabilities.clamp(min=1e-9).log().masked_fill(padded, 0.0).sum(dim=-1) / lengths
        better = scores > kept.scores
        kept = Refined(
            torch.where(better[:, None], token_ids, kept.token_ids),
            torch.where(better[:, None], probabilities, kept.probabilities),
            torch.where(better, scores, kept.scores),
        )
        n_masked = torch.div(lengths * (self.passes - done), self.passes, rounding_mode="floor")
        return kept, self.least_certain(kept.probabilities, n_masked) & ~padded

    @staticmethod
    def predict(logits: Tensor, token_ids: Tensor, probabilities: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids and probabilities (R, T), the masked ones by logits (R, T, V): the first choice, or the second if
        the first would repeat its left neighbour."""
        # ranked by logarithms: where probabilities underflow to 0, a barred token would tie with the second choice
        log_p, choice = logits.log_softmax(dim=-1).topk(2, dim=-1)
        p = log_p.exp()
        token_ids = torch.where(masked, choice[..., 0], token_ids)
        probabilities = torch.where(masked, p[..., 0], probabilities)
        left = torch.cat([torch.full_like(token_ids[:, :1], -1), token_ids[:, :-1]], dim=1)
        repeats = masked & (token_ids == left)
        token_ids = torch.where(repeats, choice[..., 1], token_ids)
        return token_ids, torch.where(repeats, p[..., 1], probabilities)

    @staticmethod
    def least_certain(probabilities: Tensor, count: Tensor) -> Tensor:
        """True at the `count` (R,) smallest probabilities of each row (R, T); of equal ones, at the left one first.

        Ranks come from comparing all pairs: T is small, and an exported graph needs no sort.
        """
        p, q = probabilities[:, :, None], probabilities[:, None, :]
        earlier = torch.ones(p.shape[1], p.shape[1], dtype=torch.bool, device=p.device).tril(-1)
        rank = ((q < p) | ((q == p) & earlier)).sum(dim=-1)
        return rank < count[:, None]
