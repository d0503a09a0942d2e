"""The ResNet + ViT backbone, rotary positions and softmax cross-attention: shapes, and what each must tell apart."""

from __future__ import annotations

import math

import pytest
import torch
from small_model import small_config

from fastcap.backbone.resnet_vit import ResNetViTBackbone, grid_positions
from fastcap.backbone.spatial_mamba import SpatialMambaBackbone
from fastcap.config import (
    BackboneConfig,
    DecoderConfig,
    GenerationConfig,
    ModelConfig,
    ResNetViTConfig,
    RopeDecoderConfig,
    keywords,
)
from fastcap.decoder.attention import CROSS_ATTENTIONS, SoftmaxAttention
from fastcap.decoder.rope_decoder import RopeDecoder, TokenExperts
from fastcap.layers import rotate, rotation
from fastcap.model import build_model
from fastcap.vocabulary import Vocabulary

SIZES = {"basic": ((8, 8, 12, 16), (1, 2, 1, 1)), "inverted": ((8, 8, 12, 12, 16, 16, 24), (1, 2, 1, 1, 1, 1, 1))}


@pytest.fixture(scope="module", params=SIZES)
def backbone(request):
    torch.manual_seed(0)
    return ResNetViTBackbone(
        32, request.param, *SIZES[request.param], n_layers=1, n_heads=4, d_hidden=48, dropout=0.1
    ).eval()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 32), (33, 70), (20, 20)])
@torch.no_grad()
def test_any_size_gives_a_token_for_every_32_pixels(backbone, height, width):
    image = backbone(torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8))
    assert image.tokens.shape == (2, math.ceil(height / 32) * math.ceil(width / 32), 32)
    assert image.pooled.shape == (2, 32)


@torch.no_grad()
def test_every_pixel_reaches_every_token_and_images_stay_apart(backbone):
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    changed = pixels.clone()
    changed[0, :, 60:, 60:] = 255 - changed[0, :, 60:, 60:]
    before, after = backbone(pixels).tokens, backbone(changed).tokens
    assert ((before[0] - after[0]).abs().amax(dim=1) > 1e-6).all()
    torch.testing.assert_close(before[1], after[1])


def test_all_of_it_learns(backbone):
    backbone(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)).pooled.square().sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_grid_positions_tell_rows_from_columns_and_do_not_depend_on_the_grids_size():
    small, large = grid_positions(3, 4, 16).view(3, 4, 16), grid_positions(5, 9, 16).view(5, 9, 16)
    torch.testing.assert_close(small, large[:3, :4])
    assert len(torch.unique(large.flatten(0, 1), dim=0)) == 45
    assert (large[:, :1, :8] == large[:, :, :8]).all()
    assert (large[:1, :, 8:] == large[:, :, 8:]).all()


def test_rotary_positions_tell_distances_and_nothing_else():
    queries, keys = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0)).double()

    def score(query_at: int, key_at: int) -> float:
        turned = [rotate(x, rotation(at, 1, 16)) for x, at in ((queries, query_at), (keys, key_at))]
        return float(turned[0] @ turned[1].T)

    assert score(3, 0) == pytest.approx(score(20, 17), abs=1e-5)
    assert score(3, 0) != pytest.approx(score(9, 0), abs=1e-2)
    torch.testing.assert_close(rotate(queries, rotation(0, 1, 16)), queries)
    angles = torch.tensor([5 / 10000 ** (2 * i / 16) for i in range(8)]).double()
    pairs = torch.complex(queries[0, :8], queries[0, 8:]) * torch.polar(torch.ones(8).double(), angles)
    torch.testing.assert_close(
        rotate(queries, rotation(5, 1, 16))[0], torch.cat([pairs.real, pairs.imag]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("kind", ["softmax", *CROSS_ATTENTIONS])
@torch.no_grad()
def test_the_weights_that_are_drawn_are_those_that_attention_reads_with(kind):
    attention = ({"softmax": SoftmaxAttention} | CROSS_ATTENTIONS)[kind](16, 2).double()
    x, image = torch.randn(3, 5, 16).double(), torch.randn(3, 9, 16).double()
    weights = attention.weights(x, image)
    assert weights.shape == (3, 2, 5, 9)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 2, 5).double())
    memory = attention.prepare(image)
    if kind == "softmax":
        values, gate = memory.values, 1
    else:
        values, gate = attention.keys_values_weights(image)[1], attention.gate(x) if kind == "rala" else 1
    read = (weights @ values).transpose(1, 2).flatten(2) * gate
    torch.testing.assert_close(attention(x, memory), attention.project_out(read))


def test_bias_balancing_evens_out_the_experts_without_a_gradient():
    torch.manual_seed(0)
    experts = TokenExperts(8, 4, n_experts=4, top_k=1, n_shared=0, balancing="bias").train()
    x = torch.randn(16, 8, 8) + 1.5  # one direction that all tokens share: one expert is everybody's first choice

    def busiest() -> float:
        return float(experts.route(x.flatten(0, 1)).chosen.flatten().bincount(minlength=4).max()) / 128

    before = busiest()
    for _ in range(500):
        experts(x)
    assert experts.gate.weight.grad is None
    assert busiest() < 0.6 * before
    with torch.no_grad():
        kept = experts.bias.clone()
        experts(x)
        experts.eval()(x)
    assert torch.equal(experts.bias, kept)


def test_parts_refuse_what_cannot_be():
    with pytest.raises(ValueError, match="d_model is 36; allowed: multiples of 8"):
        RopeDecoder(Vocabulary(size=300), d_model=36, max_length=12, **keywords(RopeDecoderConfig(n_heads=4)))
    with pytest.raises(ValueError, match=r"top_k is 3; allowed: 1\.\.2"):
        TokenExperts(8, 4, n_experts=2, top_k=3, n_shared=1, balancing="loss")
    with pytest.raises(ValueError, match="d_model is 6; allowed: multiples of 4"):
        ResNetViTBackbone(6, **keywords(ResNetViTConfig()))
    with pytest.raises(ValueError, match="blocks is 'mobile'; allowed: basic, inverted"):
        ResNetViTBackbone(8, **{**keywords(ResNetViTConfig()), "blocks": "mobile"})
    decoder = build_model(small_config()).decoder
    with pytest.raises(ValueError, match="left to right only"):
        decoder.logits(torch.zeros(1, 1, dtype=torch.long), None, causal=False)


MAMBA = BackboneConfig(8, (8, 8, 12, 12, 16, 16, 24), (1,) * 7, 2, 32, (1, 1), 4)


@pytest.mark.parametrize("backbone_config", [MAMBA, small_config().backbone], ids=["spatial_mamba", "resnet_vit"])
@pytest.mark.parametrize("decoder", [DecoderConfig(2, 4, 48), RopeDecoderConfig(2, 4, 48)], ids=["moe", "rope"])
@torch.no_grad()
def test_every_backbone_goes_with_every_decoder(backbone_config, decoder):
    generation = GenerationConfig(min_length=2, candidates=2)
    model = build_model(ModelConfig(64, 32, 16, 300, 12, backbone_config, decoder, generation)).eval()
    assert isinstance(model.backbone, SpatialMambaBackbone) == (backbone_config is MAMBA)
    image = model.encode(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8))
    assert all(2 <= len(found[0].token_ids) <= 12 for found in model.search(image))
    drawn = model.sample(image, samples=3, top_p=0.9, seed=1)
    assert drawn == model.sample(image, samples=3, top_p=0.9, seed=1)
    assert [len(each) for each in drawn] == [3, 3]
    if model.config.kind == "parallel":
        found = model.caption(image, torch.tensor([2, 12]), torch.tensor([2]))
        assert found.token_ids.shape[:2] == (2, 2)
