"""The scales of a multi-scale backbone as graphs that run one after another, each only if the exits before it were not
sure: `vision_encoder.onnx` for the first, `scale1.onnx`, `scale2.onnx`, ... for those after it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.backbone.multiscale import MultiScaleBackbone
from fastcap.export.trace import trace
from fastcap.layers import ImageTokens
from fastcap.model import CaptionModel
from fastcap.runtime.contract import IMAGE_VECTORS, SCALED, VISION_ENCODER, scale_file
from fastcap.runtime.scales import BEFORE

__all__ = ["export_scales"]


class ScaleGraph(nn.Module):
    """One more scale: pixels (1, H, W, 3), the tokens of the exit before (1, N, C) and the map of the scale before, to
    the tokens and the picture's vector of this exit, its confidence (1,) and its map."""

    def __init__(self, model: CaptionModel, index: int) -> None:
        super().__init__()
        self.model, self.index = model, index

    def forward(
        self, images: Tensor, tokens: Tensor | None = None, carry: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        backbone, index = self.model.backbone, self.index
        carry = backbone.advance(index, images.permute(0, 3, 1, 2), carry)
        part = backbone.part(index, backbone.to_grid(carry))
        before, after = sum(backbone.widths[:index]), sum(backbone.widths[index + 1 :])
        part = F.pad(part, (before, after)) + backbone.marks[index]
        tokens = part if tokens is None else tokens - backbone.marks[index - 1] + part
        image = ImageTokens(tokens, tokens.mean(dim=1))
        last = index == len(backbone.scales) - 1
        sure = image.pooled[:, 0] * 0 + 1 if last else backbone.confidence(image, index)
        return tokens, self.model.alignment.embed_image(image), sure, carry


@torch.no_grad()
def export_scales(model: CaptionModel, images: Tensor, folder: Path) -> Tensor:
    """Write the graph of each scale into a folder; returns the tokens of the last one for `images`."""
    backbone = model.backbone
    assert isinstance(backbone, MultiScaleBackbone)
    outputs = (*VISION_ENCODER.outputs, *IMAGE_VECTORS, *SCALED)
    given: tuple[Tensor, ...] = (images,)
    for index in range(len(backbone.scales)):
        module = ScaleGraph(model, index)
        names = ("images", *BEFORE)[: len(given)]
        trace(module, given, folder / scale_file(index), names, outputs, {})
        tokens, _, _, carry = module(*given)
        given = images, tokens, carry
    return given[1]
