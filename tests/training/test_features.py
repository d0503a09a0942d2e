"""Features of frozen convolutions: what the convolutions give, kept; and gone on with after an interruption."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fastcap.config import ResaveConfig
from fastcap.data.augment import AugmentSettings, augment
from fastcap.data.cache import ImageCache
from fastcap.data.resave import resave
from fastcap.training.features import FrozenFeatures, crop_anew

CAPTIONS = [["a picture"], ["a sign on the left"]] * 10


@pytest.fixture
def backbone(tiny_model):
    return tiny_model.backbone


@pytest.fixture
def images(tmp_path) -> ImageCache:
    """Twenty pictures of noise."""
    paths, rng = [], np.random.default_rng(0)
    for index in range(20):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(paths[-1])
    return ImageCache(tmp_path / "images", 64).build(paths, progress=False)


def features(tmp_path, backbone, images, views=3, seed=0, resaving=None) -> FrozenFeatures:
    parts = [backbone.stem, backbone.to_stride_16]
    return FrozenFeatures(tmp_path / "features", backbone.convolve, parts, images, CAPTIONS, views, seed, resaving)


@torch.no_grad()
def test_view_0_is_the_picture_and_the_others_its_augmentations(tmp_path, backbone, images):
    kept = features(tmp_path, backbone, images)
    for index in (0, 1, 17):
        rng = np.random.default_rng([0, index])
        pixels = [images[index]] + [augment(images[index], CAPTIONS[index], rng) for _ in range(2)]
        expected = backbone.convolve(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
        found = kept[np.full(3, index), np.arange(3)]
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=2**-10, atol=1e-4)  # fp16 keeps eleven bits


@torch.no_grad()
def test_behind_the_views_are_the_same_ones_re_saved(tmp_path, backbone, images):
    resaving = ResaveConfig(share=1.0)
    plain, both = (features(tmp_path, backbone, images, views=2, resaving=each) for each in (None, resaving))
    assert (plain.kept, both.kept, both.views) == (2, 4, 2)
    assert np.allclose(both.values[:, :2], plain.values, rtol=2**-9, atol=1e-3)
    rng = np.random.default_rng([0, 7, 1])
    views = [images[7], augment(images[7], CAPTIONS[7], np.random.default_rng([0, 7]))]
    pixels = np.stack([resave(view, rng, resaving) for view in views])
    expected = backbone.convolve(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    torch.testing.assert_close(both[np.full(2, 7), np.array([2, 3])], expected, rtol=2**-10, atol=1e-4)
    other = features(tmp_path, backbone, images, views=2, resaving=ResaveConfig(share=1.0, noise=0.0))
    assert not np.array_equal(other.values, both.values)  # another way to re-save is another file
    again = features(tmp_path, backbone, images, views=2, resaving=ResaveConfig(share=0.5))
    assert np.array_equal(again.values, both.values)  # how often they are seen is not


def test_the_model_goes_on_from_them_as_from_pixels(tmp_path, backbone, images):
    kept = features(tmp_path, backbone, images)[np.arange(4), np.zeros(4, dtype=int)]
    with torch.no_grad():
        tokens = backbone.mix(kept).tokens
        expected = backbone(torch.from_numpy(images[[0, 1, 2, 3]]).permute(0, 3, 1, 2)).tokens
    torch.testing.assert_close(tokens, expected, rtol=0, atol=0.02)


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path, backbone, images, monkeypatch):
    whole = np.array(features(tmp_path / "whole", backbone, images).values)
    convolve, calls = type(backbone).convolve, []

    def failing(self, pixels):
        calls.append(len(pixels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return convolve(self, pixels)

    monkeypatch.setattr(type(backbone), "convolve", failing)
    with pytest.raises(KeyboardInterrupt):
        features(tmp_path, backbone, images)
    assert not list((tmp_path / "features").glob("features-????????????????.npy"))
    resumed = features(tmp_path, backbone, images)
    assert calls == [1, 16 * 3, 4 * 3, 1, 4 * 3]  # one blank picture tells the shape
    assert np.array_equal(np.array(resumed.values), whole)


def test_a_finished_build_is_reused_and_other_weights_or_seeds_make_another(tmp_path, backbone, images, monkeypatch):
    features(tmp_path, backbone, images)
    built: list[int] = []
    shape = FrozenFeatures.shape  # is asked for when something is built
    monkeypatch.setattr(FrozenFeatures, "shape", lambda self: (built.append(1), shape(self))[1])
    features(tmp_path, backbone, images)
    assert built == []
    features(tmp_path, backbone, images, seed=1)
    features(tmp_path, backbone, images, views=2)
    with torch.no_grad():
        backbone.stem.bias[0] += 1
    features(tmp_path, backbone, images)
    assert len(built) == 3
    with torch.no_grad():
        backbone.head.bias[0] += 1  # beyond stride 16
    features(tmp_path, backbone, images)
    assert len(built) == 3


def test_a_map_is_cropped_and_mirrored_as_its_picture_would_be():
    ramp = torch.arange(64.0).expand(4, 1, 64, 64)  # each pixel's column
    captions = [["a dog"], ["a dog"], ["a sign"], ["something in the background"]]
    cropped = crop_anew(ramp, captions, [np.random.default_rng([5, i]) for i in range(4)], 0.5)
    picture = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None], (64, 64, 3)).copy()
    plain = AugmentSettings(crop_scale=0.5, brightness=0, contrast=0, saturation=0)
    for index, (texts, found) in enumerate(zip(captions, cropped, strict=True)):
        expected = augment(picture, texts, np.random.default_rng([5, index]), plain)[None, ..., 0]
        assert np.abs(found.numpy() - expected)[..., 2:-2].max() <= 1
    assert (cropped[2].diff(dim=2)[..., 2:-2] > 0).all()  # what can be read is never mirrored
    widths = {round(float(found.max() - found.min())) for found in cropped[:3]}
    assert len(widths) > 1 and min(widths) < 60
    assert float(cropped[3].max() - cropped[3].min()) == pytest.approx(63)  # its rim is spoken of


def test_a_whole_map_stays_as_it_is():
    kept = torch.randn(1, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    found = crop_anew(kept, [["a sign"]], [np.random.default_rng(0)], 1.0)
    torch.testing.assert_close(found, kept, rtol=0, atol=1e-5)
