"""MobileNetV2's convolutional stages (Sandler et al. 2018), which an ImageNet network can initialise."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["STAGES_TO_STRIDE_16", "STRIDES", "ConvBlock", "InvertedResidual", "inverted_residual_stages"]

STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the seven stages, after a stem of stride 2
STAGES_TO_STRIDE_16 = 5


class ConvBlock(nn.Conv2d):
    """Convolution and, by default, ReLU6. Batch normalisation is folded in, so training sees what ships.

    Padding is TensorFlow's SAME: a stride of 2 pads right and bottom only, unless a side is odd.
    """

    def __init__(self, d_in: int, d_out: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True):
        super().__init__(d_in, d_out, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups)
        self.relu = relu
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu" if relu else "linear")
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, d_in, H, W) -> (B, d_out, H / stride, W / stride), rounded up."""
        if self.stride[0] == 2:
            height, width = map(int, x.shape[2:])
            x = F.pad(x, (width % 2, 1, height % 2, 1))
        x = super().forward(x)
        return F.relu6(x) if self.relu else x


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen, filter each channel, narrow; a residual where the shapes agree."""

    def __init__(self, d_in: int, d_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        d_hidden = d_in * expansion
        self.expand = ConvBlock(d_in, d_hidden, 1) if expansion > 1 else None
        self.dw = ConvBlock(d_hidden, d_hidden, 3, stride, groups=d_hidden)
        self.project = ConvBlock(d_hidden, d_out, 1, relu=False)
        self.residual = stride == 1 and d_in == d_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, d_in, H, W) -> (B, d_out, H / stride, W / stride)."""
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.dw(y))
        return x + y if self.residual else y


def inverted_residual_stages(
    stem_width: int, widths: Sequence[int], depths: Sequence[int], expansion: int
) -> tuple[ConvBlock, nn.Sequential, nn.Sequential]:
    """The stem, of stride 2, the stages from there to stride 16, and those to stride 32.

    Args:
        stem_width: channels of the stem.
        widths, depths: channels and blocks of the seven stages.
        expansion: widening inside a block; the first stage does not widen.

    Raises:
        ValueError: not seven widths or depths.
    """
    if len(widths) != len(STRIDES) or len(depths) != len(STRIDES):
        raise ValueError(f"widths and depths need {len(STRIDES)} numbers, got {len(widths)} and {len(depths)}")
    to_16: list[nn.Module] = []
    to_32: list[nn.Module] = []
    d_in = stem_width
    for stage, (width, depth, stride) in enumerate(zip(widths, depths, STRIDES, strict=True)):
        blocks = to_16 if stage < STAGES_TO_STRIDE_16 else to_32
        for index in range(depth):
            blocks.append(InvertedResidual(d_in, width, stride if index == 0 else 1, expansion if stage else 1))
            d_in = width
    return ConvBlock(3, stem_width, 3, 2), nn.Sequential(*to_16), nn.Sequential(*to_32)
