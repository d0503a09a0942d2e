"""Frozen vision towers as a backbone: nothing of it is trained, so what it makes of a picture can be kept.

Letters: B images, H and W sides, N tokens, C their width, M channels of the maps, S side of their grid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastcap.backbone.base import Backbone, Cut
from fastcap.backbone.pretrained import SideBySide
from fastcap.errors import ConfigError
from fastcap.layers import ImageTokens

__all__ = ["TowersBackbone"]


class TowersBackbone(Backbone):
    """Images to the tokens of one or more frozen towers, normalised and side by side.

    Args:
        towers: those.
        image_size: side of the pictures in pixels, which has to be that of every tower.
        image_tokens: how many tokens will be asked for.

    Raises:
        ModelFileError: a tower reads pictures of another size.
        ConfigError: more tokens are asked for than the towers give.
    """

    convolutions = ()

    def __init__(self, towers: SideBySide, image_size: int, image_tokens: int) -> None:
        super().__init__()
        self.towers, self.d_model = towers, towers.d_tokens
        with torch.no_grad():
            self.side = towers.maps(torch.zeros(1, 3, image_size, image_size)).shape[-1]
        if image_tokens > self.side**2:
            raise ConfigError(
                f"image_tokens is {image_tokens}; allowed: square numbers up to {self.side**2}, the tokens of the "
                f"towers at {image_size} pixels"
            )
        self.stride = math.ceil(image_size / self.side)

    def n_tokens(self, height: int, width: int) -> int:
        """N: the towers read one size."""
        return self.side**2

    @property
    def cuts(self) -> dict[str, Cut]:
        """One place: behind the maps, whatever is frozen beside the towers."""
        cut = Cut((self.towers,), self.towers.maps, self.read)
        return {"convolutions": cut, "tokens": cut}

    def read(self, maps: Tensor) -> ImageTokens:
        """Maps (B, M, S, S) -> ImageTokens; `pooled` is their mean."""
        tokens = self.towers.tokens(maps)
        return ImageTokens(tokens, tokens.mean(dim=1))

    def forward(self, images: Tensor) -> ImageTokens:
        """images (B, 3, H, W), uint8 values 0..255 in any dtype -> ImageTokens."""
        with torch.no_grad():
            return self.read(self.towers.maps(images))
