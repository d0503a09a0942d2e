"""`benchmarks/resaving.py` counts the captions that JPEG changes, and no others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import load_script

# The tiny model names the strongest colour, on the average.
COLOURS = [(200, 10, 10), (10, 200, 10), (10, 10, 200), (120, 10, 90)]
NEARLY_EQUAL = (121, 120, 119)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Flickr8k's layout with a val split of five pictures, of which the last is grey, nearly."""
    (tmp_path / "images").mkdir()
    names = []
    for index, colour in enumerate([*COLOURS, NEARLY_EQUAL]):
        names.append(f"{index}.png")
        Image.fromarray(np.full((224, 224, 3), colour, np.uint8)).save(tmp_path / "images" / names[-1])
    texts = ["A red barn stands there .", "A green hummingbird hovers .", "A blue boat floats .", *["A red barn ."] * 2]
    rows = "".join(f"{name},{text}\n" for name, text in zip(names, texts, strict=True))
    (tmp_path / "captions.txt").write_text("image,caption\n" + rows)
    for split in ("train", "val"):
        (tmp_path / f"Flickr_8k.{split}Images.txt").write_text("\n".join(names) + "\n")
    return tmp_path


def test_it_says_how_many_captions_change_at_both_sizes(pictures, tiny_model, monkeypatch, capsys):
    resaving = load_script("resaving")
    # a JPEG whose colours have changed places, of the last picture alone
    write = resaving.as_jpeg

    def swapped(picture: Image.Image, quality: int) -> bytes:
        pixels = np.asarray(picture)
        grey = int(pixels.max()) - int(pixels.min()) < 9
        return write(Image.fromarray(pixels[..., ::-1].copy()) if grey else picture, quality)

    monkeypatch.setattr(resaving, "as_jpeg", swapped)
    arguments = ["--model", str(tiny_model), "--root", str(pictures), "--every", "1", "--show", "3"]
    monkeypatch.setattr(sys, "argv", ["resaving.py", *arguments])
    resaving.main()
    result = json.loads(capsys.readouterr().out)
    assert result["quality"] == 75
    for size in ("224", "640"):
        assert result[size]["changed"] == pytest.approx(0.2)
        assert [[text.split()[1] for text in pair] for pair in result[size]["examples"]] == [["red", "blue"]]
        assert result[size]["as_it_is"]["captions"] == 3
        assert result[size]["as_it_is"]["cider"] > result[size]["re_saved"]["cider"]
