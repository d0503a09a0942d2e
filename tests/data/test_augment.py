"""Augmentation never lies to the caption."""

from __future__ import annotations

import numpy as np
import pytest

from fastcap.data import AugmentSettings, augment, is_crop_safe, is_mirror_safe
from fastcap.errors import ConfigError, DataError

RAMP = np.repeat(np.linspace(0, 255, 32, dtype=np.uint8)[None, :, None], 24, 0).repeat(3, 2)  # dark left
STILL = AugmentSettings(flip=0, crop_scale=1, brightness=0, contrast=0, saturation=0)


def only(**strengths: float) -> AugmentSettings:
    return AugmentSettings(**{"flip": 0, "crop_scale": 1, "brightness": 0, "contrast": 0, "saturation": 0} | strengths)


def variants(image: np.ndarray, captions: list[str], settings: AugmentSettings) -> list[np.ndarray]:
    return [augment(image, captions, np.random.default_rng(seed), settings) for seed in range(40)]


@pytest.mark.parametrize(
    "caption",
    [
        "A man on the left waves .",
        "the dog turns Right",
        "a stop sign",
        "a T-shirt with letters",
        'a wall that says "open"',
        "the runner wears number 7",
        "player 12 kicks",
        "a clock tower",
        "a woman reads a newspaper",
    ],
)
def test_a_picture_whose_caption_speaks_of_sides_or_writing_is_never_mirrored(caption: str) -> None:
    assert not is_mirror_safe([caption])
    captions = ["a dog runs", caption, "a park"]  # one of several captions is enough
    assert not is_mirror_safe(captions)
    assert all(np.array_equal(made, RAMP) for made in variants(RAMP, captions, only(flip=1)))


@pytest.mark.parametrize("caption", ["a dog on the sidewalk", "two brightly lit designs", "a man assigned", ""])
def test_words_that_only_contain_such_a_word_are_safe(caption: str) -> None:
    assert is_mirror_safe([caption])


def test_a_safe_picture_is_mirrored_about_as_often_as_asked() -> None:
    made = variants(RAMP, ["a dog runs"], only(flip=0.5))
    mirrored = [np.array_equal(image, RAMP[:, ::-1]) for image in made]
    assert all(flipped or np.array_equal(image, RAMP) for flipped, image in zip(mirrored, made, strict=True))
    assert 10 < sum(mirrored) < 30
    assert all(np.array_equal(image, RAMP[:, ::-1]) for image in variants(RAMP, ["a dog"], only(flip=1)))


def test_a_picture_whose_caption_speaks_of_the_rim_is_never_cropped() -> None:
    captions = ["a dog", "a clock in the corner"]
    assert not is_crop_safe(captions)
    assert all(np.array_equal(made, RAMP) for made in variants(RAMP, captions, only(crop_scale=0.5)))


def test_a_crop_keeps_the_promised_share_in_order_and_size() -> None:
    for made in variants(RAMP, ["a dog"], only(crop_scale=0.7)):
        assert made.shape == RAMP.shape
        row = made[0, :, 0].astype(int)
        assert (np.diff(row) >= 0).all()  # still dark left, bright right
        # Area share 0.7 at the largest stretch leaves sqrt(0.7 / (4/3)) = 0.72 of the width in view.
        assert (row[-1] - row[0]) / 255 > 0.70


def test_a_crop_of_nearly_all_is_nearly_the_picture_whatever_its_stretch() -> None:
    for made in variants(RAMP, ["a dog"], only(crop_scale=0.98)):
        row = made[0, :, 0].astype(int)
        assert (row[-1] - row[0]) / 255 > 0.96


def test_colours_change_in_strength_and_never_in_name() -> None:
    red = np.zeros((8, 8, 3), np.uint8) + np.array([200, 40, 40], np.uint8)
    for made in variants(red, ["a red ball"], only(brightness=0.2, contrast=0.2, saturation=0.2)):
        r, g, b = made[0, 0].astype(int)
        assert r > 2 * g
        assert abs(g - b) <= 1
    grey = np.full((8, 8, 3), 100, np.uint8)
    for made in variants(grey, ["a grey wall"], AugmentSettings()):
        assert np.ptp(made[0, 0].astype(int)) == 0
        assert 79 <= made[0, 0, 0] <= 121


def test_the_same_seed_makes_the_same_picture_and_another_seed_another() -> None:
    made = variants(RAMP, ["a dog"], AugmentSettings())
    again = variants(RAMP, ["a dog"], AugmentSettings())
    assert all(map(np.array_equal, made, again))
    assert len({image.tobytes() for image in made}) > 30


def test_the_original_is_left_alone_and_no_strength_means_no_change() -> None:
    image = RAMP.copy()
    image.flags.writeable = False  # as a memory-mapped cache gives it
    made = augment(image, ["a dog"], np.random.default_rng(0), STILL)
    np.testing.assert_array_equal(made, image)
    made[:] = 0
    np.testing.assert_array_equal(image, RAMP)


def test_another_language_brings_its_own_words() -> None:
    settings = AugmentSettings(flip=1, crop_scale=1, mirror_words=("links", "rechts"))
    assert not is_mirror_safe(["ein Hund links"], settings.mirror_words)
    settings = only(flip=1, mirror_words=("links", "rechts"))  # type: ignore[arg-type]
    assert np.array_equal(augment(RAMP, ["ein Hund links"], np.random.default_rng(0), settings), RAMP)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flip", 1.1),
        ("flip", float("nan")),
        ("crop_scale", 0),
        ("crop_ratio", 0.5),
        ("brightness", 1),
        ("contrast", -0.1),
        ("saturation", 2),
    ],
)
def test_a_strength_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"augmentation {name} is"):
        AugmentSettings(**{name: value})


def test_one_text_is_not_mistaken_for_a_list_of_safe_letters() -> None:
    for is_safe in (is_mirror_safe, is_crop_safe):
        with pytest.raises(DataError, match="needed: a list of texts"):
            is_safe("a dog on the left")


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)])
def test_another_kind_of_array_is_refused(image: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"needed: uint8 \(H, W, 3\)"):
        augment(image, ["a dog"], np.random.default_rng(0))
