"""A multi-scale backbone and selected tokens through the trainer: from kept maps, all exits, all that may learn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from toy_recipe import stage

from fastcap.backbone import convolutional
from fastcap.backbone.convolutional import ConvolutionalTower, Trunk, named_convolutions
from fastcap.checkpoint import load_checkpoint
from fastcap.config import TowersConfig
from fastcap.eager import checkpoint_captioner
from fastcap.training.trainer import Trainer
from tiny_parts import prefix_config, write_language_model

pytest.importorskip("transformers")
pytest.importorskip("peft")

SMALL = Trunk((4, 6, 8, 10, 12, 14, 16), (1,) * 7, (3,) * 7, stem_width=4, expansion=2, head_width=20)


@pytest.fixture
def model_config(tmp_path, monkeypatch):
    """A small trunk at three scales, six of whose sixteen tokens are selected."""
    monkeypatch.setitem(convolutional.TRUNKS, "small", SMALL)
    torch.manual_seed(0)
    tensors = {}
    for name, convolution in named_convolutions(ConvolutionalTower("small")).items():
        tensors |= {f"{name}.weight": convolution.weight.detach(), f"{name}.bias": convolution.bias.detach()}
    (tmp_path / "parts" / "small").mkdir(parents=True)
    save_file(tensors, tmp_path / "parts" / "small" / "model.safetensors")
    tower = tmp_path / "parts" / "small"
    language_model = write_language_model(tmp_path / "parts" / "language")
    config = prefix_config(language_model, tower, selection="learned", image_tokens=6)
    eyes = TowersConfig(names=(str(tower),), scales=("64/32", "128/16", "128/32"))
    return dataclasses.replace(config, image_size=128, backbone=eyes)


def test_all_that_may_learn_learns_from_kept_maps_but_the_exits_which_are_fitted_later(recipe, model_config):
    stages = (
        stage(steps=4, learning_rate=1e-2),
        stage(steps=3, freeze="captioner", causal=0, balance=0, contrastive=1.0),
    )
    config = dataclasses.replace(recipe("run"), model=model_config, stages=stages)
    made = Trainer(config)
    before = {name: value.detach().clone() for name, value in made.model.named_parameters()}
    best = made.run()
    for name, value in made.model.named_parameters():
        still = name not in made.model.learned or ".exits." in name
        assert torch.equal(value, before[name]) == still, name
    changed = {name for name in before if not torch.equal(before[name], dict(made.model.named_parameters())[name])}
    assert {"backbone.marks", "decoder.projection.selection.importance.weight"} <= changed
    model, _ = load_checkpoint(best)
    assert model.backbone.scales == made.model.backbone.scales
    assert checkpoint_captioner(best).caption(Path(config.data.root) / "toy" / "images" / "red_ball.png").text
