"""From many image tokens to few: what is kept, what has a gradient, and that graphs do the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from fastcap.backbone.token_selection import SELECTIONS, TokenSelection
from fastcap.config import PrefixConfig
from fastcap.errors import ConfigError
from fastcap.evaluation.attention import attention_maps, draw_attention, kept_tokens
from fastcap.export.compare import compare_steps, open_stepper
from fastcap.export.families import EXPORTS
from fastcap.layers import pool_grid
from tiny_parts import changed, prefix_config, prefix_model, write_language_model, write_tower


def learned(n_image=36, n_tokens=9, d_image=5) -> TokenSelection:
    torch.manual_seed(0)
    return TokenSelection(d_image, n_image, n_tokens, "learned").eval()


def test_the_most_important_tokens_stay_in_the_order_of_the_grid():
    selection, tokens = learned(), torch.randn(3, 36, 5)
    kept = selection.kept(tokens)
    for scores, places in zip(selection.scores(tokens), kept, strict=True):
        others = np.setdiff1d(np.arange(36), places)
        assert scores[places].min() >= scores[others].max()
        assert (places.diff() > 0).all()
    rows = torch.arange(3)[:, None]
    torch.testing.assert_close(selection(tokens), tokens[rows, kept])  # places begin as nothing


def test_in_training_others_have_a_chance_and_values_stay_what_they_are():
    selection, tokens = learned().train(), torch.randn(1, 36, 5)
    seen = set()
    for _ in range(60):
        chosen = selection(tokens)[0]
        places = [int((tokens[0] - token).abs().sum(dim=1).argmin()) for token in chosen]
        torch.testing.assert_close(chosen, tokens[0, places])
        seen |= set(places)
    assert len(seen) > 30


def test_importance_learns_which_tokens_help():
    """One of 16 tokens says what is asked; the loss alone tells which."""
    torch.manual_seed(0)
    selection, head = TokenSelection(6, 16, 4, "learned"), torch.nn.Linear(6, 1)
    optimizer = torch.optim.Adam([*selection.parameters(), *head.parameters()], lr=2e-2)

    def batch():
        tokens, place = torch.randn(128, 16, 6), torch.randint(16, (128,))
        tokens[torch.arange(128), place, :2] = torch.stack([torch.full((128,), 4.0), 3 * torch.randn(128)], dim=1)
        return tokens, place, tokens[torch.arange(128), place, 1]

    for _ in range(120):
        tokens, _, target = batch()
        error = (head(selection(tokens).sum(dim=1))[:, 0] - target).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    tokens, place, _ = batch()
    found = (selection.eval().kept(tokens) == place[:, None]).any(dim=1).float().mean()
    assert found > 0.45  # a quarter by chance


def test_pooling_is_the_mean_of_cells_and_has_no_weights():
    selection, tokens = TokenSelection(5, 36, 9), torch.randn(2, 36, 5)
    torch.testing.assert_close(selection(tokens), pool_grid(tokens, 9))
    assert not list(selection.parameters()) and not selection.state_dict()


def test_random_tokens_change_in_training_alone():
    selection, tokens = TokenSelection(5, 36, 7, "random", seed=3), torch.randn(2, 36, 5)
    assert not torch.equal(*selection.train().kept(tokens)) and not selection.state_dict().keys() & {"fixed"}
    kept = selection.eval().kept(tokens)
    assert torch.equal(*kept) and torch.equal(kept, TokenSelection(5, 36, 7, "random", seed=3).eval().kept(tokens))


@pytest.mark.parametrize("kind", SELECTIONS)
def test_weights_say_what_was_selected(kind):
    torch.manual_seed(0)
    selection, tokens = TokenSelection(5, 36, 9, kind).eval(), torch.randn(2, 36, 5)
    weights = selection.weights(tokens)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 9))
    torch.testing.assert_close(weights @ tokens, selection(tokens))


@pytest.mark.parametrize(
    ("numbers", "kind", "told"),
    [
        ((35, 9), "learned", "9 of 35 tokens"),
        ((36, 37), "random", "37 of 36 tokens"),
        ((36, 5), "pool", "n_tokens is 5; allowed: square numbers"),
        ((36, 9), "best", "selection is 'best'; allowed: pool, learned, random"),
    ],
)
def test_what_cannot_be_selected_is_refused(numbers, kind, told):
    with pytest.raises(ValueError, match=told):
        TokenSelection(5, *numbers, kind)


# --- as part of a prefix model --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    root = tmp_path_factory.mktemp("parts")
    return prefix_config(write_language_model(root / "language"), write_tower(root / "eye"))


KINDS = {
    "learned": {"selection": "learned", "image_tokens": 5},
    "random": {"selection": "random", "image_tokens": 5},
    "flash": {"projection": "resampler", "image_tokens": 5, "d_hidden": 16},
    "linear": {"projection": "resampler", "image_tokens": 5, "d_hidden": 16, "attention": "linear"},
    "strided": {"projection": "resampler", "image_tokens": 5, "d_hidden": 16, "attention": "strided"},
}


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_graphs_select_and_resample_as_the_model_does_and_explain_shows_it(kind, config, tmp_path):
    model, _ = prefix_model(changed(config, **KINDS[kind]))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    EXPORTS["prefix"].parts(model, tmp_path)
    EXPORTS["prefix"].assemble(tmp_path, tmp_path / "fp32", model.config)
    agreement = compare_steps(model, open_stepper(tmp_path / "fp32", "prefix"), pictures, beams=2)
    assert agreement.equal_captions == 1 and agreement.difference < 1e-4
    image = model.encode(torch.from_numpy(pictures[:1]))
    maps, kept = attention_maps(model, image, [9, 8, 7]), kept_tokens(model, image)
    assert maps.shape == (3, 16)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(3), rtol=1e-3, atol=1e-3)
    if "selection" in KINDS[kind]:
        assert kept.sum() == 5 and not maps[:, torch.from_numpy(kept == 0)].any()
        draw_attention(pictures[0], [("a", [0]), ("dog", [1, 2])], maps.numpy(), tmp_path / "a.png", kept=kept)
        assert (tmp_path / "a.png").stat().st_size > 1000
    else:
        assert kept is None


def test_settings_of_a_selection_are_checked():
    settings = PrefixConfig(selection="learned", image_tokens=50)
    with pytest.raises(ConfigError, match="image_tokens is 50; allowed: square numbers"):
        dataclasses.replace(settings, selection="pool")
    with pytest.raises(ConfigError, match="selection is 'learned'; allowed: pool, with a resampler"):
        dataclasses.replace(settings, projection="resampler")
