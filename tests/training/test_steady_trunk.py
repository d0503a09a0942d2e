"""`scripts/steady_trunk.py`: convolutions learn that a re-saved picture is the same picture."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from test_teachers import write_teacher

from fastcap.checkpoint import load_checkpoint
from fastcap.training.trainer import Trainer

SCRIPT = Path(__file__).parents[2] / "scripts" / "steady_trunk.py"


@pytest.fixture
def steady(recipe, tmp_path, monkeypatch):
    """Run the script on the toy pictures: `steady(out, steps)`; returns the old checkpoint and the new one."""
    student = Trainer(recipe())
    old, root = write_teacher(student, tmp_path / "old", 1), str(Path(student.config.data.root) / "toy")

    def run(out: str, steps: int, saved: int = 100) -> tuple[Path, Path]:
        pictures = ["--pictures", "flickr8k", root, "--batch", "6", "--rate", "3e-3"]
        arguments = ["--checkpoint", old, *pictures, "--steps", str(steps), "--out", str(tmp_path / out)]
        monkeypatch.setattr(sys, "argv", ["steady_trunk.py", *arguments])
        module = runpy.run_path(str(SCRIPT))
        module["train"].__globals__.update(SAVED=saved)
        assert module["main"]() == 0
        return Path(old), tmp_path / out

    return run


def test_only_the_convolutions_to_stride_16_learn_and_the_versions_come_together(steady):
    old, new = (load_checkpoint(path)[0] for path in steady("new", 40))
    for name, value in new.state_dict().items():
        learns = name.startswith(("backbone.stem.", "backbone.to_stride_16."))
        assert torch.equal(value, old.state_dict()[name]) != learns, name
    module = runpy.run_path(str(SCRIPT))
    images = [path for path, _ in zip(sorted(Path(sys.argv[5]).glob("images/*.png")), range(12), strict=False)]
    pair = module["versions"](images, 0, 12, 5, 64)  # a seed that was not trained with
    with torch.no_grad():
        before, after = (module["distances"](model, old, *pair) for model in (old, new))
    assert after["re_saved"] < before["re_saved"]
    assert before["as_it_is"] == 0


def test_an_interrupted_run_ends_in_the_same_weights(steady, monkeypatch):
    _, whole = steady("whole", 6, saved=3)
    save, calls = runpy.run_path(str(SCRIPT))["save_checkpoint"], []

    def interrupted(*arguments, **keywords):
        save(*arguments, **keywords)
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("fastcap.checkpoint.save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        steady("torn", 6, saved=3)
    _, torn = steady("torn", 6, saved=3)
    for name, value in load_checkpoint(whole)[0].state_dict().items():
        torch.testing.assert_close(load_checkpoint(torn)[0].state_dict()[name], value, rtol=0, atol=0)
