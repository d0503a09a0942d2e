"""The causal graphs are the model's causal reading, weigh next to nothing, and run only the experts of a picture."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fastcap.errors import FastcapError
from fastcap.export.compare import compare_steps, open_graph, open_stepper
from fastcap.export.parallel import assemble_parallel
from fastcap.export.surgery import SHARED

NAMES = ("encode.onnx", "step.onnx")
FEEDS = {"length_range": np.array([2, 12]), "candidates": np.array([2]), "penalties": np.zeros(300, np.float32)}


@pytest.fixture(scope="module")
def int8(quantised, model, tmp_path_factory) -> Path:
    """A folder of the whole int8 graph and the causal ones."""
    folder = tmp_path_factory.mktemp("int8") / "graphs"
    assemble_parallel(quantised, folder, model.config)
    return folder


@pytest.mark.parametrize("beams", [1, 3, 8])
def test_the_graphs_step_as_the_model_does(model, graph, pictures, beams):
    agreement = compare_steps(model, open_stepper(graph.parent), pictures, beams)
    assert agreement.images == 12
    assert agreement.equal_captions == 1
    assert agreement.difference < 1e-4


def test_a_comparison_tells_another_model_and_needs_pictures(model, graph, pictures):
    bias = model.decoder.bias.data.clone()
    try:
        model.decoder.bias.data += torch.randn(300, generator=torch.Generator().manual_seed(0)) * 3
        agreement = compare_steps(model, open_stepper(graph.parent), pictures)
    finally:
        model.decoder.bias.data = bias
    assert agreement.equal_captions < 0.5
    assert agreement.difference > 0.5
    with pytest.raises(FastcapError, match="needs at least 1 image, got 0"):
        compare_steps(model, open_stepper(graph.parent), pictures[:0])


def test_integers_stay_close_to_the_model(model, int8, pictures):
    assert compare_steps(model, open_stepper(int8), pictures[8:], beams=1).difference < 2


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_the_encoder_gives_the_vector_of_the_whole_graph(kind, graph, int8, pictures):
    folder = graph.parent if kind == "fp32" else int8
    encode, whole = open_graph(folder / "encode.onnx"), open_graph(folder / "model.onnx")
    for picture in pictures[:3]:
        (vectors,) = encode.run(["image_vectors"], {"images": picture[None]})
        (expected,) = whole.run(["image_vectors"], {"images": picture[None], **FEEDS})
        np.testing.assert_array_equal(vectors, expected)


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_weights_stand_in_the_file_of_the_whole_graph_alone(kind, graph, int8):
    folder = graph.parent if kind == "fp32" else int8
    whole = (folder / "model.onnx").read_bytes()
    for name in NAMES:
        shared = 0
        for tensor in onnx.load(str(folder / name), load_external_data=False).graph.initializer:
            where = {entry.key: entry.value for entry in tensor.external_data}
            assert len(tensor.raw_data) < SHARED
            assert where.get("location", "model.onnx") == "model.onnx"
            shared += int(where.get("length", 0))
        assert shared > 0.1 * len(whole)
        read = onnx.load(str(folder / name))  # with what it finds there
        assert all(t.raw_data in whole for t in read.graph.initializer if len(t.raw_data) >= SHARED)


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_experts_that_a_picture_does_not_use_never_reach_a_step(kind, model, graph, int8):
    folder = graph.parent if kind == "fp32" else int8
    decoder = model.config.decoder
    table = decoder.n_experts * model.config.d_model * decoder.d_hidden

    def sizes(name: str) -> list[int]:
        return [int(np.prod(t.dims)) for t in onnx.load(str(folder / name)).graph.initializer]

    assert sizes("encode.onnx").count(table) == 2 * decoder.n_layers
    assert table not in sizes("step.onnx")
    chosen = [value.shape for value in open_graph(folder / "step.onnx").get_inputs()]
    assert chosen.count([model.config.d_model, decoder.d_hidden]) == decoder.n_layers


def test_a_folder_may_be_moved(int8, pictures, tmp_path):
    moved = Path(shutil.copytree(int8, tmp_path / "elsewhere"))
    before, after = (open_stepper(folder).encode(pictures[:1]) for folder in (int8, moved))
    assert all(np.array_equal(before[name], after[name]) for name in before)


CAPTION = """
import sys
sys.modules["torch"] = None  # an import of it fails
import numpy as np, fastcap
print(fastcap.load_model(sys.argv[1]).caption(np.zeros((64, 64, 3), np.uint8), decode="beam").text)
"""


def test_left_to_right_needs_no_torch(model, graph, tokenizer, tmp_path):
    from fastcap.export.writer import write_bundle

    write_bundle(tmp_path / "m", graph.parent, tokenizer, model.config, name="m", description="", quality={}, speed={})
    done = subprocess.run([sys.executable, "-c", CAPTION, tmp_path / "m"], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.strip().endswith(".")
