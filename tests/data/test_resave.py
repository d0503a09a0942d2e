"""A re-saved picture is the same picture, of the same size, with the traces of another program."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fastcap.config import ResaveConfig
from fastcap.data.resave import as_jpeg, resave
from fastcap.errors import ConfigError, DataError
from fastcap.runtime.images import load_image

ROUND = np.add.outer(np.hypot(*np.mgrid[-32:32, -48:48]), np.array([0, 40, 80])).astype(np.uint8)  # smooth


def settings(**changed) -> ResaveConfig:
    return ResaveConfig(**{"share": 1.0, "quality": (75, 75), "resized": 0.0, "noise": 0.0} | changed)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def test_without_resizing_and_noise_it_is_the_jpeg_that_pillow_writes() -> None:
    made = resave(ROUND, np.random.default_rng(0), settings())
    assert np.array_equal(made, load_image(as_jpeg(Image.fromarray(ROUND), 75), (96, 64)))
    assert not np.array_equal(made, ROUND)
    assert distance(made, ROUND) < 4


def test_the_better_the_quality_the_nearer_the_picture() -> None:
    rough, fine = (distance(resave(ROUND, np.random.default_rng(0), settings(quality=(q, q))), ROUND) for q in (5, 95))
    assert fine < 2 < rough


@pytest.mark.parametrize("changed", [{"resized": 1.0, "scale": (0.5, 0.5)}, {"resized": 1.0, "scale": (3.0, 3.0)}])
def test_a_resized_picture_comes_back_at_its_size(changed) -> None:
    made = resave(ROUND, np.random.default_rng(0), settings(**changed))
    assert (made.shape, made.dtype) == (ROUND.shape, np.uint8)
    assert 0 < distance(made, ROUND) < 6


def test_every_second_picture_gets_noise() -> None:
    flat = np.full((16, 16, 3), 128, np.uint8)
    spread = [resave(flat, np.random.default_rng(seed), settings(noise=40.0, quality=(100, 100))) for seed in range(40)]
    noisy = [made.std() > 1 for made in spread]
    assert 10 < sum(noisy) < 30


def test_it_follows_from_the_generator_and_leaves_the_picture_alone() -> None:
    before = ROUND.copy()
    usual = ResaveConfig(share=1.0)
    one, same, other = (resave(ROUND, np.random.default_rng(seed), usual) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.array_equal(ROUND, before)


def test_as_many_numbers_are_drawn_of_a_single_pixel_as_of_a_picture() -> None:
    """So that processes that skip each other's pictures agree."""
    for seed in range(10):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        for picture, rng in zip((ROUND, ROUND[:1, :1]), rngs, strict=True):
            resave(picture, rng, ResaveConfig(share=1.0))
        assert rngs[0].random() == rngs[1].random()


@pytest.mark.parametrize("picture", [ROUND.astype(float), ROUND[..., 0], ROUND[..., :2]])
def test_what_is_no_picture_is_named(picture) -> None:
    with pytest.raises(DataError, match=r"resave got a picture .*; needed: uint8 \(H, W, 3\)"):
        resave(picture, np.random.default_rng(0), settings())


@pytest.mark.parametrize(
    "wrong", [{"share": 1.5}, {"quality": (95, 50)}, {"quality": (0, 50)}, {"scale": (0.0, 1.0)}, {"noise": -1.0}]
)
def test_a_setting_out_of_its_range_is_an_error(wrong) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is .*; allowed:"):
        ResaveConfig(**wrong)
