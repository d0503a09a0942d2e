"""What export writes, the runtime reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fastcap.errors import ModelFileError
from fastcap.export.writer import write_bundle
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner


@pytest.fixture
def folder(model, graph, tokenizer, tmp_path):
    path = tmp_path / "tiny"
    quality, speed = {"cider": 12.5, "command": "fastcap evaluate"}, {"p50_ms": 3.25}
    write_bundle(
        path, graph.parent, tokenizer, model.config, name="tiny", description="A test.", quality=quality, speed=speed
    )
    return path


def test_a_written_directory_is_read_back(folder, model):
    bundle = Bundle.open(folder)
    assert (bundle.name, bundle.kind, bundle.description, bundle.licence) == (
        "tiny",
        "parallel",
        "A test.",
        "Apache-2.0",
    )
    assert (bundle.preprocessing.width, bundle.preprocessing.height) == (64, 64)
    assert (bundle.vocabulary.size, bundle.vocabulary.pad_id, bundle.vocabulary.mask_id) == (300, 0, 3)
    assert (bundle.decoding.passes, bundle.decoding.max_length) == (3, 12)
    assert bundle.decoding.lengths["normal"] == (2, 12)
    assert bundle.quality["cider"] == 12.5
    assert bundle.speed["p50_ms"] == 3.25


def test_the_manifest_signs_every_file(folder):
    files = json.loads((folder / "model.json").read_text())["files"]
    assert sorted(files) == sorted(path.name for path in folder.iterdir() if path.name != "model.json")
    for name, facts in files.items():
        content = (folder / name).read_bytes()
        assert facts == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@torch.no_grad()
def test_the_runtime_captions_with_it_as_the_model_does(folder, model, tokenizer, pictures):
    captioner = Captioner(Bundle.open(folder))
    generation = model.config.generation
    limits = torch.tensor([generation.min_length, model.config.max_length])
    for picture in pictures[:4]:
        expected = model(torch.from_numpy(picture[None]), limits, torch.tensor([generation.candidates]))
        caption = captioner.caption(picture)
        words = "".join(token.text for token in caption.tokens)
        assert words.strip() == tokenizer.decode(expected.token_ids[0, 0].tolist()).strip()
        assert caption.text.endswith(".")
        assert caption.confidence == pytest.approx(expected.confidences[0, 0].item(), abs=1e-4)


def test_an_older_directory_is_replaced_whole(folder, model, graph, tokenizer):
    (folder / "left_over.txt").write_text("old")
    write_bundle(folder, graph.parent, tokenizer, model.config, name="newer", overwrite=True)
    assert Bundle.open(folder).name == "newer"
    graphs = {path.name for path in graph.parent.glob("*.onnx")}
    assert {path.name for path in folder.iterdir()} == {*graphs, "model.json", "tokenizer.json"}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_older_directory_is_kept_unless_overwriting_was_asked_for(folder, model, graph, tokenizer):
    before = content(folder.parent)
    with pytest.raises(ModelFileError, match="tiny is a model directory already; allowed: a path that is free"):
        write_bundle(folder, graph.parent, tokenizer, model.config, name="newer")
    assert content(folder.parent) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_model_directory_is_never_replaced(model, graph, tokenizer, tmp_path, overwrite):
    for path in (tmp_path / "photos", tmp_path / "file.txt"):
        if path.suffix:
            path.write_text("mine")
        else:
            path.mkdir()
            (path / "holiday.jpg").write_text("mine")
        with pytest.raises(ModelFileError, match=f"{path.name} is there already and no model directory"):
            write_bundle(path, graph.parent, tokenizer, model.config, name="newer", overwrite=overwrite)
    assert content(tmp_path) == {"photos/holiday.jpg": b"mine", "file.txt": b"mine"}


def test_an_empty_folder_holds_nothing_to_lose(model, graph, tokenizer, tmp_path):
    (tmp_path / "tiny").mkdir()
    write_bundle(tmp_path / "tiny", graph.parent, tokenizer, model.config, name="tiny")
    assert Bundle.open(tmp_path / "tiny").name == "tiny"


@pytest.mark.parametrize("where", ["shutil.copyfile", "json.dumps"])
def test_a_crash_while_writing_leaves_the_older_directory_whole_and_nothing_beside_it(
    folder, model, graph, tokenizer, monkeypatch, where
):
    before = content(folder.parent)

    def crash(*arguments, **settings):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(f"fastcap.export.writer.{where}", crash)
        with pytest.raises(OSError, match="disk full"):
            write_bundle(folder, graph.parent, tokenizer, model.config, name="newer", overwrite=True)
    assert content(folder.parent) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_pictures_of_any_size_are_captioned(folder):
    captioner = Captioner(Bundle.open(folder))
    rng = np.random.default_rng(0)
    for size in ((1, 1), (300, 20), (64, 64)):
        assert captioner.caption(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).text
