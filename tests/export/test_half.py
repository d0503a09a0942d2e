"""Graphs that compute in 16 bits, for GPUs: those of the model, but for rounding, in half the space."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from fastcap.checkpoint import save_checkpoint
from fastcap.cli import main
from fastcap.errors import ConfigError
from fastcap.export.families import EXPORTS
from fastcap.export.weights import restore, stored_in
from fastcap.release import ExportSettings
from fastcap.release.sizes import directory_size, half_graphs
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import STATE
from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower


@pytest.fixture
def prefix(tmp_path):
    pytest.importorskip("transformers"), pytest.importorskip("peft")
    language_model = write_language_model(tmp_path / "words", hidden_size=128, intermediate_size=256)
    return prefix_model(prefix_config(language_model, write_tower(tmp_path / "eye")))[0]


def float_bytes(folder: Path) -> dict[str, int]:
    """Bytes of the weights of a folder's graphs by their type."""
    found: dict[str, int] = {}
    for path in folder.glob("*.onnx"):
        for tensor in onnx.load(str(path)).graph.initializer:
            name = onnx.TensorProto.DataType.Name(tensor.data_type)
            found[name] = found.get(name, 0) + onnx.numpy_helper.to_array(tensor).nbytes
    return found


@pytest.mark.parametrize("family", ["parallel", "prefix"])
@torch.no_grad()
def test_graphs_in_16_bits_say_what_the_model_says(family, request, pictures, tmp_path):
    """On the CPU: ONNX Runtime computes in 32 bits there, and rounds what a node gives."""
    model = request.getfixturevalue("model" if family == "parallel" else "prefix")
    (tmp_path / "parts").mkdir()
    EXPORTS[family].parts(model, tmp_path / "parts")
    graphs = half_graphs(tmp_path / "parts", tmp_path / "fp16", model.config)
    sizes = float_bytes(graphs)
    assert sizes["FLOAT16"] > 20 * sizes.get("FLOAT", 0)  # constants of norms are left in 32 bits
    for agreement in EXPORTS[family].compare(model, graphs, pictures[:8]):
        assert agreement.equal_captions >= 0.7 and agreement.difference < 0.1
    inputs = {entry.name: entry.type.tensor_type.elem_type for path in graphs.glob("*.onnx") for entry in
              onnx.load(str(path), load_external_data=False).graph.input}  # fmt: skip
    halves = {name for name, kind in inputs.items() if kind == onnx.TensorProto.FLOAT16}
    assert all(name.startswith(STATE) for name in halves)  # the runtime feeds what it always does


def test_the_command_writes_a_directory_that_captions_and_can_be_trained_on(model, tokenizer, pictures, tmp_path):
    save_checkpoint(tmp_path / "best", model.config, model.state_dict(), tokenizer)
    (tmp_path / "images").mkdir()
    for index, picture in enumerate(pictures[:4]):
        Image.fromarray(picture).save(tmp_path / "images" / f"{index}.png")
    rows = "".join(f"{index}.png,{text}\n" for index in range(4) for text in ("a red ball", "two dogs run"))
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text(f"image,caption\n{rows}")
    sizes = {}
    for precision in ("fp32", "fp16"):
        out = tmp_path / precision
        line = ["export", "--model", str(tmp_path / "best"), "--out", str(out), "--root", str(tmp_path)]
        line += ["--dataset", "csv", "--calibration", "4", "--limit", "4", "--max-loss", "1000"]
        assert main([*line, "--precision", precision]) == 0
        sizes[precision] = directory_size(out)
        assert stored_in(out) == precision
    assert Captioner.open(tmp_path / "fp16").caption(tmp_path / "images" / "0.png").text
    assert sizes["fp16"] < sizes["fp32"]
    assert json.loads((tmp_path / "fp16" / "model.json").read_text())["unheld"] is not None
    for name, weight in restore(tmp_path / "fp16").state_dict().items():
        np.testing.assert_allclose(weight, model.state_dict()[name], rtol=2e-3, atol=1e-3, err_msg=name)


def test_bits_of_layers_are_of_int8_alone():
    with pytest.raises(ConfigError, match="precision is fp16; allowed with a target size or bits: int8"):
        ExportSettings(precision="fp16", target_size="9MB")
