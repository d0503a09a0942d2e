"""The packed decoder says of one picture what the batched decoder says of it."""

from __future__ import annotations

import pytest
import torch

from fastcap.generation.packed import Layout, Packed, PackedDecoder
from fastcap.layers import ImageTokens
from fastcap.tokens import MASK


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
    packed, layout = PackedDecoder(model.decoder, model.refiner), Layout.of(lengths)
    assert layout.row.tolist() == [row for row, length in enumerate(lengths) for _ in range(length)]
    slow, slow_masked = model.refiner.begin(lengths, int(lengths.max()))
    fast, bias = packed.begin(layout), packed.bias(torch.zeros(()))
    masked = fast.token_ids == MASK
    for done in range(1, model.refiner.passes + 1):
        slow, slow_masked = model.refiner.refine(model.decoder, state, slow, slow_masked, lengths, done)
        fast, masked = packed.refine(state, layout, bias, fast, masked, done)
        token_ids, probabilities = packed.unpack(layout, fast)
        assert token_ids.tolist() == slow.token_ids.tolist()
        torch.testing.assert_close(probabilities, slow.probabilities)
        torch.testing.assert_close(fast.scores, slow.scores)
        assert packed.unpack(layout, Packed(masked.long(), fast.probabilities, fast.scores))[0].bool().tolist() == (
            slow_masked.tolist()
        )
    torch.testing.assert_close(
        packed.causal_scores(state, layout, fast.token_ids), model.causal_scores(state, slow.token_ids, lengths)
    )


@torch.no_grad()
def test_more_experts_than_one_are_weighed_by_their_shares(tiny_config, state):
    import dataclasses

    from fastcap.model import CaptionModel

    decoder = dataclasses.replace(tiny_config.decoder, top_k=2)
    model = CaptionModel(dataclasses.replace(tiny_config, decoder=decoder)).double().eval()
    state = model.decoder.prepare(ImageTokens(torch.randn(1, 4, 32).double(), torch.randn(1, 32).double()))
    lengths = torch.tensor([5, 3])
    token_ids = torch.randint(5, 300, (2, 5))
    token_ids[1, 3:] = 0
    flat = torch.cat([token_ids[0], token_ids[1, :3]])
    packed = PackedDecoder(model.decoder, model.refiner)
    torch.testing.assert_close(
        packed.causal_scores(state, Layout.of(lengths), flat), model.causal_scores(state, token_ids, lengths)
    )
