"""The CLIP loss: what the judge reads, how its gradient reaches the words, and that it does nothing when it is off."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_recipe import stage

from fastcap.checkpoint import load_checkpoint
from fastcap.config import StageConfig, TrainConfig, from_mapping
from fastcap.errors import ConfigError, ModelFileError
from fastcap.losses.clip import clip_loss, held_still, said
from fastcap.losses.language import read_causally
from fastcap.runtime.encoding import encode
from fastcap.training.judge import ClipJudge
from fastcap.training.trainer import Trainer, train
from tiny_parts import prefix_config, prefix_model, write_clip, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    return {
        "llama": write_language_model(root / "llama", vocab_size=480),  # words are one token, as in CLIP
        "gpt2": write_language_model(root / "gpt2", "gpt2", vocab_size=480),
        "eye": write_tower(root / "eye"),
        "clip": write_clip(root / "clip"),
    }


@pytest.fixture
def prefix_recipe(recipe, parts):
    def make(output="run", *stages: StageConfig, **settings) -> TrainConfig:
        model = prefix_config(parts["llama"], parts["eye"])
        return dataclasses.replace(recipe(output), model=model, stages=stages or (stage(),), **settings)

    return make


@pytest.fixture(scope="module")
def model_and_tokenizer(parts):
    return prefix_model(prefix_config(parts["llama"], parts["eye"]))


@pytest.fixture(scope="module")
def judge(parts, model_and_tokenizer):
    return ClipJudge(str(parts["clip"]), model_and_tokenizer[1], 20)


# --- what the judge reads -----------------------------------------------------------------------------------


@torch.no_grad()
def test_certain_words_are_read_as_clip_reads_them(judge, parts, model_and_tokenizer):
    from tokenizers import Tokenizer

    theirs, ours = Tokenizer.from_file(str(parts["clip"] / "tokenizer.json")), model_and_tokenizer[1]
    texts = [text for text in ("a red ball", "one green box in the dark", "two boxes")
             if len(encode(ours, text)) == len(theirs.encode(text).ids) - 2]  # fmt: skip
    assert len(texts) >= 2  # words that are one token in both vocabularies
    for text in texts:
        ids = torch.tensor([encode(ours, text)])
        certain = torch.nn.functional.one_hot(ids, ours.get_vocab_size()).float()
        seen = judge.clip.get_text_features(input_ids=torch.tensor([theirs.encode(text).ids]))
        seen = getattr(seen, "pooler_output", seen)
        expected = torch.nn.functional.normalize(seen, dim=-1)
        padded = torch.nn.functional.pad(certain, (0, 0, 0, 3), value=0.1)
        for words in (certain, padded):  # what stands behind the caption is not read
            torch.testing.assert_close(judge.embed_texts(words, torch.tensor([ids.shape[1]])), expected)


@torch.no_grad()
def test_pictures_are_seen_as_clip_sees_them(judge):
    pixels = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    seen = judge.clip.get_image_features(pixel_values=(pixels / 255 - 0.5) / 0.5)
    seen = getattr(seen, "pooler_output", seen)
    torch.testing.assert_close(judge.embed_images(pixels), torch.nn.functional.normalize(seen, dim=-1))
    assert judge.embed_images(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape == (1, 16)  # resized


def test_marks_are_never_said(model_and_tokenizer):
    model, _ = model_and_tokenizer
    image = model.encode(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    ids, lengths = torch.tensor([[9, 8, 7]]), torch.tensor([3])
    words = said(model.decoder, read_causally(model.decoder, model.decoder.prepare(image), ids, lengths))
    assert words.shape == (1, 3, model.vocabulary.size)
    assert float(words.detach()[..., list(model.vocabulary.barred)].abs().max()) == 0
    torch.testing.assert_close(words.sum(dim=-1), torch.ones(1, 3))


def test_the_loss_is_one_minus_the_cosine_of_a_picture_and_its_own_texts():
    images, texts = torch.eye(3)[:2], torch.eye(3)[[0, 1, 1, 2]]
    assert float(clip_loss(images, texts)) == pytest.approx(1 - (1 + 0 + 1 + 0) / 4)


# --- the gradient -------------------------------------------------------------------------------------------


def test_the_gradient_of_a_clip_is_that_of_finite_differences(judge, model_and_tokenizer):
    rng = torch.Generator().manual_seed(0)
    judge.double()
    try:
        logits = torch.randn(2, 3, judge.dictionary.shape[0], generator=rng, dtype=torch.float64, requires_grad=True)
        images = torch.nn.functional.normalize(torch.randn(1, 16, generator=rng, dtype=torch.float64), dim=-1)

        def loss(logits):
            return clip_loss(images, judge.embed_texts(logits.softmax(dim=-1), torch.tensor([3, 2])))

        gradient = torch.autograd.grad(loss(logits), logits)[0]
        check_differences(loss, logits, gradient)
        assert gradient[1, 2].abs().max() == 0  # behind the caption
    finally:
        judge.float()


def test_the_gradient_of_our_own_alignment_is_that_of_finite_differences(parts):
    model = prefix_model(prefix_config(parts["gpt2"], parts["eye"]))[0].double()  # Llama computes norms in 32 bits
    rng = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, model.vocabulary.size, generator=rng, dtype=torch.float64, requires_grad=True)
    images = torch.nn.functional.normalize(torch.randn(1, 16, generator=rng, dtype=torch.float64), dim=-1)

    def loss(logits):
        read = model.read_expected(logits.softmax(dim=-1), torch.tensor([3, 2]))
        return clip_loss(images, model.alignment.embed_text(*read))

    check_differences(loss, logits, torch.autograd.grad(loss(logits), logits)[0])


def check_differences(loss, logits, gradient) -> None:
    """Compare a gradient with central differences at the places where it is largest, and at some others."""
    assert gradient.abs().max() > 1e-6
    flat = gradient.abs().flatten()
    places = [*flat.topk(6).indices.tolist(), *np.random.default_rng(0).integers(len(flat), size=6).tolist()]
    for place in places:
        step = torch.zeros_like(logits).flatten()
        step[place] = 1e-5
        with torch.no_grad():
            difference = (loss(logits + step.view_as(logits)) - loss(logits - step.view_as(logits))) / 2e-5
        assert float(gradient.flatten()[place]) == pytest.approx(float(difference), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("by", ["clip", "alignment"])
def test_the_loss_alone_moves_projection_and_adapters_and_falls(prefix_recipe, parts, by):
    settings = {"causal": 0.0, "balance": 0.0, "clip_loss": 1.0, "learning_rate": 3e-3, "clip": 100.0}
    clip_model = str(parts["clip"]) if by == "clip" else ""
    config = prefix_recipe("run", stage(steps=12, images=12, warmup=1, clip_model=clip_model, **settings))
    made = Trainer(config)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    made.run()
    after = made.model.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert any("projection" in name for name in moved) and any(".lora_B" in name for name in moved)
    assert not any("alignment" in name for name in moved)  # the judge does not learn to judge more kindly
    losses = [
        json.loads(line).get("clip_loss") for line in (Path(config.output) / "log.jsonl").read_text().splitlines()
    ]
    losses = [loss for loss in losses if loss is not None]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_a_judge_gets_no_gradient_and_no_dropout_and_is_as_before_afterwards(model_and_tokenizer):
    model, _ = model_and_tokenizer
    model.thaw()
    model.alignment.train()
    with held_still(model.alignment):
        assert not any(p.requires_grad for p in model.alignment.parameters()) and not model.alignment.text.training
    assert all(p.requires_grad for p in model.alignment.parameters()) and model.alignment.text.training
    model.eval()


# --- switched off, and refused ------------------------------------------------------------------------------


def test_weight_nought_does_nothing(prefix_recipe):
    plain, off = (load_checkpoint(train(prefix_recipe(name, stage(**settings))))[0].state_dict()
                  for name, settings in (("plain", {}), ("off", {"clip_loss": 0.0})))  # fmt: skip
    assert plain.keys() == off.keys() and all(torch.equal(plain[name], off[name]) for name in plain)


def test_it_goes_with_every_family(recipe):
    config = recipe("own", (stage(steps=2, clip_loss=0.5),))
    train(config)
    assert any("clip_loss" in line for line in (Path(config.output) / "log.jsonl").read_text().splitlines())


def test_what_cannot_judge_is_named(prefix_recipe, parts, model_and_tokenizer):
    with pytest.raises(ModelFileError, match=r"patch32 is not here.*'fastcap download clip-vit-base-patch32"):
        Trainer(prefix_recipe("a", stage(clip_loss=0.1, clip_model="openai/clip-vit-base-patch32"))).run()
    with pytest.raises(ModelFileError, match="is a SiglipVisionModel; needed: a CLIP"):
        ClipJudge(str(parts["eye"]), model_and_tokenizer[1], 20)
    with pytest.raises(ConfigError, match="max_length is 23; allowed: up to 22, with clip_model"):
        ClipJudge(str(parts["clip"]), model_and_tokenizer[1], 23)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_loss": -1}, "clip_loss is -1.0; allowed: 0 or more"),
        ({"clip_model": "x"}, "clip_model is 'x'; allowed: nothing, where clip_loss is 0"),
        ({"clip_loss": 1, "freeze": "captioner", "contrastive": 1}, "allowed: contrastive alone"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(TrainConfig, {"stages": [{"name": "a", "steps": 3, "learning_rate": 0.1, **settings}]})
