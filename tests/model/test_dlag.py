"""DLAG: the lengths that are decoded are likely, distinct and within the range that was asked for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastcap.generation.dlag import LengthPredictor
from fastcap.losses.language import length_loss

MAX_LENGTH = 12


def predictor(seed: int = 0) -> LengthPredictor:
    torch.manual_seed(seed)
    return LengthPredictor(16, MAX_LENGTH)


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, int, int]:
    """A range of lengths, and a number of candidates that fits in it."""
    low = draw(st.integers(1, MAX_LENGTH))
    high = draw(st.integers(low, MAX_LENGTH))
    return low, high, draw(st.integers(1, high - low + 1))


@given(requests(), st.integers(0, 100))
@torch.no_grad()
def test_the_range_is_obeyed_and_candidates_are_distinct_and_ordered(request_, seed):
    low, high, count = request_
    lengths, log_p = predictor().choose(
        torch.randn(3, 16, generator=torch.Generator().manual_seed(seed)),
        torch.tensor([low, high]),
        torch.tensor([count]),
    )
    assert lengths.shape == log_p.shape == (3, count)
    assert ((lengths >= low) & (lengths <= high)).all()
    assert all(len(set(row)) == count for row in lengths.tolist())
    assert (log_p.diff(dim=1) <= 0).all()
    assert (log_p.exp().sum(dim=1) <= 1 + 1e-6).all()


@torch.no_grad()
def test_candidates_are_the_most_likely_lengths_of_the_range():
    model, pooled = predictor(), torch.randn(4, 16)
    logits = model(pooled)
    lengths, log_p = model.choose(pooled, torch.tensor([3, 9]), torch.tensor([7]))
    for image in range(4):
        within = {length: float(logits[image, length]) for length in range(3, 10)}
        assert lengths[image].tolist() == sorted(within, key=lambda length: -within[length])
        total = torch.tensor(list(within.values())).logsumexp(dim=0).item()
        expected = [within[length] - total for length in lengths[image].tolist()]
        assert log_p[image].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_loss_teaches_it_and_falls_to_the_entropy_of_the_references():
    model, pooled = predictor(), torch.randn(2, 16)
    target = torch.zeros(2, MAX_LENGTH + 1)
    target[0, 4] = 1
    target[1, 8] = target[1, 9] = 0.5
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(120):
        optimizer.zero_grad()
        loss = length_loss(model(pooled), target)
        loss.backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert loss.item() == pytest.approx(0.5 * torch.tensor(2.0).log().item(), abs=0.02)
    lengths, _ = model.choose(pooled, torch.tensor([1, 12]), torch.tensor([1]))
    assert lengths[0].item() == 4
    assert lengths[1].item() in (8, 9)


def test_the_loss_is_cross_entropy_against_the_distribution_of_lengths():
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    target = torch.tensor([[0.2, 0.8, 0.0], [0.0, 0.5, 0.5]])
    expected = -sum(float(target[b, n] * logits[b].log_softmax(0)[n]) for b in range(2) for n in range(3)) / 2
    assert length_loss(logits, target).item() == pytest.approx(expected)
