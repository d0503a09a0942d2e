"""Vision towers of transformers: the same numbers as transformers, at tiny random sizes, from their own files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from fastcap.backbone.pretrained import Preprocessing, PretrainedTower, SideBySide, load_tower
from fastcap.errors import ModelFileError
from fastcap.layers import pool_grid

transformers = pytest.importorskip("transformers")

VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = VISION | {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CLIP_MEAN = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def tiny(family: str):
    """A random model of a family, and its preprocessing as published, at 32 pixels."""
    torch.manual_seed(0)
    vision = VISION | {"image_size": 32, "patch_size": 8}
    if family in ("siglip", "siglip2"):  # SigLIP-2 of one size has SigLIP's architecture
        model = transformers.SiglipModel(transformers.SiglipConfig(vision_config=vision, text_config=TEXT))
        return model, {"do_resize": True, "size": {"height": 32, "width": 32}, "resample": 2, **HALVES}
    if family == "clip":
        model = transformers.CLIPModel(
            transformers.CLIPConfig(vision_config=vision, text_config=TEXT, projection_dim=16)
        )
        size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        return model, {**size, "do_center_crop": True, "resample": 3, **CLIP_MEAN}
    vision["mlp_ratio"] = 2
    if family == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**vision | {"image_size": 56}))
        size = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
        return model, {**size, "do_center_crop": True, "resample": 3, **CLIP_MEAN}
    model = transformers.ViTModel(transformers.ViTConfig(**vision), add_pooling_layer=False)
    return model, {"do_resize": True, "size": {"height": 32, "width": 32}, "resample": 2, **HALVES}


PROCESSORS = {
    "siglip": "SiglipImageProcessor",
    "siglip2": "SiglipImageProcessor",
    "clip": "CLIPImageProcessor",
    "dinov2": "BitImageProcessor",
    "vit": "ViTImageProcessor",
}


@pytest.fixture(params=PROCESSORS)
def family(request, tmp_path):
    """A model directory as the hub has it, the model, and its processor."""
    model, preprocessing = tiny(request.param)
    model.save_pretrained(tmp_path)
    name = PROCESSORS[request.param]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": name, **preprocessing}))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    return tmp_path, model.eval(), processor


@torch.no_grad()
def test_a_picture_is_seen_as_transformers_shows_it(family):
    folder, model, processor = family
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (45, 70, 3), np.uint8)).resize((140, 90))
    tower = load_tower(folder)
    pixels = torch.from_numpy(tower.preprocessing.picture(picture).copy()).permute(2, 0, 1)[None]
    theirs = processor(images=picture, return_tensors="pt").pixel_values
    ours = tower.preprocessing.normalised(pixels)
    assert ours.shape == theirs.shape
    # Pillow resizes either way; what is left is rounding, of one grey level at most
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1.01 / 255 / min(tower.preprocessing.std))
    read = getattr(model, "vision_model", model)(pixel_values=ours).last_hidden_state
    torch.testing.assert_close(tower(pixels), read[:, -tower.n_tokens :])
    assert tower(pixels).shape == (1, 16, 32)


def test_class_tokens_are_left_out(family):
    folder, model, _ = family
    whole = getattr(model, "vision_model", model)(pixel_values=torch.zeros(1, 3, 32, 32)).last_hidden_state
    tower = load_tower(folder)
    assert tower.n_tokens == 16 <= whole.shape[1] <= 17


def test_a_picture_of_another_size_is_refused(family):
    tower = load_tower(family[0])
    with pytest.raises(ModelFileError, match=r"reads pictures of \(32, 32\), got \(32, 40\)"):
        tower(torch.zeros(1, 3, 32, 40))


def test_a_tower_whose_preprocessing_does_not_fit_is_refused():
    model, _ = tiny("siglip")
    with pytest.raises(ModelFileError, match="has positions for 32x32 pixels, its preprocessing gives 48x48"):
        PretrainedTower(model, Preprocessing((48, 48)))


def test_a_folder_without_preprocessing_or_weights_is_named(tmp_path):
    model, preprocessing = tiny("vit")
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelFileError, match=r"preprocessor_config\.json does not say"):
        load_tower(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(ModelFileError, match="holds no vision tower"):
        load_tower(tmp_path)


@torch.no_grad()
def test_towers_stand_side_by_side_normalised_on_the_coarsest_grid():
    torch.manual_seed(0)
    fine, coarse = (
        tiny("vit")[0],
        transformers.ViTModel(
            transformers.ViTConfig(**VISION | {"image_size": 32, "patch_size": 16, "mlp_ratio": 2}),
            add_pooling_layer=False,
        ),
    )
    towers = SideBySide(
        [PretrainedTower(fine, Preprocessing((32, 32))), PretrainedTower(coarse, Preprocessing((32, 32)))]
    )
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    tokens = towers(images)
    assert tokens.shape == (2, 4, 64) and towers.d_tokens == 64
    for part in tokens.split(32, dim=2):
        torch.testing.assert_close(part.mean(dim=2), torch.zeros(2, 4), atol=1e-5, rtol=0)
        torch.testing.assert_close(part.std(dim=2, unbiased=False), torch.ones(2, 4), atol=1e-3, rtol=0)
    pooled = [F.layer_norm(pool_grid(tower(images), 4), (32,)) for tower in towers.towers]
    torch.testing.assert_close(tokens, torch.cat(pooled, dim=2))


def test_frozen_towers_stay_in_evaluation_mode():
    towers = SideBySide([PretrainedTower(tiny("vit")[0], Preprocessing((32, 32)))]).train()
    assert not any(module.training for module in towers.modules())
    assert not any(parameter.requires_grad for parameter in towers.parameters())
