"""A prefix model is trained with the rounded matrices that its export has."""

from __future__ import annotations

import math
import re

import onnx
import pytest
import torch

from fastcap.export.families import EXPORTS
from fastcap.model.prefix import merged
from fastcap.quantization.blocks import from_blocks, to_blocks
from fastcap.quantization.fake import rounded
from fastcap.quantization.fake_blocks import round_blocks, rounded_matrices
from fastcap.quantization.scales import LARGE, quantised_layers, tensor_bits
from fastcap.training.weights import WeightAverage
from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")


WIDE = {"llama": {"hidden_size": 128, "intermediate_size": 256}, "gpt2": {"n_embd": 128}}


@pytest.fixture(scope="module", params=WIDE)
def model(request, tmp_path_factory):
    """GPT-2's matrices are stored with their inputs first."""
    root = tmp_path_factory.mktemp("parts")
    words = write_language_model(root / "words", request.param, **WIDE[request.param])
    return prefix_model(prefix_config(words, write_tower(root / "eye")))[0]


@pytest.fixture
def read(model):
    """What a model makes of a picture and a caption."""
    pixels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[5, 9, 7, 6]])

    def logits(model):
        return model.decoder.logits(model.decoder.inputs(ids), model.decoder.prepare(model.encode(pixels)))

    return logits


@pytest.mark.parametrize("k", [128, 96, 50])
def test_blocks_of_8_bits_are_rounded_as_in_the_graph_and_the_gradient_passes(k):
    weight = torch.randn(6, k, requires_grad=True)
    found = round_blocks(weight, 8)
    stored = to_blocks(weight.detach().numpy(), 8)
    torch.testing.assert_close(found.detach(), torch.from_numpy(from_blocks(*stored, 8, k)))
    found.square().sum().backward()
    torch.testing.assert_close(weight.grad, 2 * found.detach())


def test_blocks_of_4_bits_have_sixteen_values():
    found = round_blocks(torch.randn(2, 32), 4)
    assert all(len(row.unique()) <= 16 for row in found)
    assert round_blocks(torch.zeros(1, 32), 4).eq(0).all()


def test_training_computes_with_the_merged_and_rounded_matrices(model, read):
    layers = quantised_layers(model)
    bits = tensor_bits(layers, dict.fromkeys(layers, 8))
    expected = merged(model)
    with torch.no_grad():
        for layer in layers.values():
            for name in layer.parameters if layer.kind == "blocks" and layer.name.startswith("decoder") else ():
                expected.get_parameter(name).data = rounded(expected.get_parameter(name), layer, 8)
        wanted, plain = read(expected), read(model)
    before = [name for name, _ in model.named_parameters()]
    with rounded_matrices(model, bits):
        found = read(model)
        found.square().mean().backward()
    # a number halfway between two integers may become either, in arithmetic of 32 or of 64 bits
    assert (found.detach() - wanted).abs().mean() < 0.1 * (plain - wanted).abs().mean()
    assert [name for name, _ in model.named_parameters()] == before
    torch.testing.assert_close(read(model).detach(), plain)
    attention = re.compile(r"\.(q_proj|c_attn)\.lora_")
    adapters = [p for name, p in model.named_parameters() if attention.search(name)]
    assert adapters and all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in adapters)


def test_a_plan_names_every_matrix_that_the_graphs_hold(model, tmp_path):
    EXPORTS["prefix"].parts(model, tmp_path)
    matrices = {
        tensor.name
        for part in tmp_path.glob("*.onnx")
        for tensor in onnx.load(str(part)).graph.initializer
        if tensor.name.startswith("model.decoder.") and len(tensor.dims) == 2 and math.prod(tensor.dims) >= LARGE
    }
    layers = quantised_layers(model).values()
    positions = {name for name in matrices if name.endswith("wpe.weight")}  # GPT-2 adds them: always 8 bits
    assert matrices - positions <= {tensor for layer in layers for tensor in layer.tensors}
    assert any(layer.kind == "blocks" and layer.name.startswith("decoder.language_model") for layer in layers)


def test_a_stage_that_rounds_changes_no_state(model, read):
    average = WeightAverage(model, 0.9)
    state = set(model.state_dict())
    average.begin_rounding(model, "")
    with torch.no_grad(), average.rounding(model):
        found = read(model)
    assert set(model.state_dict()) == state == set(average.shipped(model))
    average.end_rounding(model)
    with torch.no_grad(), average.rounding(model):
        assert not torch.equal(read(model), found)
