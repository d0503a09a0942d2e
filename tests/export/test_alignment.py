"""What compares pictures and texts: the exported graphs give the model's vectors, and the runtime scores by them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fastcap.cli import main
from fastcap.errors import ConfigError, ModelFileError
from fastcap.export.parallel import assemble_parallel
from fastcap.export.writer import write_bundle
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.encoding import clean_caption, encode
from invariants import assert_exported_equals_eager

TEXTS = ["A red ball lies on the grass.", "two dogs run", "a man sits in a wooden boat"]


@pytest.fixture(scope="module")
def folder(model, graph, tokenizer, tmp_path_factory) -> Path:
    """A model directory of fp32 graphs, shared."""
    path = tmp_path_factory.mktemp("aligned") / "tiny"
    write_bundle(
        path,
        graph.parent,
        tokenizer,
        model.config,
        name="tiny",
        description="",
        alignment=(8.0, -1.0),
        quality={},
        speed={},
    )
    return path


@pytest.fixture(scope="module")
def captioner(folder) -> Captioner:
    return Captioner.open(folder)


@torch.no_grad()
def expected(model, tokenizer, pictures) -> tuple[np.ndarray, np.ndarray]:
    ids = [encode(tokenizer, clean_caption(text)) for text in TEXTS]
    texts = [model.embed_text(torch.tensor([row]), torch.tensor([len(row)]))[0] for row in ids]
    return model.alignment.embed_image(model.encode(torch.from_numpy(pictures))).numpy(), torch.stack(texts).numpy()


def test_vectors_are_the_models(captioner, model, tokenizer, pictures):
    images, texts = expected(model, tokenizer, pictures[:3])
    found = {"images": captioner.embed_images(list(pictures[:3])), "texts": captioner.embed_texts(TEXTS)}
    assert_exported_equals_eager(found, {"images": images, "texts": texts}, atol=1e-5)


def test_integers_stay_close(model, quantised, tokenizer, pictures, tmp_path):
    assemble_parallel(quantised, tmp_path / "graphs", model.config)
    write_bundle(tmp_path / "int8", tmp_path / "graphs", tokenizer, model.config, name="i")
    captioner = Captioner.open(tmp_path / "int8")
    images, texts = expected(model, tokenizer, pictures[:3])
    found = captioner.embed_images(list(pictures[:3])), captioner.embed_texts(TEXTS)
    for ours, theirs in zip(found, (images, texts), strict=True):
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
        assert ((ours * theirs).sum(axis=1) > 0.97).all()
    weights = onnx.load(str(tmp_path / "int8" / "text.onnx"), load_external_data=False).graph.initializer
    (table,) = (tensor for tensor in weights if list(tensor.dims) == [300, 64])
    assert ("location", "model.onnx") in {(entry.key, entry.value) for entry in table.external_data}


def test_a_score_is_the_fitted_curve_of_the_cosine(captioner, pictures):
    cosines = captioner.embed_texts(TEXTS) @ captioner.embed_images([pictures[0]])[0]
    expected = 1 / (1 + np.exp(-(8 * cosines - 1)))
    np.testing.assert_allclose(captioner.score(pictures[0], TEXTS), expected, atol=1e-6)


def test_case_and_the_full_stop_do_not_matter(captioner, pictures):
    one, other = captioner.score(pictures[0], ["Two dogs run.", "two dogs run"])
    assert one == other


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "got 0 texts; needed: a list of 1 to 10000"),
        ("a dog", "got one text; needed: a list"),
        (["a dog", ""], "'' has 0 tokens; allowed: 1 to 12"),
        (["  . "], "has 0 tokens"),
        (["a red ball lies on the grass " * 9], "tokens; allowed: 1 to 12"),
        (["a dog", b"a cat"], "got a text of type bytes; needed: str"),
        (["a dog", None], "got a text of type NoneType; needed: str"),
        (["\udcff dog"], r"the text '\\udcff dog' holds half a character; allowed: what UTF-8 can encode"),
    ],
)
def test_texts_that_cannot_be_compared_are_one_clear_error(captioner, pictures, texts, words):
    with pytest.raises(ConfigError, match=words):
        captioner.score(pictures[0], texts)


def test_a_directory_without_an_alignment_says_so(folder, pictures, tmp_path):
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    manifest = json.loads((own / "model.json").read_text())
    del manifest["alignment"]
    (own / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFileError, match=r"alignment is missing; expected both it and the file text\.onnx"):
        Bundle.open(own)
    del manifest["files"]["text.onnx"]
    (own / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=r"does not compare pictures and texts: it has no text\.onnx"):
        Captioner.open(own).embed_texts(["a dog"])


def test_the_command_prints_a_score_a_text(folder, pictures, tmp_path, capsys):
    from PIL import Image

    Image.fromarray(pictures[0]).save(tmp_path / "a.png")
    assert main(["score", str(tmp_path / "a.png"), *TEXTS, "--model", str(folder), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    assert all(0 <= row["score"] <= 1 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([""], "'' has 0 tokens; allowed: 1 to 12"),
        (["\udcff dog"], r"the text '\udcff dog' holds half a character; allowed: what UTF-8 can encode"),
        (["a dog", "--model", "nothing"], "unknown model 'nothing'"),
    ],
)
def test_a_command_line_that_cannot_be_scored_is_wrong_usage(folder, pictures, tmp_path, wrong_usage, arguments, told):
    from PIL import Image

    Image.fromarray(pictures[0]).save(tmp_path / "a.png")
    said = wrong_usage("score", "--model", folder, tmp_path / "a.png", *arguments)
    assert told in said.splitlines()[-1]
