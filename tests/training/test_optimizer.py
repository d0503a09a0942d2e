"""What a stage trains and how fast, and the average of what it has trained."""

from __future__ import annotations

import itertools
import typing

import pytest
import torch
from toy_recipe import stage

from fastcap.config import StageConfig
from fastcap.training.optimizer import FREEZES, freeze, schedule
from fastcap.training.trainer import Trainer


def trained_parts(model: torch.nn.Module) -> set[str]:
    """The modules, two names deep, that have parameters which require gradients."""
    return {".".join(name.split(".")[:2]) for name, value in model.named_parameters() if value.requires_grad}


def test_what_a_stage_freezes_is_a_row_of_a_table(tiny_model):
    """Each word that a recipe may say, what then learns, and where cached features come from."""
    assert FREEZES.keys() == set(typing.get_args(typing.get_type_hints(StageConfig)["freeze"]))
    assert freeze(tiny_model, FREEZES["none"], aligns=False) is None
    everything = trained_parts(tiny_model)
    assert {"backbone.stem", "backbone.head", "decoder.layers"} <= everything
    cuts = tiny_model.backbone.cuts
    cut = freeze(tiny_model, FREEZES["convolutions"], aligns=False)
    assert trained_parts(tiny_model) == everything - {"backbone.stem", "backbone.to_stride_16"}
    assert cut.frozen == cuts["convolutions"].frozen
    cut = freeze(tiny_model, FREEZES["captioner"], aligns=True)
    assert {part.split(".")[0] for part in trained_parts(tiny_model)} == {"alignment"}
    assert cut.frozen == (tiny_model.backbone,)


def test_convolutions_learn_at_their_own_rate(recipe):
    made = Trainer(recipe())
    made.prepare_stage(stage(freeze="none", convolution_rate=0.1))
    optimizer = made.build_optimizer()
    names = {parameter: name for name, parameter in made.model.named_parameters()}
    seen = set()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[parameter]
            slow = name.startswith(("backbone.stem", "backbone.to_stride", "backbone.head"))
            assert group["scale"] == (0.1 if slow else 1.0), name
            assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0.0), name
            seen.add(name)
    assert seen == {name for name in names.values() if not name.startswith("alignment.")}  # has no loss here


def test_the_average_is_the_moving_average_of_the_weights(recipe):
    made = Trainer(recipe(ema=0.5))
    name = "decoder.bias"
    expected = made.model.state_dict()[name].clone()
    for update in range(1, 6):
        with torch.no_grad():
            made.model.decoder.bias.add_(1.0)
        made.average.update(made.model)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * made.model.decoder.bias.detach()
    torch.testing.assert_close(made.average.values[name], expected)
    own = made.model.decoder.bias.detach().clone()
    torch.testing.assert_close(made.average.shipped(made.model)[name], expected)
    assert torch.equal(made.model.decoder.bias.detach(), own)


def test_the_rate_rises_in_a_line_and_falls_in_half_a_cosine_to_nought():
    rates = [schedule(step, 10, 110) for step in range(110)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1
    assert rates[60] == pytest.approx(0.5)
    assert all(after < before for before, after in itertools.pairwise(rates[10:]))
    assert schedule(110, 10, 110) == pytest.approx(0)
