"""Attention in three forms: each equal to its slow twin, values and gradients, and its cost as counted."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fastcap.attention import ATTENTIONS, TWINS, attend, attention_weights, multiply_adds
from fastcap.decoder.resampler import Resampler


def drawn(n_queries: int, n_keys: int, width: int = 8, heads: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (n_queries, n_keys, n_keys)
    return [torch.randn(2, heads, size, width, generator=generator, requires_grad=True) for size in sizes]


@pytest.mark.parametrize("kind", ATTENTIONS)
@pytest.mark.parametrize(("n_queries", "n_keys", "stride"), [(16, 49, 2), (5, 7, 3), (1, 4, 4), (9, 9, 1)])
def test_every_form_equals_its_slow_twin_in_values_and_gradients(kind, n_queries, n_keys, stride):
    given = drawn(n_queries, n_keys)
    fast, slow = (form[kind](*given, stride) for form in (ATTENTIONS, TWINS))
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    weight = torch.randn(fast.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((out * weight).sum(), given) for out in (fast, slow)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_weights_are_what_a_query_reads(kind):
    queries, keys, values = drawn(6, 10)
    weights = attention_weights(kind, queries, keys, 2)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 6), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(weights @ values, attend(kind, queries, keys, values, 2), rtol=1e-4, atol=1e-5)


def test_a_strided_query_reads_every_second_key_and_heads_together_read_all():
    weights = attention_weights("strided", *drawn(4, 6)[:2], 2)[0]
    assert ((weights > 0).sum(dim=-1) == 3).all()
    assert (weights[0, 0] > 0).tolist() == [True, False] * 3
    assert ((weights[0, 0] > 0) ^ (weights[1, 0] > 0)).all()


@pytest.mark.parametrize("kind", ATTENTIONS)
@pytest.mark.parametrize("n_keys", [36, 144, 576])
def test_multiply_adds_are_those_that_are_executed(kind, n_keys):
    queries, keys, values = (x.detach() for x in drawn(16, n_keys))
    # The fused kernel of a CPU is not counted; the same products by PyTorch's own are.
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
        ATTENTIONS[kind](queries, keys, values, 4)
    assert counted.get_total_flops() == 2 * 2 * 3 * multiply_adds(kind, 16, n_keys, 8, 4)  # two images, three heads


def test_softmax_to_itself_grows_with_the_square_linear_with_the_number_and_strided_by_its_stride():
    cost = {kind: [multiply_adds(kind, n, n, 64, 4) for n in (144, 576)] for kind in ATTENTIONS}
    growth = {kind: large / small for kind, (small, large) in cost.items()}
    assert growth == {"flash": 16, "linear": 4, "strided": 16}
    assert cost["flash"][1] == 4 * cost["strided"][1] > 8 * cost["linear"][1]


def test_what_cannot_attend_is_refused():
    with pytest.raises(ValueError, match="attention is 'fancy'; allowed: flash, linear, strided"):
        attend("fancy", *drawn(2, 2))
    with pytest.raises(ValueError, match="stride is 5; allowed: 1 to 4"):
        attend("strided", *drawn(2, 4), 5)


# --- the resampler ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_a_resampler_reads_all_tokens_and_their_places(kind):
    torch.manual_seed(0)
    resampler = Resampler(12, 10, 36, n_tokens=5, d_hidden=16, n_heads=4, attention=kind, scale=0.5).eval()
    tokens = torch.randn(2, 36, 12)
    prefix = resampler(tokens)
    assert prefix.shape == (2, 5, 10)
    for place in (0, 17, 35):
        other = tokens.clone()
        other[:, place] = torch.randn(2, 12)
        assert not torch.allclose(resampler(other), prefix, atol=1e-6)
    assert not torch.allclose(resampler(tokens.flip(1)), prefix, atol=1e-6)
    weights = resampler.weights(tokens)
    assert weights.shape == (2, 5, 36)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 5), rtol=1e-4, atol=1e-4)


def test_a_resampler_learns_what_pooling_cannot_see():
    torch.manual_seed(0)
    resampler = Resampler(8, 1, 16, n_tokens=1, d_hidden=32, n_heads=2)
    optimizer = torch.optim.Adam(resampler.parameters(), lr=1e-2)
    for _ in range(100):  # the third number of the one token whose first number stands out
        tokens = torch.randn(64, 16, 8)
        chosen = torch.randint(16, (64,))
        tokens[torch.arange(64), chosen, 0] = 4
        error = (resampler(tokens)[:, 0, 0] - tokens[torch.arange(64), chosen, 2]).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error < 0.5  # the mean of 16 tokens leaves 0.94 of 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"attention": "fancy"}, "attention is 'fancy'"),
        ({"d_hidden": 10}, "d_hidden is 10; allowed: multiples of n_heads, 8"),
        ({"attention": "strided", "stride": 40}, "stride is 40; allowed: 1 to 36"),
    ],
)
def test_settings_of_a_resampler_are_checked(settings, told):
    with pytest.raises(ValueError, match=told):
        Resampler(12, 10, 36, **settings)
