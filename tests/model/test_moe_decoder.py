"""The mixture-of-experts decoder: its experts, its router, and one network read in two ways."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fastcap.alignment.cmfa import contrastive_loss
from fastcap.decoder.moe_decoder import ImageState, MoEDecoder, Router, Routing
from fastcap.layers import FeedForward, ImageTokens, KeyValueCache, SelfAttention
from fastcap.losses.language import (
    balance_loss,
    causal_loss,
    length_loss,
    mask_tokens,
    masked_loss,
    read_causally,
    read_masked,
)
from fastcap.vocabulary import Vocabulary
from invariants import assert_batch_equals_single, assert_cached_equals_full, assert_causal, assert_padding_blind

N_IMAGES, LENGTH, VOCABULARY = 3, 7, 300


@pytest.fixture
def decoder(tiny_model) -> MoEDecoder:
    return tiny_model.decoder.double()


@pytest.fixture
def image() -> ImageTokens:
    torch.manual_seed(1)
    return ImageTokens(torch.randn(N_IMAGES, 4, 32).double(), torch.randn(N_IMAGES, 32).double())


@pytest.fixture
def token_ids() -> Tensor:
    return torch.randint(5, VOCABULARY, (N_IMAGES, LENGTH), generator=torch.Generator().manual_seed(2))


# Experts


def experts(n_experts: int = 4) -> FeedForward:
    torch.manual_seed(3)
    module = FeedForward(8, 12, n_experts)
    with torch.no_grad():
        module.bias_in.normal_()
        module.bias_out.normal_()
    return module


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_gathered_experts_equal_the_nested_loops_in_values_and_gradients(top_k):
    module = experts()
    chosen = torch.stack([torch.randperm(4)[:top_k] for _ in range(5)])
    weights, x = torch.rand(5, top_k), torch.randn(5, 6, 8)
    results = []
    for y in (module(x, module.select(chosen, weights)), module.forward_reference(x, chosen, weights)):
        results.append((y, *torch.autograd.grad(y.square().sum(), tuple(module.parameters()))))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


def test_an_expert_that_is_not_chosen_gets_no_gradient_at_all():
    module = experts()
    module(torch.randn(2, 6, 8), module.select(torch.tensor([[1], [3]]), torch.ones(2, 1))).square().sum().backward()
    for parameter in module.parameters():
        used = parameter.grad.flatten(1).abs().sum(dim=1) > 0
        assert used.tolist() == [False, True, False, True]


def flops_of_decoding(n_experts: int, top_k: int, d_hidden: int) -> int:
    torch.manual_seed(0)
    decoder = MoEDecoder(Vocabulary(size=VOCABULARY), 32, 2, 4, d_hidden, n_experts, top_k, 12, 0.1, "rala").eval()
    state = decoder.prepare(ImageTokens(torch.randn(2, 4, 32), torch.randn(2, 32)))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        decoder.logits(torch.full((2, 7), 9), state, causal=True)
    return counter.get_total_flops()


def test_one_of_four_experts_costs_what_a_dense_decoder_of_its_active_size_costs():
    assert flops_of_decoding(4, 1, 48) == flops_of_decoding(1, 1, 48)
    assert flops_of_decoding(4, 2, 48) == flops_of_decoding(1, 1, 96)


# The router


def test_the_router_takes_the_likeliest_and_its_weights_sum_to_one():
    torch.manual_seed(0)
    router = Router(8, 4, 2).eval()
    routing = router(torch.randn(5, 8))
    for image in range(5):
        expected = sorted(range(4), key=lambda expert: -routing.probabilities[image, expert])[:2]
        assert routing.chosen[image].tolist() == expected
    torch.testing.assert_close(routing.weights.sum(dim=1), torch.ones(5))
    share = routing.probabilities.gather(1, routing.chosen)
    torch.testing.assert_close(routing.weights, share / share.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("top_k", [1, 2])
def test_the_task_loss_alone_teaches_the_gate(tiny_config, image, token_ids, top_k):
    decoder = MoEDecoder(Vocabulary(size=VOCABULARY), 32, 2, 4, 48, 4, top_k, 12, 0.0, "rala").double().train()
    loss = causal_loss(
        decoder,
        read_causally(decoder, decoder.prepare(image), token_ids),
        token_ids,
        torch.full((N_IMAGES,), LENGTH),
        0.0,
    )
    loss.backward()
    for layer in decoder.layers:
        assert layer.router.gate.weight.grad.abs().sum() > 0


def test_training_changes_no_value_of_the_routing():
    """The factor that carries the gate's gradient is 1."""
    router, pooled = Router(8, 4, 1), torch.randn(5, 8)
    torch.testing.assert_close(router.train()(pooled).weights, router.eval()(pooled).weights)


@pytest.mark.parametrize("top_k", [0, 5])
def test_a_number_of_experts_that_is_not_there_is_refused(top_k):
    with pytest.raises(ValueError, match=rf"top_k is {top_k}; allowed: 1\.\.4"):
        Router(8, 4, top_k)


def state_with(probabilities: Tensor) -> ImageState:
    chosen = probabilities.argmax(dim=1, keepdim=True)
    return ImageState(
        torch.zeros(len(probabilities), 2), [], [Routing(chosen, torch.ones(len(chosen), 1), probabilities)], []
    )


def test_balance_is_1_when_experts_are_used_evenly_and_their_number_when_one_gets_all():
    even = 0.25 + 1e-6 * torch.eye(4)
    assert balance_loss(state_with(even)).item() == pytest.approx(1, abs=1e-4)
    assert balance_loss(state_with(torch.eye(4)[[2, 2, 2]])).item() == pytest.approx(4)


def test_balance_is_e_times_the_sum_of_shares_times_mean_probabilities():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.3, 0.6]])
    expected = 3 * (2 / 3 * (1.3 / 3) + 0 * 0.3 + 1 / 3 * (0.8 / 3))
    assert balance_loss(state_with(probabilities)).item() == pytest.approx(expected)


# One network, two readings


def test_causal_a_token_changes_nothing_before_it(decoder, image, token_ids):
    assert_causal(decoder, decoder.prepare(image), token_ids, exact=True)


@torch.no_grad()
def test_parallel_a_token_changes_everything(decoder, image, token_ids):
    state, lengths = decoder.prepare(image), torch.full((N_IMAGES,), LENGTH)
    before = decoder.logits(token_ids, state, causal=False, lengths=lengths)
    changed = token_ids.clone()
    changed[:, 4] += 1
    assert ((decoder.logits(changed, state, causal=False, lengths=lengths) - before).abs().amax(dim=2) > 0).all()


def test_stepping_with_a_cache_equals_reading_at_once(decoder, image, token_ids):
    assert_cached_equals_full(decoder, decoder.prepare(image), token_ids)


@torch.no_grad()
def test_a_reordered_cache_goes_on_from_other_pasts(decoder, image, token_ids):
    one = ImageTokens(image.tokens[:1], image.pooled[:1])
    state, cache, rows = decoder.prepare(one), KeyValueCache(2), torch.tensor([2, 0, 0])
    decoder.logits(token_ids[:, :-1], state, causal=True, cache=cache)
    cache.reorder(rows)
    last = decoder.logits(token_ids[:, -1:], state, causal=True, cache=cache)
    joined = torch.cat([token_ids[rows, :-1], token_ids[:, -1:]], dim=1)
    torch.testing.assert_close(last[:, 0], decoder.logits(joined, state, causal=True)[:, -1])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("lengths", [[7, 3, 5], [7, 7, 7]])
def test_what_stands_past_the_length_changes_nothing(decoder, image, token_ids, causal, lengths):
    state = decoder.prepare(image)

    def read(ids: Tensor, lengths: Tensor) -> Tensor:
        return decoder.logits(ids, state, causal=causal, lengths=None if causal else lengths)

    assert_padding_blind(read, token_ids, torch.tensor(lengths))


@torch.no_grad()
def test_parallel_the_number_of_tokens_that_remain_is_seen(decoder, image, token_ids):
    """Two lengths, the same tokens in sight of one another: a caption about to end reads another way."""
    state = decoder.prepare(image)
    short = decoder.logits(token_ids[:, :1], state, causal=False, lengths=torch.tensor([1, 1, 1]))
    decoder.remaining.zero_()
    assert not torch.allclose(
        short, decoder.logits(token_ids[:, :1], state, causal=False, lengths=torch.tensor([1, 1, 1]))
    )


def test_the_parallel_reading_asks_for_lengths(decoder, image, token_ids):
    with pytest.raises(ValueError, match="needs the lengths"):
        decoder.logits(token_ids, decoder.prepare(image), causal=False)


@pytest.mark.parametrize("causal", [True, False])
@torch.no_grad()
def test_many_captions_of_many_images_are_read_as_each_alone(decoder, image, causal):
    rows = torch.randint(5, VOCABULARY, (N_IMAGES * 4, LENGTH), generator=torch.Generator().manual_seed(4))
    lengths = torch.randint(1, LENGTH + 1, (len(rows),), generator=torch.Generator().manual_seed(5))
    together = decoder.logits(rows, decoder.prepare(image), causal=causal, lengths=lengths)

    def alone(row: int) -> Tensor:
        index = slice(row // 4, row // 4 + 1)
        state = decoder.prepare(ImageTokens(image.tokens[index], image.pooled[index]))
        own = lengths[row : row + 1]
        return decoder.logits(rows[row : row + 1], state, causal=causal, lengths=own)[0, : int(own)]

    assert_batch_equals_single([row[:length] for row, length in zip(together, lengths, strict=True)], alone)


def test_the_image_is_prepared_once_for_both_readings_and_all_passes(decoder, image, token_ids, monkeypatch):
    state = decoder.prepare(image)
    for layer in decoder.layers:
        for module in (layer.router, layer.cross_attention.key, layer.cross_attention.value):
            monkeypatch.setattr(module, "forward", None)  # reading the image again would fail
    with torch.no_grad():
        decoder.logits(token_ids, state, causal=True)
        for _ in range(3):
            decoder.logits(token_ids, state, causal=False, lengths=torch.full((N_IMAGES,), LENGTH))


def test_every_weight_that_captions_is_trained(tiny_model):
    """Both readings, the length, the balance and the alignment: no weight of the model is left without a gradient."""
    model, generator = tiny_model.train(), torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8, generator=generator)
    image = model.encode(pixels)
    state = model.decoder.prepare(image)
    token_ids = torch.randint(5, VOCABULARY, (16, 12), generator=generator)
    lengths = torch.full((16,), 12)
    masked = mask_tokens(token_ids, lengths, generator)
    target = torch.full((8, 13), 1 / 13)
    loss = (
        masked_loss(
            model.decoder, read_masked(model.decoder, state, token_ids, lengths, masked), token_ids, masked, 0.1
        )
        + causal_loss(model.decoder, read_causally(model.decoder, state, token_ids), token_ids, lengths, 0.1)
        + length_loss(model.length_predictor(image.pooled), target)
        + balance_loss(state)
        + contrastive_loss(model.alignment, "sigmoid", image, model.decoder.embedding(token_ids), lengths)
    )
    loss.backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    # Softmax takes no notice of what is added to all: the gradient of that bias is what rounding leaves, or 0.
    assert set(idle) <= {"alignment.question.bias"}


def test_self_attention_needs_heads_that_divide_the_width():
    with pytest.raises(ValueError, match="d_model 30 is not a multiple of n_heads 4"):
        SelfAttention(30, 4)
