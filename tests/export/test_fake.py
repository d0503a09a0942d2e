"""Fake quantisation rounds as the exported graph does, learns its steps, and folds away without a trace."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from fastcap.errors import ConfigError
from fastcap.export.parallel import export_parallel
from fastcap.quantization import post_training
from fastcap.quantization.fake import LearnedStep, fold_steps, folded_state, learn_steps, rounded, rounded_once
from fastcap.quantization.scales import Layer, channel_steps, largest_integer, quantised_layers, read_bits, tensor_bits

FEEDS = {"length_range": np.array([2, 12]), "candidates": np.array([2]), "penalties": np.zeros(300, np.float32)}
CONVOLUTION = Layer("c", "convolution", ("c.weight",), (1, 2, 3), 0, 0)
DEPTHWISE = Layer("d", "depthwise", ("d.weight",), (1, 2, 3), 0, 0)


def mixed_bits(model: nn.Module) -> dict[str, int]:
    """4, 8 and 16 bits in turn for the layers of each kind."""
    turns: dict[str, int] = {}
    bits = {}
    for name, layer in quantised_layers(model).items():
        bits[name] = (4, 8, 16)[turns.setdefault(layer.kind, 0) % 3]
        turns[layer.kind] += 1
    return bits


@pytest.fixture
def learnt(wide_model):
    """A model in the middle of learning steps: weights and steps have moved from where they began."""
    model = copy.deepcopy(wide_model)
    learn_steps(model, mixed_bits(model))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            parameter += 0.1 * noise if name.endswith("log_step") else 0.02 * noise
    return model


@pytest.mark.parametrize(("layer", "bits", "largest"), [(CONVOLUTION, 4, 7), (CONVOLUTION, 8, 64), (DEPTHWISE, 8, 127)])
def test_a_rounded_weight_is_one_of_few_values_and_near(layer, bits, largest):
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[2] = 0
    found = rounded(weight, layer, bits)
    step = weight.abs().amax(dim=(1, 2, 3)) / largest
    for channel in range(6):
        inside = weight[channel].abs() <= found[channel].abs().max()
        assert (found[channel] - weight[channel])[inside].abs().max() <= step[channel] / 2 + 1e-6
        assert len(found[channel].unique()) <= 2 * largest + 1
    assert not found[2].any()
    torch.testing.assert_close(rounded(found, layer, bits), found)


def test_four_bits_clip_where_that_costs_less():
    weight = np.random.default_rng(0).standard_normal((1, 512)).astype(np.float32)
    weight[0, 0] = 6
    clipped = channel_steps(weight, (1,), 7)
    assert clipped < 6 / 7
    assert channel_steps(weight, (1,), 63) == pytest.approx(6 / 63)


def test_steps_are_found_again_in_what_they_rounded():
    for seed, largest in enumerate((7, 63, 64, 127)):
        weight = np.random.default_rng(seed).standard_normal((200, 40)).astype(np.float32)
        step = channel_steps(weight, (1,), largest)
        integers = np.rint(weight / step).clip(-largest, largest)
        again = channel_steps((integers * step).astype(np.float32), (1,), largest)
        np.testing.assert_allclose(again, step, rtol=1e-6)
        np.testing.assert_array_equal(np.rint(integers * step / again), integers)


def test_the_gradients_are_those_of_learned_step_quantisation():
    """Esser et al. 2020, equations 3 and 5: dy/ds is round(w/s) - w/s inside and the limit outside, per step; here of
    log s, hence times s; dy/dw is 1 inside and 0 outside."""
    weight = torch.tensor([[0.2, -0.9, 3.0, 1.0]], requires_grad=True)
    layer = Layer("p", "product", ("p",), (1,), 0, 0)
    part = LearnedStep(weight, layer, 4)
    with torch.no_grad():
        part.log_step.fill_(np.log(0.25))  # 3.0 is 12 steps, clipped to 7
    out = part(weight)
    torch.testing.assert_close(out, torch.tensor([[0.25, -1.0, 1.75, 1.0]]))
    out.sum().backward()
    torch.testing.assert_close(weight.grad, torch.tensor([[1.0, 1.0, 0.0, 1.0]]))
    ideal = (0.2 + -0.4 + 7 + 0.0) * 0.25  # places 0.8, -3.6, 12 and 4
    torch.testing.assert_close(part.log_step.grad, torch.full((1, 1), ideal * (4 * 7) ** -0.5))


def test_at_first_a_model_computes_with_what_would_be_exported(wide_model):
    model, bits = copy.deepcopy(wide_model), mixed_bits(wide_model)
    learn_steps(model, bits)
    state = folded_state(model)
    assert state.keys() == wide_model.state_dict().keys()
    rounded_names = set()
    for layer in quantised_layers(wide_model).values():
        for name in layer.parameters if bits[layer.name] != 16 else ():
            rounded_names.add(name)
            expected = rounded(wide_model.get_parameter(name), layer, bits[layer.name])
            differs = (state[name] - expected).abs() > 1e-6  # between two multiples, to the last bit of the step
            assert differs.float().mean() < 1e-3
    for name, value in wide_model.state_dict().items():
        if name not in rounded_names:
            assert torch.equal(state[name], value), name


def test_folding_changes_nothing_that_is_computed(learnt, pictures):
    pixels = torch.from_numpy(pictures[:2])
    limits, count = torch.tensor([2, 12]), torch.tensor([2])
    state = folded_state(learnt)
    with torch.no_grad():
        before = learnt(pixels, limits, count)
        fold_steps(learnt)
        after = learnt(pixels, limits, count)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert learnt.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in learnt.state_dict().items())


def test_the_graph_holds_the_integers_that_training_saw(learnt, tmp_path, pictures, monkeypatch):
    """Every layer of 4 and 8 bits, whatever its kind: the same multiples of the same steps."""
    fold_steps(learnt)
    layers, bits = quantised_layers(learnt), mixed_bits(learnt)
    held: dict[str, np.ndarray] = {}

    def hold(path, _):
        held.update({tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer})

    monkeypatch.setattr(post_training, "pack", hold)
    export_parallel(learnt, tmp_path)
    post_training.quantize(tmp_path, pictures[:2], FEEDS, tensor_bits(layers, bits), corrected=False)
    seen = set()
    for name, layer in layers.items():
        for tensor, parameters in zip(layer.tensors, grouped(layer), strict=True):
            if bits[name] == 16 or name.startswith("alignment"):  # the alignment is no part of these graphs
                continue
            (integers,) = (held[tensor + end] for end in post_training.INTEGERS if tensor + end in held)
            weight = np.concatenate([learnt.get_parameter(part).detach().numpy() for part in parameters])
            step = channel_steps(weight, layer.axes, largest_integer(layer.kind, bits[name]))
            expected = np.rint(weight / step)
            np.testing.assert_allclose(expected * step, weight, atol=1e-6)
            if integers.shape != weight.shape or (integers != expected).any():
                integers = integers.T
            np.testing.assert_array_equal(integers, expected, err_msg=name)
            seen.add((layer.kind, bits[name]))
    kinds = {layer.kind for layer in layers.values()}
    assert {kind for kind, _ in seen} == kinds
    assert {(kind, 4) for kind in kinds} <= seen


def grouped(layer: Layer) -> list[tuple[str, ...]]:
    """The parameters of each of a layer's tensors."""
    return [layer.parameters] if layer.kind == "product" else [(name,) for name in layer.parameters]


def test_a_weight_first_read_without_gradients_has_them_all_the_same():
    model = nn.Sequential(nn.Conv2d(2, 2, 1))
    learn_steps(model, {})
    with rounded_once(model):
        with torch.no_grad():
            model(torch.ones(1, 2, 1, 1))
        model(torch.ones(1, 2, 1, 1)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{decoder.embeding: 4}",
            r"plan\.yaml: the model has no layer 'decoder\.embeding'; the nearest is 'decoder\.em",
        ),
        ("{decoder.embedding: 5}", r"decoder\.embedding is 5; allowed: 4, 8, 16 bits"),
        ("{decoder.embedding: true}", "is True; allowed"),
        ("[4, 8]", "holds list; a mapping from layers to bits is needed"),
        ("{", r"cannot be read from .*plan\.yaml"),
        (None, r"cannot be read from .*plan\.yaml"),
    ],
)
def test_a_plan_for_another_model_is_one_clear_error(wide_model, tmp_path, text, message):
    path = tmp_path / "plan.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_bits(path, quantised_layers(wide_model))
