"""A run that begins with a model whose marks are not ids 0 to 4 learns what it would learn with the usual ids."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from toy_recipe import stage

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.data.tokenizer import train_tokenizer
from fastcap.model import build_model
from fastcap.training.trainer import train
from renumbering import OTHER, SIZE, USUAL, renumbered_tokenizer, renumbered_weights


def test_training_with_other_marks_is_training_with_the_usual_ones(recipe, tmp_path):
    texts = [f"{start} {c} {s}" for start in ("a", "there is one") for c in ("red", "blue") for s in ("ball", "box")]
    words = "green yellow white gray in the dark stands under some tall old trees while two small brown dogs run past"
    tokenizer = train_tokenizer([*texts, words, f"{words} and its wide open door towards our quiet lake"], SIZE)
    assert tokenizer.get_vocab_size() == SIZE
    plain = recipe("plain").model
    plain = dataclasses.replace(plain, vocab_size=SIZE, decoder=dataclasses.replace(plain.decoder, dropout=0.0))
    torch.manual_seed(0)
    model = build_model(plain)
    save_checkpoint(tmp_path / "usual", dataclasses.replace(plain, marks=USUAL), model.state_dict(), tokenizer)
    others = renumbered_weights(model.state_dict()), renumbered_tokenizer(tokenizer)
    save_checkpoint(tmp_path / "other", dataclasses.replace(plain, marks=OTHER), *others)
    losses = {"causal": 1.0, "consistency": 0.1, "balance": 0.01, "contrastive": 0.1}
    rows, weights = {}, {}
    for name in ("usual", "other"):
        config = recipe(f"run-{name}", (stage(steps=3, **losses),), init=str(tmp_path / name), model=plain)
        trained, _ = load_checkpoint(train(config))
        assert trained.config.marks == {"usual": USUAL, "other": OTHER}[name]
        log = (Path(config.output) / "log.jsonl").read_text().splitlines()
        rows[name] = [row for row in map(json.loads, log) if "loss" in row]
        weights[name] = trained.state_dict()
    for usual, other in zip(rows["usual"], rows["other"], strict=True):
        for part in ("loss", "masked", "length", *losses):
            assert other[part] == pytest.approx(usual[part], rel=1e-3), part
    expected = renumbered_weights(weights["usual"])
    for name, value in weights["other"].items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-3)
