"""scripts/average.py: the weighted mean of checkpoints."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.data.tokenizer import train_tokenizer
from fastcap.model import build_model

SCRIPT = Path(__file__).resolve().parent.parent / "scripts/average.py"


@pytest.fixture
def checkpoints(tiny_config, tmp_path: Path) -> list[Path]:
    """Three random networks, the second trained without dropout, the third of another architecture."""
    tokenizer = train_tokenizer(["a dog runs"], 300)
    config = dataclasses.replace(tiny_config, vocab_size=tokenizer.get_vocab_size())
    paths = []
    undropped = dataclasses.replace(config, decoder=dataclasses.replace(config.decoder, dropout=0.0))
    for index, each in enumerate([config, undropped, dataclasses.replace(config, max_length=11)]):
        torch.manual_seed(index)
        paths.append(tmp_path / f"model{index}")
        save_checkpoint(paths[-1], each, build_model(each).state_dict(), tokenizer)
    return paths


def average(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)


def test_the_mean_is_weighted(checkpoints, tmp_path):
    done = average(*checkpoints[:2], "--weights", 3, 1, "--out", tmp_path / "mean")
    assert done.returncode == 0, done.stderr
    (first, _), (second, _), (mean, _) = map(load_checkpoint, [*checkpoints[:2], tmp_path / "mean"])
    for name, value in mean.state_dict().items():
        expected = 0.75 * first.state_dict()[name] + 0.25 * second.state_dict()[name]
        torch.testing.assert_close(value, expected)


def test_what_does_not_fit_is_one_line(checkpoints, tmp_path):
    done = average(*checkpoints, "--out", tmp_path / "mean")
    assert done.returncode == 1
    assert "model2 has another architecture or vocabulary" in done.stderr
    done = average(checkpoints[0], tmp_path / "none", "--out", tmp_path / "mean")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    done = average(*checkpoints[:2], "--weights", 1, "--out", tmp_path / "mean")
    assert done.returncode == 2
    assert not (tmp_path / "mean").exists()
