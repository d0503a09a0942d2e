"""The selective scan: exact whatever the length, and linear in it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fastcap.scan import selective_scan, selective_scan_reference

LENGTHS = (1, 7, 49, 50, 98, 196, 201)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def sequence(length: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Decays and inputs of two images, three heads and five channels, some heads forgetting faster than others."""
    generator = torch.Generator().manual_seed(length)
    speed = scale * torch.tensor([0.01, 0.3, 3.0], dtype=dtype)[:, None]
    log_decay = -torch.rand(2, 3, length, generator=generator, dtype=dtype) * speed
    return log_decay, torch.randn(2, 3, length, 5, generator=generator, dtype=dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("length", LENGTHS)
def test_the_scan_equals_the_plain_loop_in_values_and_gradients(length, dtype):
    results = []
    for scan in (selective_scan, selective_scan_reference):
        log_decay, inputs = (part.requires_grad_() for part in sequence(length, dtype))
        states = scan(log_decay, inputs)
        weights = torch.linspace(-1, 1, states.numel(), dtype=dtype).view_as(states)
        results.append((states, *torch.autograd.grad((states * weights).sum(), (log_decay, inputs))))
    for fast, slow in zip(*results, strict=True):
        scale = slow.abs().max().clamp(min=1)
        torch.testing.assert_close(fast / scale, slow / scale, rtol=0, atol=TOLERANCE[dtype])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(2, 20))
def test_any_size_of_chunk_gives_the_same_states(length, chunk):
    log_decay, inputs = sequence(length)
    torch.testing.assert_close(selective_scan(log_decay, inputs, chunk), selective_scan_reference(log_decay, inputs))


def test_a_chunk_of_one_position_is_refused():
    with pytest.raises(ValueError, match="chunk is 1; allowed: 2 or more"):
        selective_scan(*sequence(4), chunk=1)


def test_the_recurrence_by_hand():
    log_decay = torch.tensor([0.9, 0.5, 0.25, 1.0]).log().view(1, 1, 4)
    inputs = torch.tensor([8.0, 2.0, 1.0, 3.0]).view(1, 1, 4, 1)
    expected = [8.0, 0.5 * 8 + 2, 0.25 * 6 + 1, 2.5 + 3]  # nothing comes before the first
    assert selective_scan(log_decay, inputs).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("length", [49, 201])
def test_a_head_that_forgets_at_once_neither_overflows_nor_becomes_nan(length):
    log_decay, inputs = sequence(length, torch.float32, scale=1e4)
    log_decay.requires_grad_()
    states = selective_scan(log_decay, inputs)
    states.sum().backward()
    assert torch.isfinite(states).all()
    assert torch.isfinite(log_decay.grad).all()


def test_a_state_knows_its_past_and_nothing_of_its_future():
    log_decay, inputs = sequence(120)
    changed = inputs.clone()
    changed[:, :, 60] += 1
    difference = (selective_scan(log_decay, changed) - selective_scan(log_decay, inputs)).abs().amax(dim=(0, 3))
    assert (difference[:, :60] == 0).all()
    assert (difference[0, 60:] > 0).all()  # the head with the longest memory


def test_multiply_adds_grow_linearly():
    sizes = []
    for length in (196, 392, 784, 3136):
        with FlopCounterMode(display=False) as counter:
            selective_scan(*sequence(length))
        sizes.append(counter.get_total_flops() / length)
    assert sizes == pytest.approx([sizes[0]] * len(sizes), rel=0.05)
