"""Parallel, greedy, beam and sample: one model directory, the same options, each obeyed by all four."""

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
from fastcap.export.writer import write_bundle
from fastcap.generation.autoregressive import beam_search, sample
from fastcap.model import TorchStepper
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import DECODES
from fastcap.runtime.neutral import neutralise
from fastcap.runtime.options import Sampling, settings
from fastcap.runtime.text import ends_early, sentence, word_count


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
    compared = 0
    for picture in pictures[:4]:
        state = model.decoder.prepare(model.encode(torch.from_numpy(picture[None])))
        limits = {"min_length": 2, "max_length": 12, "bos_id": 1, "eos_id": 2, "forbidden": (0, 1, 3, 4)}
        for decode, beams in (("greedy", 1), ("beam", 3), ("beam", 5)):
            (expected,) = beam_search(TorchStepper(model.decoder), state, 1, beams=beams, **limits)
            best = next((each for each in expected if not ends_early(sentence(tokenizer.decode(each.token_ids)))), None)
            if best is None:
                continue  # random words, none of which end as a sentence does: what is cut back is tested elsewhere
            compared += 1
            found = captioner.caption(picture, decode=decode, beams=beams)
            words = "".join(token.text for token in found.tokens)
            assert words.strip() == tokenizer.decode(best.token_ids).strip()
            assert found.confidence == pytest.approx(np.exp(np.mean(best.log_p)), abs=1e-4)
            probabilities = [token.confidence for token in found.tokens]
            assert probabilities == pytest.approx(np.exp(best.log_p[:-1]), abs=1e-4)
    assert compared >= 6


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
        fewest = 1 if decode in ("greedy", "beam") else words  # they know words, not tokens alone
        assert all(fewest <= len(candidate.tokens) <= words + 4 for candidate in caption.candidates)


@pytest.mark.parametrize("decode", ["parallel", "beam"])
def test_as_many_different_wordings_as_asked_for(captioner, pictures, decode):
    candidates = captioner.caption(pictures[0], candidates=6, decode=decode).candidates
    assert 2 <= len(candidates) <= 6
    assert len({candidate.text for candidate in candidates}) == len(candidates)


@pytest.mark.parametrize("decode", DECODES)
def test_neutral_wording_is_the_same_caption_in_other_words(captioner, pictures, decode):
    for picture in pictures[:6]:
        ordinary, neutral = (captioner.caption(picture, decode=decode, neutral=each) for each in (False, True))
        assert (neutral.tokens, neutral.confidence) == (ordinary.tokens, ordinary.confidence)
        assert neutral.text == neutralise(ordinary.text, always=True)


def test_the_graphs_are_loaded_when_first_asked_for(captioner, pictures):
    captioner.caption(pictures[0])
    assert "_left_to_right" not in vars(captioner._engine)
    captioner.caption(pictures[0], decode="greedy")
    assert "_left_to_right" in vars(captioner._engine)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"decode": "baem"}, r"decode is 'baem' \(did you mean 'beam'\?\); allowed are parallel, greedy, beam, sample"),
        ({"decode": 3}, "decode is 3; allowed are parallel, greedy, beam, sample"),
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
        ("encode.onnx", other_inputs, r"encode\.onnx: inputs are .*; expected \{.images"),
        ("step.onnx", other_inputs, r"step\.onnx: inputs are .*; expected"),
        ("step.onnx", not_a_number, r"step\.onnx: log_p is .* or not a number"),
    ],
)
def test_graphs_that_do_not_fit_are_named(folder, pictures, name, change, reason):
    captioner = Captioner.open(signed(folder, name, change(folder, name)))
    with pytest.raises(ModelFileError, match=reason):
        captioner.caption(pictures[0], decode="beam")


# Sampling


@torch.no_grad()
def test_a_sample_is_drawn_from_the_models_causal_reading(model, captioner, pictures, tokenizer):
    limits = {"min_length": 2, "max_length": 12, "bos_id": 1, "eos_id": 2, "forbidden": (0, 1, 3, 4)}
    for seed, picture in enumerate(pictures[:3]):
        settings = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "seed": seed, "no_repeat": 2}
        state = model.decoder.prepare(model.encode(torch.from_numpy(picture[None])))
        (expected,) = sample(TorchStepper(model.decoder), state, 1, samples=3, **settings, **limits)
        found = captioner.caption(picture, decode="sample", sampling=Sampling(**settings), candidates=3)
        words = ["".join(token.text for token in each.tokens).strip() for each in found.candidates]
        said = [tokenizer.decode(each.token_ids).strip() for each in expected]
        assert words == [text for text in dict.fromkeys(said) if not ends_early(text)]
        assert found.confidence == pytest.approx(np.exp(np.mean(expected[0].log_p)), abs=1e-4)


def test_a_seed_draws_the_same_captions_whatever_stands_beside_a_picture(captioner, pictures):
    def captions(chosen, seed: int) -> list[tuple]:
        found = captioner.caption(list(chosen), decode="sample", sampling=Sampling(seed=seed), candidates=3)
        return [(caption.text, caption.confidence, caption.candidates) for caption in found]

    together = captions(pictures[:4], 7)
    assert together == [captions([picture], 7)[0] for picture in pictures[:4]]
    assert together != captions(pictures[:4], 8)


def test_where_nobody_asked_for_settings_the_default_ones_count(captioner, pictures):
    found, same = (captioner.caption(pictures[0], decode="sample", sampling=each) for each in (None, Sampling()))
    assert (found.text, found.tokens) == (same.text, same.tokens)


def test_one_likeliest_token_is_greedy_search(captioner, pictures):
    for picture in pictures[:3]:
        drawn = captioner.caption(picture, decode="sample", sampling=Sampling(top_k=1))
        assert (drawn.text, drawn.tokens) == (lambda caption: (caption.text, caption.tokens))(
            captioner.caption(picture, decode="greedy")
        )


def test_no_words_are_said_twice_where_that_is_barred(captioner, pictures):
    for picture in pictures[:4]:
        tokens = captioner.caption(picture, decode="sample", sampling=Sampling(no_repeat=1), length="long").tokens
        assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize(
    ("name", "bad", "allowed"),
    [
        ("temperature", (0, -1, 101, float("nan"), "1", True), "numbers from 0.01 to 100.0"),
        ("top_k", (-1, 2.0, 2**21), "whole numbers from 0 to 1048576"),
        ("top_p", (0, 1.1, None), "numbers from 0.01 to 1.0"),
        ("seed", (-1, 2**32, "a"), "whole numbers from 0 to 4294967295"),
        ("no_repeat", (-1, 513, 1.5), "whole numbers from 0 to 512"),
    ],
)
def test_a_setting_out_of_range_names_what_is_allowed(name, bad, allowed):
    for value in bad:
        with pytest.raises(ConfigError) as caught:
            Sampling(**{name: value})
        assert str(caught.value) == f"{name} is {value!r}; allowed are {allowed}"
    for value in settings(Sampling)[name].between:
        Sampling(**{name: value})


@pytest.mark.parametrize("decode", [None, "parallel", "greedy", "beam"])
def test_settings_of_sampling_are_refused_for_another_way(captioner, pictures, decode):
    reason = "temperature, top_k, top_p, seed, no_repeat go with 'sample' alone"
    with pytest.raises(ConfigError, match=reason):
        captioner.caption(pictures[0], decode=decode, sampling=Sampling())
    with pytest.raises(ConfigError, match=reason):
        captioner.check_options(decode=decode, sampling=Sampling())


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
        (["--decode", "beam", "--beams", "9"], "--beams: got '9'; allowed are whole numbers from 1 to 8"),
        (["--decode", "greedy", "--candidates", "2"], "greedy search finds 1"),
        (["--seed", "3"], "--seed: allowed with --decode sample alone; got no --decode"),
        (["--decode", "beam", "--top-k", "0", "--top-p", "1"], "--top-k, --top-p: allowed with --decode sample alone"),
        (
            ["--decode", "sample", "--temperature", "0"],
            "--temperature: got '0'; allowed are numbers from 0.01 to 100.0",
        ),
        (["--decode", "sample", "--top-k", "x"], "--top-k: got 'x'; allowed are whole numbers from 0"),
    ],
)
def test_a_wrong_option_is_a_usage_error(folder, photo, wrong_usage, options, reason):
    assert reason in wrong_usage("caption", photo, "--model", folder, *options)


def test_the_command_line_draws_by_its_seed(folder, captioner, photo, capsys, tmp_path):
    words = ["--decode", "sample", "--temperature", "0.8", "--top-p", "0.9", "--seed", "5", "--candidates", "3"]
    sampling = Sampling(temperature=0.8, top_p=0.9, seed=5)
    expected = captioner.caption(photo, decode="sample", sampling=sampling, candidates=3)
    for _ in range(2):
        assert main(["caption", str(photo), "--model", str(folder), *words]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.partition("\t")[2] for line in lines] == [each.text for each in expected.candidates]
    out = tmp_path / "rows.jsonl"
    assert main(["caption", str(photo), "--model", str(folder), *words, "--out", str(out), "--workers", "1"]) == 0
    row = json.loads(out.read_text())
    assert row["caption"] == expected.text
    assert row["made_with"] == "tiny candidates=3 decode=sample temperature=0.8 top_p=0.9 seed=5"


def test_an_evaluation_says_how_it_decoded(folder, photo, capsys, tmp_path):
    (tmp_path / "val.jsonl").write_text(json.dumps({"image": photo.name, "captions": ["a red ball"]}) + "\n")
    line = ["evaluate", "--model", str(folder), "--dataset", str(tmp_path / "val.jsonl"), "--json"]
    assert main([*line, "--decode", "beam", "--beams", "2"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["decode"], facts["beams"]) == ("beam", 2)
    assert main([*line, "--decode", "sample", "--seed", "3"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["sampling"] == {"temperature": 1.0, "top_k": 50, "top_p": 0.95, "seed": 3, "no_repeat": 0}
