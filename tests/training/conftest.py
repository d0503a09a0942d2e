"""A toy data set of coloured pictures, and a recipe that trains on it in seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from toy_recipe import stage

from fastcap.config import DataConfig, DatasetConfig, ModelConfig, StageConfig, TrainConfig

COLOURS = ("red", "green", "blue", "yellow", "white", "gray")
SHAPES = ("ball", "box")


def draw(colour: str, shape: str, path: Path) -> None:
    picture = Image.new("RGB", (80, 60), "black")
    pen = ImageDraw.Draw(picture)
    (pen.ellipse if shape == "ball" else pen.rectangle)((15, 10, 65, 50), fill=colour)
    picture.save(path)


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, two captions each, in Kaggle's layout; the validation set is four of them."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "toy"
    (folder / "images").mkdir(parents=True)
    rows, names = ["image,caption"], []
    for colour in COLOURS:
        for shape in SHAPES:
            names.append(f"{colour}_{shape}.png")
            draw(colour, shape, folder / "images" / names[-1])
            rows += [f"{names[-1]},A {colour} {shape} .", f"{names[-1]},There is one {colour} {shape} in the dark ."]
    (folder / "captions.txt").write_text("\n".join(rows) + "\n")
    (folder / "Flickr_8k.trainImages.txt").write_text("\n".join(names) + "\n")
    (folder / "Flickr_8k.valImages.txt").write_text("\n".join(names[:4]) + "\n")
    return root


@pytest.fixture
def recipe(toy_data: Path, tmp_path: Path, tiny_config: ModelConfig) -> Callable[..., TrainConfig]:
    """A recipe of one stage, `recipe(output="a", steps=8, ...)`; other settings by their names."""
    torch.set_num_threads(1)
    set_ = (DatasetConfig("flickr8k", "toy"),)

    def make(output: str = "run", stages: tuple[StageConfig, ...] = (), **settings: Any) -> TrainConfig:
        config = TrainConfig(
            output=str(tmp_path / output),
            model=dataclasses.replace(tiny_config, max_length=20),
            data=DataConfig(
                root=str(toy_data),
                train=set_,
                val=(DatasetConfig("flickr8k", "toy", "val"),),
                cache=str(tmp_path / "cache"),
            ),
            views=2,
            log_every=1,
            checkpoint_every=1000,
            evaluate_every=1000,
            stages=stages or (stage(),),
        )
        return dataclasses.replace(config, **settings)

    return make
