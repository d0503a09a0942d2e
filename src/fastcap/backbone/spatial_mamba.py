"""Spatial-Mamba backbone: a selective state-space vision encoder with linear cost in the number of tokens.

Convolutional stages bring a 224x224 image to 14x14, where scans become affordable (at 56x56 one scan costs as much as
ten convolutions). Spatial-Mamba blocks then mix the whole image at 14x14 and at 7x7.

Sources: MobileNetV2 (Sandler et al. 2018) for the convolutional blocks, VMamba (Liu et al. 2024) for the
cross-scan, Spatial-Mamba (Xiao et al., ICLR 2025) for structure-aware state fusion.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.backbone.base import Backbone
from fastcap.backbone.convolutional import STAGES_TO_STRIDE_16, ConvBlock, inverted_residual_stages
from fastcap.layers import ImageTokens
from fastcap.scan import selective_scan

__all__ = ["SpatialMambaBackbone", "SpatialMambaBlock"]

MAX_CHUNK = 14  # positions of a scan's chunk: few, since exponentials are slow in ONNX Runtime


class SpatialMambaBlock(nn.Module):
    """Global mixing of a feature map by a selective scan of state size 1, as a residual.

    For a position p of the scan, a head's state is `h_p = exp(-a Δ_p) h_{p-1} + Δ_p B_p x_p` and its output is
    `C_p h̃_p + D x_p`, where Δ, B and C are computed from the input.

    Args:
        d_model: channels of the map.
        n_heads: groups of channels that share one decay.
        scan: "state_fusion" (one raster scan; neighbouring states are mixed by depthwise 3x3 convolutions with
            dilations 1, 3 and 5, Spatial-Mamba) or "cross_scan" (rows, rows reversed, columns, columns
            reversed, each with its own Δ, B, C, merged in place, VMamba).
    """

    DILATIONS = (1, 3, 5)

    def __init__(self, d_model: int, n_heads: int, scan: str) -> None:
        super().__init__()
        if scan not in ("state_fusion", "cross_scan"):
            raise ValueError(f"scan is {scan!r}; allowed: 'state_fusion', 'cross_scan'")
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} is not a multiple of n_heads {n_heads}")
        self.n_heads = n_heads
        self.scan = scan
        self.n_directions = 4 if scan == "cross_scan" else 1
        self.project_in = nn.Conv2d(d_model, d_model, 1)
        self.local = nn.Conv2d(d_model, d_model, 3, padding=1, groups=d_model)
        self.select = nn.Conv2d(d_model, 3 * n_heads * self.n_directions, 1)  # Δ, B, C
        self.log_rate = nn.Parameter(torch.linspace(-2.0, 1.0, n_heads))  # heads forget at different speeds
        self.skip = nn.Parameter(torch.ones(d_model))
        if scan == "state_fusion":
            fusion = [
                nn.Conv2d(d_model, d_model, 3, padding=dilation, dilation=dilation, groups=d_model, bias=False)
                for dilation in self.DILATIONS
            ]
            for convolution in fusion:  # initially the unfused state, a third from each dilation
                nn.init.zeros_(convolution.weight)
                convolution.weight.data[:, :, 1, 1] = 1 / len(self.DILATIONS)
            self.fusion = nn.ModuleList(fusion)
        self.project_out = nn.Conv2d(d_model, d_model, 1)
        # initially the identity: the convolutional features around the block are unchanged while it learns
        for parameter in self.project_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W) -> (B, D, H, W)."""
        y = F.relu(self.local(self.project_in(x)))
        mixed = self.fused(y) if self.scan == "state_fusion" else self.crossed(y)
        return x + self.project_out(mixed + self.skip[:, None, None] * y)

    def selected(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log decay, input weight Δ B and output weight C, each (B, directions, H, N)."""
        step, b, c = self.select(y).flatten(2).reshape(y.shape[0], self.n_directions, 3, self.n_heads, -1).unbind(dim=2)
        step = F.softplus(step)
        log_decay = -step * self.log_rate.exp()[:, None]
        return log_decay, step * b, c

    @staticmethod
    def chunk(columns: int) -> int:
        """Positions of a scan's chunk: a row of the map, within what is efficient."""
        return max(2, min(columns, MAX_CHUNK))

    def fused(self, y: Tensor) -> Tensor:
        """One raster scan, then structure-aware state fusion."""
        width, rows, columns = map(int, y.shape[1:])
        log_decay, b, c = (part[:, 0] for part in self.selected(y))  # (B, H, N)
        inputs = y.reshape(-1, self.n_heads, width // self.n_heads, rows * columns).transpose(2, 3)  # (B, H, N, P)
        states = selective_scan(log_decay, inputs * b[..., None], self.chunk(columns))
        states = states.transpose(2, 3).reshape(-1, width, rows, columns)
        states = self.fusion[0](states) + self.fusion[1](states) + self.fusion[2](states)
        heads = states.reshape(-1, self.n_heads, width // self.n_heads, rows * columns) * c[:, :, None]
        return heads.reshape(-1, width, rows, columns)

    def crossed(self, y: Tensor) -> Tensor:
        """Four scans along rows and columns, both ways, merged in place."""
        width, rows, columns = map(int, y.shape[1:])
        log_decay, b, c = self.selected(y)  # (B, 4, H, N)
        inputs = y.reshape(-1, self.n_heads, width // self.n_heads, rows * columns).transpose(2, 3)  # (B, H, N, P)

        def transposed(part: Tensor, rows: int, columns: int) -> Tensor:
            """Positions of a (rows, columns) grid, listed row by row, listed column by column instead."""
            channels = tuple(map(int, part.shape[3:]))
            grid = part.reshape(-1, self.n_heads, rows, columns, *channels)
            return grid.transpose(2, 3).reshape(-1, self.n_heads, rows * columns, *channels)

        merged = torch.zeros_like(inputs)
        for direction in range(4):
            decay, scanned = log_decay[:, direction], inputs * b[:, direction, :, :, None]
            if direction >= 2:
                decay, scanned = transposed(decay, rows, columns), transposed(scanned, rows, columns)
            if direction % 2:
                states = selective_scan(decay.flip(2), scanned.flip(2), self.chunk(columns)).flip(2)
            else:
                states = selective_scan(decay, scanned, self.chunk(columns))
            if direction >= 2:
                states = transposed(states, columns, rows)
            merged = merged + states * c[:, direction, :, :, None]
        return merged.transpose(2, 3).reshape(-1, width, rows, columns)


class SpatialMambaBackbone(Backbone):
    """Images to image tokens: convolutions to stride 16, Spatial-Mamba at 14x14, stride 32, Spatial-Mamba at 7x7.

    Args:
        d_model: width of the image tokens.
        stem_width: channels of the first convolution.
        widths, depths: channels and blocks of the seven convolutional stages.
        expansion: widening inside a block; the first stage does not widen.
        head_width: channels after the last 1x1 convolution, from which the tokens are projected.
        mamba_depths: Spatial-Mamba blocks at 14x14 and at 7x7.
        n_heads: groups of channels that share one decay.
        scan: see `SpatialMambaBlock`.
    """

    stride = 32

    def __init__(
        self,
        d_model: int,
        stem_width: int,
        widths: Sequence[int],
        depths: Sequence[int],
        expansion: int,
        head_width: int,
        mamba_depths: Sequence[int],
        n_heads: int,
        scan: str,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.stem, self.to_stride_16, self.to_stride_32 = inverted_residual_stages(
            stem_width, widths, depths, expansion
        )
        self.d_stride_16 = widths[STAGES_TO_STRIDE_16 - 1]
        self.mamba_14 = nn.Sequential(
            *(SpatialMambaBlock(self.d_stride_16, n_heads, scan) for _ in range(mamba_depths[0]))
        )
        self.head = ConvBlock(widths[-1], head_width, 1)
        self.project = nn.Conv2d(head_width, d_model, 1)
        self.mamba_7 = nn.Sequential(*(SpatialMambaBlock(d_model, n_heads, scan) for _ in range(mamba_depths[1])))
        self.norm = nn.LayerNorm(d_model)
        self.pool = nn.Linear(d_model, d_model)

    def convolve(self, images: Tensor) -> Tensor:
        """The convolutional stages to stride 16: (B, 3, H, W), multiples of 32, -> (B, d_stride_16, H/16, W/16)."""
        x = images.to(self.stem.weight.dtype) / 127.5 - 1.0
        return self.to_stride_16(self.stem(x))

    def mix(self, features: Tensor) -> ImageTokens:
        """All that follows stride 16: (B, d_stride_16, H/16, W/16) -> tokens (B, HW/1024, D) and pooled (B, D)."""
        x = self.to_stride_32(self.mamba_14(features))
        x = self.mamba_7(self.project(self.head(x)))
        return self.finish(x.flatten(2).transpose(1, 2))
