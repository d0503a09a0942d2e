"""The three sizes, as their recipes describe them, with tiny random parts in place of the real ones."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fastcap.backbone import convolutional
from fastcap.backbone.convolutional import ConvolutionalTower, Trunk, named_convolutions
from fastcap.checkpoint import save_checkpoint
from fastcap.config import load_config
from fastcap.eager import checkpoint_captioner
from fastcap.errors import DataError
from fastcap.model.frozen import load_language_model, read_tokenizer
from tiny_parts import SENTENCES, prefix_model, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")

ROOT = Path(__file__).parents[2]
SMALL = Trunk((4, 6, 8, 10, 12, 14, 16), (1,) * 7, (3,) * 7, stem_width=4, expansion=2, head_width=20)
SMALLER = {"fastvlm_tiny": 128, "fastvlm_base": 128, "fastvlm_large": 64}  # pictures, in pixels


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Parts in the places of those that the recipes name."""
    root = tmp_path / "parts"
    monkeypatch.setenv("FASTCAP_PARTS", str(root))
    for name in ("smollm2-135m-instruct", "smollm2-360m-instruct", "tiny-language-model"):
        write_language_model(root / name, num_hidden_layers=4)
    write_tower(root / "siglip-base-384", patch=8)
    for name in ("efficientnet-lite0", "efficientnet-lite2"):
        monkeypatch.setitem(convolutional.TRUNKS, name, SMALL)
        tensors = {}
        for layer, convolution in named_convolutions(ConvolutionalTower(name)).items():
            tensors |= {f"{layer}.weight": convolution.weight.detach(), f"{layer}.bias": convolution.bias.detach()}
        (root / name).mkdir()
        save_file(tensors, root / name / "model.safetensors")
    return root


@pytest.mark.parametrize("size", SMALLER)
def test_every_size_answers(size, parts, tmp_path):
    config = load_config(ROOT / "configs" / "training" / f"{size}.yaml").model
    eyes = config.backbone
    if eyes.scales:
        assert size == "fastvlm_base"
        eyes = dataclasses.replace(eyes, scales=("64/32", "128/16", "128/32"))
    config = dataclasses.replace(
        config,
        image_size=SMALLER[size],
        backbone=eyes,
        decoder=dataclasses.replace(config.decoder, image_tokens=4),
    )
    model, tokenizer = prefix_model(config)
    trained = sum(parameter.numel() for name, parameter in model.named_parameters() if name in model.learned)
    assert trained > 0
    save_checkpoint(tmp_path / "saved", model.config, model.state_dict(), tokenizer)
    picture = np.zeros((SMALLER[size],) * 2 + (3,), np.uint8)
    answer, other = checkpoint_captioner(tmp_path / "saved").ask(picture, ["a red ball?", "what runs over the grass?"])
    assert answer.text and other.text and checkpoint_captioner(tmp_path / "saved").caption(picture).text


@pytest.fixture
def training(tmp_path, monkeypatch):
    """The script that trains a language model, and a function that runs it on a few texts."""
    spec = importlib.util.spec_from_file_location("train_language_model", ROOT / "scripts" / "train_language_model.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES[:4] * 60))
    turns = [{"from": "human", "value": "a ball?"}, {"from": "assistant", "value": "red"}]
    (tmp_path / "asked.json").write_text(json.dumps([{"conversations": turns}] * 40))

    def run(out, *more):
        line = ["script", "--root", str(tmp_path), "--texts", "texts.txt", "asked.json", "--out", str(tmp_path / out)]
        line += ["--vocab-size", "320", "--width", "32", "--layers", "1", "--steps", "5", "--save-every", "3"]
        monkeypatch.setattr(sys, "argv", [*line, *more])
        script.main()
        return load_file(tmp_path / out / "model.safetensors")

    return script, run


def test_a_language_model_of_our_own_is_a_part(training, tmp_path, capsys):
    _, run = training
    run("part", "--learning-rate", "0.01")
    assert "nats a token" in capsys.readouterr().out
    tokenizer, begin, end = read_tokenizer(tmp_path / "part")
    assert (begin, end) == ("<bos>", "<eos>")
    model = load_language_model(tmp_path / "part", torch.float32)
    assert model.get_input_embeddings().num_embeddings == tokenizer.get_vocab_size() == 320
    with pytest.raises(SystemExit, match="is there already"):
        run("part")
    (tmp_path / "bad.json").write_text('[{"conversations": [{"from": "narrator", "value": "once"}]}]')
    with pytest.raises(DataError, match=r"bad\.json cannot be read: turn 0 has the role 'narrator'"):
        run("none", "--texts", "bad.json")


def test_its_training_goes_on_where_it_was_saved(training, monkeypatch):
    script, run = training
    whole, save = run("whole"), script.save

    def interrupted(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("parts")
    monkeypatch.setattr(script, "save", save)
    resumed = run("parts")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_an_interrupt_waits_for_the_step_and_loses_nothing(training, monkeypatch):
    script, run = training
    whole, learn = run("whole"), script.learn

    def interrupted(model, optimizer, rows, step, args):
        if step == 1:
            signal.raise_signal(signal.SIGINT)
        return learn(model, optimizer, rows, step, args)

    monkeypatch.setattr(script, "learn", interrupted)
    with pytest.raises(KeyboardInterrupt, match="saved after 2 steps"):
        run("parts")
    resumed = run("parts")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_texts_of_a_step_are_about_equally_long(training):
    script, _ = training
    lengths = np.random.default_rng(0).integers(5, 60, size=4000)
    steps = [lengths[script.drawn_texts(step, lengths, seed=1)] for step in range(script.GROUP)]
    assert max(step.max() - step.min() for step in steps) < 10
    assert np.ptp(np.concatenate(steps)) > 50
