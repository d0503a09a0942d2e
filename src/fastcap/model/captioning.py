"""The captioning model: the only place where a backbone meets a decoder.

Letters: B images, K candidate captions an image, R = B K rows, T tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fastcap.alignment.cmfa import Alignment
from fastcap.backbone.resnet_vit import ResNetViTBackbone
from fastcap.backbone.spatial_mamba import SpatialMambaBackbone
from fastcap.config import ModelConfig, keywords
from fastcap.decoder.caption_decoder import CaptionDecoder
from fastcap.decoder.moe_decoder import ImageState, MoEDecoder
from fastcap.decoder.rope_decoder import RopeDecoder, RopeState
from fastcap.errors import ConfigError
from fastcap.generation.autoregressive import Hypothesis, beam_search, sample
from fastcap.generation.dlag import LengthPredictor
from fastcap.generation.icmr import ICMRDecoder, Refined
from fastcap.layers import ImageTokens, KeyValueCache
from fastcap.vocabulary import BOS, EOS, MASK, PAD, SPECIAL_TOKENS, UNK

__all__ = ["BACKBONES", "DECODERS", "CaptionModel", "Captions", "TorchStepper"]

# By the `kind` of their settings, which are in `fastcap.config.model`.
BACKBONES: dict[str, Any] = {"spatial_mamba": SpatialMambaBackbone, "resnet_vit": ResNetViTBackbone}
DECODERS: dict[str, Any] = {"moe": MoEDecoder, "rope": RopeDecoder}


class Captions(NamedTuple):
    """Candidates of a batch, best first: `token_ids` (B, K, T) padded, `lengths` (B, K), `confidences` (B, K), the
    geometric mean of the tokens' probabilities in both readings, `token_confidences` (B, K, T)."""

    token_ids: Tensor
    lengths: Tensor
    confidences: Tensor
    token_confidences: Tensor


class CaptionModel(nn.Module):
    """A backbone, a decoder and an alignment: FastCap, or the autoregressive family, as the settings say.

    FastCap is the Spatial-Mamba backbone and the mixture-of-experts decoder, with length prediction and parallel
    refinement; a RoPE decoder has neither of these two.

    `encode` once for an image; then `caption` (parallel), `search` (left to right), or the decoder itself; or
    `alignment.embed_image`, to compare it with the texts of `embed_text`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = config.vocabulary
        self.backbone = BACKBONES[config.backbone.kind](config.d_model, **keywords(config.backbone))
        self.decoder = DECODERS[config.decoder.kind](
            config.vocab_size, config.d_model, max_length=config.max_length, **keywords(config.decoder)
        )
        if config.parallel:
            self.length_predictor = LengthPredictor(config.d_model, config.max_length)
            self.refiner = ICMRDecoder(
                config.vocab_size, config.generation.passes, PAD, MASK, forbidden=range(len(SPECIAL_TOKENS))
            )
        self.alignment = Alignment(config.d_model, config.d_space, config.max_length)

    def encode(self, images: Tensor) -> ImageTokens:
        """images (B, H, W, 3) uint8 RGB -> ImageTokens."""
        return self.backbone(images.permute(0, 3, 1, 2))

    def encode_words(self, words: Tensor) -> ImageTokens:
        """Words in place of an image: words (B, N) token ids, N a square, PAD where a cell is empty -> ImageTokens.

        Captions without images are plentiful: from them a decoder learns to say whole sentences, and images then teach
        it where the words come from (in the spirit of DeCap, Li et al. 2023; what it gave is in docs/log.md).
        """
        return self.backbone.finish(self.decoder.embedding(words) * (words != PAD)[..., None])

    def embed_text(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """token_ids (R, T) padded, lengths (R,) -> unit vectors (R, A) beside those of `alignment.embed_image`."""
        return self.alignment.embed_text(self.decoder.embedding(token_ids), lengths)

    def forward(
        self, images: Tensor, length_range: Tensor, candidates: Tensor, penalties: Tensor | None = None
    ) -> Captions:
        """The whole way from pixels to candidates; what it says of one image is the graph that is exported.

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
        """Captions of encoded images by parallel decoding; arguments as in `forward`.

        Raises:
            ConfigError: the decoder has no parallel reading.
        """
        if not self.config.parallel:
            raise ConfigError(f"a {self.config.decoder.kind} decoder captions from left to right only: see `search`")
        lengths, log_p = self.length_predictor.choose(image.pooled, length_range, candidates)
        width = lengths.max()  # a tensor, so that an exported graph keeps it variable
        state = self.decoder.prepare(image)
        refined = self.refiner(self.decoder, state, lengths.reshape(-1), width, penalties=penalties)
        return self.rank(state, refined, lengths, log_p, self.alignment.embed_image(image))

    @torch.no_grad()
    def search(self, image: ImageTokens, beams: int = 3, **settings: Any) -> list[list[Hypothesis]]:
        """Captions of encoded images from left to right, best first for each: beam search, greedy with one beam.

        `settings`: of `fastcap.generation.autoregressive.beam_search`, in place of the model's own `limits`.
        """
        stepper, state = TorchStepper(self.decoder), self.decoder.prepare(image)
        return beam_search(stepper, state, len(image.tokens), beams=beams, **{**self.limits(), **settings})

    @torch.no_grad()
    def sample(self, image: ImageTokens, samples: int = 1, **settings: Any) -> list[list[Hypothesis]]:
        """Captions of encoded images drawn at random, the most probable first for each; `settings` as in `search`, of
        `fastcap.generation.autoregressive.sample`."""
        stepper, state = TorchStepper(self.decoder), self.decoder.prepare(image)
        return sample(stepper, state, len(image.tokens), samples=samples, **{**self.limits(), **settings})

    def limits(self) -> dict[str, Any]:
        """What decoding from left to right may say: captions of the model's own lengths, and none but real words."""
        return {
            "min_length": self.config.generation.min_length,
            "max_length": self.config.max_length,
            "bos_id": BOS,
            "eos_id": EOS,
            "forbidden": (PAD, BOS, MASK, UNK),
        }

    def rank(self, state: ImageState, refined: Refined, lengths: Tensor, log_p: Tensor, vectors: Tensor) -> Captions:
        """Candidates in order of the mean log-probability of their tokens, a weighted mean of both readings.

        The parallel reading counts 1, the causal one, end mark included, `causal_weight`: reading left to right, the
        same network notices what it wrote twice. Confidence is that mean as a probability. `length_weight` times the
        log-probability of the length and `alignment_weight` times the cosine of picture and caption are added to decide
        the order.

        Args:
            state: of B images.
            refined: B K rows.
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
        rank = order.argsort(dim=1, descending=True)
        return Captions(
            token_ids.gather(1, rank[..., None].expand_as(token_ids)),
            lengths.gather(1, rank),
            scores.gather(1, rank).exp(),
            probabilities.gather(1, rank[..., None].expand_as(probabilities)),
        )

    def causal_scores(self, state: ImageState, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Mean log-probability (R,) of captions (R, T) and their end marks, read from left to right."""
        begin = torch.full_like(token_ids[:, :1], BOS)
        targets = torch.cat([token_ids, torch.full_like(begin, PAD)], dim=1)
        targets = targets.scatter(1, lengths[:, None], EOS)
        logits = self.decoder.logits(torch.cat([begin, token_ids], dim=1), state, causal=True)
        log_p = logits.log_softmax(dim=-1).gather(2, targets[..., None])[..., 0]
        past = torch.arange(targets.shape[1], device=lengths.device) > lengths[:, None]
        return log_p.masked_fill(past, 0.0).sum(dim=-1) / (lengths + 1)


class TorchStepper:
    """A decoder's causal reading as `fastcap.generation.autoregressive.Stepper`."""

    def __init__(self, decoder: CaptionDecoder) -> None:
        self.decoder: Any = decoder

    def start(self, image_state: ImageState | RopeState, rows_per_image: int) -> Any:
        """The state of rows that have read nothing."""
        return image_state, KeyValueCache(len(self.decoder.layers))

    @torch.no_grad()
    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        """Log-probabilities (R, V) after one more token a row."""
        image_state, cache = state
        if cache.length:
            cache.reorder(torch.as_tensor(parents))
        ids = torch.as_tensor(token_ids, device=self.decoder.bias.device)[:, None]
        logits = self.decoder.logits(ids, image_state, causal=True, cache=cache)[:, -1]
        return logits.log_softmax(dim=-1).cpu().numpy(), state
