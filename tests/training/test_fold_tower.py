"""`scripts/fold_tower.py`: a tower is taken out of a prefix model, and the others say what it said."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.release.drawn import drawn
from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")

SCRIPT = Path(__file__).parents[2] / "scripts" / "fold_tower.py"


@torch.no_grad()
def test_what_a_dropped_tower_said_is_read_off_the_others(tmp_path, monkeypatch, capsys):
    language_model = write_language_model(tmp_path / "language")
    towers = [write_tower(tmp_path / "eye"), write_tower(tmp_path / "twin", seed=1)]
    model, tokenizer = prefix_model(prefix_config(language_model, *towers))
    save_checkpoint(tmp_path / "both", model.config, model.state_dict(), tokenizer)
    (tmp_path / "images").mkdir()
    for index in range(24):
        Image.fromarray(drawn(index, 64)).save(tmp_path / "images" / f"{index}.png")
    for split in ("train", "val"):
        rows = "".join(f"{index}.png,a red ball\n" for index in range(24))
        (tmp_path / f"{split}.csv").write_text(f"image,caption\n{rows}")
    command = [str(SCRIPT), "--model", str(tmp_path / "both"), "--out", str(tmp_path / "one"), "--drop", str(towers[1])]
    monkeypatch.setattr(sys, "argv", [*command, "--root", str(tmp_path), "--dataset", "csv"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    explained = float(capsys.readouterr().out.partition("%")[0])
    one, theirs = load_checkpoint(tmp_path / "one")
    assert one.config.backbone.names == (str(towers[0]),) and theirs.to_str() == tokenizer.to_str()
    pictures = torch.stack([torch.from_numpy(drawn(index, 64)) for index in range(24)])
    before, after = (each.decoder.prepare(each.encode(pictures)) for each in (model, one))
    left = (before - after).square().sum() / (before - before.mean(dim=(0, 1))).square().sum()
    assert explained > 50 and left < 0.5
    vectors = [each.alignment.embed_image(each.encode(pictures)) for each in (model, one)]
    assert (vectors[0] * vectors[1]).sum(dim=1).mean() > 0.9
    monkeypatch.setattr(sys, "argv", [*command[:-1], "nobody", "--root", str(tmp_path), "--dataset", "csv"])
    with pytest.raises(SystemExit, match="--drop is nobody; the model's towers are"):
        runpy.run_path(str(SCRIPT), run_name="__main__")
