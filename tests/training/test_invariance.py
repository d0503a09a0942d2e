"""Pictures and their re-saved versions: what a stage sees of both, and how they are pulled to one answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from toy_recipe import stage

from fastcap.config import DataConfig, ResaveConfig, StageConfig
from fastcap.errors import ConfigError
from fastcap.layers import Routing
from fastcap.losses.invariance import choice_divergence, routing_divergence, token_distance
from fastcap.training.trainer import Trainer
from fastcap.training.validation import resaved


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_divergence_is_from_the_target_and_zero_for_equal_predictions():
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
    expected = (p * (p / q).log()).sum()
    assert choice_divergence(p.log()[None], q.log()[None]).item() == pytest.approx(expected.item())
    assert choice_divergence(q.log()[None], p.log()[None]).item() != pytest.approx(expected.item())
    assert choice_divergence(random(3, 4), random(3, 4)).item() == 0


def test_rows_count_alike_whatever_their_length_and_what_is_not_known_counts_nothing():
    first, second = random(2, 3, 5), random(2, 3, 5, seed=1)
    known = torch.tensor([[True, False, False], [True, True, True]])
    rows = [choice_divergence(first[:1, 0], second[:1, 0]), choice_divergence(first[1], second[1])]
    assert choice_divergence(first, second, known).item() == pytest.approx(sum(rows).item() / 2)
    changed = first.clone()
    changed[0, 1:] += 7 * random(2, 5, seed=2)
    assert choice_divergence(changed, second, known).item() == choice_divergence(first, second, known).item()


def test_the_other_version_alone_gets_the_gradient_that_differences_of_the_loss_give():
    first, second = random(2, 3, 4).requires_grad_(), random(2, 3, 4, seed=1).requires_grad_()
    known = torch.tensor([[True, True, False], [True, True, True]])
    assert torch.autograd.gradcheck(lambda b: choice_divergence(first.detach(), b, known), second)
    assert torch.autograd.gradcheck(lambda b: token_distance(first.detach(), b), second)
    (choice_divergence(first, second, known) + token_distance(first, second)).backward()
    assert first.grad is None


def test_other_experts_are_a_distance_even_where_a_probability_is_zero():
    def routing(*probabilities: float) -> Routing:
        return Routing(torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([probabilities]))

    near = routing_divergence([routing(0.6, 0.4)], [routing(0.5, 0.5)])
    far = routing_divergence([routing(1.0, 0.0)], [routing(0.0, 1.0)])
    assert 0 < near < far < torch.inf
    assert routing_divergence([routing(1.0, 0.0)], [routing(1.0, 0.0)]) == 0


def test_tokens_that_point_alike_have_no_distance():
    tokens = random(2, 4, 8)
    assert token_distance(tokens, 3 * tokens).item() == pytest.approx(0, abs=1e-12)
    assert token_distance(tokens, -tokens).item() == pytest.approx(2)


@pytest.fixture
def trainer(recipe):
    """A trainer of a stage with both versions of every picture: `trainer(freeze=..., share=..., ...)`."""

    def made(share: float = 0.5, **settings) -> Trainer:
        config = recipe()
        data = dataclasses.replace(config.data, resave=ResaveConfig(share=share))
        trainer = Trainer(dataclasses.replace(config, data=data))
        trainer.prepare_stage(stage(**{"invariance": 1.0, "token_invariance": 1.0} | settings))
        return trainer

    return made


def test_the_other_version_is_the_same_view_re_saved_and_cropped_alike(trainer):
    made = trainer(crop_scale=0.5)
    kept, batch = made.inputs.features, made.inputs.batch(3)
    assert kept.values.shape[:2] == (12, 4)  # two views, each re-saved too
    views = [kept[np.repeat(image, 4), np.arange(4)] for image in batch.images]
    position, shown = made.inputs.start.at(3), set()
    for index, (image, own) in enumerate(zip(batch.images, views, strict=True)):
        for view in range(4):
            cropped = made.inputs.cropped(np.array([image]), np.array([view]), position)[0]
            if torch.equal(batch.tensors["features"][index], cropped):
                other = made.inputs.cropped(np.array([image]), np.array([(view + 2) % 4]), position)[0]
                assert torch.equal(batch.tensors["other_features"][index], other)
                shown.add((index, view // 2))
        assert not torch.equal(own[0], own[2])
    assert len(shown) == len(views)  # each was found among the views of its picture
    assert {version for _, version in shown} == {0, 1}


def test_the_share_says_how_many_pictures_are_seen_re_saved(trainer):
    kept = trainer(share=1.0, invariance=0.0, token_invariance=0.0).inputs
    for step in range(4):
        batch = kept.batch(step)
        assert "other_features" not in batch.tensors
        for image, seen in zip(batch.images, batch.tensors["features"], strict=True):
            assert any(torch.equal(seen, kept.features[np.array([image]), np.array([v])][0]) for v in (2, 3))


def test_pixels_come_in_both_versions_too(trainer):
    tensors = trainer(freeze="none").inputs.batch(0).tensors
    one, other = (tensors[name].float() for name in ("pixels", "other_pixels"))
    assert one.shape == other.shape
    distances = (one - other).abs().mean(dim=(1, 2, 3))
    assert (distances > 0).all() and (distances < 20).all()


def test_a_step_pulls_both_versions_together_in_all_that_is_read_of_them(trainer):
    made = trainer(causal=0.0, masked=0.0, length=0.0, balance=0.0)
    batch = made.inputs.batch(0)
    assert "masked" in batch.tensors  # though no loss of masked tokens is asked for
    objective = made.objective
    with torch.no_grad():  # a model that knows nothing says the same of everything
        for parameter in made.model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)

    def losses() -> dict[str, torch.Tensor]:
        return objective.losses(batch.tensors, lambda captions: None, torch.Generator())

    before = losses()
    assert {"invariance", "token_invariance"} <= before.keys()
    assert before["invariance"] > 0
    (before["invariance"] + before["token_invariance"]).backward()
    learning = {name: p for name, p in made.model.named_parameters() if p.grad is not None and p.grad.any()}
    for part in ("backbone.to_stride_32", "decoder.embedding", "length_predictor", "decoder.layers.0.router"):
        assert any(name.startswith(part) for name in learning), part
    with torch.no_grad():
        for parameter in learning.values():
            parameter -= 0.02 * parameter.grad / parameter.grad.norm()
    after = losses()
    assert after["invariance"] + after["token_invariance"] < before["invariance"] + before["token_invariance"]


def test_equal_versions_have_no_distance(trainer):
    made = trainer()
    tensors = made.inputs.batch(0).tensors
    tensors["other_features"] = tensors["features"]
    losses = made.objective.losses(tensors, lambda captions: None, torch.Generator())
    assert losses["invariance"].item() == pytest.approx(0, abs=1e-6)
    assert losses["token_invariance"].item() == pytest.approx(0, abs=1e-6)


def test_validation_counts_the_captions_that_a_jpeg_changes(trainer):
    made = trainer()
    figures, _, _ = made.validation.figures(made.model.eval(), causal=False, align=False)
    again = [
        made.model.best_captions(made.model.encode(torch.from_numpy(pixels)))
        for pixels in (made.validation.images[:], resaved(made.validation.images[:]))
    ]
    assert figures["val_changed"] == np.mean([one != other for one, other in zip(*again, strict=True)])
    made.validation.resaves = False
    assert "val_changed" not in made.validation.figures(made.model, causal=False, align=False)[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"invariance": 1.0, "inputs": "words"}, "invariance; allowed: 0, where words stand in"),
        ({"rare_words": 1.0}, "rare_words is 1.0; allowed: 0, where nothing is rewarded"),
        ({"invariance": -1.0}, "invariance is -1.0; allowed: 0 or more"),
    ],
)
def test_a_stage_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        StageConfig(name="a", steps=1, learning_rate=0.1, **wrong)


def test_invariance_without_re_saved_pictures_is_refused(recipe):
    with pytest.raises(ConfigError, match=r"has invariance; allowed: 0, where data\.resave\.share is 0"):
        recipe(stages=(stage(invariance=1.0),))
    assert not DataConfig().resave.share
