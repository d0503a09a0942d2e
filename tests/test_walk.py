"""How far a recipe travels: few files are handed the whole of it, or a whole stage, before a loss is computed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from PIL import Image

import fastcap

PACKAGE = Path(fastcap.__file__).parent
MOST_FILES = 10


def files_that_take(kinds: tuple[type, ...], call: Callable[[], Any], until: tuple[str, str]) -> dict[str, set[str]]:
    """Files of the package of which a function got an argument of one of some types, with these functions.

    Args:
        until: file and name of the function whose end ends the watch.
    """
    taken: dict[str, set[str]] = {}

    def watch(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(str(PACKAGE)):
            return
        file = Path(code.co_filename).relative_to(PACKAGE).as_posix()
        if event == "return" and (file, code.co_name) == until:
            sys.setprofile(None)
        if event == "call":
            arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            if any(isinstance(frame.f_locals.get(name), kinds) for name in arguments):
                taken.setdefault(file, set()).add(code.co_name)

    sys.setprofile(watch)
    try:
        call()
    finally:
        reached = sys.getprofile() is None
        sys.setprofile(None)
    assert reached, f"{until} was not called"
    return taken


@pytest.fixture
def recipe(tmp_path, tiny_config):
    """A step on two pictures."""
    from fastcap.config import DataConfig, DatasetConfig, StageConfig, TrainConfig

    (tmp_path / "images").mkdir()
    for colour in ("red", "blue"):
        Image.new("RGB", (64, 64), colour).save(tmp_path / "images" / f"{colour}.png")
    (tmp_path / "train.csv").write_text("image,caption\nred.png,a red wall\nblue.png,one blue wall\n")
    sets = (DatasetConfig("csv", "."),)
    data = DataConfig(root=str(tmp_path), train=sets, val=sets, cache=str(tmp_path / "cache"))
    stage = StageConfig("pretrain", steps=1, learning_rate=1e-3, images=2, captions=1)
    return TrainConfig(output=str(tmp_path / "run"), model=tiny_config, data=data, stages=(stage,), trackers=())


def test_a_recipe_or_a_stage_is_handed_to_few_files_before_the_first_loss(recipe):
    from fastcap.config import StageConfig, TrainConfig
    from fastcap.training.trainer import train

    watched = (TrainConfig, StageConfig), lambda: train(recipe), ("training/objective.py", "losses")
    taken = files_that_take(*watched)
    assert {"training/trainer.py", "training/inputs.py", "training/objective.py"} <= taken.keys()  # it does watch
    assert len(taken) <= MOST_FILES, taken
