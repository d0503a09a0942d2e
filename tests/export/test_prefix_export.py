"""The prefix family as graphs: equal to the eager model of every architecture, and a directory like any other."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

from fastcap.checkpoint import save_checkpoint
from fastcap.cli import main
from fastcap.errors import ModelFileError
from fastcap.evaluation.speed import measure_stages
from fastcap.export.compare import compare_steps, open_graph, open_stepper
from fastcap.export.families import EXPORTS
from fastcap.export.weights import restore
from fastcap.export.writer import write_bundle
from fastcap.generation.autoregressive import beam_search
from fastcap.quantization.blocks import quantize_blocks, to_blocks
from fastcap.quantization.moments import input_moments
from fastcap.quantization.scales import block_bits, block_size
from fastcap.release.drawn import reading
from fastcap.release.sizes import quantised_graphs
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import LANGUAGE_WEIGHTS, PREFIX_GRAPHS, TEXT
from fastcap.runtime.encoding import encode
from fastcap.serve.page import PageError, WebPage
from tiny_parts import LANGUAGE_MODELS, prefix_config, prefix_model, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")

TEXTS = ["a red ball", "a dog runs over blue grass"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A language model of each family, and two towers."""
    root = tmp_path_factory.mktemp("parts")
    folders = {family: write_language_model(root / family, family) for family in LANGUAGE_MODELS}
    return {**folders, "eye": write_tower(root / "eye"), "fine": write_tower(root / "fine", seed=1, patch=8)}


def fp32_graphs(model, folder: Path) -> Path:
    family = EXPORTS["prefix"]
    family.parts(model, folder)
    family.assemble(folder, folder / "fp32", model.config)
    return folder / "fp32"


@pytest.fixture(scope="module")
def llama(parts):
    return prefix_model(prefix_config(parts["llama"], parts["eye"], parts["fine"], prompt="a photo of"))


@pytest.fixture(scope="module")
def folder(llama, tmp_path_factory):
    """Its fp32 parts, and `fp32`, its graphs."""
    folder = tmp_path_factory.mktemp("llama")
    fp32_graphs(llama[0], folder)
    return folder


@pytest.fixture(scope="module")
def directory(llama, folder, tmp_path_factory):
    """A model directory of fp32 graphs."""
    model, tokenizer = llama
    made = tmp_path_factory.mktemp("made") / "tiny"
    write_bundle(made, folder / "fp32", tokenizer, model.config, name="tiny")
    return made


@torch.no_grad()
@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_the_graphs_of_any_language_model_equal_it(family, parts, pictures, tmp_path):
    model, _ = prefix_model(prefix_config(parts[family], parts["eye"]))
    graphs = fp32_graphs(model, tmp_path)
    assert any(".lora_" in name for name, _ in model.named_parameters())  # merged in the graphs alone
    agreement = compare_steps(model, open_stepper(graphs, "prefix"), pictures[:3])
    assert agreement.equal_captions == 1 and agreement.difference < 1e-4
    ids = torch.tensor([[5, 9, 7, 6]])
    (vectors,) = open_graph(graphs / TEXT.file).run(None, {"text_ids": ids.numpy()})
    np.testing.assert_allclose(vectors, model.embed_text(ids, torch.tensor([4])), atol=1e-5)


@torch.no_grad()
def test_towers_and_prompts_are_part_of_the_prefix(llama, folder, pictures):
    model, _ = llama
    stepper = open_stepper(folder / "fp32", "prefix")
    encoded = stepper.encode(pictures[:1])
    image = model.encode(torch.from_numpy(pictures[:1]))
    assert encoded["state0"].shape[2] == model.decoder.prepare(image).shape[1] == 4 + len(model.decoder.prompt_ids) > 4
    np.testing.assert_allclose(encoded["image_vectors"], model.alignment.embed_image(image), atol=1e-5)
    assert compare_steps(model, stepper, pictures[:4], beams=2).equal_captions == 1


def test_a_key_is_kept_once_for_all_queries_of_its_group_and_a_prefix_once_for_all_rows(folder, pictures):
    stepper = open_stepper(folder / "fp32", "prefix")
    state = stepper.start(stepper.encode(pictures[:1]), 3)
    rows = np.arange(3)
    _, (tensors, cache, _) = stepper.step(rows, state, rows)
    assert cache.shape == (2 * 3, 2, 3, 1, 8)  # keys and values of three layers; two of four heads
    assert tensors["state0"].shape[:2] == (2 * 3, 2) and tensors["state0"].ndim == 4


@pytest.fixture(scope="module")
def wide(parts, tmp_path_factory):
    """A model whose matrices are large enough to be quantised, its fp32 graphs and its quantised ones."""
    root = tmp_path_factory.mktemp("wide")
    language_model = write_language_model(root / "language", hidden_size=128, intermediate_size=192)
    model, tokenizer = prefix_model(prefix_config(language_model, parts["eye"]))
    (root / "parts").mkdir()
    fp32 = fp32_graphs(model, root / "parts").rename(root / "fp32")
    pictures, texts = reading(partial(encode, tokenizer), 64, 20)
    return model, tokenizer, fp32, quantised_graphs(root / "parts", root / "int8", model, pictures, {}, texts=texts)


def test_what_is_made_of_a_row_does_not_depend_on_the_rows_beside_it(wide, pictures):
    stepper = open_stepper(wide[3], "prefix")
    state = stepper.start(stepper.encode(pictures[:1]), 3)
    together, _ = stepper.step(np.array([4, 5, 6]), state, np.arange(3))
    alone, _ = stepper.step(np.array([5]), state, np.array([0]))
    np.testing.assert_allclose(together[1], alone[0], atol=1e-5)


def test_quantised_graphs_are_small_and_near(wide, pictures):
    model, _, fp32, int8 = wide
    assert sum(path.stat().st_size for path in int8.iterdir()) < 0.5 * sum(p.stat().st_size for p in fp32.iterdir())
    read = [node.op_type for node in onnx.load(str(int8 / "language_model.onnx")).graph.node]
    assert read.count("MatMulNBits") == 3 * 5 + 1 and "MatMul" in read  # keys and values are too small here
    assert compare_steps(model, open_stepper(int8, "prefix"), pictures[:3]).difference < 1
    ids = np.array([[5, 9, 7, 6]])
    one, other = (open_graph(graphs / TEXT.file).run(None, {"text_ids": ids})[0] for graphs in (fp32, int8))
    assert (one * other).sum() > 0.98


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("n", "k"), [(40, 128), (32, 100)])
def test_blocks_hold_the_weight_to_a_step(bits, n, k):
    weight = np.random.default_rng(0).standard_normal((n, k)).astype(np.float32)
    weight[3] = 0
    values, steps = to_blocks(weight, bits)
    size = block_size(k, bits)
    if bits == 4:
        values = np.stack([values & 15, values >> 4], axis=-1).reshape(n, -1, size)
    read = ((values.astype(np.float32) - (1 << bits - 1)) * steps.reshape(n, -1, 1)).reshape(n, -1)[:, :k]
    error = np.abs(read - weight).reshape(n, -1)
    widest = np.abs(steps).reshape(n, -1).repeat(size, axis=1)[:, :k]
    within = 1 if bits == 8 else 2.5  # 4 bits may cut the largest numbers to serve the others
    assert (error <= within * widest + 1e-6).all() and not error[3].any()


def test_rounding_to_4_bits_makes_up_for_itself_in_what_the_inputs_read():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((48, 128)).astype(np.float32)
    x = rng.standard_normal((500, 16)) @ rng.standard_normal((16, 128))  # inputs that live in a few directions

    def error(moments):
        values, steps = to_blocks(weight, 4, moments)
        values = np.stack([values & 15, values >> 4], axis=-1).astype(np.float32) - 8
        read = (values.reshape(48, -1, 32) * steps.reshape(48, -1, 1)).reshape(48, -1)
        return np.square(x @ (read - weight).T).sum()

    assert error(x.T @ x) < 0.3 * error(None)
    assert error(np.zeros((128, 128))) == pytest.approx(error(None))  # nothing known, nothing made up for


def test_inputs_are_watched_under_the_names_that_graphs_have(wide):
    model, tokenizer, _, _ = wide
    pictures, texts = reading(partial(encode, tokenizer), 64, 20)
    moments = input_moments(model, pictures, texts)
    assert len(moments) == 3 * 4 and all(np.allclose(value, value.T) for value in moments.values())
    names = {f"model.decoder.language_model.model.layers.{i}.mlp.{part}_proj.weight" for i in range(3) for part in
             ("gate", "up")}  # fmt: skip
    assert names < moments.keys() and not any("base_layer" in name for name in moments)
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values() if tensor.is_floating_point())


def test_the_products_of_blocks_are_those_of_the_weights_they_hold(tmp_path):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((160, 128)).astype(np.float32)
    x = rng.standard_normal((3, 128)).astype(np.float32)
    for name, bits in (
        ("language_model.down_proj.weight", 8),
        ("language_model.up_proj.weight", 4),
        ("towers.q_proj.weight", 8),
    ):
        node = onnx.helper.make_node("MatMul", ["x", name], ["y"])
        ends = [onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, None) for end in "xy"]
        graph = onnx.helper.make_graph(
            [node], "g", ends[:1], ends[1:], [numpy_helper.from_array(weight.T.copy(), name)]
        )
        opsets = [onnx.helper.make_opsetid("", 17)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), str(tmp_path / "g.onnx"))
        quantize_blocks(tmp_path / "g.onnx", {})
        (y,) = open_graph(tmp_path / "g.onnx").run(None, {"x": x})
        error = np.abs(y - x @ weight.T).mean() / np.abs(x @ weight.T).mean()
        assert block_bits(name) == bits and error < (0.02 if bits == 8 else 0.15)


def test_a_table_that_the_output_matrix_repeats_is_stored_once(wide):
    graph = onnx.load(str(wide[3] / "language_model.onnx")).graph
    vocabulary = wide[0].vocabulary.size
    assert (
        len([tensor for tensor in graph.initializer if tensor.dims[:1] == [vocabulary] and len(tensor.dims) == 3]) == 1
    )


def test_the_weights_of_the_language_model_are_stored_once(folder):
    sizes = {path.name: path.stat().st_size for path in (folder / "fp32").iterdir()}
    parts = {path.name: path.stat().st_size for path in folder.glob("*.onnx")}
    assert sizes.keys() == {*PREFIX_GRAPHS, TEXT.file, LANGUAGE_WEIGHTS}
    for name in ("language_model.onnx", "prefix_init.onnx", "text.onnx"):  # little more than their nodes
        assert sizes[name] < parts[name] / 2


def test_a_directory_is_used_like_any_other(directory, llama, pictures, tmp_path, capsys):
    picture = tmp_path / "picture.png"
    Image.fromarray(pictures[0]).save(picture)
    captioner = Captioner.open(directory)
    best = captioner.caption(picture, candidates=3)
    assert best.text and 0 < best.confidence < 1 and 1 <= len(best.candidates) <= 3  # random words: few are sentences
    encoded = captioner.encode(picture)
    assert captioner.caption(encoded, length=4).text and captioner.caption(encoded, decode="sample").text
    assert captioner.caption(encoded, neutral=True, decode="greedy").tokens
    (_, *others) = captioner.score(encoded, TEXTS)
    assert 0 <= others[0] <= 1 and captioner.embed_texts(TEXTS).shape == (2, 16)
    model, _ = llama
    found = beam_search(captioner._engine._stepper, captioner._engine._state(encoded), 1, beams=3, **model.limits())
    with torch.no_grad():
        expected = model.search(model.encode(torch.from_numpy(pictures[:1])))
    assert [each.token_ids for each in found[0]] == [each.token_ids for each in expected[0]]
    assert main(["caption", str(picture), "--model", str(directory)]) == 0
    assert capsys.readouterr().out.strip().endswith(best.text)
    with pytest.raises(ModelFileError, match="adapters are merged"):
        restore(directory)


def test_the_web_page_hands_out_its_graphs(directory):
    try:
        page = WebPage(Bundle.open(directory))
    except PageError as error:
        pytest.skip(str(error))  # ONNX Runtime Web is not fetched here
    handed = {name.removeprefix("model/") for name in page.files if name.startswith("model/")}
    assert handed == {"model.json", "tokenizer.json", *PREFIX_GRAPHS, LANGUAGE_WEIGHTS}  # texts have no scores there
    assert page.answer(f"model/{LANGUAGE_WEIGHTS}").status == 200


def test_bulk_jobs_the_server_and_the_benchmark_take_it(directory, pictures, tmp_path, capsys):
    for index in range(2):
        Image.fromarray(pictures[index]).save(tmp_path / f"{index}.png")
    rows = tmp_path / "rows.jsonl"
    assert main(["caption", str(tmp_path), "--model", str(directory), "--out", str(rows), "--workers", "1"]) == 0
    said = [json.loads(line)["caption"] for line in rows.read_text().splitlines()]
    captioner = Captioner.open(directory)
    assert sorted(said) == sorted(captioner.caption(tmp_path / f"{index}.png").text for index in range(2))
    stages = measure_stages(str(directory), tmp_path / "0.png", 1, 1)
    assert stages["network"]["p50_ms"] > stages["resize"]["p50_ms"] > 0
    testing = pytest.importorskip("fastapi.testclient")
    from fastcap.serve.app import create_app

    with testing.TestClient(create_app(captioner)) as client:
        answer = client.post("/v1/caption", content=(tmp_path / "0.png").read_bytes())
        assert answer.json()["images"][0]["caption"] == captioner.caption(tmp_path / "0.png").text


def test_the_command_exports_and_measures(llama, pictures, tmp_path, capsys):
    model, tokenizer = llama
    save_checkpoint(tmp_path / "best", model.config, model.state_dict(), tokenizer)
    (tmp_path / "images").mkdir()
    for index in range(4):
        Image.fromarray(pictures[index]).save(tmp_path / "images" / f"{index}.png")
    rows = "".join(f"{index}.png,{text}\n" for index in range(4) for text in TEXTS)
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text(f"image,caption\n{rows}")
    command = ["export", "--model", str(tmp_path / "best"), "--out", str(tmp_path / "tiny"), "--calibration", "4"]
    assert main([*command, "--dataset", "csv", "--root", str(tmp_path), "--precision", "fp32"]) == 0
    assert "100% equal" in capsys.readouterr().err
    values = json.loads((tmp_path / "tiny" / "model.json").read_text())
    assert values["kind"] == "prefix" and "unheld" not in values
    bundle = Bundle.open(tmp_path / "tiny")
    assert sorted(bundle.files) == sorted([*PREFIX_GRAPHS, LANGUAGE_WEIGHTS, TEXT.file, "tokenizer.json"])
    assert main(["score", str(tmp_path / "images" / "0.png"), *TEXTS, "--model", str(tmp_path / "tiny")]) == 0
    where = ["--dataset", str(tmp_path / "val.csv"), "--limit", "2", "--json"]
    assert main(["evaluate", "--model", str(tmp_path / "tiny"), *where]) == 0
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*command, "--dataset", "csv", "--root", str(tmp_path), "--target-size", "9MB", "--overwrite"])
