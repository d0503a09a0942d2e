"""What is no list, no text or no mapping where one is wanted: every public function says what it got and what it takes,
instead of taking letters for items or failing somewhere inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastcap
from fastcap import load_model
from fastcap.config import load_config
from fastcap.data import (
    ImageCache,
    augment,
    bucket_batches,
    is_crop_safe,
    is_mirror_safe,
    load_dataset,
    pad_tokens,
    train_tokenizer,
)
from fastcap.decoder.vocabulary_pruning import prune_tokenizer
from fastcap.errors import FastcapError, each, listed, many
from fastcap.evaluation import CiderD, evaluate_captions, ptb_tokens
from fastcap.evaluation.bleu import bleu
from fastcap.evaluation.calibration import calibration_error, fit_alignment, fit_calibration, reliability, support
from fastcap.evaluation.diversity import diversity, has_repeat
from fastcap.evaluation.evaluate import evaluate_model
from fastcap.evaluation.meteor import meteor
from fastcap.evaluation.metrics import score_captions
from fastcap.evaluation.rouge import rouge_l
from fastcap.evaluation.stem import stem
from fastcap.runtime.bulk import caption_files
from fastcap.runtime.bulk.cluster import caption_on_cluster
from fastcap.runtime.encoding import clean_caption
from fastcap.runtime.lint import lint
from fastcap.runtime.neutral import gendered_words, neutral_wording, neutralise, with_nouns
from fastcap.runtime.sources import find_pictures
from fastcap.runtime.text import ends_early, sentence, word_count

PICTURE = np.zeros((8, 8, 3), np.uint8)
TOKENS = ["a", "dog", "runs"]
TEXTS = ["a dog runs", "a cat"]


class Takes(NamedTuple):
    """A call whose argument is a list; a list that it takes; and a member that it does not."""

    call: Callable[[Any], Any]
    good: list[Any]
    bad: Any = None


def embedded_texts(value: Any) -> list[float]:
    return load_model().embed_texts(value).tolist()


def embedded_images(value: Any) -> list[float]:
    return load_model().embed_images(value).tolist()


def tokenizer(value: Any) -> str:
    return train_tokenizer(value, 300).to_str()


def pruned(value: Any, keep: Any = ()) -> list[int]:
    return prune_tokenizer(train_tokenizer(["a dog"], 300), value, keep)[1]


def augmented(value: Any) -> list[Any]:
    return augment(PICTURE, value, np.random.default_rng(0)).tolist()


def cached(value: Any) -> int:
    return len(ImageCache("cache", 8).build(value, progress=False).keys)


LISTS: dict[str, Takes] = {
    "caption_files": Takes(lambda value: [row["image"] for row in caption_files(value, workers=1)], ["no.jpg"]),
    "caption_on_cluster": Takes(lambda value: caption_on_cluster(value, workers=1) and None, ["no.jpg"]),
    "Captioner.score": Takes(lambda value: load_model().score(PICTURE, value), TEXTS, 7),
    "Captioner.embed_texts": Takes(embedded_texts, TEXTS, b"a dog"),
    "Captioner.embed_images": Takes(embedded_images, [PICTURE]),
    "fastcap.show": Takes(lambda value: fastcap.show([PICTURE, PICTURE], value).captions, TEXTS, 7),
    "evaluate_captions": Takes(lambda value: evaluate_captions({"1": "a dog"}, {"1": value}), TEXTS, ["a dog"]),
    "score_captions": Takes(lambda value: score_captions({"1": "a dog"}, {"1": value}), TEXTS, b"a dog"),
    "evaluate_model": Takes(lambda value: evaluate_model(SimpleNamespace(), value), [], "a.jpg"),
    "CiderD, references": Takes(lambda value: CiderD({"1": value}).score(TOKENS, "1"), [TOKENS]),
    "CiderD, tokens": Takes(lambda value: CiderD({"1": [value]}).score(TOKENS, "1"), TOKENS, ["a"]),
    "CiderD.score": Takes(lambda value: CiderD({"1": [TOKENS]}).score(value, "1"), TOKENS, ["a"]),
    "bleu, candidate": Takes(lambda value: bleu({"1": value}, {"1": [TOKENS]}), TOKENS, ["a"]),
    "bleu, references": Takes(lambda value: bleu({"1": TOKENS}, {"1": value}), [TOKENS], "a dog"),
    "bleu, tokens": Takes(lambda value: bleu({"1": TOKENS}, {"1": [value]}), TOKENS, ["a"]),
    "meteor, candidate": Takes(lambda value: meteor({"1": value}, {"1": [TOKENS]}), TOKENS, ["a"]),
    "meteor, references": Takes(lambda value: meteor({"1": TOKENS}, {"1": value}), [TOKENS], "a dog"),
    "rouge_l, candidate": Takes(lambda value: rouge_l(value, [TOKENS]), TOKENS, ["a"]),
    "rouge_l, references": Takes(lambda value: rouge_l(TOKENS, value), [TOKENS], "a dog"),
    "diversity": Takes(lambda value: diversity({"1": value}), TOKENS, ["a"]),
    "has_repeat": Takes(has_repeat, ["a", "a"], ["a"]),
    "support": Takes(lambda value: support("a dog", value), TEXTS),
    "fit_calibration": Takes(lambda value: fit_calibration(value, [0.2, 0.8]), [0.2, 0.7], "0.2"),
    "fit_alignment": Takes(lambda value: fit_alignment(value, [0.1]), [0.3, 0.4], "0.2"),
    "reliability": Takes(lambda value: reliability(value, [0.2, 0.8]), [0.2, 0.7], "0.2"),
    "calibration_error": Takes(lambda value: calibration_error([0.2, 0.7], value), [0.2, 0.8], "0.2"),
    "is_mirror_safe": Takes(is_mirror_safe, TEXTS),
    "is_crop_safe": Takes(is_crop_safe, TEXTS),
    "augment": Takes(augmented, TEXTS),
    "train_tokenizer": Takes(tokenizer, TEXTS),
    "pad_tokens": Takes(lambda value: pad_tokens(value, 0)[0].tolist(), [[1, 2], [3]], 3),
    "pad_tokens, ids": Takes(lambda value: pad_tokens([value], 0)[0].tolist(), [1, 2], "3"),
    "bucket_batches": Takes(lambda value: bucket_batches(value, 20, 0, 0), [3, 4], "3"),
    "prune_tokenizer": Takes(pruned, TEXTS),
    "prune_tokenizer, keep": Takes(lambda value: pruned(["a dog"], value), ["<pad>"]),
    "ImageCache.build": Takes(cached, ["a.png"], 7),
    "load_config": Takes(lambda value: load_config("finetune", value), ["seed=3"]),
}

ONE_TEXT: dict[str, Callable[[Any], Any]] = {
    "ptb_tokens": ptb_tokens,
    "stem": stem,
    "lint": lint,
    "neutralise": neutralise,
    "neutral_wording": neutral_wording,
    "gendered_words": gendered_words,
    "with_nouns": with_nouns,
    "sentence": sentence,
    "word_count": word_count,
    "ends_early": ends_early,
    "clean_caption": clean_caption,
    "support": lambda value: support(value, TEXTS),
    "evaluate_captions": lambda value: evaluate_captions({"1": value}, {"1": TEXTS}),
    "find_pictures": lambda value: next(find_pictures(value)),
    "load_model": load_model,
    "load_config": load_config,
    "load_dataset, name": lambda value: load_dataset(value, ".", "val"),
    "load_dataset, root": lambda value: load_dataset("csv", value, "val"),
    "load_dataset, split": lambda value: load_dataset("csv", ".", value),
}

MAPPINGS: dict[str, Callable[[Any], Any]] = {
    "evaluate_captions": lambda value: evaluate_captions(value, {"1": TEXTS}),
    "evaluate_captions, references": lambda value: evaluate_captions({"1": "a dog"}, value),
    "score_captions": lambda value: score_captions(value, {"1": TEXTS}),
    "CiderD": CiderD,
    "CiderD.corpus": lambda value: CiderD({"1": [TOKENS]}).corpus(value),
    "bleu": lambda value: bleu(value, {"1": [TOKENS]}),
    "bleu, references": lambda value: bleu({"1": TOKENS}, value),
    "meteor": lambda value: meteor(value, {"1": [TOKENS]}),
    "meteor, references": lambda value: meteor({"1": TOKENS}, value),
    "diversity": diversity,
}

NO_LISTS = {"None": None, "text": "photos", "bytes": b"photos", "path": Path("photos"), "int": 7, "dict": {"a": 1}}
NO_TEXTS = {"None": None, "bytes": b"a dog", "int": 7, "list": ["a dog"], "dict": {"a": 1}, "generator": iter("ab")}
NO_MAPPINGS = {"None": None, "text": "photos", "bytes": b"photos", "int": 7, "list": ["a dog"], "generator": iter("ab")}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def good(request) -> list[Any]:
    from PIL import Image

    if request.node.callspec.params["name"] == "ImageCache.build":
        Image.fromarray(PICTURE).save("a.png")
        return ["a.png"]
    return LISTS[request.node.callspec.params["name"]].good


@pytest.mark.parametrize("value", NO_LISTS.values(), ids=NO_LISTS)
@pytest.mark.parametrize("name", LISTS)
def test_what_is_no_list_is_named(name, value, tmp_path):
    got = r"got (one (text|bytes object|path)|None|the int 7|a value of type dict); |2 pictures and 1 cap"
    with pytest.raises(FastcapError, match=got):
        LISTS[name].call(value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", LISTS)
def test_a_wrong_member_is_named(name, good):
    inside = "got (one text|None|the int 3); needed: a list of|got a text of type|<NoneType>: cannot be read"
    with pytest.raises(FastcapError, match=rf"item \d+ of the |{inside}"):
        LISTS[name].call([*good, LISTS[name].bad])


@pytest.mark.parametrize("name", [name for name in LISTS if LISTS[name].good])
def test_a_generator_gives_what_its_list_gives(name, good):
    assert LISTS[name].call(value for value in good) == LISTS[name].call(good)


@pytest.mark.parametrize("name", LISTS)
def test_an_empty_list_is_an_answer_or_an_error_of_ours(name):
    try:
        LISTS[name].call([])
    except (FastcapError, ValueError) as error:
        assert "needed: " in str(error) or "needs" in str(error) or "allowed" in str(error)


@pytest.mark.parametrize("kind", NO_TEXTS)
@pytest.mark.parametrize("name", ONE_TEXT)
def test_what_is_no_text_is_named(name, kind):
    with pytest.raises(FastcapError, match=r"needed: a text \(str\)|allowed: "):
        ONE_TEXT[name](NO_TEXTS[kind])


@pytest.mark.parametrize("kind", NO_MAPPINGS)
@pytest.mark.parametrize("name", MAPPINGS)
def test_what_is_no_mapping_is_named(name, kind):
    with pytest.raises(FastcapError, match=r"got .*; needed: a mapping \(dict\) of"):
        MAPPINGS[name](NO_MAPPINGS[kind])


@pytest.mark.parametrize("value", [{PICTURE.tobytes()}, {"a": 1}, iter([PICTURE])], ids=["set", "dict", "iterator"])
def test_pictures_in_what_has_no_places_are_no_list_of_pictures(value):
    with pytest.raises(FastcapError, match="needed: a picture, or a list or tuple of pictures"):
        load_model().caption(value)


@pytest.mark.parametrize("value", ["short", {"length": "short"}, 7, []], ids=lambda value: type(value).__name__)
def test_options_are_options(value):
    with pytest.raises(FastcapError, match="allowed: an Options, or its fields as keywords"):
        load_model().caption(PICTURE, value)


@pytest.mark.parametrize(
    "values",
    [[], ["a"], ("a", "b"), {"a"}, iter("ab"), np.zeros(3), range(3)],
    ids=lambda values: type(values).__name__,
)
def test_many_are_as_they_were(values):
    assert many(values, "things") is values


def test_members_are_read_as_they_are_needed_and_a_wrong_one_is_named_with_its_place():
    def endless() -> Iterator[Any]:
        yield "a"
        yield 7
        raise AssertionError("read too far")

    values = each(endless(), "names")
    assert next(values) == "a"
    with pytest.raises(FastcapError, match=r"item 1 of the names is the int 7; needed: a text \(str\)"):
        next(values)
    assert listed(("a", "b"), "names") == ["a", "b"]


def test_hosts_and_origins_of_a_server_are_lists():
    pytest.importorskip("fastapi", reason="needs the extra serve")
    from fastcap.serve.app import create_app
    from fastcap.serve.fetch import Fetcher

    for value in NO_LISTS.values():
        with pytest.raises(FastcapError, match="needed: a list of hosts"):
            Fetcher(value)
        with pytest.raises(FastcapError, match="needed: a list of origins"):
            create_app(load_model(), origins=value)
    with pytest.raises(FastcapError, match="item 0 of the hosts is None"):
        Fetcher([None])


def test_an_array_is_one_picture_not_a_list_of_its_rows():
    with pytest.raises(FastcapError, match="got one picture; needed: a list of pictures"):
        load_model().embed_images(PICTURE)
