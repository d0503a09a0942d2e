"""A teacher that reads every batch beside the student: what a smaller model was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from toy_recipe import stage

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.config import StageConfig, TeacherConfig
from fastcap.errors import ConfigError, ModelFileError
from fastcap.quantization.scales import quantised_layers
from fastcap.training.trainer import Trainer, train


def beside(teacher: Path, **settings) -> StageConfig:
    alone = {"causal": 0.0, "masked": 0.0, "length": 0.0, "balance": 0.0}
    return stage(**{**alone, "teachers": (TeacherConfig("readings", (str(teacher),)),), **settings})


@pytest.fixture
def teacher(recipe, tmp_path) -> Path:
    """A model that has learnt for one step, with weights that all differ."""
    model, tokenizer = load_checkpoint(train(recipe("teacher", (stage(steps=1),))))
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    save_checkpoint(tmp_path / "whole", model.config, model.state_dict(), tokenizer)
    return tmp_path / "whole"


def prepared(config) -> Trainer:
    trainer = Trainer(config)
    trainer.prepare_stage(config.stages[0])
    return trainer


def losses_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    batch = trainer.inputs.batch(0).tensors
    with trainer.average.rounding(trainer.model):
        return trainer.objective.losses(batch, lambda captions: None, torch.Generator())


@pytest.mark.parametrize("freeze", ["convolutions", "none"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(recipe, teacher, freeze):
    trainer = prepared(recipe("student", (beside(teacher, freeze=freeze),), init=str(teacher)))
    trainer.model.eval()  # what is read of a picture has dropout, too
    losses = losses_of(trainer)
    assert losses.keys() == {"readings_0", "balance"}  # the latter is only watched
    assert losses["readings_0"].item() == pytest.approx(0, abs=1e-5)
    assert not any("beside" in name for name in trainer.objective.trained())


def test_everything_behind_the_cut_learns_from_rounded_weights(recipe, teacher, tmp_path):
    """Steps of frozen layers stay, and the features are those of the rounded convolutions."""
    plan = tmp_path / "plan.json"
    layers = quantised_layers(load_checkpoint(teacher)[0])
    plan.write_text(json.dumps({name: 4 for name, layer in layers.items() if 4 in layer.widths}))
    settings = {"freeze": "convolutions", "quantized": True, "bits": str(plan), "crop_scale": 0.6}
    config = recipe("student", (beside(teacher, **settings),), init=str(teacher))
    trainer = prepared(config)
    loss = losses_of(trainer)["readings_0"]
    assert loss > 1e-3
    loss.backward()
    learning = {name for name, p in trainer.model.named_parameters() if p.grad is not None and p.grad.any()}
    parts = (
        "backbone.to_stride_32",
        "decoder.layers.0.router",
        "length_predictor",
        "alignment.image",
        "alignment.text",
    )
    for part in (*parts, "backbone.head.parametrizations.weight.0.log_step"):
        assert any(name.startswith(part) for name in learning), part
    assert not any(name.startswith(("backbone.stem", "backbone.to_stride_16")) for name in learning)
    pixels = torch.from_numpy(trainer.corpus.images[[0]]).permute(0, 3, 1, 2)
    rounded = trainer.model.backbone.cuts["convolutions"].compute(pixels)
    kept = trainer.inputs.features[[0], [0]]
    torch.testing.assert_close(kept, rounded, atol=2e-2, rtol=1e-2)  # kept as fp16
    with torch.no_grad():
        whole = load_checkpoint(teacher)[0].backbone.convolve(pixels)
    assert (whole - kept).abs().mean() > 10 * (rounded - kept).abs().mean()


def test_a_model_of_another_kind_is_no_such_teacher(recipe, teacher, tmp_path):
    (teacher / "config.json").write_text((teacher / "config.json").read_text().replace('"kind": "moe"', '"kind": "x"'))
    with pytest.raises(ModelFileError):
        Trainer(recipe("student", (beside(teacher),)))


def test_only_one_model_reads_beside_a_student():
    with pytest.raises(ConfigError, match="allowed: one checkpoint directory"):
        TeacherConfig("readings", ("a", "b"))
