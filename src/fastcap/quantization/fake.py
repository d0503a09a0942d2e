"""Fake quantisation: training sees the rounded weights that the int8 graph will have.

Rounding has no gradient, so the gradient with respect to a rounded weight is given to the weight itself
(straight-through estimator, Bengio et al. 2013; for integer inference, Jacob et al. 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["rounded", "rounded_weights", "weight_range"]


def weight_range(groups: int) -> int:
    """Largest integer of a convolution's weights: 127 for depthwise ones, 64 for the others.

    x86 without VNNI sums two products of a weight and a byte in 16 bits: 2 x 64 x 255 fits, 2 x 127 x 255 does not.
    Depthwise convolutions have a kernel of their own there, which sums in 32 bits.
    """
    return 127 if groups > 1 else 64


def rounded(weight: Tensor, largest: int) -> Tensor:
    """A convolution's weight (out, in, H, W) at the nearest of its values -largest..largest, a scale a channel.

    The gradient passes as if nothing had been rounded.
    """
    with torch.no_grad():
        scale = (weight.abs().amax(dim=(1, 2, 3), keepdim=True) / largest).clamp(min=1e-12)
        difference = (weight / scale).round() * scale - weight
    return weight + difference


def rounded_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights of all convolutions in a module, rounded, by name: for `torch.func.functional_call`."""
    return {
        f"{name}.weight": rounded(part.weight, weight_range(part.groups))
        for name, part in module.named_modules()
        if isinstance(part, nn.Conv2d)
    }
