"""`fastcap.export.export_onnx`: one file that computes what PyTorch does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fastcap.checkpoint import save_checkpoint
from fastcap.config import ModelConfig, ResNetViTConfig, RopeDecoderConfig
from fastcap.errors import ConfigError, FastcapError, ModelFileError
from fastcap.export import export_onnx, whole
from fastcap.export.compare import open_graph
from fastcap.model import build_model
from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

RESNET = ResNetViTConfig(widths=(8, 8, 12, 16), depths=(1, 1, 1, 1), n_layers=1, n_heads=4, d_hidden=48)


@pytest.fixture(scope="module", params=["parallel", "autoregressive", "prefix"])
def checkpoint(request, tiny_config: ModelConfig, tokenizer, tmp_path_factory):
    """A tiny model of each family, and its checkpoint directory."""
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "prefix":
        pytest.importorskip("transformers")
        pytest.importorskip("peft")
        model, words = prefix_model(prefix_config(write_language_model(root / "words"), write_tower(root / "eye")))
    else:
        config = tiny_config
        if request.param == "autoregressive":
            parts = {"backbone": RESNET, "decoder": RopeDecoderConfig(n_layers=2, n_heads=4, d_hidden=48)}
            config = dataclasses.replace(tiny_config, **parts)
        torch.manual_seed(0)
        model, words = build_model(config).eval(), tokenizer
    save_checkpoint(root / "best", model.config, model.state_dict(), words)
    return model, root / "best"


@torch.no_grad()
def test_the_file_reads_any_texts_about_a_picture_as_the_model_does(checkpoint, pictures, tmp_path):
    model, folder = checkpoint
    agreement = export_onnx(folder, tmp_path / "deep" / "model.onnx", images=list(pictures[:3]))
    assert agreement.images == 3 and agreement.equal_captions == 1 and agreement.difference < 1e-4
    graph = open_graph(tmp_path / "deep" / "model.onnx")
    picture = torch.from_numpy(pictures[5:6])
    for shape in ((1, 1), (3, 7), (2, 12)):
        ids = torch.randint(5, 60, shape)
        (found,) = graph.run(None, {"images": picture.numpy(), "token_ids": ids.numpy()})
        expected = model.decoder.logits(ids, model.decoder.prepare(model.encode(picture)))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_bundled_model_is_compared_on_photos(data_root, tmp_path):
    photos = sorted((data_root / "flickr8k" / "images").iterdir())[:2]
    agreement = export_onnx("fastcap-base", tmp_path / "model.onnx", images=photos)
    assert agreement.images == 2 and agreement.equal_captions == 1 and agreement.difference < 1e-4


def test_a_file_within_a_checkpoint_names_it_and_axes_may_be_fixed(checkpoint, tmp_path):
    model, folder = checkpoint
    export_onnx(folder / "model.safetensors", tmp_path / "model.onnx", optimize=False, dynamic_axes=False)
    shapes = [
        [axis.dim_value for axis in each.type.tensor_type.shape.dim]
        for each in onnx.load(str(tmp_path / "model.onnx")).graph.input
    ]
    assert shapes == [[1, 64, 64, 3], [1, model.config.max_length + 1]]


def test_what_is_optimised_has_fewer_nodes(checkpoint, tmp_path):
    _, folder = checkpoint
    counts = []
    for optimize in (False, True):
        export_onnx(folder, tmp_path / "model.onnx", optimize=optimize)
        counts.append(len(onnx.load(str(tmp_path / "model.onnx")).graph.node))
    assert counts[1] < counts[0]


def test_a_file_that_is_another_model_is_not_written(checkpoint, tmp_path, monkeypatch):
    _, folder = checkpoint
    real = whole.open_graph

    def other(path: Path):
        model = onnx.load(str(path))
        weight = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2)
        weight.raw_data = (np.frombuffer(weight.raw_data, np.float32) * 1.5).tobytes()
        onnx.save(model, str(path))
        return real(path)

    monkeypatch.setattr(whole, "open_graph", other)
    with pytest.raises(FastcapError, match=r"log-probabilities differ from PyTorch's by .*; allowed: 0\.001"):
        export_onnx(folder, tmp_path / "model.onnx", optimize=False)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_says_what_can(tmp_path):
    with pytest.raises(ConfigError, match=r"output_path is .*, a folder; allowed: the path of a file, such as"):
        export_onnx("fastcap-base", tmp_path)
    with pytest.raises(ModelFileError, match="nowhere"):
        export_onnx(tmp_path / "nowhere", tmp_path / "model.onnx")
