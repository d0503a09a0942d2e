"""What all encoders have in common, and where each can be cut in two."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from fastcap.layers import ImageTokens

__all__ = ["Backbone", "Cut"]


class Cut(NamedTuple):
    """A place where a backbone is cut in two: what lies before it can be frozen, and its outputs cached.

    Attributes:
        frozen: the modules before it.
        compute: their outputs for images (B, 3, H, W), a tensor (B, ...).
        resume: the rest of the backbone, from these outputs to ImageTokens.
    """

    frozen: tuple[nn.Module, ...]
    compute: Callable[[Tensor], Tensor]
    resume: Callable[[Tensor], ImageTokens]


class Backbone(nn.Module):
    """Base of the encoders: images to image tokens, of which words can be made as well.

    These have convolutions to stride 16, `stem` and `to_stride_16`, in `convolve`, and all that follows in `mix`. An
    encoder of another kind defines `forward`, and its own `cuts`, instead.
    """

    d_model: int
    stride: int
    """Side of the square of pixels that one image token stands for."""
    convolutions: tuple[str, ...] = ("stem", "to_stride_16", "to_stride_32", "head")
    """Modules that an ImageNet network can initialise, and that have a learning rate of their own."""
    norm: nn.LayerNorm
    pool: nn.Linear

    @property
    def cuts(self) -> dict[str, Cut]:
        """Where this backbone can be frozen and its outputs cached, by name."""
        frozen = tuple(map(self.get_submodule, ("stem", "to_stride_16")))
        return {
            "convolutions": Cut(frozen, self.convolve, self.mix),
            "tokens": Cut((self,), lambda images: self(images).tokens, self.summarise),
        }

    def n_tokens(self, height: int, width: int) -> int:
        """How many image tokens N an image of this size has, in pixels that are multiples of `stride`."""
        return (height // self.stride) * (width // self.stride)

    def convolve(self, images: Tensor) -> Tensor:
        """The convolutions to stride 16: images (B, 3, H, W) -> (B, C, H/16, W/16)."""
        raise NotImplementedError

    def mix(self, features: Tensor) -> ImageTokens:
        """All that follows: (B, C, H/16, W/16) -> ImageTokens."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> ImageTokens:
        """images (B, 3, H, W), uint8 values 0..255 in any dtype -> ImageTokens."""
        return self.mix(self.convolve(images))

    def finish(self, tokens: Tensor) -> ImageTokens:
        """Normalise tokens (B, N, D), and summarise them."""
        return self.summarise(self.norm(tokens))

    def summarise(self, tokens: Tensor) -> ImageTokens:
        """Normalised tokens (B, N, D), and their pooled vector."""
        return ImageTokens(tokens, self.pool(tokens.mean(dim=1)))
