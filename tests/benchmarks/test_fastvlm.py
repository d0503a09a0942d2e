"""Accuracy against time and size: measured once a model, drawn, and joined for the page of claims."""

from __future__ import annotations

import json
import sys

import pytest
from PIL import Image
from safetensors.torch import save_file

from conftest import load_script
from fastcap.backbone.convolutional import TRUNKS, ConvolutionalTower, Trunk, named_convolutions
from fastcap.export.families import EXPORTS
from fastcap.export.writer import write_bundle
from fastcap.release.drawn import drawn
from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")

SMALL = Trunk((4, 6, 8, 10, 12, 14, 16), (1,) * 7, (3,) * 7, stem_width=4, expansion=2, head_width=20)
ANSWER = {"from": "assistant", "value": "no"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """`made`, a model directory that answers, and `val.json`, questions about three drawn pictures."""
    root = tmp_path_factory.mktemp("curve")
    config = prefix_config(write_language_model(root / "l"), write_tower(root / "e"), question_tokens=60)
    model, tokenizer = prefix_model(config)
    EXPORTS["prefix"].parts(model, root)
    EXPORTS["prefix"].assemble(root, root / "fp32", model.config)
    write_bundle(root / "made", root / "fp32", tokenizer, model.config, name="tiny")
    rows = []
    for index in range(3):
        Image.fromarray(drawn(index, 64)).save(root / f"{index}.png")
        rows += [
            {"image": f"{index}.png", "question": f"is it {colour}?", "answer": "no"} for colour in ("red", "blue")
        ]
    (root / "val.json").write_text(json.dumps(rows))
    return root


def run(monkeypatch, *words) -> None:
    monkeypatch.setattr(sys, "argv", ["fastvlm.py", *map(str, words)])
    load_script("fastvlm").main()


def test_a_model_is_measured_once_drawn_and_joined(root, tmp_path, monkeypatch):
    out = tmp_path / "curve.json"
    words = ["curve", "--model", root / "made", "--questions", root / "val.json", "--timed", 2, "--out", out]
    run(monkeypatch, *words)
    (row,) = json.loads(out.read_text())["rows"]
    assert row["model"] == "tiny" and row["thresholds"] == [] and row["usual"] and row["exits"] is None
    assert row["accuracy"].keys() == {"val"} and 0 < row["vision_ms"] < row["first_ms"]
    assert (row["tokens_kept"], row["tokens"]) == (4, 16) and row["mb"] > 0
    written = out.read_bytes()
    run(monkeypatch, *words)
    assert out.read_bytes() == written  # nothing is measured twice
    run(monkeypatch, "plot", out, "--out", tmp_path / "curve.png")
    assert Image.open(tmp_path / "curve.png").width > 500

    times = {"p50_ms": 60.0}
    bench = {"command": "fastcap bench", "machine": {"cores": 2}, "model": {"bytes": 97_000_000}}
    bench |= {"asking": {"first": times, "times_first": {"second": 0.4}}, "process": {"peak_memory_mb": 300}}
    bench |= {"decoding": {"first_token": times, "tokens_per_second": 110.0}}
    told = {"command": "fastcap evaluate", "questions": 6, "accuracy": {"model": 61.0}, "margin": 1.0, "kinds": {}}
    rows = [
        {**row, "thresholds": [0.7], "exits": [0.5, 0.5], "vision_ms": 30.0, "accuracy": {"val": 60.5}},
        {**row, "thresholds": [2.0], "usual": False, "vision_ms": 40.0, "accuracy": {"val": 61.0}},
    ]
    for name, content in (("bench", bench), ("told", told), ("rows", {"rows": rows})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    marks = [word for name in ("yes-no", "open", "existence") for word in (f"--{name}", tmp_path / "told.json")]
    others = ["--bench", tmp_path / "bench.json", "--curve", tmp_path / "rows.json", "--out", tmp_path / "all.json"]
    run(monkeypatch, "record", *marks, *others)
    record = json.loads((tmp_path / "all.json").read_text())
    assert record["kind"] == "recorded" and record["existence"]["accuracy"]["model"] == 61.0 and record["mb"] == 97
    assert record["exits"]["saved"] == 0.25 and record["exits"]["points_lost"] == 0.5
    assert {"date", "commit", "command", "machine", "threads", "seed"} <= record.keys()


def test_choices_of_tokens_are_trained_asked_and_timed_once(root, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCAP_PARTS", str(tmp_path / "parts"))
    monkeypatch.setitem(TRUNKS, "efficientnet-lite0", SMALL)
    write_language_model(tmp_path / "parts" / "tiny-language-model", num_hidden_layers=4, max_position_embeddings=128)
    tensors = {}
    for layer, convolution in named_convolutions(ConvolutionalTower("efficientnet-lite0")).items():
        tensors |= {f"{layer}.weight": convolution.weight.detach(), f"{layer}.bias": convolution.bias.detach()}
    (tmp_path / "parts" / "efficientnet-lite0").mkdir()
    save_file(tensors, tmp_path / "parts" / "efficientnet-lite0" / "model.safetensors")
    rows = [
        {"image_path": f"{index}.png", "conversations": [{"from": "human", "value": f"is it {colour}?"}, ANSWER]}
        for index in range(3)
        for colour in ("red", "blue")
    ]
    (root / "train.json").write_text(json.dumps(rows))
    out = tmp_path / "selection.json"
    words = ["selection", "--questions", root / "train.json", "--held", root / "val.json", "--work", tmp_path / "work"]
    words += ["--pictures", 2, "--steps", 1, "--images", 2, "--limit", 4, "--out", out]
    run(monkeypatch, *words)
    record = json.loads(out.read_text())
    rows = {row["selection"]: row for row in record["rows"]}
    assert [(name, row["tokens"]) for name, row in rows.items()] == [
        ("pool", 64), ("learned", 64), ("random", 64), ("all", 576),
    ]  # fmt: skip
    assert rows["all"]["prefix_ms"] > rows["pool"]["prefix_ms"] > 0
    assert all(len(row["right"]["val"]) == 4 and 0 <= row["held"]["val"]["accuracy"] <= 100 for row in rows.values())
    assert "pooling_gains" not in rows["pool"]["held"]["val"] and "pooling_gains" in rows["learned"]["held"]["val"]
    assert len(json.loads((tmp_path / "work" / "questions.json").read_text())) == 4  # of two pictures
    written = out.read_bytes()
    run(monkeypatch, *words)
    assert out.read_bytes() == written  # nothing is trained twice
