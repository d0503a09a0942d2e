"""Teachers: networks that initialise ours."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from fastcap.backbone.spatial_mamba import ConvBlock, InvertedResidual, SpatialMambaBackbone
from fastcap.errors import DataError

__all__ = ["initialise_from_mobilenetv2"]


def convolutions(backbone: SpatialMambaBackbone) -> dict[str, ConvBlock]:
    """The backbone's convolutions under the names of MobileNetV2's."""
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


def initialise_from_mobilenetv2(backbone: SpatialMambaBackbone, path: Path | str) -> None:
    """Copy an ImageNet MobileNetV2, batch norm folded, into the convolutional stages.

    Args:
        path: .npz with `NAME.weight` (OIHW) and `NAME.bias`, names conv0, b0.dw, ..., b16.project, conv_last.

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
        raise DataError(f"teacher {path} cannot be read ({error}); setting data.teacher") from error
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
