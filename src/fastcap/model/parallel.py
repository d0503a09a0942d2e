"""The parallel family: all tokens of a caption at once, in a few passes, for several lengths, which are then ranked.

Letters: B images, K candidate captions of an image, R = B K rows, T tokens, V vocabulary, A width of the space of
images and texts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastcap.decoder.moe_decoder import ImageState
from fastcap.generation.dlag import LengthPredictor
from fastcap.generation.icmr import ICMRDecoder, Refined
from fastcap.layers import ImageTokens
from fastcap.losses.language import read_causally
from fastcap.model.captioning import CaptionModel

__all__ = ["Captions", "ParallelCaptionModel"]


class Captions(NamedTuple):
    """Candidates of a batch, best first: `token_ids` (B, K, T) padded, `lengths` (B, K), `confidences` (B, K), the
    geometric mean of the tokens' probabilities in both readings, `token_confidences` (B, K, T)."""

    token_ids: Tensor
    lengths: Tensor
    confidences: Tensor
    token_confidences: Tensor

    def best(self) -> list[list[int]]:
        """Token ids of the first candidate of each image, without padding."""
        first = zip(self.token_ids[:, 0].tolist(), self.lengths[:, 0].tolist(), strict=True)
        return [token_ids[:length] for token_ids, length in first]


class ParallelCaptionModel(CaptionModel):
    """A captioning model that predicts lengths and refines captions in parallel; it can search from left to right too.

    Two more parts: `length_predictor` and `refiner`.
    """

    length_predictor: LengthPredictor
    refiner: ICMRDecoder

    def forward(
        self, images: Tensor, length_range: Tensor, candidates: Tensor, penalties: Tensor | None = None
    ) -> Captions:
        """The whole way from pixels to candidates; for one image, this is the graph that is exported.

        Args:
            images: (B, H, W, 3) uint8 RGB.
            length_range: (2,) int64, smallest and largest caption length in tokens.
            candidates: (1,) int64, K.
            penalties: (V,) added to the logits of tokens; a large negative number rules one out.
        """
        return self.caption(self.encode(images), length_range, candidates, penalties)

    def caption(
        self, image: ImageTokens, length_range: Tensor, candidates: Tensor, penalties: Tensor | None = None
    ) -> Captions:
        """Captions of encoded images by parallel decoding; arguments as in `forward`."""
        lengths, log_p = self.length_predictor.choose(image.pooled, length_range, candidates)
        width = lengths.max()  # a tensor, so that an exported graph keeps it variable
        state = self.decoder.prepare(image)
        refined = self.refiner(self.decoder, state, lengths.reshape(-1), width, penalties=penalties)
        return self.rank(state, refined, lengths, log_p, self.alignment.embed_image(image))

    @torch.no_grad()
    def best_captions(self, image: ImageTokens, causal: bool = False) -> list[list[int]]:
        """As `CaptionModel.best_captions`: the first candidate at the model's own lengths."""
        if causal:
            return super().best_captions(image)
        generation, device = self.config.generation, image.tokens.device
        length_range = torch.tensor([generation.min_length, self.config.max_length], device=device)
        return self.caption(image, length_range, torch.tensor([generation.candidates], device=device)).best()

    def rank(self, state: ImageState, refined: Refined, lengths: Tensor, log_p: Tensor, vectors: Tensor) -> Captions:
        """Candidates in order of the mean log-probability of their tokens, a weighted mean of both readings.

        The parallel reading counts 1, the causal one, end mark included, `causal_weight`: it notices repetitions that
        the parallel reading wrote. Confidence is that mean as a probability. To decide the order, `length_weight` times
        the log-probability of the length and `alignment_weight` times the cosine of image and caption are added.

        Args:
            state: of B images.
            refined: R rows.
            lengths, log_p: (B, K) lengths and their log-probabilities.
            vectors: (B, A), the images as `alignment.embed_image` gives them.
        """
        count, width = lengths.shape[1], refined.token_ids.shape[1]
        generation = self.config.generation
        scores = refined.scores
        if generation.causal_weight:
            causal = self.causal_scores(state, refined.token_ids, lengths.reshape(-1))
            scores = (scores + generation.causal_weight * causal) / (1 + generation.causal_weight)
        scores = scores.reshape(-1, count)
        order = scores + generation.length_weight * log_p
        if generation.alignment_weight:
            texts = self.embed_text(refined.token_ids, lengths.reshape(-1)).reshape(-1, count, vectors.shape[1])
            order = order + generation.alignment_weight * (texts * vectors[:, None]).sum(dim=-1)
        token_ids = refined.token_ids.reshape(-1, count, width)
        probabilities = refined.probabilities.reshape(-1, count, width)
        rank = order.topk(count, dim=1).indices  # no sort: converters for phones have none
        return Captions(
            token_ids.gather(1, rank[..., None].expand_as(token_ids)),
            lengths.gather(1, rank),
            scores.gather(1, rank).exp(),
            probabilities.gather(1, rank[..., None].expand_as(probabilities)),
        )

    def causal_scores(self, state: ImageState, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Mean log-probability (R,) of captions (R, T) and their end marks, read from left to right."""
        targets = self.decoder.targets(token_ids, lengths)
        logits = self.decoder.project(read_causally(self.decoder, state, token_ids))
        log_p = logits.log_softmax(dim=-1).gather(2, targets[..., None])[..., 0]
        past = torch.arange(targets.shape[1], device=lengths.device) > lengths[:, None]
        return log_p.masked_fill(past, 0.0).sum(dim=-1) / (lengths + 1)
