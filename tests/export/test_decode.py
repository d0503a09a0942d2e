"""Parallel, greedy and beam: one model directory, the same options, each obeyed by all three."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from fastcap.cli import main
from fastcap.errors import ConfigError, ModelFileError
from fastcap.export.bundle import write_bundle
from fastcap.generation.autoregressive import beam_search
from fastcap.model import TorchStepper
from fastcap.runtime.bundle import DECODES
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.text import word_count


@pytest.fixture
def folder(model, graph, tokenizer, tmp_path) -> Path:
    path = tmp_path / "tiny"
    write_bundle(path, graph.parent, tokenizer, model.config, name="tiny", description="", quality={}, speed={})
    return path


@pytest.fixture
def captioner(folder) -> Captioner:
    return Captioner.open(folder)


def signed(folder: Path, name: str, graph: onnx.ModelProto | None) -> Path:
    """The directory with a graph replaced or taken out."""
    values = json.loads((folder / "model.json").read_text())
    if graph is None:
        (folder / name).unlink()
        del values["files"][name]
    else:
        import hashlib

        content = graph.SerializeToString()
        (folder / name).write_bytes(content)
        values["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "model.json").write_text(json.dumps(values))
    return folder


@torch.no_grad()
def test_a_caption_is_that_of_the_models_causal_reading(model, captioner, pictures, tokenizer):
    for picture in pictures[:4]:
        state = model.decoder.prepare(model.encode(torch.from_numpy(picture[None])))
        limits = {"min_length": 2, "max_length": 12, "bos_id": 1, "eos_id": 2, "forbidden": (0, 1, 3, 4)}
        for decode, beams in (("greedy", 1), ("beam", 3), ("beam", 5)):
            (expected,) = beam_search(TorchStepper(model.decoder), state, 1, beams=beams, **limits)
            found = captioner.caption(picture, decode=decode, beams=beams)
            words = "".join(token.text for token in found.tokens)
            assert words.strip() == tokenizer.decode(expected[0].token_ids).strip()
            assert found.confidence == pytest.approx(np.exp(np.mean(expected[0].log_p)), abs=1e-4)
            probabilities = [token.confidence for token in found.tokens]
            assert probabilities == pytest.approx(np.exp(expected[0].log_p[:-1]), abs=1e-4)


def test_the_score_of_a_caption_is_the_sum_of_its_tokens(model, pictures):
    state = model.decoder.prepare(model.encode(torch.from_numpy(pictures[:2])))
    found = beam_search(TorchStepper(model.decoder), state, 2, beams=4, max_length=6, bos_id=1, eos_id=2)
    for hypothesis in (each for image in found for each in image):
        assert len(hypothesis.log_p) == len(hypothesis.token_ids) + 1
        assert hypothesis.score == pytest.approx(sum(hypothesis.log_p) / max(1, len(hypothesis.token_ids)) ** 0.7)


def test_one_beam_is_greedy_search(captioner, pictures):
    for picture in pictures[:3]:
        greedy, beam = captioner.caption(picture, decode="greedy"), captioner.caption(picture, decode="beam", beams=1)
        assert (greedy.text, greedy.confidence, greedy.tokens) == (beam.text, beam.confidence, beam.tokens)


@pytest.mark.parametrize("decode", DECODES)
def test_a_length_by_name_is_obeyed(captioner, pictures, decode):
    for name, (low, high) in captioner.bundle.decoding.lengths.items():
        for caption in captioner.caption(list(pictures[:4]), length=name, decode=decode):
            assert low <= len(caption.tokens) <= high


@pytest.mark.parametrize("decode", DECODES)
def test_a_number_of_words_is_sought_among_as_many_lengths(captioner, pictures, decode):
    """Random words are spelt from pieces, so that a caption rarely has exactly as many: the nearest comes first."""
    for words in (2, 4, 7):
        count = 1 if decode == "greedy" else 5
        caption = captioner.caption(pictures[0], length=words, decode=decode, candidates=count)
        distances = [abs(word_count(candidate.text) - words) for candidate in caption.candidates]
        assert distances == sorted(distances)
        assert all(words <= len(candidate.tokens) <= words + 4 for candidate in caption.candidates)


@pytest.mark.parametrize("decode", ["parallel", "beam"])
def test_as_many_different_wordings_as_asked_for(captioner, pictures, decode):
    candidates = captioner.caption(pictures[0], candidates=6, decode=decode).candidates
    assert 2 <= len(candidates) <= 6
    assert len({candidate.text for candidate in candidates}) == len(candidates)


@pytest.mark.parametrize("decode", DECODES)
def test_neutral_wording_bars_tokens(captioner, pictures, decode, tokenizer, monkeypatch):
    said = {token.text for token in captioner.caption(pictures[0], decode=decode).tokens}
    barred = [index for index in range(5, 300) if tokenizer.decode([index]) in said]
    captioner._neutral_penalties = np.zeros(300, np.float32)
    captioner._neutral_penalties[barred] = -1e9
    neutral = captioner.caption(pictures[0], decode=decode, neutral=True)
    assert said.isdisjoint(token.text for token in neutral.tokens)


def test_the_graphs_are_loaded_when_first_asked_for(captioner, pictures):
    captioner.caption(pictures[0])
    assert "_stepper" not in vars(captioner)
    captioner.caption(pictures[0], decode="greedy")
    assert "_stepper" in vars(captioner)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"decode": "baem"}, r"decode is 'baem' \(did you mean 'beam'\?\); allowed are parallel, greedy, beam"),
        ({"decode": 3}, "decode is 3; allowed are parallel, greedy, beam"),
        ({"beams": 0}, "beams is 0; allowed are whole numbers from 1 to 8"),
        ({"beams": 9, "decode": "beam"}, "beams is 9; allowed are whole numbers from 1 to 8"),
        ({"beams": True}, "beams is True; allowed are whole numbers from 1 to 8"),
        ({"decode": "greedy", "candidates": 2}, "candidates is 2; greedy search finds 1, beam search up to 8"),
    ],
)
def test_an_option_out_of_range_names_what_is_allowed(captioner, pictures, options, reason):
    with pytest.raises(ConfigError, match=reason):
        captioner.caption(pictures[0], **options)
    with pytest.raises(ConfigError, match=reason):
        captioner.check_options(**options)


def test_a_directory_without_the_graphs_decodes_in_parallel_only(folder, pictures):
    for name in ("encode.onnx", "step.onnx"):
        signed(folder, name, None)
    captioner = Captioner.open(folder)
    assert captioner.caption(pictures[0]).text
    with pytest.raises(ConfigError, match=r"model 'tiny' has no encode\.onnx and step\.onnx.*allowed is parallel"):
        captioner.caption(pictures[0], decode="beam")


@pytest.mark.parametrize(("gone", "left"), [("encode.onnx", "step.onnx"), ("step.onnx", "encode.onnx")])
def test_one_of_the_two_graphs_is_not_enough(folder, gone, left):
    signed(folder, gone, None)
    with pytest.raises(ModelFileError, match=f"files.{gone} is missing"):
        Captioner.open(folder)


def without_output(folder: Path, name: str) -> onnx.ModelProto:
    model = onnx.load(str(folder / name), load_external_data=False)
    del model.graph.output[-1]
    return model


def not_a_number(folder: Path, name: str) -> onnx.ModelProto:
    model = onnx.load(str(folder / name), load_external_data=False)
    for node in model.graph.node:
        if "log_p" in node.output:
            node.output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.array(np.nan, np.float32), "nan"))
    model.graph.node.append(helper.make_node("Add", ["before", "nan"], ["log_p"]))
    return model


def other_inputs(folder: Path, name: str) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    node = helper.make_node("Identity", ["x"], ["y"])
    x, y = value("x", TensorProto.FLOAT, [1]), value("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "other", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("encode.onnx", without_output, r"step\.onnx: inputs are .*; expected"),
        ("encode.onnx", other_inputs, r"encode\.onnx: inputs are .*; expected images"),
        ("step.onnx", other_inputs, r"step\.onnx: inputs are .*; expected"),
        ("step.onnx", not_a_number, r"step\.onnx: log_p is .* or not a number"),
    ],
)
def test_graphs_that_do_not_fit_are_named(folder, pictures, name, change, reason):
    captioner = Captioner.open(signed(folder, name, change(folder, name)))
    with pytest.raises(ModelFileError, match=reason):
        captioner.caption(pictures[0], decode="beam")


# The command line


@pytest.fixture
def photo(pictures, tmp_path) -> Path:
    from PIL import Image

    path = tmp_path / "photo.png"
    Image.fromarray(pictures[0]).save(path)
    return path


def test_the_command_line_decodes_as_asked(folder, captioner, photo, capsys):
    for options in ({"decode": "greedy"}, {"decode": "beam"}, {"decode": "beam", "beams": 5}):
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        assert main(["caption", str(photo), "--model", str(folder), *words]) == 0
        assert capsys.readouterr().out.strip() == captioner.caption(photo, **options).text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--decode", "baem"], "did you mean 'beam'"),
        (["--decode", "beam", "--beams", "9"], "beams is 9; allowed are whole numbers from 1 to 8"),
        (["--decode", "greedy", "--candidates", "2"], "greedy search finds 1"),
    ],
)
def test_a_wrong_option_is_a_usage_error(folder, photo, capsys, options, reason):
    with pytest.raises(SystemExit) as caught:
        main(["caption", str(photo), "--model", str(folder), *options])
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_an_evaluation_says_how_it_decoded(folder, photo, capsys, tmp_path):
    (tmp_path / "val.jsonl").write_text(json.dumps({"image": photo.name, "captions": ["a red ball"]}) + "\n")
    line = ["evaluate", "--model", str(folder), "--dataset", str(tmp_path / "val.jsonl"), "--json"]
    assert main([*line, "--decode", "beam", "--beams", "2"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["decode"], facts["beams"]) == ("beam", 2)
