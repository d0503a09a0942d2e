"""RALA: the memory of an image equals full attention to it, is made once, costs the same to read, and has more rank."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fastcap.decoder.attention import LinearAttention, RankAugmentedLinearAttention, kernel, read_memory_reference

SEEDS = range(8)


def attention_of(seed: int = 0, d_model: int = 32, n_heads: int = 4) -> RankAugmentedLinearAttention:
    torch.manual_seed(seed)
    module = RankAugmentedLinearAttention(d_model, n_heads).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return module


@pytest.mark.parametrize("side", [1, 2, 7])
@torch.no_grad()
def test_reading_the_memory_equals_weighing_every_image_token(side):
    attention = attention_of()
    image, x = torch.randn(2, side * side, 32).double(), torch.randn(2, 5, 32).double()
    keys, values, weights = attention.keys_values_weights(image)
    read = read_memory_reference(kernel(attention.split(attention.query(x))), keys, values, weights)
    expected = attention.project_out(read.transpose(1, 2).flatten(2) * attention.gate(x))
    torch.testing.assert_close(attention(x, attention.prepare(image)), expected)


@torch.no_grad()
def test_the_weights_of_image_tokens_sum_to_their_number():
    _, _, weights = attention_of().keys_values_weights(torch.randn(3, 49, 32).double() * 5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.full((3, 4), 49.0).double())
    assert weights.std() > 0.1  # and are not all 1


@torch.no_grad()
def test_weights_are_a_softmax_of_the_mean_query_against_each_key():
    attention = attention_of()
    image = torch.randn(1, 4, 32).double()
    keys, _, weights = attention.keys_values_weights(image)
    for head in range(4):
        queries = kernel(attention.split(attention.image_query(image)))[0, head]
        mean = torch.stack(list(queries)).sum(dim=0) / 4
        scores = [math.exp(float(mean @ key) / math.sqrt(8)) for key in keys[0, head]]
        assert weights[0, head].tolist() == pytest.approx([4 * score / sum(scores) for score in scores])


@torch.no_grad()
def test_values_carry_their_place_in_the_image():
    """Without the local positional encoding a memory would not notice two image tokens that change places."""
    attention = attention_of()
    image = torch.randn(1, 9, 32).double()
    swapped = image[:, [1, 0, *range(2, 9)]]
    assert not torch.allclose(attention.prepare(image).buffer, attention.prepare(swapped).buffer)
    attention.local_position.weight.zero_()
    torch.testing.assert_close(attention.prepare(image).buffer, attention.prepare(swapped).buffer)


@torch.no_grad()
def test_the_memory_has_one_size_and_one_reading_cost_whatever_the_image():
    attention, x = attention_of(), torch.randn(1, 5, 32).double()
    costs = set()
    for side in (2, 7, 14, 28):
        memory = attention.prepare(torch.randn(1, side * side, 32).double())
        assert memory.buffer.shape == (1, 4, 8, 8)
        assert memory.normaliser.shape == (1, 4, 8)
        with FlopCounterMode(display=False) as counter:
            attention(x, memory)
        costs.add(counter.get_total_flops())
    assert len(costs) == 1


@torch.no_grad()
def test_preparing_costs_time_linear_in_the_number_of_image_tokens():
    attention, costs = attention_of(), []
    for side in (7, 14, 28):
        with FlopCounterMode(display=False) as counter:
            attention.prepare(torch.randn(1, side * side, 32).double())
        costs.append(counter.get_total_flops() / side**2)
    assert costs == pytest.approx([costs[0]] * 3)


def effective_rank(matrix: Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli 2007)."""
    shares = torch.linalg.svdvals(matrix)
    shares = shares / shares.sum()
    return float((-shares * shares.clamp(min=1e-300).log()).sum().exp())


def numerical_rank(matrix: Tensor) -> int:
    return int(torch.linalg.matrix_rank(matrix, rtol=1e-10))


@torch.no_grad()
def test_the_gate_restores_the_rank_that_linear_attention_loses():
    """49 positions read through 4 heads of 4: plain linear attention has rank 4 a head, at most; the gate, which is of
    the input's full rank, multiplies it."""
    for seed in SEEDS:
        attention = attention_of(seed, d_model=16, n_heads=4)
        image, x = torch.randn(1, 49, 16).double(), torch.randn(1, 49, 16).double()
        queries = kernel(attention.split(attention.query(x)))
        memory = attention.prepare(image)
        plain = queries @ memory.buffer / (queries * memory.normaliser[:, :, None]).sum(dim=-1, keepdim=True)
        gated = plain * attention.split(attention.gate(x))
        for head in range(4):
            assert numerical_rank(plain[0, head]) == numerical_rank(gated[0, head]) == 4
            assert effective_rank(gated[0, head]) > effective_rank(plain[0, head]), seed


@torch.no_grad()
def test_weighing_the_keys_raises_the_rank_of_the_buffer_where_an_image_repeats_itself():
    """45 of 49 tokens are one background, whose one direction fills plain linear attention's buffer; the global query
    favours the four tokens that stand out. (On 49 independent tokens, whose buffer is full already, nothing is won.)"""
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        background, others = (torch.randn(n, 16, generator=generator).double() for n in (1, 4))
        keys = kernel(torch.cat([background.expand(45, 16) - 0.8, others + 0.8]))
        values = torch.randn(49, 16, generator=generator).double()
        values[:45] = values[0]
        similarity = (keys.mean(dim=0) * keys).sum(dim=-1) / math.sqrt(16)
        weights = 49 * similarity.softmax(dim=0)
        plain, augmented = keys.t() @ values, (keys * weights[:, None]).t() @ values
        assert effective_rank(augmented) > effective_rank(plain), seed


def test_without_its_additions_it_is_plain_linear_attention():
    rala = attention_of(seed=3)
    plain = LinearAttention(32, 4).double()
    plain.load_state_dict({name: value for name, value in rala.state_dict().items() if name in plain.state_dict()})
    with torch.no_grad():
        for part, bias in ((rala.gate, 1.0), (rala.local_position, 0.0), (rala.image_query, -40.0)):  # κ(-40) is 0
            part.weight.zero_()
            part.bias.fill_(bias)
        x, tokens = torch.randn(2, 5, 32).double(), torch.randn(2, 9, 32).double()
        torch.testing.assert_close(rala(x, rala.prepare(tokens)), plain(x, plain.prepare(tokens)))


def test_the_kernel_is_elu_plus_one_and_positive():
    x = torch.linspace(-20, 3, 50).double()
    expected = [value + 1 if value > 0 else math.exp(value) for value in x.tolist()]
    assert kernel(x).tolist() == pytest.approx(expected, rel=1e-6)
    assert (kernel(x) > 0).all()


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="d_model 30 is not a multiple of n_heads 4"):
        RankAugmentedLinearAttention(30, 4)
