"""The convolutional trunk: MobileNetV2 (Sandler et al. 2018) and EfficientNet-Lite (Tan and Le 2019, without
squeeze-and-excitation and with ReLU6), one code for both, and the ImageNet weights that can initialise it.

Letters: B images, C channels, H and W sides, N tokens.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.errors import ConfigError, DataError

__all__ = [
    "STAGES_TO_STRIDE_16",
    "STRIDES",
    "TRUNKS",
    "ConvBlock",
    "ConvolutionalTower",
    "InvertedResidual",
    "Trunk",
    "inverted_residual_stages",
    "load_trunk",
    "named_convolutions",
    "read_imagenet_weights",
]

STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the seven stages, after a stem of stride 2
STAGES_TO_STRIDE_16 = 5
BATCH_NORM_EPSILON = 1e-3  # TensorFlow's, with which all these networks were trained


class Trunk(NamedTuple):
    """What tells one published trunk from another.

    Attributes:
        widths, depths, kernels: channels, blocks and depthwise kernel of the seven stages.
        pixel_mean, pixel_scale: pixels 0..255 are fed as `(x - pixel_mean) / pixel_scale`.
        stem_width, expansion, head_width: channels of the stem, widening inside a block, channels of the last 1x1
            convolution: the same in all of them.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    pixel_mean: float = 127.0
    pixel_scale: float = 128.0
    stem_width: int = 32
    expansion: int = 6
    head_width: int = 1280


TRUNKS = {
    "mobilenetv2": Trunk((16, 24, 32, 64, 96, 160, 320), (1, 2, 3, 4, 3, 3, 1), (3,) * 7, 127.5, 127.5),
    "efficientnet-lite0": Trunk((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    "efficientnet-lite1": Trunk((16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
    "efficientnet-lite2": Trunk((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
}


class ConvBlock(nn.Conv2d):
    """Convolution and, by default, ReLU6. Batch normalisation is folded in, so training sees what ships.

    Padding is TensorFlow's SAME: at stride 2, an even side is padded one pixel more at its end than at its start.
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
            half = self.kernel_size[0] // 2
            x = F.pad(x, (half - 1 + width % 2, half, half - 1 + height % 2, half))
        x = super().forward(x)
        return F.relu6(x) if self.relu else x


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen, filter each channel, narrow; a residual where the shapes agree."""

    def __init__(self, d_in: int, d_out: int, stride: int, expansion: int, kernel: int = 3) -> None:
        super().__init__()
        d_hidden = d_in * expansion
        self.expand = ConvBlock(d_in, d_hidden, 1) if expansion > 1 else None
        self.dw = ConvBlock(d_hidden, d_hidden, kernel, stride, groups=d_hidden)
        self.project = ConvBlock(d_hidden, d_out, 1, relu=False)
        self.residual = stride == 1 and d_in == d_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, d_in, H, W) -> (B, d_out, H / stride, W / stride)."""
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.dw(y))
        return x + y if self.residual else y


def inverted_residual_stages(
    stem_width: int, widths: Sequence[int], depths: Sequence[int], expansion: int, kernels: Sequence[int] = (3,) * 7
) -> tuple[ConvBlock, nn.Sequential, nn.Sequential]:
    """The stem (stride 2), the stages from there to stride 16, and those to stride 32.

    Args:
        stem_width: channels of the stem.
        widths, depths, kernels: channels, blocks and depthwise kernel of the seven stages.
        expansion: widening inside a block; the first stage does not widen.

    Raises:
        ValueError: not seven widths, depths or kernels.
    """
    if not len(widths) == len(depths) == len(kernels) == len(STRIDES):
        raise ValueError(
            f"widths, depths and kernels need {len(STRIDES)} numbers each, got {len(widths)}, {len(depths)} and "
            f"{len(kernels)}"
        )
    to_16: list[nn.Module] = []
    to_32: list[nn.Module] = []
    d_in = stem_width
    for stage, (width, depth, stride, kernel) in enumerate(zip(widths, depths, STRIDES, kernels, strict=True)):
        blocks = to_16 if stage < STAGES_TO_STRIDE_16 else to_32
        for index in range(depth):
            blocks.append(InvertedResidual(d_in, width, stride if index == 0 else 1, expansion if stage else 1, kernel))
            d_in = width
    return ConvBlock(3, stem_width, 3, 2), nn.Sequential(*to_16), nn.Sequential(*to_32)


class ConvolutionalTower(nn.Module):
    """One trunk as a vision tower: images to the tokens of its last feature map.

    Args:
        name: one of `TRUNKS`.

    Raises:
        ConfigError: the name is not known.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in TRUNKS:
            raise ConfigError(f"tower is {name!r}; allowed: {', '.join(TRUNKS)}")
        self.trunk = trunk = TRUNKS[name]
        self.d_tokens, self.d_map = trunk.head_width, trunk.widths[-1]
        self.stem, self.to_stride_16, self.to_stride_32 = inverted_residual_stages(
            trunk.stem_width, trunk.widths, trunk.depths, trunk.expansion, trunk.kernels
        )
        self.head = ConvBlock(trunk.widths[-1], trunk.head_width, 1)

    def narrow(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W), values 0..255 in any dtype -> the map before the head (B, C, H / 32, W / 32).

        A quarter of the numbers of what the head makes of it, so this is what is worth keeping on disk.
        """
        x = (images.to(self.stem.weight.dtype) - self.trunk.pixel_mean) / self.trunk.pixel_scale
        return self.to_stride_32(self.to_stride_16(self.stem(x)))

    def widen(self, narrow: Tensor) -> Tensor:
        """What `narrow` gives -> tokens (B, N, d_tokens)."""
        return self.head(narrow).flatten(2).transpose(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W), values 0..255 in any dtype -> tokens (B, N, d_tokens)."""
        return self.widen(self.narrow(images))


# --- ImageNet weights ---------------------------------------------------------------------------------------


def named_convolutions(module: Any) -> dict[str, ConvBlock]:
    """The convolutions of a module with `stem`, `to_stride_16`, `to_stride_32` and `head`, by published name:
    conv0, b0.dw, b0.project, b1.expand, ..., conv_last."""
    named: dict[str, ConvBlock] = {"conv0": module.stem}
    for index, block in enumerate([*module.to_stride_16, *module.to_stride_32]):
        assert isinstance(block, InvertedResidual)
        if block.expand is not None:
            named[f"b{index}.expand"] = block.expand
        named |= {f"b{index}.dw": block.dw, f"b{index}.project": block.project}
    return named | {"conv_last": module.head}


def read_imagenet_weights(path: Path | str, setting: str = "") -> dict[str, np.ndarray]:
    """`NAME.weight` (OIHW) and `NAME.bias` of an ImageNet network, batch normalisation folded in.

    Args:
        path: an .npz that holds them under these names, or the safetensors of EfficientNet-Lite as its PyTorch port or
            timm names its tensors.
        setting: the setting that names the file, for the message if it cannot be read.

    Raises:
        DataError: the file is missing, damaged, or of neither kind.
    """
    hint = f"; setting {setting}" if setting else ""
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.numpy import load_file

            try:
                tensors = load_file(path)
            except SafetensorError as error:
                raise ValueError(str(error)) from error
        else:
            file = np.load(path, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array; an .npz of named tensors is needed")
            with file:
                tensors = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"teacher {path} cannot be read ({error}){hint}") from error
    try:
        if "_conv_stem.weight" in tensors:
            return folded(tensors, port_names(tensors), "_fc")
        if "conv_stem.weight" in tensors:
            return folded(tensors, timm_names(tensors), "classifier")
    except KeyError as error:
        raise DataError(f"teacher {path} has no tensor {error.args[0]}") from error
    return tensors


def port_names(tensors: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Our name -> convolution and batch normalisation, as the PyTorch port of EfficientNet-Lite calls them."""
    names = {"conv0": ("_conv_stem", "_bn0"), "conv_last": ("_conv_head", "_bn1")}
    parts = {
        "_expand_conv": ("expand", "_bn0"),
        "_depthwise_conv": ("dw", "_bn1"),
        "_project_conv": ("project", "_bn2"),
    }
    for name in tensors:
        if match := re.fullmatch(r"_blocks\.(\d+)\.(_\w+_conv)\.weight", name):
            part, norm = parts[match[2]]
            block = f"_blocks.{match[1]}."
            names[f"b{match[1]}.{part}"] = (block + match[2], block + norm)
    return names


def timm_names(tensors: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Our name -> convolution and batch normalisation, as timm calls them. Its first stage has no expansion."""
    names = {"conv0": ("conv_stem", "bn1"), "conv_last": ("conv_head", "bn2")}
    depthwise = [re.fullmatch(r"blocks\.(\d+)\.(\d+)\.conv_dw\.weight", name) for name in tensors]
    places = sorted((int(match[1]), int(match[2])) for match in depthwise if match)
    for index, (stage, block) in enumerate(places):
        prefix = f"blocks.{stage}.{block}."
        parts = [("expand", "conv_pw"), ("dw", "conv_dw"), ("project", "conv_pwl")]
        if f"{prefix}conv_pwl.weight" not in tensors:
            parts = [("dw", "conv_dw"), ("project", "conv_pw")]
        for norm, (part, convolution) in enumerate(parts, start=1):
            names[f"b{index}.{part}"] = (prefix + convolution, f"{prefix}bn{norm}")
    return names


def folded(tensors: dict[str, np.ndarray], names: dict[str, tuple[str, str]], classifier: str) -> dict[str, np.ndarray]:
    """Convolutions with the batch normalisation that follows them folded in, and the classifier as it is."""
    weights = {f"classifier.{part}": tensors[f"{classifier}.{part}"] for part in ("weight", "bias")}
    for name, (convolution, norm) in names.items():
        scale = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
        weights[f"{name}.weight"] = tensors[f"{convolution}.weight"] * scale[:, None, None, None]
        weights[f"{name}.bias"] = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
    return weights


def load_trunk(module: nn.Module, path: Path | str, setting: str = "") -> None:
    """Copy ImageNet weights into the convolutions of a tower or backbone; what else it has stays as it is.

    Args:
        module: has `stem`, `to_stride_16`, `to_stride_32` and `head`.
        path, setting: see `read_imagenet_weights`.

    Raises:
        DataError: the file cannot be read, or a tensor is missing or of another shape.
    """
    tensors = read_imagenet_weights(path, setting)
    for name, convolution in named_convolutions(module).items():
        for part in ("weight", "bias"):
            parameter, key = getattr(convolution, part), f"{name}.{part}"
            if key not in tensors:
                raise DataError(f"teacher {path} has no tensor {key}")
            if tensors[key].shape != tuple(parameter.shape):
                raise DataError(
                    f"teacher {path}: {key} is {tensors[key].shape}, the model needs {tuple(parameter.shape)}"
                )
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(tensors[key]))
