"""Small data sets of pictures that are all different."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def scene(seed: int, side: int = 224) -> Image.Image:
    """Random blobs of all sizes: a picture whose power falls with the frequency, as that of photographs does."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (3, 6, 12, 24, 48, 96):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        total += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC), float) / cells
    total = 255 * (total - total.min()) / np.ptp(total)
    return Image.fromarray(total.astype(np.uint8))


def write_jsonl(folder: Path, splits: Mapping[str, Sequence[Mapping[str, object]]]) -> Path:
    """A data set of JSON lines; every picture that is named gets a scene of its own, unless it is there."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for at, (split, rows) in enumerate(splits.items()):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
        for number, row in enumerate(rows):
            path = folder / "images" / str(row["image"])
            if not path.exists():
                scene(1000 * at + number).save(path, quality=90)
    return folder


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


CAPTIONS = (
    ("a brown dog runs across the grass", "the dog is running in a field", "a dog runs on green grass"),
    ("two men ride bicycles on a road", "men on bikes ride down the road", "cyclists on a road"),
    ("a woman eats pizza at a table", "a lady eating a slice of pizza", "a woman with pizza"),
    ("a red bus drives down a city street", "a bus on the street", "a red bus in a city"),
)
