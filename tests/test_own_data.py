"""docs/training.md, done: a folder and a CSV to a fine-tuned, exported model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastcap.cli import main

ROOT = Path(__file__).resolve().parent.parent
COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (30, 60, 220), "white": (240, 240, 240)}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """data/mine: plain pictures, two captions each, in train.csv and val.csv."""
    mine = tmp_path / "data" / "mine"
    (mine / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        rows = ["image,caption"]
        for index in range(4):
            for colour, value in COLOURS.items():
                noise = rng.integers(-20, 21, (60, 80, 3))
                name = f"{split}_{colour}_{index}.png"
                Image.fromarray((np.array(value) + noise).clip(0, 255).astype(np.uint8)).save(mine / "images" / name)
                rows += [f"{name},a wall painted {colour}", f'{name},"a {colour} wall, freshly painted"']
        (mine / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return mine


@pytest.mark.slow
def test_a_folder_and_a_csv_become_a_model_that_captions(own: Path, monkeypatch, capsys):
    monkeypatch.chdir(own.parent.parent)
    assert main(["checkpoint", "--out", "runs/fastcap-base/best"]) == 0
    recipe = str(ROOT / "configs/training/finetune.yaml")
    few = ["stages.0.steps=30", "stages.0.images=8", "stages.0.warmup=3", "evaluate_every=15", "data.val_limit=16"]
    assert main(["train", "--config", recipe, *few]) == 0
    assert "(16 pictures, a small sample: known to within ±" in " ".join(capsys.readouterr().err.split())
    figures = [json.loads(line) for line in Path("runs/fastcap-mine/log.jsonl").read_text().splitlines()]
    scores = [row["val_cider"] for row in figures if "val_cider" in row]
    assert scores[-1] > 50  # pictures of another world than the bundled model's, learnt
    command = ["export", "--model", "runs/fastcap-mine/best", "--out", "models/mine", "--dataset", "csv"]
    assert main([*command, "--root", "data/mine", "--calibration", "8", "--max-loss", "100"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("(16 pictures, a small sample: ") == 3  # of fp32, of int8, and of their difference
    assert main(["caption", str(own / "images" / "val_red_0.png"), "--model", "models/mine"]) == 0
    assert "wall" in capsys.readouterr().out
