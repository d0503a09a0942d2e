"""The same picture is found however it was stored, cropped a little or mirrored; another picture never is."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps
from small_sets import scene

from fastcap.curation.duplicates import Match, find_matches, grouped
from fastcap.runtime.images import load_image


def sea(seed: int) -> Image.Image:
    """A horizon and waves: pictures that differ in details alone."""
    rng = np.random.default_rng(seed)
    rows = np.where(np.arange(224) < 100, 200, 90)[:, None] + rng.integers(-40, 41, (224, 224))
    return Image.fromarray(rows.astype(np.uint8)).filter(ImageFilter.GaussianBlur(1)).convert("RGB")


def found(folder: Path, *pictures: Image.Image) -> list[Match]:
    paths = [folder / f"{at}.png" for at in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    small = [
        np.array(Image.fromarray(load_image(p)).convert("L").resize((32, 32), Image.Resampling.BOX)) for p in paths
    ]
    return find_matches(paths, small, [str(path.read_bytes()) for path in paths])


def encoded(picture: Image.Image, folder: Path) -> Image.Image:
    picture.save(folder / "again.jpg", quality=50)
    return Image.open(folder / "again.jpg")


def cropped(picture: Image.Image, share: float, rng: random.Random) -> Image.Image:
    width, height = picture.size
    left, top = round(rng.random() * share * width), round(rng.random() * share * height)
    return picture.crop((left, top, left + round(width * (1 - share)), top + round(height * (1 - share))))


WAYS: dict[str, Callable[[Image.Image, Path], Image.Image]] = {
    "encoded again": encoded,
    "half as large": lambda picture, _: picture.resize((112, 112)),
    "of another shape": lambda picture, _: picture.resize((300, 200)),
    "cropped by 5 %": lambda picture, _: cropped(picture, 0.05, random.Random(1)),
    "cropped by 10 %": lambda picture, _: cropped(picture, 0.10, random.Random(2)),
    "mirrored": lambda picture, _: ImageOps.mirror(picture),
    "mirrored and cropped": lambda picture, _: cropped(ImageOps.mirror(picture), 0.05, random.Random(3)),
    "darker": lambda picture, _: picture.point(lambda value: value * 0.8),
    "grey": lambda picture, _: picture.convert("L"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_changed_copy_is_found_and_other_pictures_are_not(way, tmp_path):
    original, others = scene(0), [scene(seed) for seed in range(1, 6)]
    matches = found(tmp_path, original, *others, WAYS[way](original, tmp_path))
    assert [(match.first, match.second) for match in matches] == [(0, 6)]
    assert matches[0].kind == ("mirrored" if "mirrored" in way else "copy")
    assert 0.9 < matches[0].score <= 1


def test_equal_files_need_no_look(tmp_path):
    assert found(tmp_path, scene(0), scene(1), scene(0)) == [Match(0, 2, "file", 1.0)]


def test_two_views_of_the_sea_are_two_pictures(tmp_path):
    assert found(tmp_path, *map(sea, range(4))) == []


def test_blank_pictures_are_the_same_only_as_files(tmp_path):
    blank = Image.new("RGB", (224, 224), "white")
    darker = Image.new("RGB", (224, 224), "gray")
    assert found(tmp_path, blank, darker, blank) == [Match(0, 2, "file", 1.0)]


def test_a_picture_that_cannot_be_read_matches_nothing(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"none")
    scene(0).save(tmp_path / "good.png")
    small = np.array(scene(0, 32).convert("L"))
    assert find_matches([tmp_path / "bad.jpg", tmp_path / "good.png"], [None, small], ["", "x"]) == []


def test_groups_hold_what_is_the_same_by_way_of_another():
    matches = [Match(0, 4, "copy", 1.0), Match(2, 3, "file", 1.0), Match(4, 5, "mirrored", 1.0)]
    assert grouped(matches) == [[0, 4, 5], [2, 3]]
