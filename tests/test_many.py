"""One text, bytes or path is no list: every public function that takes many says so, instead of taking its letters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastcap import load_model
from fastcap.config import load_config
from fastcap.data import ImageCache, augment, is_crop_safe, is_mirror_safe, train_tokenizer
from fastcap.decoder.vocabulary_pruning import prune_tokenizer
from fastcap.errors import FastcapError, many
from fastcap.evaluation import CiderD, evaluate_captions
from fastcap.evaluation.bleu import bleu
from fastcap.evaluation.calibration import support
from fastcap.evaluation.diversity import diversity, has_repeat
from fastcap.evaluation.evaluate import evaluate_model
from fastcap.evaluation.meteor import meteor
from fastcap.evaluation.metrics import score_captions
from fastcap.evaluation.rouge import rouge_l
from fastcap.runtime.bulk import caption_files
from fastcap.runtime.bulk.cluster import caption_on_cluster

PICTURE = np.zeros((8, 8, 3), np.uint8)
TOKENS = ["a", "dog"]

CALLS: dict[str, Callable[[Any], object]] = {
    "caption_files": lambda value: caption_files(value, workers=1),
    "caption_on_cluster": lambda value: caption_on_cluster(value, workers=1),
    "Captioner.score": lambda value: load_model().score(PICTURE, value),
    "Captioner.embed_texts": lambda value: load_model().embed_texts(value),
    "Captioner.embed_images": lambda value: load_model().embed_images(value),
    "evaluate_captions": lambda value: evaluate_captions({"1": "a dog"}, {"1": value}),
    "score_captions": lambda value: score_captions({"1": "a dog"}, {"1": value}),
    "evaluate_model": lambda value: evaluate_model(SimpleNamespace(), value),
    "CiderD, references": lambda value: CiderD({"1": value}),
    "CiderD, tokens": lambda value: CiderD({"1": [value]}),
    "bleu, candidate": lambda value: bleu({"1": value}, {"1": [TOKENS]}),
    "bleu, references": lambda value: bleu({"1": TOKENS}, {"1": value}),
    "bleu, tokens": lambda value: bleu({"1": TOKENS}, {"1": [value]}),
    "meteor, candidate": lambda value: meteor({"1": value}, {"1": [TOKENS]}),
    "meteor, references": lambda value: meteor({"1": TOKENS}, {"1": value}),
    "rouge_l, candidate": lambda value: rouge_l(value, [TOKENS]),
    "rouge_l, references": lambda value: rouge_l(TOKENS, value),
    "diversity": lambda value: diversity({"1": value}),
    "has_repeat": has_repeat,
    "support": lambda value: support("a dog", value),
    "is_mirror_safe": is_mirror_safe,
    "is_crop_safe": is_crop_safe,
    "augment": lambda value: augment(PICTURE, value, np.random.default_rng(0)),
    "train_tokenizer": lambda value: train_tokenizer(value, 300),
    "prune_tokenizer": lambda value: prune_tokenizer(train_tokenizer(["a dog"], 300), value),
    "prune_tokenizer, keep": lambda value: prune_tokenizer(train_tokenizer(["a dog"], 300), ["a dog"], value),
    "ImageCache.build": lambda value: ImageCache("cache", 8).build(value),
    "load_config": lambda value: load_config("finetune", value),
}


@pytest.mark.parametrize("value", ["photos", b"photos", Path("photos")], ids=["text", "bytes", "path"])
@pytest.mark.parametrize("name", CALLS)
def test_one_is_no_list(name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FastcapError, match=r"got one (text|bytes object|path); needed: a list of"):
        CALLS[name](value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "values",
    [[], ["a"], ("a", "b"), {"a": 1}, {"a"}, iter("ab"), np.zeros(3), range(3)],
    ids=lambda values: type(values).__name__,
)
def test_many_are_as_they_were(values):
    assert many(values, "things") is values


def test_hosts_and_origins_of_a_server_are_lists():
    pytest.importorskip("fastapi", reason="needs the extra serve")
    from fastcap.serve.app import create_app
    from fastcap.serve.fetch import Fetcher

    with pytest.raises(FastcapError, match="got one text; needed: a list of hosts"):
        Fetcher("example.org")
    with pytest.raises(FastcapError, match="got one text; needed: a list of origins"):
        create_app(load_model(), origins="https://example.org")


def test_an_array_is_one_picture_not_a_list_of_its_rows():
    with pytest.raises(FastcapError, match="got one picture; needed: a list of pictures"):
        load_model().embed_images(PICTURE)
