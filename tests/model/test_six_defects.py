"""The six defects that the autoregressive family's first author admitted, each closed by a test of its name."""

from __future__ import annotations

import gc
import itertools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_model import EXPERTS, small_config, small_model
from torch import Tensor

from fastcap.alignment.cmfa import CONTRASTS, recall
from fastcap.layers import FeedForward, ImageTokens, KeyValueCache
from fastcap.losses.forcing import forced_tokens
from fastcap.losses.language import balance_loss, causal_loss, read_causally
from fastcap.model import CaptionModel, build_model
from invariants import assert_batch_equals_single, assert_cached_equals_full, assert_causal, assert_padding_blind

PAD, BOS, N_MARKS = 0, 1, 5


def random_image(n_images: int = 2) -> ImageTokens:
    generator = torch.Generator().manual_seed(1)
    return ImageTokens(*(torch.randn(*shape, generator=generator) for shape in ((n_images, 4, 32), (n_images, 32))))


def random_captions(lengths: Tensor) -> Tensor:
    ids = torch.randint(N_MARKS, 300, (len(lengths), int(lengths.max())), generator=torch.Generator().manual_seed(2))
    return torch.where(torch.arange(ids.shape[1]) < lengths[:, None], ids, PAD)


def train_step(model: CaptionModel, optimizer: torch.optim.Optimizer, pixels: Tensor, token_ids: Tensor) -> float:
    """One step on captions (B, T), as many as pictures, all of the same length; the loss."""
    lengths = torch.full((len(token_ids),), token_ids.shape[1])
    state = model.decoder.prepare(model.encode(pixels))
    loss = causal_loss(model.decoder, read_causally(model.decoder, state, token_ids, lengths), token_ids, lengths, 0.0)
    if state.routings:
        loss = loss + 0.01 * balance_loss(state)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# 1. Gibberish


@pytest.mark.slow
@pytest.mark.parametrize("decoder", [{}, EXPERTS], ids=["dense", "experts"])
def test_1_no_gibberish_four_images_are_overfitted_to_exact_captions(decoder):
    """In free-running decode: every word rests on the words the model said itself."""
    torch.manual_seed(0)
    model = build_model(small_config(dropout=0.0, **decoder)).train()
    pixels = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    captions = random_captions(torch.full((4,), 8))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(300):
        if train_step(model, optimizer, pixels, captions) < 0.02:
            break
    model.eval()
    with torch.no_grad():
        image = model.encode(pixels)
    for beams in (1, 3):
        found = [hypotheses[0].token_ids for hypotheses in model.search(image, beams=beams)]
        assert found == captions.tolist()


# 2. Loops over experts and positions


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 6), st.data())
def test_2_experts_run_vectorised_as_the_nested_loops_say(n_tokens, n_experts, data):
    top_k = data.draw(st.integers(1, n_experts))
    torch.manual_seed(n_tokens)
    experts = FeedForward(8, 6, n_experts).double()
    for bias in (experts.bias_in, experts.bias_out):
        torch.nn.init.normal_(bias)
    x = torch.randn(n_tokens, 8).double().requires_grad_()
    probabilities = torch.rand(n_tokens, n_experts).double()
    chosen = probabilities.topk(top_k).indices
    weights = probabilities.gather(1, chosen).requires_grad_()
    fast, slow = experts.dispatch(x, chosen, weights), experts.forward_reference(x[:, None], chosen, weights)[:, 0]
    torch.testing.assert_close(fast, slow)
    inputs = (x, weights, *experts.parameters())
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), inputs) for y in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b)


# 3. Masks


@pytest.fixture(scope="module", params=[{}, EXPERTS], ids=["dense", "experts"])
def decoder(request):
    return small_model(**request.param).decoder.double()


def state_of(decoder):
    with torch.no_grad():
        return decoder.prepare(ImageTokens(*(part.double() for part in random_image())))


def test_3_changing_a_token_never_changes_what_stands_before_it(decoder):
    token_ids = torch.cat([torch.full((2, 1), BOS), random_captions(torch.tensor([7, 7]))], dim=1)
    assert_causal(decoder, state_of(decoder), token_ids)


def test_3_no_logits_of_a_caption_see_its_padding(decoder):
    state, lengths = state_of(decoder), torch.tensor([7, 3, 5, 1])
    assert_padding_blind(
        lambda ids, lengths: decoder.logits(ids, state, lengths=lengths), random_captions(lengths), lengths
    )


@torch.no_grad()
def test_3_captions_of_several_images_are_read_as_each_alone(decoder):
    image, token_ids = random_image(), random_captions(torch.full((4,), 7))
    together = decoder.logits(token_ids, state_of(decoder))

    def alone(row: int) -> Tensor:
        own = ImageTokens(*(part[row // 2 : row // 2 + 1].double() for part in image))
        return decoder.logits(token_ids[row : row + 1], decoder.prepare(own))[0]

    assert_batch_equals_single(together, alone)


def test_3_changing_padding_changes_nothing():
    """Neither the loss, nor its gradient, nor the routing loss, nor the balance of experts."""
    outcomes = []
    for padding, extra in ((PAD, 0), (17, 0), (PAD, 3)):
        model = small_model(balancing="bias", dropout=0.0, **EXPERTS).double().train()
        lengths = torch.tensor([7, 3, 5, 1])
        token_ids = torch.nn.functional.pad(random_captions(lengths), (0, extra))
        token_ids[torch.arange(7 + extra) >= lengths[:, None]] = padding
        state = model.decoder.prepare(ImageTokens(*(part.double() for part in random_image())))
        hidden = read_causally(model.decoder, state, token_ids, lengths)
        loss = causal_loss(model.decoder, hidden, token_ids, lengths, 0.1) + balance_loss(state)
        loss.backward()
        balance = torch.cat([layer.network.bias for layer in model.decoder.layers])
        assert balance.any()
        outcomes.append((loss.detach(), model.decoder.layers[0].self_attention.project_in.weight.grad, balance))
    for outcome in outcomes[1:]:
        torch.testing.assert_close(outcome, outcomes[0])


def test_3_stepping_with_a_cache_is_reading_at_once(decoder):
    token_ids = torch.cat([torch.full((4, 1), BOS), random_captions(torch.full((4,), 9))], dim=1)
    assert_cached_equals_full(decoder, state_of(decoder), token_ids)


# 4. Teacher forcing


def test_4_forcing_always_is_teacher_forcing_bit_for_bit():
    """The same tokens, the same random numbers after it, dropout and all: nothing was read or drawn on the way."""
    model, lengths = small_model(dropout=0.3).train(), torch.tensor([7, 3, 5, 1])
    token_ids, losses = random_captions(lengths), []
    for forced in (False, True):
        torch.manual_seed(3)
        state = model.decoder.prepare(random_image())
        given_ids = forced_tokens(model.decoder, state, token_ids, lengths, None, 1) if forced else token_ids
        hidden = read_causally(model.decoder, state, given_ids, lengths)
        losses.append((causal_loss(model.decoder, hidden, token_ids, lengths, 0.1), torch.rand(3)))
    assert torch.equal(losses[0][0], losses[1][0])
    assert torch.equal(losses[0][1], losses[1][1])


@torch.no_grad()
def test_4_forcing_never_is_free_running(decoder):
    """With as many passes as tokens, what the reader is given is what it says word by word, and so is what it says to
    that; with fewer, as many words are its own as there were passes."""
    state, lengths = state_of(decoder), torch.full((2,), 6)
    true_ids, cache, said, logits = random_captions(lengths), KeyValueCache(2), [torch.full((2,), BOS)], []
    for _ in range(7):
        logits.append(decoder.logits(said[-1][:, None], state, cache=cache)[:, -1])
        said.append(logits[-1][:, N_MARKS:].argmax(dim=-1) + N_MARKS)
    free = torch.stack(said[1:7], dim=1)
    assert not (free == true_ids).all(dim=0).any()
    none_given = torch.zeros_like(true_ids, dtype=torch.bool)
    for passes in (1, 3, 6, 9):
        given_ids = forced_tokens(decoder, state, true_ids, lengths, none_given, passes)
        assert torch.equal(given_ids[:, :passes], free[:, :passes])
    torch.testing.assert_close(decoder.project(read_causally(decoder, state, given_ids)), torch.stack(logits, dim=1))


# 5. Memory


@pytest.mark.slow
def test_5_live_memory_is_flat_over_a_thousand_steps():
    """By a straight line: the bytes of all living tensors grow by less than 1 kB a step, and Python's objects by less
    than one a step."""
    torch.manual_seed(0)
    model = build_model(small_config(**EXPERTS)).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    captions = random_captions(torch.full((2,), 6))
    steps, tensors, objects = [], [], []
    for step in range(1000):
        train_step(model, optimizer, pixels, captions)
        if step % 100 == 99:
            gc.collect()
            alive = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in living_tensors()}
            steps.append(step)
            tensors.append(sum(alive.values()))
            objects.append(sys.getallocatedblocks())
    assert abs(np.polyfit(steps, tensors, 1)[0]) < 1000
    assert abs(np.polyfit(steps, objects, 1)[0]) < 1


def living_tensors() -> list[Tensor]:
    return [value for value in gc.get_objects() if issubclass(type(value), Tensor)]


# 6. The sigmoid loss


@pytest.mark.parametrize("count", [2, 3])
def test_6_the_sigmoid_loss_is_the_formula_pair_by_pair(count):
    logits = torch.randn(count, count, generator=torch.Generator().manual_seed(0)).double()
    total = 0.0
    for image, text in itertools.product(range(count), repeat=2):
        sign = 1.0 if image == text else -1.0
        total -= float(torch.log(1 / (1 + torch.exp(-sign * logits[image, text]))))
    assert CONTRASTS["sigmoid"](logits).item() == pytest.approx(total / count)


def test_6_retrieval_learns_from_the_sigmoid_loss_and_not_without_it():
    """Twelve images and their texts, found again after 60 steps with the loss; by chance alone without it."""
    found = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        model = build_model(small_config(dropout=0.0))
        alignment = model.alignment.eval()
        image, lengths = random_image(12), torch.full((12,), 5)
        token_ids = random_captions(lengths)
        optimizer = torch.optim.AdamW([*alignment.parameters(), *model.decoder.embedding.parameters()], 3e-3)
        for _ in range(60):
            logits = alignment.logits(alignment.embed_image(image), model.embed_text(token_ids, lengths))
            (weight * CONTRASTS["sigmoid"](logits)).backward()
            optimizer.step()
            optimizer.zero_grad()
        found[weight] = recall(logits.detach(), torch.arange(12), at=(1,))["image_to_text_1"]
    assert found[1.0] >= 0.9
    assert found[0.0] <= 0.3
