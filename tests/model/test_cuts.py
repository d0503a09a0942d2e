"""Cuts of a backbone: what comes before one, cached, and what follows are the backbone; and nothing else is frozen."""

from __future__ import annotations

import pytest
import torch

from fastcap.backbone.base import Backbone
from fastcap.backbone.resnet_vit import ResNetViTBackbone


@pytest.fixture(params=["spatial_mamba", "resnet_vit"])
def backbone(request, tiny_model) -> Backbone:
    if request.param == "spatial_mamba":
        return tiny_model.backbone
    torch.manual_seed(0)
    return ResNetViTBackbone(32, "basic", (8, 8, 12, 16), (1, 1, 1, 1), 1, 4, 48, 0.1).eval()


@pytest.mark.parametrize("name", ["convolutions", "tokens"])
@torch.no_grad()
def test_a_cut_and_what_follows_it_are_the_backbone(backbone, name):
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    cut = backbone.cuts[name]
    for resumed, whole in zip(cut.resume(cut.compute(images)), backbone(images), strict=True):
        assert torch.equal(resumed, whole)


@pytest.mark.parametrize("name", ["convolutions", "tokens"])
def test_what_a_cut_computes_depends_on_what_it_freezes_alone(backbone, name):
    cut = backbone.cuts[name]
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    cut.compute(images).sum().backward()
    reached = {parameter for parameter in backbone.parameters() if parameter.grad is not None}
    frozen = {parameter for module in cut.frozen for parameter in module.parameters()}
    assert reached and reached <= frozen


@torch.no_grad()
def test_the_number_of_tokens_is_known_before_there_is_an_image(backbone):
    images = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    assert backbone.n_tokens(64, 96) == backbone(images).tokens.shape[1] == 6


def test_the_modules_that_imagenet_initialises_are_modules_of_the_backbone(backbone):
    for name in backbone.convolutions:
        assert backbone.get_submodule(name) is not None
