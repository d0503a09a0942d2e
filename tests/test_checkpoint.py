"""Checkpoint directories: whole or not there, read strictly, and named file by file when they are damaged."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from fastcap.checkpoint import load_checkpoint, load_tensors, save_checkpoint
from fastcap.data.tokenizer import train_tokenizer
from fastcap.errors import ModelFileError
from fastcap.runtime.encoding import decode, encode


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a red ball", "a dog runs"], 300)


@pytest.fixture
def saved(tmp_path, tiny_model, tokenizer):
    """A checkpoint directory of the tiny model."""
    save_checkpoint(tmp_path / "saved", tiny_model.config, tiny_model.state_dict(), tokenizer)
    return tmp_path / "saved"


def test_what_is_saved_comes_back_and_captions_alike(saved, tiny_model):
    model, tokenizer = load_checkpoint(saved)
    assert model.config == tiny_model.config
    assert not model.training
    assert decode(tokenizer, encode(tokenizer, "a red dog")) == "a red dog"
    expected = tiny_model.state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    limits, count = torch.tensor([2, 12]), torch.tensor([2])
    with torch.no_grad():
        assert torch.equal(model(pixels, limits, count).token_ids, tiny_model(pixels, limits, count).token_ids)


def test_further_tensors_and_documents_stand_beside_the_model(tmp_path, tiny_model, tokenizer):
    save_checkpoint(
        tmp_path / "a",
        tiny_model.config,
        tiny_model.state_dict(),
        tokenizer,
        tensors={"more.safetensors": {"x": torch.arange(6).view(2, 3).t()}},
        documents={"note.json": {"step": 3}},
    )
    assert load_tensors(tmp_path / "a" / "more.safetensors")["x"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert json.loads((tmp_path / "a" / "note.json").read_text()) == {"step": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_directory_that_stands_there_is_replaced_whole(saved, tiny_model, tokenizer):
    (saved / "left_over.txt").write_text("old")
    with torch.no_grad():
        tiny_model.decoder.bias += 1
    save_checkpoint(saved, tiny_model.config, tiny_model.state_dict(), tokenizer)
    assert not (saved / "left_over.txt").exists()
    assert torch.equal(load_checkpoint(saved)[0].decoder.bias, tiny_model.decoder.bias)


@pytest.mark.parametrize("where", ["checkpoint.save_file", "checkpoint.json.dumps", "files.os.fsync"])
def test_a_crash_while_writing_leaves_the_old_directory_whole(saved, tiny_model, tokenizer, monkeypatch, where):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def crash(*arguments, **settings):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(f"fastcap.{where}", crash)
        with pytest.raises(OSError, match="disk full"):
            save_checkpoint(saved, tiny_model.config, tiny_model.state_dict(), tokenizer)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    save_checkpoint(saved, tiny_model.config, tiny_model.state_dict(), tokenizer)  # what was left aside is no obstacle
    assert sorted(path.name for path in saved.parent.iterdir()) == ["saved"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "other"])
def test_a_damaged_file_is_named(saved, name, damage):
    path = saved / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "other": b"[1, 2]"}[damage])
    with pytest.raises(ModelFileError) as error:
        load_checkpoint(saved)
    assert str(saved) in str(error.value)
    assert name in str(error.value)


def test_weights_of_another_shape_or_name_are_refused(saved, tiny_model, tokenizer):
    wider = dataclasses.replace(tiny_model.config, d_model=40)
    save_checkpoint(saved, wider, tiny_model.state_dict(), tokenizer)
    with pytest.raises(ModelFileError, match=r"model\.safetensors does not fit config\.json: .*size mismatch"):
        load_checkpoint(saved)
    weights = dict(tiny_model.state_dict())
    weights["decoder.byas"] = weights.pop("decoder.bias")
    save_checkpoint(saved, tiny_model.config, weights, tokenizer)
    with pytest.raises(ModelFileError, match=r"decoder\.bias.*decoder\.byas"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_modle": 3}, "did you mean 'd_model'"),
        ({"d_model": 33}, "d_model is 33; allowed: multiples of 4"),
        ({"vocab_size": 270}, r"holds .* tokens, config\.json allows 270"),
    ],
)
def test_a_config_that_cannot_be_is_one_clear_error(saved, change, message):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelFileError, match=message):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 2**20}, "does not fit config.json: .*size mismatch"),
        ({"vocab_size": 2**62}, "does not fit config.json: "),
        ({"max_length": 2**70}, "does not fit config.json: "),
        ({"decoder": {"n_layers": 2**31}}, "expected at least one for each of the 2147483657 layers"),
        ({"decoder": {"kind": []}}, "config.json cannot be read: "),
    ],
)
def test_a_config_that_asks_for_more_than_there_is_takes_no_memory(saved, change, message):
    config = json.loads((saved / "config.json").read_text())
    for key, value in change.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match=message):
        load_checkpoint(saved)


def test_weights_that_are_no_fractions_are_refused(saved, tiny_model, tokenizer):
    weights = {name: value.long() for name, value in tiny_model.state_dict().items()}
    save_checkpoint(saved, tiny_model.config, weights, tokenizer)
    with pytest.raises(ModelFileError, match=r"does not fit config\.json: .*floating point"):
        load_checkpoint(saved)


def test_a_folder_that_is_no_checkpoint_says_what_is_missing(tmp_path):
    with pytest.raises(ModelFileError, match=r"is not a checkpoint directory: config\.json is missing"):
        load_checkpoint(tmp_path)
    with pytest.raises(ModelFileError, match="is not a checkpoint directory"):
        load_checkpoint(tmp_path / "nowhere")
