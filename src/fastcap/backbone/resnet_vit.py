"""ResNet + ViT backbone: a convolutional network whose feature map becomes the tokens of a transformer encoder.

Sources: ResNet (He et al. 2016) with group normalisation (Wu and He 2018), which needs no statistics of a batch, or
MobileNetV2's inverted residuals (Sandler et al. 2018), which an ImageNet network can initialise; the hybrid of ViT
(Dosovitskiy et al. 2021) for the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.backbone.base import Backbone
from fastcap.backbone.convolutional import ConvBlock, inverted_residual_stages
from fastcap.layers import ImageTokens, SelfAttention

__all__ = ["EncoderLayer", "ResNetViTBackbone", "ResidualBlock", "grid_positions"]

GROUPS = 32  # of channels normalised together, where their number allows
STEM_WIDTH, EXPANSION, HEAD_WIDTH = 32, 6, 1280  # MobileNetV2's


def grid_positions(rows: int, columns: int, width: int, device: torch.device | None = None) -> Tensor:
    """Sinusoidal positions of the tokens of a grid of any size: (rows * columns, width).

    The first half of the numbers encodes the row, the second the column, each as in Vaswani et al. (2017).
    """
    rates = 10000.0 ** (-torch.arange(width // 4, device=device) / (width // 4))
    halves = []
    for count in (rows, columns):
        angles = torch.arange(count, device=device)[:, None] * rates
        halves.append(torch.cat([angles.sin(), angles.cos()], dim=1))  # (count, width / 2)
    row, column = halves
    return torch.cat([row.repeat_interleave(columns, dim=0), column.repeat(rows, 1)], dim=1)


class Convolution(nn.Sequential):
    """Convolution and group normalisation; a stride of 2 halves the sides, rounded up."""

    def __init__(self, d_in: int, d_out: int, kernel: int, stride: int = 1, scale: float = 1.0) -> None:
        convolution = nn.Conv2d(d_in, d_out, kernel, stride, padding=kernel // 2, bias=False)
        norm = nn.GroupNorm(math.gcd(GROUPS, d_out), d_out)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        nn.init.constant_(norm.weight, scale)
        super().__init__(convolution, norm)


class ResidualBlock(nn.Module):
    """ResNet's basic block: two 3x3 convolutions beside a shortcut."""

    def __init__(self, d_in: int, d_out: int, stride: int) -> None:
        super().__init__()
        self.first = Convolution(d_in, d_out, 3, stride)
        self.second = Convolution(d_out, d_out, 3, scale=0.0)  # initially the shortcut alone (Goyal et al. 2017)
        self.shortcut = nn.Identity() if stride == 1 and d_in == d_out else Convolution(d_in, d_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, d_in, H, W) -> (B, d_out, H / stride, W / stride)."""
        return F.relu(self.shortcut(x) + self.second(F.relu(self.first(x))))


class EncoderLayer(nn.Module):
    """Self-attention over image tokens and a feed-forward network; each normalised before and added."""

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(d_model)
        self.self_attention = SelfAttention(d_model, n_heads)
        self.norm_network = nn.LayerNorm(d_model)
        self.network = nn.Sequential(nn.Linear(d_model, d_hidden), nn.ReLU(), nn.Linear(d_hidden, d_model))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.dropout(self.self_attention(self.norm_self(x), causal=False))
        return x + self.dropout(self.network(self.norm_network(x)))


def basic_stages(widths: Sequence[int], depths: Sequence[int]) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """A stem of stride 4, ResNet's stages from there to stride 16, and that to stride 32.

    Raises:
        ValueError: not four widths or depths.
    """
    if len(widths) != 4 or len(depths) != 4:
        raise ValueError(f"widths and depths need 4 numbers, got {len(widths)} and {len(depths)}")
    stages: list[nn.Sequential] = []
    d_in = widths[0]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        blocks = []
        for index in range(depth):
            blocks.append(ResidualBlock(d_in, width, 2 if stage and index == 0 else 1))
            d_in = width
        stages.append(nn.Sequential(*blocks))
    stem = nn.Sequential(Convolution(3, widths[0], 3, 2), nn.ReLU(), Convolution(widths[0], widths[0], 3, 2), nn.ReLU())
    return stem, nn.Sequential(*stages[:3]), stages[3]


STAGES: dict[str, Callable[..., tuple[nn.Module, nn.Sequential, nn.Sequential]]] = {
    "basic": basic_stages,
    "inverted": lambda widths, depths: inverted_residual_stages(STEM_WIDTH, widths, depths, EXPANSION),
}


class ResNetViTBackbone(Backbone):
    """Images of any size to image tokens, one for every 32x32 pixels.

    Args:
        d_model: width of the image tokens, a multiple of 4: sine and cosine of row and column.
        blocks: "basic", ResNet's, or "inverted", MobileNetV2's.
        widths, depths: channels and blocks of the convolutional stages: four basic ones, at strides 4, 8, 16 and 32, or
            seven inverted ones.
        n_layers, n_heads, d_hidden: transformer layers, heads of their attention, width inside their networks.
        dropout: of each residual branch of the transformer, in training only.
    """

    stride = 32

    def __init__(
        self,
        d_model: int,
        blocks: str,
        widths: Sequence[int],
        depths: Sequence[int],
        n_layers: int,
        n_heads: int,
        d_hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if d_model % 4:
            raise ValueError(f"d_model is {d_model}; allowed: multiples of 4")
        if blocks not in STAGES:
            raise ValueError(f"blocks is {blocks!r}; allowed: {', '.join(STAGES)}")
        self.d_model = d_model
        self.stem, self.to_stride_16, self.to_stride_32 = STAGES[blocks](widths, depths)
        self.head = ConvBlock(widths[-1], HEAD_WIDTH, 1) if blocks == "inverted" else nn.Identity()
        self.project = nn.Linear(HEAD_WIDTH if blocks == "inverted" else widths[-1], d_model)
        self.layers = nn.ModuleList(EncoderLayer(d_model, n_heads, d_hidden, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.pool = nn.Linear(d_model, d_model)

    def convolve(self, images: Tensor) -> Tensor:
        """The convolutional stages to stride 16: (B, 3, H, W) -> (B, C, H/16, W/16), rounded up."""
        x = images.to(self.project.weight.dtype) / 127.5 - 1.0
        return self.to_stride_16(self.stem(x))

    def mix(self, features: Tensor) -> ImageTokens:
        """All that follows: (B, C, H/16, W/16) -> tokens (B, HW/1024, D) and pooled (B, D)."""
        x = self.head(self.to_stride_32(features))
        rows, columns = map(int, x.shape[2:])
        x = self.project(x.flatten(2).transpose(1, 2))
        x = x + grid_positions(rows, columns, self.d_model, x.device).to(x.dtype)
        for layer in self.layers:
            x = layer(x)
        return self.finish(x)
