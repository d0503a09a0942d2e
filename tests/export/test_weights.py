"""What is shipped can be trained on: the parameters come back out of the graphs."""

from __future__ import annotations

import json

import onnx
import pytest
import torch

from fastcap.checkpoint import load_checkpoint
from fastcap.cli import main
from fastcap.errors import ModelFileError
from fastcap.export.parallel import assemble_parallel, export_parallel
from fastcap.export.weights import restore, unheld
from fastcap.export.writer import write_bundle
from fastcap.quantization.integers import to_integers
from fastcap.quantization.post_training import pack
from fastcap.quantization.products import quantize_products
from fastcap.quantization.scales import largest_integer


def written(folder, parts, model, tokenizer):
    assemble_parallel(parts, folder / "graphs", model.config)
    rest = unheld(model, folder / "graphs")
    write_bundle(folder / "tiny", folder / "graphs", tokenizer, model.config, name="tiny", unheld=rest)
    return folder / "tiny"


def test_of_floats_every_parameter_comes_back_as_it_was(exported, model, tokenizer, tmp_path):
    directory = written(tmp_path, exported, model, tokenizer)
    back = restore(directory)
    assert back.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name
    rest = json.loads((directory / "model.json").read_text())["unheld"]
    assert sum(map(len, rest.values())) < 200  # the graphs hold all but a few


def test_of_integers_every_weight_comes_back_within_half_a_step(quantised, model, tokenizer, tmp_path):
    back = restore(written(tmp_path, quantised, model, tokenizer)).state_dict()
    for name, value in model.state_dict().items():
        if value.ndim < 2:  # biases of convolutions are corrected on purpose
            continue
        rows = value.flatten(1) if value.ndim != 3 else value.transpose(1, 2).flatten(0, 1)
        found = back[name].flatten(1) if value.ndim != 3 else back[name].transpose(1, 2).flatten(0, 1)
        step = rows.abs().amax(dim=1, keepdim=True) / 63
        assert ((rows - found).abs() <= 0.51 * step).all(), name


@pytest.mark.parametrize("bits", [4, 16])
def test_weights_of_other_widths_come_back_too(wide_model, tokenizer, tmp_path, bits):
    parts = tmp_path / "parts"
    parts.mkdir()
    export_parallel(wide_model, parts)
    chosen = {f"model.decoder.layers.0.experts.{part}": bits for part in ("weight_in", "weight_out")}
    for part in parts.iterdir():
        quantize_products(part, chosen)
        pack(part, chosen)
    back = restore(written(tmp_path, parts, wide_model, tokenizer)).state_dict()
    for part in ("weight_in", "weight_out"):
        name = f"decoder.layers.0.experts.{part}"
        weight = wide_model.state_dict()[name]
        integers, steps = to_integers(weight.numpy(), (1,), largest_integer("experts", 4))
        expected = weight.half().float() if bits == 16 else torch.from_numpy(integers * steps)
        assert torch.equal(back[name], expected)


def test_the_command_writes_a_checkpoint_and_never_over_something(exported, model, tokenizer, tmp_path, capsys):
    directory = written(tmp_path, exported, model, tokenizer)
    command = ["checkpoint", "--model", str(directory), "--out", str(tmp_path / "back")]
    assert main(command) == 0
    back, _ = load_checkpoint(tmp_path / "back")
    assert torch.equal(back.decoder.embedding.weight, model.decoder.embedding.weight)
    assert main(command) == 1
    assert "is there already" in capsys.readouterr().err


def test_a_directory_of_before_says_what_is_missing(exported, model, tokenizer, tmp_path):
    directory = written(tmp_path, exported, model, tokenizer)
    manifest = json.loads((directory / "model.json").read_text())
    del manifest["unheld"]
    (directory / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFileError, match="'unheld' is missing"):
        restore(directory)


def test_graphs_and_manifest_that_disagree_are_refused(exported, model, tokenizer, tmp_path):
    directory = written(tmp_path, exported, model, tokenizer)
    graph = onnx.load(str(directory / "model.onnx"))
    del graph.metadata_props[:]
    onnx.save(graph, str(directory / "model.onnx"))
    with pytest.raises(ModelFileError, match=r"graphs and model\.json disagree"):
        restore(directory)
