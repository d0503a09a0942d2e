"""The moving average of a model's weights: what is validated, and what ships."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from fastcap.quantization.fake import fold_steps, folded_state, learn_steps, learns_steps, plain_name
from fastcap.quantization.scales import quantised_layers, read_bits
from fastcap.training.sharding import gather, local_parts

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of a model's weights, by name; young averages forget faster.

    Args:
        decay: of an old average. After n updates it is at most (1 + n) / (10 + n).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model's weights, after a step of the optimiser."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in local_parts(model).items():
            self.values[name].lerp_(value, 1 - decay)

    def shipped(self, model: nn.Module, *, keep: bool = True) -> dict[str, Tensor]:
        """The average under the names of an ordinary model, with weights rounded where the model rounds them.

        Where weights are sharded, every rank has to call this; `keep`: whether this rank needs the result.
        """
        if not learns_steps(model):
            return gather(self.values, "cpu", keep=keep)
        averaged = copy.deepcopy(model)
        averaged.load_state_dict(self.values)
        return folded_state(averaged)

    def begin_rounding(self, model: nn.Module, bits: str) -> None:
        """Let model and average compute with rounded weights from now on, unless they already do.

        Args:
            bits: file of the bits of each layer; empty for 8 bits in all.
        """
        if learns_steps(model):
            return
        learn_steps(model, read_bits(Path(bits), quantised_layers(model)) if bits else {})
        plain = self.values
        self.values = {
            name: plain.get(plain_name(name), value).detach().clone() for name, value in model.state_dict().items()
        }

    def end_rounding(self, model: nn.Module) -> None:
        """At the end of a stage: the rounded weights, if any, become the weights of model and average."""
        self.values = self.shipped(model)
        fold_steps(model)
