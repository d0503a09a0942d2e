"""A prefix model in LLaVA's layout: equal to the eager model of every architecture, whatever the size of a picture."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from fastcap.errors import FastcapError, ModelFileError
from fastcap.export.compare import compare_steps, open_graph
from fastcap.export.llava import GRAPHS, LlavaStepper, Squash, assemble_llava, cache_sizes, export_llava
from fastcap.release import transformers_js
from fastcap.release.transformers_js import DTYPES, convert
from fastcap.runtime.contract import Manifest
from fastcap.runtime.images import load_image
from tiny_parts import LANGUAGE_MODELS, prefix_config, prefix_model, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")


def source_of(model, tokenizer):
    manifest = Manifest.of(model.config, name="tiny", files={})
    return SimpleNamespace(folder="tiny", model=model, tokenizer=tokenizer, manifest=manifest)


@pytest.fixture(scope="module")
def eye(tmp_path_factory):
    return write_tower(tmp_path_factory.mktemp("tower") / "eye")


@pytest.fixture(scope="module")
def wide(eye, tmp_path_factory):
    """A model whose matrices are large enough to be quantised."""
    words = write_language_model(tmp_path_factory.mktemp("wide") / "words", hidden_size=128, intermediate_size=192)
    return source_of(*prefix_model(prefix_config(words, eye, prompt="a photo of")))


@pytest.fixture(scope="module")
def folder(wide, tmp_path_factory):
    """All precisions of it in one folder, and what is said of it."""
    folder = tmp_path_factory.mktemp("web")
    return folder, convert(wide, folder, "all")


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_the_graphs_of_any_language_model_equal_it(family, eye, pictures, tmp_path):
    model, _ = prefix_model(prefix_config(write_language_model(tmp_path / family, family), eye, prompt="a photo of"))
    export_llava(model, tmp_path)
    (tmp_path / "onnx").mkdir()
    assemble_llava(tmp_path, tmp_path / "onnx")
    agreement = compare_steps(model, LlavaStepper(tmp_path / "onnx"), pictures[:3])
    assert agreement.equal_captions == 1 and agreement.difference < 1e-4


def test_the_begin_mark_is_the_end_of_the_features(wide, folder, pictures):
    stepper = LlavaStepper(folder[0] / "onnx")
    (features,), vocabulary = stepper.encode(pictures[:1]), wide.model.vocabulary
    assert len(features) == 4 + len(wide.model.decoder.prompt_ids) + 1 == folder[1]["image_places"]
    expected = wide.model.decoder.embed(torch.tensor(vocabulary.bos_id)).detach()
    np.testing.assert_allclose(features[-1], expected, atol=1e-6)


def test_rows_of_different_lengths_are_padded_at_their_start(wide, folder, pictures):
    """As a batch of questions is: what stands beside a row changes nothing of it."""
    graph = open_graph(folder[0] / "onnx" / "decoder_model_merged.onnx")
    layers, heads, width = cache_sizes(folder[0] / "onnx" / "decoder_model_merged.onnx")
    words = np.random.default_rng(0).standard_normal((2, 7, 128)).astype(np.float32)

    def logits(rows, mask):
        past = {f"past_key_values.{i}.{part}": np.zeros((len(rows), heads, 0, width), np.float32)
                for i in range(layers) for part in ("key", "value")}  # fmt: skip
        places = np.maximum(mask.cumsum(axis=1) - 1, 0)
        given = {"inputs_embeds": rows, "attention_mask": mask, "position_ids": places}
        return graph.run(["logits"], {**given, "num_logits_to_keep": np.array(2), **past})[0]

    mask = np.array([[1] * 7, [0] * 3 + [1] * 4])
    together = logits(words, mask)
    assert together.shape[:2] == (2, 2)
    np.testing.assert_allclose(together[1], logits(words[1:, 3:], mask[1:, 3:])[0], atol=1e-4)
    np.testing.assert_allclose(together[0], logits(words[:1], mask[:1])[0], atol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (30, 20), (129, 128), (100, 75), (333, 640), (1511, 1007)])
def test_pictures_are_resized_as_the_runtime_does(size):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    found = Squash(64)(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0)
    difference = np.abs(found.numpy() - load_image(picture, (64, 64)))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.0005  # near a tie the sum's last digit decides
    if max(size) < 1000:
        assert not difference.any()


def test_all_precisions_stand_side_by_side(folder, wide, pictures):
    made, facts = folder
    names = {path.name for path in (made / "onnx").iterdir()}
    assert names == {f"{graph}{dtype.suffix}.onnx" for graph in GRAPHS for dtype in DTYPES.values()}
    assert facts["dtypes"] == {"q4": "_q4", "q8": "_quantized", "fp16": "_fp16", "fp32": ""}
    sizes = [(made / "onnx" / f"decoder_model_merged{end}.onnx").stat().st_size for end in facts["dtypes"].values()]
    assert sizes == sorted(sizes) and sizes[0] < 0.4 * sizes[-1]
    for name, near in (("", 1e-4), ("_fp16", 0.05), ("_quantized", 0.2), ("_q4", 1.0)):
        assert compare_steps(wide.model, LlavaStepper(made / "onnx", name), pictures[:3]).difference < near
    assert json.loads((made / "config.json").read_text())["transformers.js_config"] == {"dtype": "q4"}


def test_4_bits_are_those_of_the_model_directory(folder):
    """One rounding for both: what transformers.js multiplies is what our runtime does."""
    held = onnx.load(str(folder[0] / "onnx" / "decoder_model_merged_q4.onnx"))
    bits = [attribute.i for node in held.graph.node for attribute in node.attribute if attribute.name == "bits"]
    assert set(bits) == {4, 8}
    every = onnx.load(str(folder[0] / "onnx" / "decoder_model_merged_quantized.onnx"))
    assert {a.i for node in every.graph.node for a in node.attribute if a.name == "bits"} == {8}


def test_a_norm_squares_in_32_bits(folder):
    held = onnx.load(str(folder[0] / "onnx" / "decoder_model_merged_fp16.onnx"))
    cast = {output for node in held.graph.node if node.op_type == "Cast" and node.attribute[0].i == 1
            for output in node.output}  # fmt: skip
    squares = [node for node in held.graph.node if node.op_type == "Pow"]
    assert squares and all(node.input[0] in cast or node.input[0] == "inputs_embeds" for node in squares)


def test_a_checkpoint_of_a_decoder_of_ours_has_to_be_exported_first(model, tokenizer, tmp_path):
    with pytest.raises(ModelFileError, match=r"tiny is a checkpoint of the family .* needed: a model dir"):
        convert(source_of(model, tokenizer), tmp_path, "int4")
    assert not list(tmp_path.iterdir())


def test_graphs_that_are_another_model_are_refused(wide, tmp_path, monkeypatch):
    def other(model, folder):
        export_llava(model, folder)
        graph = onnx.load(str(folder / "embed_tokens.onnx"))
        table = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        table.raw_data = (np.frombuffer(table.raw_data, np.float32) * 1.5).tobytes()
        onnx.save(graph, str(folder / "embed_tokens.onnx"))

    monkeypatch.setattr(transformers_js, "export_llava", other)
    with pytest.raises(FastcapError, match=r"the graphs for transformers\.js .* Nothing was written"):
        convert(wide, tmp_path, "fp32")
