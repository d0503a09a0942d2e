"""A stage that learns steps: it resumes exactly, ends as an ordinary model, and leaves rounded weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_recipe import stage

from fastcap.checkpoint import load_checkpoint
from fastcap.config import StageConfig
from fastcap.errors import ConfigError
from fastcap.model import build_model
from fastcap.quantization.fake import rounded
from fastcap.quantization.scales import quantised_layers
from fastcap.training.objective import TrainingStep
from fastcap.training.optimizer import STEP_RATE
from fastcap.training.trainer import Trainer, train


def quantised(**settings) -> StageConfig:
    return stage(name="quantized", freeze="none", quantized=True, **settings)


def is_on_its_grid(folder: Path, bits: dict[str, int]) -> bool:
    model, _ = load_checkpoint(folder)
    return all(
        torch.allclose(
            model.get_parameter(name), rounded(model.get_parameter(name), layer, bits.get(layer.name, 8)), atol=1e-6
        )
        for layer in quantised_layers(model).values()
        for name in layer.parameters
    )


def test_a_quantised_stage_resumes_exactly_and_ends_rounded(recipe, tmp_path, monkeypatch):
    plan = tmp_path / "plan.json"
    bits = {"decoder.layers.0.cross_attention.local_position": 4, "backbone.head": 4}
    plan.write_text(json.dumps(bits))
    stages = (stage(steps=2), quantised(steps=4, bits=str(plan)))
    whole, parted = (recipe(name, stages, checkpoint_every=1, keep_last=9) for name in ("whole", "parted"))
    train(whole)
    forward, calls = TrainingStep.forward, []

    def failing(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return forward(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "forward", failing)
        with pytest.raises(KeyboardInterrupt):
            train(parted)
    half = Path(parted.output) / "checkpoints" / "step-0000004"
    state = load_file(half / "training.safetensors")
    assert any(name.endswith("log_step:exp_avg") for name in state)
    assert is_on_its_grid(half, bits)  # every checkpoint is an ordinary model of rounded weights
    train(parted)
    last = "checkpoints/step-0000006"
    for name in ("training.safetensors", "model.safetensors"):
        expected, found = (load_file(Path(config.output) / last / name) for config in (whole, parted))
        assert expected.keys() == found.keys()
        assert [key for key in expected if not torch.equal(expected[key], found[key])] == []
    assert not any("parametrizations" in name for name in expected)
    assert is_on_its_grid(Path(parted.output) / last, bits)


def test_steps_are_learned_and_never_decay(recipe):
    config = recipe(stages=(quantised(steps=1, weight_decay=0.5),))
    run = Trainer(config)
    run.prepare_stage(config.stages[0])
    steps = {name: value for name, value in run.model.named_parameters() if name.endswith("log_step")}
    layers = quantised_layers(build_model(run.model_config))
    assert len(steps) == sum(len(layer.parameters) for layer in layers.values()) > 40
    for group in run.build_optimizer().param_groups:
        for parameter in group["params"]:
            if any(parameter is step for step in steps.values()):
                assert (group["weight_decay"], group["scale"]) == (0.0, STEP_RATE)


def test_a_plan_that_does_not_fit_the_model_is_one_clear_error(recipe, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text('{"decoder.nothing": 4}')
    with pytest.raises(ConfigError, match=r"plan\.json: the model has no layer 'decoder\.nothing'"):
        train(recipe(stages=(quantised(bits=str(plan)),)))


@pytest.mark.parametrize("settings", [{"quantized": True, "freeze": "captioner"}, {"bits": "plan.json"}])
def test_steps_are_learned_only_where_what_is_rounded_learns(settings):
    with pytest.raises(ConfigError, match=r"allowed: (false, where the captioner is frozen|nothing, where quantized)"):
        stage(**settings)
