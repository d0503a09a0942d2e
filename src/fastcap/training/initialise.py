"""ImageNet weights for the convolutions of a new model."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from fastcap.backbone.mobilenetv2 import ConvBlock, InvertedResidual
from fastcap.backbone.resnet_vit import ResNetViTBackbone
from fastcap.backbone.spatial_mamba import SpatialMambaBackbone
from fastcap.errors import DataError

__all__ = ["convolutions", "initialise_from_mobilenetv2"]


def convolutions(backbone: SpatialMambaBackbone | ResNetViTBackbone) -> dict[str, ConvBlock]:
    """The backbone's convolutions under the names of MobileNetV2's: conv0, b0.dw, ..., b16.project, conv_last."""
    assert isinstance(backbone.stem, ConvBlock) and isinstance(backbone.head, ConvBlock)
    named: dict[str, ConvBlock] = {"conv0": backbone.stem}
    blocks = [*backbone.to_stride_16, *backbone.to_stride_32]
    for index, block in enumerate(blocks):
        assert isinstance(block, InvertedResidual)
        if block.expand is not None:
            named[f"b{index}.expand"] = block.expand
        named[f"b{index}.dw"] = block.dw
        named[f"b{index}.project"] = block.project
    named["conv_last"] = backbone.head
    return named


def initialise_from_mobilenetv2(
    backbone: SpatialMambaBackbone | ResNetViTBackbone, path: Path | str, setting: str = "data.teacher"
) -> None:
    """Copy an ImageNet MobileNetV2, batch normalisation folded in, into the backbone's convolutions.

    Args:
        path: .npz with `NAME.weight` (OIHW) and `NAME.bias`, under the names of `convolutions`.
        setting: the one that names the file, for the message if it cannot be read.

    Raises:
        DataError: the file is missing or damaged, or a tensor is missing or of another shape.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array; an .npz of named tensors is needed")
        with file:
            tensors = {name: file[name] for name in file.files if not name.startswith("classifier")}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"teacher {path} cannot be read ({error}); setting {setting}") from error
    for name, module in convolutions(backbone).items():
        for part in ("weight", "bias"):
            parameter, key = getattr(module, part), f"{name}.{part}"
            if key not in tensors:
                raise DataError(f"teacher {path} has no tensor {key}")
            if tensors[key].shape != tuple(parameter.shape):
                raise DataError(
                    f"teacher {path}: {key} is {tensors[key].shape}, the model needs {tuple(parameter.shape)}"
                )
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(tensors[key]))
