"""The losses, against loops that spell them out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastcap.layers import ImageTokens
from fastcap.losses.language import causal_loss, mask_tokens, masked_loss, read_causally, read_masked
from fastcap.losses.reward import causal_reward_loss, reward_loss

PAD, BOS, EOS, MASK = range(4)

LENGTHS = torch.tensor([5, 1, 7, 3])


@pytest.fixture
def decoder(tiny_model):
    return tiny_model.decoder.double()


@pytest.fixture
def state(decoder):
    generator = torch.Generator().manual_seed(0)
    tokens, pooled = (torch.randn(*shape, generator=generator).double() for shape in ((2, 4, 32), (2, 32)))
    return decoder.prepare(ImageTokens(tokens, pooled))


@pytest.fixture
def token_ids() -> Tensor:
    """Two captions an image, padded."""
    ids = torch.randint(5, 300, (4, 7), generator=torch.Generator().manual_seed(1))
    return torch.where(torch.arange(7) < LENGTHS[:, None], ids, PAD)


def smoothed(logits: Tensor, target: int, smoothing: float) -> float:
    log_p = logits.log_softmax(dim=-1)
    return float(-(1 - smoothing) * log_p[target] - smoothing * log_p.mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@torch.no_grad()
def test_the_causal_loss_is_the_mean_over_tokens_and_end_marks(decoder, state, token_ids, smoothing):
    parts = []
    for row, length in enumerate(LENGTHS.tolist()):
        inputs = torch.full((4, length + 1), BOS)
        inputs[row, 1:] = token_ids[row, :length]
        logits = decoder.logits(inputs, state, causal=True)[row]
        targets = [*token_ids[row, :length].tolist(), EOS]
        parts += [smoothed(logits[place], target, smoothing) for place, target in enumerate(targets)]
    assert len(parts) == int(LENGTHS.sum()) + 4
    loss = causal_loss(decoder, read_causally(decoder, state, token_ids), token_ids, LENGTHS, smoothing)
    assert loss.item() == pytest.approx(sum(parts) / len(parts))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@torch.no_grad()
def test_the_masked_loss_is_the_mean_over_masked_tokens_alone(decoder, state, token_ids, smoothing):
    masked = mask_tokens(token_ids, LENGTHS, torch.Generator().manual_seed(2))
    parts = []
    for row in range(4):
        inputs = token_ids.clone()
        inputs[masked] = MASK
        logits = decoder.logits(inputs, state, causal=False, lengths=LENGTHS)[row]
        places = masked[row].nonzero().flatten().tolist()
        parts += [smoothed(logits[place], int(token_ids[row, place]), smoothing) for place in places]
    loss = masked_loss(decoder, read_masked(decoder, state, token_ids, LENGTHS, masked), token_ids, masked, smoothing)
    assert loss.item() == pytest.approx(sum(parts) / len(parts))


@torch.no_grad()
def test_what_stands_in_the_padding_changes_neither_loss(decoder, state, token_ids):
    inside = torch.arange(7) < LENGTHS[:, None]
    other = torch.where(inside, token_ids, 17)
    masked = mask_tokens(token_ids, LENGTHS, torch.Generator().manual_seed(2))
    for ids in (token_ids, other):
        losses = [
            causal_loss(decoder, read_causally(decoder, state, ids), ids, LENGTHS, 0.1).item(),
            masked_loss(decoder, read_masked(decoder, state, ids, LENGTHS, masked), ids, masked, 0.1).item(),
        ]
        if ids is token_ids:
            expected = losses
    assert losses == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 10_000))
def test_between_one_and_all_tokens_are_masked_and_none_outside(lengths, seed):
    lengths_ = torch.tensor(lengths)
    masked = mask_tokens(torch.zeros(len(lengths), 9), lengths_, torch.Generator().manual_seed(seed))
    assert not (masked & (torch.arange(9) >= lengths_[:, None])).any()
    assert ((masked.sum(dim=1) >= 1) & (masked.sum(dim=1) <= lengths_)).all()


def test_every_number_of_masks_and_every_place_is_as_likely():
    masked = mask_tokens(torch.zeros(8000, 6), torch.full((8000,), 4), torch.Generator().manual_seed(0))
    counts = masked.sum(dim=1).bincount(minlength=7)
    assert counts.tolist() == pytest.approx([0, 2000, 2000, 2000, 2000, 0, 0], abs=200)
    assert masked.sum(dim=0).tolist() == pytest.approx([5000] * 4 + [0, 0], abs=200)


# Reward


def reward_step(decoder, state, samples: int, wanted: int, masked: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The loss when a caption earns 1 for every wanted token."""
    token_ids = torch.full((4, 7), 9)
    return reward_loss(
        decoder,
        state,
        token_ids,
        torch.full((4,), 7),
        masked,
        samples,
        lambda captions: (captions == wanted).double().sum(dim=2),
        torch.Generator().manual_seed(seed),
    )


def test_the_gradient_raises_the_probability_of_what_earns_more(decoder, state):
    masked = torch.zeros(4, 7, dtype=torch.bool)
    masked[:, 2:5] = True
    lengths, inputs = torch.full((4,), 7), torch.full((4, 7), 9).masked_fill(masked, MASK)

    def probability() -> float:
        with torch.no_grad():
            logits = decoder.logits(inputs, state, causal=False, lengths=lengths)
        return logits.softmax(dim=-1)[masked][:, 42].mean().item()

    with torch.no_grad():
        decoder.bias[42] += 4  # so that it is drawn now and then
    before, optimizer = probability(), torch.optim.SGD([decoder.bias], 1.0)
    for seed in range(5):
        optimizer.zero_grad()
        loss, _ = reward_step(decoder, state, 8, 42, masked, seed)
        loss.backward(retain_graph=True)
        optimizer.step()
    assert probability() > 1.5 * before


def test_the_loss_is_the_policy_gradient_with_the_siblings_mean_as_baseline(decoder, state):
    masked = torch.zeros(4, 7, dtype=torch.bool)
    masked[0, 1] = masked[2, 3] = masked[2, 6] = True
    drawn: list[Tensor] = []
    rewards = torch.tensor([[1.0, 0, 4, 0], [2, 0, 0, 0], [6, 0, 2, 0]]).double()

    def reward(captions: Tensor) -> Tensor:
        drawn.append(captions)
        return rewards

    token_ids, lengths = torch.full((4, 7), 9), torch.full((4,), 7)
    loss, mean = reward_loss(decoder, state, token_ids, lengths, masked, 3, reward, torch.Generator().manual_seed(0))
    assert mean.item() == pytest.approx(rewards.mean().item())
    (captions,) = drawn
    assert (captions[:, ~masked] == 9).all()
    assert (captions[:, masked] >= 5).all()
    logits = decoder.logits(token_ids.masked_fill(masked, MASK), state, causal=False, lengths=lengths).detach()
    logits[..., :5] = -torch.inf
    log_p, terms = logits.log_softmax(dim=-1), []
    for row, place in masked.nonzero().tolist():
        for sample in range(3):
            others = [float(rewards[other, row]) for other in range(3) if other != sample]
            advantage = float(rewards[sample, row]) - sum(others) / 2
            terms.append(-advantage * float(log_p[row, place, int(captions[sample, row, place])]))
    assert loss.item() == pytest.approx(sum(terms) / len(terms))


def test_samples_that_all_earn_the_same_teach_nothing(decoder, state):
    masked = torch.ones(4, 7, dtype=torch.bool)
    loss, mean = reward_step(decoder, state, 4, wanted=-1, masked=masked)
    assert loss.item() == 0
    assert mean.item() == 0
    loss.backward(retain_graph=True)
    assert not decoder.bias.grad.any()


def test_samples_follow_the_models_probabilities(decoder, state):
    masked = torch.zeros(4, 7, dtype=torch.bool)
    masked[0, 0] = True
    with torch.no_grad():
        decoder.bias[:] = -1e3
        decoder.bias[42], decoder.bias[43] = 1e3, 1e3
        inputs = torch.full((4, 7), 9).masked_fill(masked, MASK)
        logits = decoder.logits(inputs, state, causal=False, lengths=torch.full((4,), 7))[0, 0]
    _, mean = reward_step(decoder, state, 4000, 42, masked)
    share = mean.item() * 4  # one row of four earns anything
    expected = 1 / (1 + math.exp(float(logits[43] - logits[42])))
    assert share == pytest.approx(expected, abs=0.04)


@torch.no_grad()
def test_captions_drawn_from_left_to_right_are_compared_with_those_of_the_same_image(decoder, state):
    """Token by token, end marks included, padding left out: the policy gradient written out."""
    samples, n_images = 3, state.context.shape[0]
    rng = np.random.default_rng(0)
    rows = [list(map(int, rng.integers(5, 40, size=rng.integers(1, 6)))) for _ in range(samples * n_images)]
    earned = rng.random(samples * n_images)
    padded = torch.tensor([row + [PAD] * (6 - len(row)) for row in rows])

    def reward(captions: Tensor) -> Tensor:
        """The captions as they are compared: (samples, images, tokens)."""
        for sample in range(samples):
            for image in range(n_images):
                assert torch.equal(captions[sample, image], padded[image * samples + sample])
        return torch.from_numpy(earned).view(n_images, samples).t()

    lengths = torch.tensor([len(row) for row in rows])
    loss, mean = causal_reward_loss(decoder, state, padded, lengths, samples, reward)
    terms = []
    for index, row in enumerate(rows):
        family = earned[index // samples * samples :][:samples]
        better = earned[index] - (family.sum() - earned[index]) / (samples - 1)
        given = padded.clone()
        given[index, : len(row)] = torch.tensor(row)
        log_p = decoder.logits(torch.cat([torch.full_like(given[:, :1], BOS), given], dim=1), state, causal=True)
        log_p = log_p.log_softmax(dim=-1)[index]
        terms += [-better * float(log_p[place, token]) for place, token in enumerate([*row, EOS])]
    assert loss.item() == pytest.approx(np.mean(terms))
    assert mean.item() == pytest.approx(earned.mean())
