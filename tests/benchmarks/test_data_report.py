"""What `benchmarks/data_report.py` plants: swapped captions and copies across splits, in a copy that readers read."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from fastcap.data.readers import load_dataset


@pytest.fixture
def flickr(tmp_path: Path, data_report: ModuleType) -> Path:
    """100 pictures of train and 20 of val, five captions each, as Flickr8k has them."""
    root, rows = tmp_path / "flickr8k", ["image,caption"]
    (root / "images").mkdir(parents=True)
    for split, count in (("train", 100), ("val", 20)):
        names = [f"{split}{number}.jpg" for number in range(count)]
        for number, name in enumerate(names):
            Image.new("RGB", (40, 30), (number, 0, 0)).save(root / "images" / name)
            rows += [f"{name},caption {at} of {name}" for at in range(5)]
        (root / data_report.SPLITS[split]).write_text("\n".join(names) + "\n")
    (root / "captions.txt").write_text("\n".join(rows) + "\n")
    return root


def test_two_of_a_hundred_captions_are_swapped_within_their_split(flickr, tmp_path, data_report):
    swapped, _ = data_report.plant(flickr, tmp_path / "planted", None, 0)
    assert len(swapped) == 12  # of 600
    for image, caption in swapped:
        assert not caption.endswith(f" of {image}") and caption.split(" of ")[1][:3] == image[:3]
    found = [e for split in data_report.SPLITS for e in load_dataset("flickr8k", tmp_path / "planted", split)]
    pairs = {(e.image.name, caption) for e in found for caption in e.captions if "_" not in e.image.name}
    planted = {(image, caption) for image, caption in pairs if not caption.endswith(f" of {image}")}
    assert planted == swapped


def test_copies_of_train_stand_in_val_in_three_ways(flickr, tmp_path, data_report):
    _, copies = data_report.plant(flickr, tmp_path / "planted", None, 0)
    assert len(copies) == 25 and set(copies.values()) <= {f"train{number}.jpg" for number in range(100)}
    val = {example.image.name for example in load_dataset("flickr8k", tmp_path / "planted", "val")}
    assert set(copies) < val and len(val) == 20 + 25
    assert {name.partition("_")[0] for name in copies} == {"encoded", "cropped", "mirrored"}
    assert Image.open(next((tmp_path / "planted/images").glob("cropped_*"))).size == (38, 28)


def test_the_same_seed_plants_the_same(flickr, tmp_path, data_report):
    first, again, other = (
        data_report.plant(flickr, tmp_path / name, 30, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again != other
