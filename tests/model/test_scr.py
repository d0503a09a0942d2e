"""The two readings of a caption are pulled together, and both are moved."""

from __future__ import annotations

import pytest
import torch

from fastcap.losses.scr import agreement, consistency_loss


def test_the_loss_is_the_mean_of_both_divergences():
    causal, parallel = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(0)).double()
    p, q = causal.softmax(dim=-1), parallel.softmax(dim=-1)
    forward = sum((p[m] * (p[m] / q[m]).log()).sum() for m in range(5)) / 5
    backward = sum((q[m] * (q[m] / p[m]).log()).sum() for m in range(5)) / 5
    torch.testing.assert_close(consistency_loss(causal, parallel), (forward + backward) / 2)


def test_equal_readings_cost_nothing_and_order_does_not_matter():
    causal, parallel = torch.randn(2, 5, 11)
    assert consistency_loss(causal, causal + 3).item() == pytest.approx(0, abs=1e-6)  # a shift of logits is no change
    torch.testing.assert_close(consistency_loss(causal, parallel), consistency_loss(parallel, causal))


def test_both_readings_learn_and_draw_nearer():
    causal, parallel = (torch.randn(4, 7, requires_grad=True) for _ in range(2))
    before = consistency_loss(causal, parallel)
    before.backward()
    assert causal.grad.abs().sum() > 0
    assert parallel.grad.abs().sum() > 0
    with torch.no_grad():
        after = consistency_loss(causal - causal.grad, parallel - parallel.grad)
    assert after < before


def test_agreement_is_the_share_of_equal_first_choices():
    causal = torch.tensor([[3.0, 1, 0], [0, 2, 1], [1, 0, 5], [0, 0, 1]])
    parallel = torch.tensor([[9.0, 1, 0], [4, 2, 1], [1, 0, 2], [0, 0, 7]])
    assert agreement(causal, parallel).item() == 0.75
