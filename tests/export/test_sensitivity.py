"""Sensitivity is the rise of the loss when one layer alone is rounded."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import onnx
import pytest
import torch
from rich.console import Console

from fastcap.errors import ConfigError
from fastcap.export.compare import open_graph
from fastcap.export.families import EXPORTS
from fastcap.export.writer import write_bundle
from fastcap.quantization.fake import rounded
from fastcap.quantization.scales import quantised_layers, tensor_bits
from fastcap.quantization.sensitivity import batches_of, input_means, loss, measure_sensitivity, rounded_layer
from fastcap.release.search import bits_under_size
from fastcap.release.sizes import directory_size, quantised_graphs

CAPTIONS = ["a red ball lies on the grass", "two dogs run along a beach", "a man sits in a wooden boat"]


@pytest.fixture(scope="module")
def batches(tokenizer, pictures):
    return batches_of(pictures, [CAPTIONS[i % 3] for i in range(12)], tokenizer, 12, size=4)


def test_each_change_is_that_of_a_copy_with_one_layer_rounded(wide_model, batches):
    layers = {
        name: layer
        for name, layer in quantised_layers(wide_model).items()
        if name.startswith(("decoder.embedding", "decoder.layers.0", "backbone.pool", "backbone.mamba_7.0.fusion.0"))
    }
    calls: list[int] = []
    found = measure_sensitivity(wide_model, layers, batches, on_layer=lambda *_: calls.append(1))
    assert len(calls) == len(layers) == len(found)
    for name, layer in layers.items():
        if name.endswith("local_position"):  # whose bias is corrected as well
            continue
        other = copy.deepcopy(wide_model)
        for parameter in layer.parameters:
            other.get_parameter(parameter).data = rounded(other.get_parameter(parameter), layer, 4)
        with torch.no_grad():
            changes = [
                loss(other, other.encode(batch.pixels), batch, seed)
                - loss(wide_model, wide_model.encode(batch.pixels), batch, seed)
                for seed, batch in enumerate(batches)
            ]
        assert found[name][4].mean == pytest.approx(np.mean(changes), abs=1e-5)
        assert found[name][4].error == pytest.approx(np.std(changes, ddof=1) / 3**0.5, abs=1e-5)
    assert sum(abs(changes[4].mean) for changes in found.values()) > sum(abs(c[8].mean) for c in found.values())


def test_measuring_leaves_the_model_as_it_was(wide_model, batches):
    before = {name: value.clone() for name, value in wide_model.state_dict().items()}
    layers = dict(list(quantised_layers(wide_model).items())[:3])
    measure_sensitivity(wide_model, layers, batches)
    assert all(torch.equal(value, before[name]) for name, value in wide_model.state_dict().items())


@torch.no_grad()
def test_a_rounded_convolution_keeps_the_mean_of_what_it_puts_out(wide_model, batches):
    """As the exporter corrects biases; exact but for the border, where the kernel sees padding."""
    name = "backbone.to_stride_16.3.project"  # 1x1, so without a border
    layer, module = quantised_layers(wide_model)[name], wide_model.get_submodule(name)
    seen: list[torch.Tensor] = []
    hook = module.register_forward_hook(lambda _, inputs, output: seen.append(output.mean(dim=(0, 2, 3))))
    means = input_means(wide_model, batches[:1])
    with rounded_layer(wide_model, layer, 4, means):
        wide_model.encode(batches[0].pixels)
    hook.remove()
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-4, atol=1e-4)


def test_too_few_pictures_to_tell_change_from_chance_are_an_error(tokenizer, pictures):
    with pytest.raises(ConfigError, match="sensitivity needs at least 16 pictures, got 12"):
        batches_of(pictures, CAPTIONS * 4, tokenizer, 12)


@pytest.fixture(scope="module")
def wide(wide_model, tmp_path_factory):
    """The fp32 parts of the wide model, shared, and what their graph is asked."""
    family, folder = EXPORTS["parallel"], tmp_path_factory.mktemp("wide")
    family.parts(wide_model, folder)
    return folder, family.feeds(wide_model.config)


def test_a_mixed_graph_computes_what_its_rounded_weights_say(wide_model, wide, pictures, tmp_path):
    """4 bits unpacked are the integers that were packed; the graph with 16 bits everywhere is that of fp32."""
    parts, feeds = wide
    layers = quantised_layers(wide_model)
    halves = tensor_bits(layers, dict.fromkeys(layers, 16))
    graph = quantised_graphs(parts, tmp_path / "halves", wide_model, pictures[:2], halves) / "model.onnx"
    context = wide_model(torch.from_numpy(pictures[:1]), torch.tensor([2, 12]), torch.tensor([2]))
    found = open_graph(graph).run(["confidences"], {"images": pictures[:1], **feeds})[0]
    np.testing.assert_allclose(found, context.confidences.detach().numpy(), rtol=2e-2)
    held = {tensor.data_type for tensor in onnx.load(str(graph)).graph.initializer if np.prod(tensor.dims) >= 2**14}
    assert held == {onnx.TensorProto.FLOAT16}

    nibbles = tensor_bits(layers, dict.fromkeys(layers, 4))
    packed = quantised_graphs(parts, tmp_path / "packed", wide_model, pictures[:2], nibbles, corrected=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastcap.quantization.post_training.pack", lambda *_: None)
        plain = quantised_graphs(parts, tmp_path / "plain", wide_model, pictures[:2], nibbles, corrected=False)
    graphs = [folder / "model.onnx" for folder in (packed, plain)]
    assert graphs[0].stat().st_size < 0.8 * graphs[1].stat().st_size
    outputs = [open_graph(path).run(None, {"images": pictures[:1], **feeds}) for path in graphs]
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_directory_takes_at_most_its_target_size(wide_model, wide, tokenizer, pictures, tmp_path):
    parts, _ = wide
    pixels = np.concatenate([pictures, pictures[:4]])

    def under(size: int) -> dict[str, int]:
        out, console = tmp_path / "small", Console(quiet=True)
        return bits_under_size(size, out, parts, parts, wide_model, tokenizer, pixels, "a test", console)

    refused = r"target size is 1000 bytes; the nearest that can be reached is (\d+) bytes \(whole, 4 bits wherever"
    with pytest.raises(ConfigError, match=refused) as error:
        under(1000)
    assert list(tmp_path.iterdir()) == []
    target = int(re.search(r"reached is (\d+)", str(error.value))[1]) + 40_000
    bits = under(target)
    assert {4, 8} <= set(bits.values())
    assert json.loads((tmp_path / "small.bits.json").read_text()) == bits
    tensors = tensor_bits(quantised_layers(wide_model), bits)
    graphs = quantised_graphs(parts, tmp_path / "graphs", wide_model, pictures, tensors)
    bundle = tmp_path / "small"
    write_bundle(bundle, graphs, tokenizer, wide_model.config, name="small")
    assert 0.9 * target < directory_size(bundle) <= target
