"""A model whose marks are not ids 0 to 4 does all that one with the usual ids does: the same model with its tokens
numbered anew has the same losses and says the same captions, numbered anew."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_model import EXPERTS, small_config
from torch import Tensor

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.data.tokenizer import train_tokenizer
from fastcap.eager import checkpoint_captioner
from fastcap.errors import ConfigError
from fastcap.losses.forcing import forced_tokens
from fastcap.losses.language import causal_loss, mask_tokens, masked_loss, read_causally, read_masked
from fastcap.losses.reward import causal_reward_loss, reward_loss
from fastcap.model import CaptionModel, build_model
from fastcap.vocabulary import Marks
from renumbering import NEW, OTHER, SIZE, USUAL, renumbered_tokenizer, renumbered_weights

FAMILIES = ["parallel", "autoregressive", "autoregressive with experts"]


@pytest.fixture(params=FAMILIES)
def models(request, tiny_config) -> tuple[CaptionModel, CaptionModel]:
    """A model in double precision with the usual ids, and the same with the others."""
    experts = EXPERTS if "experts" in request.param else {}
    config = tiny_config if request.param == "parallel" else small_config(**experts)
    torch.manual_seed(0)
    usual = build_model(dataclasses.replace(config, marks=USUAL)).double().eval()
    with torch.no_grad():
        for parameter in usual.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    other = build_model(dataclasses.replace(config, marks=OTHER)).double().eval()
    other.load_state_dict(renumbered_weights(usual.state_dict()))
    return usual, other


@pytest.fixture
def pixels() -> Tensor:
    return torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


LENGTHS = torch.tensor([5, 7, 1, 3, 7, 2])


@pytest.fixture
def token_ids() -> Tensor:
    """Two captions for each of three images, in the usual ids, padded."""
    ids = torch.randint(4, SIZE, (6, 7), generator=torch.Generator().manual_seed(2))
    return torch.where(torch.arange(7) < LENGTHS[:, None], ids, USUAL.pad_id)


def prepared(model: CaptionModel, pixels: Tensor):
    return model.decoder.prepare(model.encode(pixels))


@torch.no_grad()
def test_the_losses_of_both_readings_are_the_same(models, pixels, token_ids):
    losses = []
    for model, ids in zip(models, (token_ids, NEW[token_ids]), strict=True):
        decoder, state = model.decoder, prepared(model, pixels)
        hidden = read_causally(decoder, state, ids, LENGTHS)
        rewards = torch.arange(6).view(2, 3).double()
        found = {
            "causal": causal_loss(decoder, hidden, ids, LENGTHS, 0.1),
            "causal reward": causal_reward_loss(decoder, state, ids, LENGTHS, 2, lambda _, r=rewards: r)[0],
            "alignment": model.embed_text(ids, LENGTHS),
        }
        if model.config.kind == "parallel":
            masked = mask_tokens(ids, LENGTHS, torch.Generator().manual_seed(3))
            parallel = read_masked(decoder, state, ids, LENGTHS, masked)
            found["masked"] = masked_loss(decoder, parallel, ids, masked, 0.1)
        losses.append(found)
    torch.testing.assert_close(*losses)


@torch.no_grad()
def test_scheduled_sampling_gives_the_same_words(models, pixels, token_ids):
    given = torch.rand(token_ids.shape, generator=torch.Generator().manual_seed(4)) < 0.5
    usual, other = (
        forced_tokens(model.decoder, prepared(model, pixels), ids, LENGTHS, given, 3)
        for model, ids in zip(models, (token_ids, NEW[token_ids]), strict=True)
    )
    assert not torch.equal(usual, token_ids)
    assert torch.equal(other, NEW[usual])


@torch.no_grad()
def test_self_critical_training_draws_no_mark(models, pixels, token_ids):
    model = models[1]
    if model.config.kind != "parallel":
        pytest.skip("draws from left to right: as `sample` does")
    model.decoder.bias[[mark for mark in model.vocabulary.barred]] += 1e3
    captions = []

    def reward(drawn: Tensor) -> Tensor:
        captions.append(drawn)
        return torch.zeros(drawn.shape[:2])

    masked = torch.arange(7) < LENGTHS[:, None]
    state, generator = prepared(model, pixels), torch.Generator().manual_seed(5)
    reward_loss(model.decoder, state, NEW[token_ids], LENGTHS, masked, 20, reward, generator)
    assert not np.isin(captions[0][:, masked].numpy(), model.vocabulary.barred).any()


@torch.no_grad()
def test_the_same_captions_are_said_in_every_way_of_decoding(models, pixels):
    said = []
    for model in models:
        image = model.encode(pixels)
        found = {
            "best": model.best_captions(image),
            "greedy": model.best_captions(image, causal=True),
            "beam": [[each.token_ids for each in rows] for rows in model.search(image, beams=4)],
            "sample": [[each.token_ids for each in rows] for rows in model.sample(image, samples=2, top_k=1)],
        }
        if model.config.kind == "parallel":
            candidates = model.caption(image, torch.tensor([1, 12]), torch.tensor([5]))
            found["parallel"] = candidates.token_ids.tolist()
            assert (candidates.token_ids == model.vocabulary.pad_id).any()
        said.append(found)
    usual, other = said
    assert other == {way: map_ids(captions) for way, captions in usual.items()}


def map_ids(captions):
    return [map_ids(each) for each in captions] if isinstance(captions, list) else int(NEW[captions])


@torch.no_grad()
def test_words_in_place_of_an_image_leave_the_same_cells_empty(models):
    words = torch.tensor([[17, USUAL.pad_id, 250, USUAL.pad_id]])
    usual, other = (model.encode_words(ids) for model, ids in zip(models, (words, NEW[words]), strict=True))
    torch.testing.assert_close(other, usual)


def test_a_checkpoint_captions_in_the_same_words(models, pixels, tmp_path):
    texts = ["a red ball lies on the grass", "two dogs run along a beach", "a man sits in a wooden boat"] * 3
    tokenizer = train_tokenizer(texts, SIZE)
    with torch.no_grad():
        models[0].decoder.bias[261:] += 8  # words, not single bytes
        models[1].decoder.bias[NEW[261:]] += 8
    captions = []
    for name, model, its_tokenizer in zip("ab", models, (tokenizer, renumbered_tokenizer(tokenizer)), strict=True):
        save_checkpoint(tmp_path / name, model.config, model.state_dict(), its_tokenizer)
        assert load_checkpoint(tmp_path / name)[0].vocabulary == model.vocabulary
        captioner = checkpoint_captioner(tmp_path / name)
        captions.append([captioner.caption(picture.numpy()).text for picture in pixels])
        captions[-1] += [captioner.caption(picture.numpy(), decode="greedy").text for picture in pixels]
    assert captions[0] == captions[1]
    assert all(len(text) > 3 for text in captions[0])


def test_a_parallel_model_needs_a_mask_mark(tiny_config):
    with pytest.raises(ConfigError, match="mask_id is None; needed: the id of a mask mark"):
        build_model(dataclasses.replace(tiny_config, marks=Marks(mask_id=None)))
    assert build_model(dataclasses.replace(small_config(), marks=Marks(mask_id=None))).vocabulary.barred == (0, 1, 2, 4)
