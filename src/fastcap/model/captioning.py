"""The captioning model: the only place where a backbone meets a decoder.

Letters: B images, R rows of tokens, T tokens, A width of the space of images and texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fastcap.alignment.cmfa import Alignment
from fastcap.config import ModelConfig
from fastcap.generation.autoregressive import Hypothesis, Stepper, beam_search, sample
from fastcap.layers import ImageTokens
from fastcap.model.stepper import TorchStepper
from fastcap.vocabulary import Vocabulary

__all__ = ["CaptionModel"]


class CaptionModel(nn.Module):
    """A backbone, a decoder and an alignment, which caption from left to right; every family is one of these.

    `encode` an image once; then `search` or `sample` captions of it, or compare it with texts: `alignment.embed_image`
    beside `embed_text`. `fastcap.model.build.build_model` makes one from settings.

    Args:
        config: the settings that the parts were built from.
        parts: modules by the names they have in a checkpoint: backbone, decoder, alignment, and a family's own.
    """

    alignment: Alignment

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # the parts, whose types the settings decide

    def __init__(self, config: ModelConfig, **parts: nn.Module) -> None:
        super().__init__()
        self.config = config
        for name, part in parts.items():
            self.add_module(name, part)

    @property
    def slow(self) -> dict[str, str]:
        """Beginnings of the names of weights that learn at another rate, and the setting of a stage that says which."""
        return {f"backbone.{name}.": "convolution_rate" for name in self.backbone.convolutions}

    def note_learned(self) -> None:
        """Note the names of what is trained, where that is not everything; after units were removed, once more."""

    def thaw(self) -> None:
        """Let all that may be trained require gradients."""
        self.requires_grad_(True)

    @property
    def vocabulary(self) -> Vocabulary:
        """Its marks, and its number of tokens."""
        return self.decoder.vocabulary

    def encode(self, images: Tensor) -> ImageTokens:
        """images (B, H, W, 3) uint8 RGB -> ImageTokens."""
        return self.backbone(images.permute(0, 3, 1, 2))

    def encode_words(self, words: Tensor) -> ImageTokens:
        """Words in place of an image: token ids (B, N), N a square, the pad mark where a cell is empty -> ImageTokens.

        Captions without images are plentiful. From them a decoder learns whole sentences; images then teach it where
        the words come from (in the spirit of DeCap, Li et al. 2023; docs/log.md has the result).
        """
        embedded = self.decoder.embedding(words) * (words != self.vocabulary.pad_id)[..., None]
        return self.backbone.finish(embedded)

    def read_texts(self, token_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """token_ids (R, T) padded, lengths (R,) -> what the alignment reads of a text, (R, ...), and its lengths."""
        return self.decoder.embedding(token_ids), lengths

    def read_expected(self, probabilities: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As `read_texts`, of words that are not certain: probabilities (R, T, V)."""
        return probabilities @ self.decoder.embedding.weight, lengths

    def embed_text(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """token_ids (R, T) padded, lengths (R,) -> unit vectors (R, A), comparable with `alignment.embed_image`."""
        return self.alignment.embed_text(*self.read_texts(token_ids, lengths))

    def stepper(self) -> Stepper:
        """Its reading from left to right, one token at a time."""
        return TorchStepper(self.decoder)

    def search(self, image: ImageTokens, beams: int = 3, **settings: Any) -> list[list[Hypothesis]]:
        """Captions of encoded images from left to right, best first for each: beam search, greedy with one beam.

        `settings`: of `fastcap.generation.autoregressive.beam_search`, in place of the model's own `limits`.
        """
        return self.from_left_to_right(beam_search, image, beams=beams, **settings)

    def sample(self, image: ImageTokens, samples: int = 1, **settings: Any) -> list[list[Hypothesis]]:
        """Captions of encoded images drawn at random, the most probable first for each; `settings` as in `search`, of
        `fastcap.generation.autoregressive.sample`."""
        return self.from_left_to_right(sample, image, samples=samples, **settings)

    @torch.no_grad()
    def from_left_to_right(self, algorithm: Any, image: ImageTokens, **settings: Any) -> list[list[Hypothesis]]:
        """Captions of encoded images by `beam_search` or `sample`."""
        stepper, state = self.stepper(), self.decoder.prepare(image)
        limits = self.limits(settings.get("prompt_ids", ()))
        return algorithm(stepper, state, len(image.tokens), **{**limits, **settings})

    def limits(self, prompt_ids: Sequence[int] = ()) -> dict[str, Any]:
        """Settings of a search: the model's own lengths, of which a prompt takes its part, and its marks."""
        return {
            "min_length": self.config.generation.min_length,
            "max_length": self.config.max_length - len(prompt_ids),
            "bos_id": self.vocabulary.bos_id,
            "eos_id": self.vocabulary.eos_id,
            "forbidden": self.vocabulary.barred_in_search,
        }

    @torch.no_grad()
    def best_captions(self, image: ImageTokens, causal: bool = False) -> list[list[int]]:
        """Token ids of the best caption of each encoded image, in the family's own way of decoding; `causal`: by greedy
        search, the way that every family has."""
        return [hypotheses[0].token_ids for hypotheses in self.search(image, beams=1)]
