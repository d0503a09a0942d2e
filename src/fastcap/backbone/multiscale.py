"""A frozen convolutional trunk at several scales, with an exit after each: sizes of the picture, and strides within.

A scale such as "224/16" is the feature map of stride 16 of the picture at 224x224 pixels. All are brought to one grid,
the last one's: a finer map lays the cells of a square side by side as channels, so that nothing is lost; a coarser one
repeats. At an exit the scales after it are zeros, and a learned mark says which exit it is, so that everything behind
the backbone is the same at all of them.

Letters: B images, E scales and exits, S side of the grid, N = S^2 tokens, C their width, M channels of the maps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.backbone.base import Backbone, Cut
from fastcap.backbone.convolutional import STAGES_TO_STRIDE_16, ConvolutionalTower
from fastcap.errors import ConfigError
from fastcap.layers import ImageTokens

__all__ = ["MultiScaleBackbone", "Scale", "read_scales"]

ALLOWED = (8, 16, 32)
STAGES_TO_STRIDE_8 = 3


class Scale(NamedTuple):
    """A picture of `size` x `size` pixels, seen at `stride`."""

    size: int
    stride: int

    @property
    def side(self) -> int:
        """Cells of a row of its map."""
        return self.size // self.stride


def read_scales(names: Sequence[str], image_size: int) -> list[Scale]:
    """Scales from their names, in the order in which they are computed.

    Raises:
        ConfigError: a name of another form, a size that does not divide the picture's, scales out of order, or maps
            that do not fit the last one's grid.
    """
    scales = []
    for name in names:
        match = re.fullmatch(r"(\d{1,5})/(\d{1,2})", name)
        scale = Scale(*map(int, match.groups())) if match else Scale(0, 0)
        if scale.stride not in ALLOWED or not scale.size or image_size % scale.size or scale.size % 32:
            raise ConfigError(
                f"scale {name!r}; allowed: SIZE/STRIDE, a multiple of 32 that divides the picture's {image_size} "
                f"pixels, and {', '.join(map(str, ALLOWED))}"
            )
        scales.append(scale)
    order = sorted(set(scales))
    if not scales or scales != order or scales[-1].size != image_size:
        told = f"each once, small before large, the last of {image_size} pixels"
        raise ConfigError(f"scales are {', '.join(names)}; allowed: {told}")
    side = scales[-1].side
    for name, scale in zip(names, scales, strict=True):
        if max(scale.side, side) % min(scale.side, side) or (scale.stride == 32 and scale.side > side):
            raise ConfigError(
                f"scale {name!r} has {scale.side}x{scale.side} cells; allowed: those of which the last one's "
                f"{side}x{side} are a multiple, or a part but for stride 32"
            )
    return scales


class MultiScaleBackbone(Backbone):
    """Images to the tokens of all scales, or of those up to an exit.

    While it is trained, each image leaves at an exit drawn at random, so that one set of weights behind it serves all.

    Args:
        tower: the trunk; frozen.
        image_size: side of the pictures in pixels.
        scales: their names, see `read_scales`.
        image_tokens: how many tokens will be asked for.
        thresholds: for each exit but the last, the confidence from which a picture leaves there; none: it never does.

    Raises:
        ConfigError: as `read_scales`; more tokens than there are, or another number of thresholds.
    """

    convolutions = ()

    def __init__(
        self,
        tower: ConvolutionalTower,
        image_size: int,
        scales: Sequence[str],
        image_tokens: int,
        thresholds: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.tower, self.scales = tower.requires_grad_(False), read_scales(scales, image_size)
        self.image_size, self.side, self.stride = image_size, self.scales[-1].side, self.scales[-1].stride
        if image_tokens > self.side**2:
            raise ConfigError(
                f"image_tokens is {image_tokens}; allowed: numbers up to {self.side**2}, the cells of {scales[-1]}"
            )
        if len(thresholds) not in (0, len(self.scales) - 1):
            raise ConfigError(f"{len(thresholds)} thresholds; allowed: none, or {len(self.scales) - 1}, one an exit")
        self.thresholds = tuple(thresholds)
        channels = {8: tower.trunk.widths[STAGES_TO_STRIDE_8 - 1], 16: tower.trunk.widths[STAGES_TO_STRIDE_16 - 1]}
        self.map_widths, self.widths = [], []
        for scale in self.scales:
            finer = max(scale.side // self.side, 1) ** 2
            self.map_widths.append(channels.get(scale.stride, tower.d_map) * finer)
            self.widths.append(tower.d_tokens if scale.stride == 32 else self.map_widths[-1])
        self.d_model = sum(self.widths)
        self.first = sum(tower.trunk.depths[:STAGES_TO_STRIDE_8])  # blocks to stride 8
        self.marks = nn.Parameter(torch.zeros(len(self.scales), self.d_model))
        self.exits = nn.ModuleList(nn.Linear(sum(self.widths[: exit + 1]), 1) for exit in range(len(self.scales) - 1))

    def train(self, mode: bool = True) -> MultiScaleBackbone:
        """The trunk stays in evaluation mode."""
        super().train(mode)
        self.tower.eval()
        return self

    def n_tokens(self, height: int, width: int) -> int:
        """N: one size is read."""
        return self.side**2

    @property
    def cuts(self) -> dict[str, Cut]:
        """One place: behind the maps of all scales."""
        cut = Cut((self.tower,), self.maps, self.read)
        return {"convolutions": cut, "tokens": cut}

    # --- the frozen part ------------------------------------------------------------------------------------

    def advance(self, index: int, images: Tensor, carry: Tensor | None) -> Tensor:
        """The trunk's map at a scale.

        Args:
            images: (B, 3, H, W), values 0..255 in any dtype.
            carry: the map of the scale before.
        """
        scale, before = self.scales[index], self.scales[index - 1] if index else None
        tower, stride = self.tower, 0
        if carry is not None and before is not None and before.size == scale.size:
            x, stride = carry, before.stride
        else:
            x = (images.to(tower.stem.weight.dtype) - tower.trunk.pixel_mean) / tower.trunk.pixel_scale
            if scale.size < self.image_size:
                x = F.avg_pool2d(x, self.image_size // scale.size)
        if stride < 8:
            x = tower.to_stride_16[: self.first](tower.stem(x))
        if stride < 16 <= scale.stride:
            x = tower.to_stride_16[self.first :](x)
        return tower.to_stride_32(x) if stride < 32 <= scale.stride else x

    def to_grid(self, x: Tensor) -> Tensor:
        """A map (B, M, s, s) on the grid: (B, M', S, S)."""
        side = int(x.shape[-1])
        if side > self.side:
            return F.pixel_unshuffle(x, side // self.side)
        return F.interpolate(x, scale_factor=self.side // side, mode="nearest") if side < self.side else x

    @torch.no_grad()
    def maps(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W), values 0..255 in any dtype -> what is worth keeping of all scales (B, M, S, S)."""
        carry, found = None, []
        for index in range(len(self.scales)):
            carry = self.advance(index, images, carry)
            found.append(self.to_grid(carry))
        return torch.cat(found, dim=1)

    # --- from maps to tokens ----------------------------------------------------------------------------------

    def part(self, index: int, grid: Tensor) -> Tensor:
        """One scale's map on the grid (B, M', S, S) -> its share of the tokens (B, N, C'), normalised."""
        x = self.tower.head(grid) if self.scales[index].stride == 32 else grid
        tokens = x.flatten(2).transpose(1, 2)
        return F.layer_norm(tokens, (int(tokens.shape[2]),))

    def read(self, maps: Tensor, exits: Tensor | None = None) -> ImageTokens:
        """What `maps` gives, cropped or not -> ImageTokens; `pooled` is the tokens' mean.

        Args:
            exits: (B,), where each image leaves; by default after all scales, in training anywhere.
        """
        last = len(self.scales) - 1
        if exits is None:
            exits = torch.full((len(maps),), last, device=maps.device)
            if self.training:
                exits = torch.randint(last + 1, exits.shape, device=maps.device)
        parts = []
        for index, grid in enumerate(maps.split(self.map_widths, dim=1)):
            computed = (exits >= index).to(grid.dtype)[:, None, None]
            parts.append(self.part(index, grid) * computed)
        tokens = torch.cat(parts, dim=2) + self.marks[exits][:, None]
        return ImageTokens(tokens, tokens.mean(dim=1))

    def confidence(self, image: ImageTokens, exit: int) -> Tensor:
        """How sure an exit but the last is, from what was computed up to it, that the scales after it would change
        nothing for the better: (B,), 0 to 1."""
        width = self.exits[exit].in_features
        return self.exits[exit](image.pooled[:, :width])[:, 0].sigmoid()

    def forward(self, images: Tensor) -> ImageTokens:
        """images (B, 3, H, W), uint8 values 0..255 in any dtype -> ImageTokens of all scales."""
        return self.read(self.maps(images))
