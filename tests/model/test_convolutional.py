"""One convolutional trunk for MobileNetV2 and EfficientNet-Lite."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fastcap.backbone.convolutional import (
    TRUNKS,
    ConvBlock,
    ConvolutionalTower,
    inverted_residual_stages,
    load_trunk,
    named_convolutions,
    read_imagenet_weights,
)
from fastcap.errors import ConfigError, DataError


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [7, 8, 14, 15])
def test_padding_is_tensorflows_same(kernel, side):
    """Each side is padded by `max((ceil(n / 2) - 1) 2 + k - n, 0)` in all, the smaller half first."""
    torch.manual_seed(0)
    block = ConvBlock(2, 3, kernel, stride=2)
    x = torch.randn(1, 2, side, side)
    total = max((-(-side // 2) - 1) * 2 + kernel - side, 0)
    padded = F.pad(x, (total // 2, total - total // 2) * 2)
    expected = F.relu6(F.conv2d(padded, block.weight, block.bias, stride=2))
    torch.testing.assert_close(block(x), expected)
    assert block(x).shape[2] == -(-side // 2)


def test_seven_stages_are_needed():
    with pytest.raises(ValueError, match="need 7 numbers each, got 7, 6 and 7"):
        inverted_residual_stages(8, (8,) * 7, (1,) * 6, 2)
    with pytest.raises(ConfigError, match="tower is 'resnet'; allowed: mobilenetv2, efficientnet-lite0"):
        ConvolutionalTower("resnet")


@pytest.mark.parametrize("name", TRUNKS)
@torch.no_grad()
def test_a_tower_gives_a_token_for_every_32_pixels(name):
    tower = ConvolutionalTower(name)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    assert tower(images).shape == (2, 6, 1280)
    kept = tower.head(tower.narrow(images)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tower(images), kept)


def published(tower: ConvolutionalTower, style: str) -> tuple[dict[str, torch.Tensor], dict[str, np.ndarray]]:
    """Random weights under published names, batch normalisation apart; and what they are when folded, by our names."""
    generator = torch.Generator().manual_seed(0)
    raw: dict[str, torch.Tensor] = {}
    ours: dict[str, np.ndarray] = {}
    depths = tower.trunk.depths
    stage_of = [(stage, index) for stage, depth in enumerate(depths) for index in range(depth)]
    for name, convolution in named_convolutions(tower).items():
        block, _, part = name.partition(".")
        if style == "port":
            number = block[1:]
            place = {
                "expand": (f"_blocks.{number}._expand_conv", f"_blocks.{number}._bn0"),
                "dw": (f"_blocks.{number}._depthwise_conv", f"_blocks.{number}._bn1"),
                "project": (f"_blocks.{number}._project_conv", f"_blocks.{number}._bn2"),
            }.get(part, ("_conv_stem", "_bn0") if name == "conv0" else ("_conv_head", "_bn1"))
        elif part:
            stage, index = stage_of[int(block[1:])]
            order = [("expand", "conv_pw"), ("dw", "conv_dw"), ("project", "conv_pwl")]
            if stage == 0:
                order = [("dw", "conv_dw"), ("project", "conv_pw")]
            norm = [ours for ours, _ in order].index(part) + 1
            prefix = f"blocks.{stage}.{index}."
            place = prefix + dict(order)[part], f"{prefix}bn{norm}"
        else:
            place = ("conv_stem", "bn1") if name == "conv0" else ("conv_head", "bn2")
        weight = torch.randn(convolution.weight.shape, generator=generator)
        gamma, beta, mean = torch.randn(3, len(weight), generator=generator)
        variance = torch.rand(len(weight), generator=generator) + 0.5
        raw[f"{place[0]}.weight"] = weight
        for key, value in (("weight", gamma), ("bias", beta), ("running_mean", mean), ("running_var", variance)):
            raw[f"{place[1]}.{key}"] = value
        scale = gamma / (variance + 1e-3).sqrt()
        ours[f"{name}.weight"] = (weight * scale[:, None, None, None]).numpy()
        ours[f"{name}.bias"] = (beta - mean * scale).numpy()
    classifier = "_fc" if style == "port" else "classifier"
    raw |= {f"{classifier}.weight": torch.zeros(3, 4), f"{classifier}.bias": torch.zeros(3)}
    return raw, ours


@pytest.mark.parametrize("style", ["port", "timm"])
def test_published_weights_are_folded_and_found_by_their_names(style, tmp_path):
    from safetensors.torch import save_file

    tower = ConvolutionalTower("efficientnet-lite0")
    raw, ours = published(tower, style)
    save_file(raw, tmp_path / "model.safetensors")
    load_trunk(tower, tmp_path / "model.safetensors")
    for name, convolution in named_convolutions(tower).items():
        np.testing.assert_allclose(convolution.weight.detach(), ours[f"{name}.weight"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(convolution.bias.detach(), ours[f"{name}.bias"], rtol=1e-5, atol=1e-6)
    assert read_imagenet_weights(tmp_path / "model.safetensors")["classifier.weight"].shape == (3, 4)
    del raw["_bn0.bias" if style == "port" else "bn1.bias"]
    save_file(raw, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"has no tensor _?bn[01]\.bias"):
        load_trunk(tower, tmp_path / "model.safetensors")


def test_weights_of_another_trunk_are_refused(tmp_path):
    from safetensors.torch import save_file

    raw, _ = published(ConvolutionalTower("efficientnet-lite0"), "port")
    save_file(raw, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"b3\.dw\.weight is .*, the model needs"):
        load_trunk(ConvolutionalTower("efficientnet-lite2"), tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(DataError, match="cannot be read"):
        load_trunk(ConvolutionalTower("efficientnet-lite0"), tmp_path / "model.safetensors")
