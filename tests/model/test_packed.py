"""The packed decoder says of one picture what the batched decoder says of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcap.export.packed import Layout, Packed, PackedDecoder
from fastcap.generation.icmr import ICMRDecoder, Refined
from fastcap.layers import ImageTokens
from fastcap.model import TorchStepper, build_model
from invariants import assert_exported_equals_eager


@pytest.fixture
def model(tiny_model):
    return tiny_model.double()


@pytest.fixture
def state(model):
    torch.manual_seed(1)
    return model.decoder.prepare(ImageTokens(torch.randn(1, 4, 32).double(), torch.randn(1, 32).double()))


@pytest.mark.parametrize("lengths", [[7], [7, 3, 5], [1, 1], [12, 2, 2, 9]])
@torch.no_grad()
def test_every_pass_is_that_of_the_batched_decoder(model, state, lengths):
    lengths = torch.tensor(lengths)
    packed, layout = PackedDecoder(model.decoder, model.refiner, model.vocabulary), Layout.of(lengths)
    assert layout.row.tolist() == [row for row, length in enumerate(lengths) for _ in range(length)]
    slow, slow_masked = model.refiner.begin(lengths, int(lengths.max()))
    fast, bias = packed.begin(layout), packed.bias(torch.zeros(()))
    masked = fast.token_ids == model.vocabulary.mask_id
    for done in range(1, model.refiner.passes + 1):
        slow, slow_masked = model.refiner.refine(model.decoder, state, slow, slow_masked, lengths, done)
        fast, masked = packed.refine(state, layout, bias, fast, masked, done)
        token_ids, probabilities = packed.unpack(layout, fast)
        assert_exported_equals_eager(Refined(token_ids, probabilities, fast.scores)._asdict(), slow._asdict(), 1e-7)
        assert packed.unpack(layout, Packed(masked.long(), fast.probabilities, fast.scores))[0].bool().tolist() == (
            slow_masked.tolist()
        )
    torch.testing.assert_close(
        packed.causal_scores(state, layout, fast.token_ids), model.causal_scores(state, slow.token_ids, lengths)
    )


@pytest.mark.parametrize("changes", [{"top_k": 2}, {"cross_attention": "linear"}])
@torch.no_grad()
def test_more_experts_are_weighed_by_their_shares_and_plain_attention_is_not_gated(tiny_config, changes):
    decoder = dataclasses.replace(tiny_config.decoder, **changes)
    model = build_model(dataclasses.replace(tiny_config, decoder=decoder)).double().eval()
    state = model.decoder.prepare(ImageTokens(torch.randn(1, 4, 32).double(), torch.randn(1, 32).double()))
    lengths = torch.tensor([5, 3])
    token_ids = torch.randint(5, 300, (2, 5))
    token_ids[1, 3:] = 0
    flat = torch.cat([token_ids[0], token_ids[1, :3]])
    packed = PackedDecoder(model.decoder, model.refiner, model.vocabulary)
    torch.testing.assert_close(
        packed.causal_scores(state, Layout.of(lengths), flat), model.causal_scores(state, token_ids, lengths)
    )


@pytest.fixture(scope="module")
def sharpened(tiny_config):
    """A model sure enough of itself that refinement changes what it says."""
    torch.manual_seed(2)
    model = build_model(tiny_config).eval()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(2, 6), st.integers(0, 10_000))
@torch.no_grad()
def test_the_kept_score_never_falls_and_lengths_stay(sharpened, lengths, passes, seed):
    generator = torch.Generator().manual_seed(seed)
    image = ImageTokens(torch.randn(1, 4, 32, generator=generator), torch.randn(1, 32, generator=generator))
    state, refiner = sharpened.decoder.prepare(image), ICMRDecoder(sharpened.vocabulary, passes)
    packed, layout = PackedDecoder(sharpened.decoder, refiner, sharpened.vocabulary), Layout.of(torch.tensor(lengths))
    kept, bias = packed.begin(layout), packed.bias(torch.zeros(()))
    masked = kept.token_ids == sharpened.vocabulary.mask_id
    for done in range(1, passes + 1):
        before = kept.scores
        kept, masked = packed.refine(state, layout, bias, kept, masked, done)
        assert (kept.scores >= before).all()
        for row, length in enumerate(lengths):
            log_p = kept.probabilities[layout.row == row].log()
            assert len(log_p) == length
            torch.testing.assert_close(kept.scores[row], log_p.mean(), atol=1e-4, rtol=1e-4)
    assert not masked.any()
    assert (kept.token_ids >= 5).all()


@pytest.mark.parametrize("changes", [{}, {"top_k": 2}, {"cross_attention": "linear"}])
@torch.no_grad()
def test_a_step_is_that_of_the_batched_decoder_whoever_is_whose_parent(tiny_config, changes):
    decoder_config = dataclasses.replace(tiny_config.decoder, **changes)
    model = build_model(dataclasses.replace(tiny_config, decoder=decoder_config)).double().eval()
    state = model.decoder.prepare(ImageTokens(torch.randn(1, 4, 32).double(), torch.randn(1, 32).double()))
    stepper, packed = TorchStepper(model.decoder), PackedDecoder(model.decoder, model.refiner, model.vocabulary)
    slow, cache = stepper.start(state, 3), torch.zeros(4, 4, 3, 0, 8).double()
    for parents in ([0, 1, 2], [2, 2, 0], [1, 1, 1], [0, 2, 1]):
        token_ids = torch.randint(5, 300, (3,))
        expected, slow = stepper.step(token_ids.numpy(), slow, np.array(parents))
        log_p, cache = packed.step(state, token_ids, torch.tensor(parents), cache)
        torch.testing.assert_close(log_p, torch.from_numpy(expected))
