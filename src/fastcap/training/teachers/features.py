"""The teacher of kind features: an ImageNet network's summary of an image."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from fastcap.backbone.convolutional import load_trunk
from fastcap.backbone.spatial_mamba import SpatialMambaBackbone
from fastcap.config import BackboneConfig, ModelConfig, keywords

__all__ = ["ImageNetFeatures"]


class ImageNetFeatures(nn.Module):
    """MobileNetV2 to its last convolution, averaged over the image.

    Args:
        path, setting: see `load_trunk`.
    """

    def __init__(self, path: Path, setting: str) -> None:
        super().__init__()
        backbone = SpatialMambaBackbone(ModelConfig.d_model, **keywords(BackboneConfig()))  # MobileNetV2's sizes
        load_trunk(backbone, path, setting)
        self.to_stride_16 = nn.ModuleList([backbone.stem, backbone.to_stride_16])  # what `convolve` uses
        self.convolve = backbone.convolve
        self.rest = nn.Sequential(backbone.to_stride_32, backbone.head)
        self.d_features = backbone.head.out_channels
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) uint8 -> (B, C)."""
        return self.rest(self.convolve(images)).mean(dim=(2, 3))
