"""The image cache holds what the runtime sees, survives interruption and notices changed pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastcap.data import ImageCache, cache, load_dataset
from fastcap.errors import DataError, ImageError
from fastcap.runtime.images import load_image

SIZE = 16


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Ten noisy pictures of different sizes; the first has the cache's size already."""
    rng = np.random.default_rng(0)
    made = []
    for n in range(10):
        path = tmp_path / f"{n}.png"
        Image.fromarray(rng.integers(0, 256, (SIZE + n, SIZE + 2 * n, 3), np.uint8)).save(path)
        made.append(path)
    return made


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that the cache really decodes."""
    names: list[str] = []

    def counted(path: str, size: tuple[int, int]) -> np.ndarray:
        names.append(os.path.basename(path))
        return load_image(path, size)

    monkeypatch.setattr(cache, "load_image", counted)
    return names


def build(folder: Path, paths: list[Path]) -> ImageCache:
    return ImageCache(folder, SIZE).build(paths, progress=False)


def assert_holds(built: ImageCache, paths: list[Path]) -> None:
    assert len(built) == len(paths)
    for n, path in enumerate(paths):
        np.testing.assert_array_equal(built[n], load_image(path, (SIZE, SIZE)), err_msg=path.name)


def test_it_holds_the_pixels_that_the_runtime_would_see(tmp_path: Path, paths: list[Path]) -> None:
    built = build(tmp_path / "cache", paths)
    assert_holds(built, paths)
    assert built[0].dtype == np.uint8
    np.testing.assert_array_equal(built[0], np.asarray(Image.open(paths[0])))  # of the right size: untouched
    np.testing.assert_array_equal(built[[3, 1]], np.stack([built[3], built[1]]))


def test_a_finished_cache_opens_without_decoding(tmp_path: Path, paths: list[Path], decoded: list[str]) -> None:
    build(tmp_path / "cache", paths)
    decoded.clear()
    assert_holds(ImageCache(tmp_path / "cache", SIZE), paths)
    build(tmp_path / "cache", paths)
    assert decoded == []


def test_only_new_and_changed_pictures_are_decoded_again(tmp_path: Path, paths: list[Path], decoded: list[str]) -> None:
    build(tmp_path / "cache", paths[:8])
    Image.fromarray(np.full((9, 9, 3), 77, np.uint8)).save(paths[2])
    decoded.clear()
    reordered = [*paths[9:], *paths[:9]]
    assert_holds(build(tmp_path / "cache", reordered), reordered)
    assert sorted(decoded) == ["2.png", "8.png", "9.png"]
    assert len(list((tmp_path / "cache").iterdir())) == 2  # index.json and one .npy: the old pixels are gone


def test_a_picture_touched_later_counts_as_changed(tmp_path: Path, paths: list[Path], decoded: list[str]) -> None:
    build(tmp_path / "cache", paths)
    decoded.clear()
    os.utime(paths[5], ns=(1, 1))
    build(tmp_path / "cache", paths)
    assert decoded == ["5.png"]


def test_an_interrupted_build_goes_on_where_it_stopped(
    tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def interrupted(path: str, size: tuple[int, int]) -> np.ndarray:
        decoded.append(path)
        if len(decoded) == 6:
            raise KeyboardInterrupt
        return load_image(path, size)

    monkeypatch.setattr(cache, "CHUNK", 2)
    monkeypatch.setattr(cache, "load_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "cache", paths)
    assert len(ImageCache(tmp_path / "cache", SIZE)) == 0  # nothing half-built is ever read
    (partial,) = (tmp_path / "cache").glob("*.partial")
    partial.write_bytes(partial.read_bytes()[:-7])  # cut inside a picture, as a kill may leave it
    done = len(decoded)
    assert_holds(build(tmp_path / "cache", paths), paths)
    assert len(decoded) - done < len(paths)


def test_another_size_is_another_cache(tmp_path: Path, paths: list[Path]) -> None:
    build(tmp_path / "cache", paths)
    assert len(ImageCache(tmp_path / "cache", 8)) == 0
    assert ImageCache(tmp_path / "cache", 8).build(paths, progress=False)[0].shape == (8, 8, 3)


def test_missing_and_damaged_pictures_are_named(tmp_path: Path, paths: list[Path]) -> None:
    with pytest.raises(DataError, match=r"gone\.png"):
        build(tmp_path / "cache", [*paths, tmp_path / "gone.png"])
    paths[4].write_bytes(paths[4].read_bytes()[:60])
    with pytest.raises(ImageError, match=r"4\.png"):
        build(tmp_path / "cache", paths)
    with pytest.raises(DataError, match="at least one"):
        build(tmp_path / "cache", [])


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"format": 1, "size": 16, "file": "x.npy", "images": []}'])
def test_a_damaged_cache_is_named_with_its_cure(index: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(DataError, match=r"is damaged: .*; delete the folder"):
        ImageCache(tmp_path, SIZE)


def test_a_cache_file_of_another_shape_is_refused(tmp_path: Path, paths: list[Path]) -> None:
    build(tmp_path, paths)
    (file,) = tmp_path.glob("*.npy")
    np.save(file, np.zeros((3, SIZE, SIZE, 3), np.uint8))
    with pytest.raises(DataError, match="the index has 10 pictures"):
        ImageCache(tmp_path, SIZE)


def test_real_pictures_of_the_models_size_are_kept_as_they_are(data_root: Path, tmp_path: Path) -> None:
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[:8]
    built = ImageCache(tmp_path, 224).build([example.image for example in examples], progress=False)
    for n, example in enumerate(examples):
        np.testing.assert_array_equal(built[n], np.asarray(Image.open(example.image).convert("RGB")))
