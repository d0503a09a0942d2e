"""The moving average of a model's weights: what is validated, and what ships."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from fastcap.errors import ConfigError
from fastcap.quantization.fake import fold_steps, folded_state, learn_steps, learns_steps, plain_name, rounded_once
from fastcap.quantization.fake_blocks import rounded_matrices
from fastcap.quantization.scales import quantised_layers, read_bits, tensor_bits
from fastcap.training.sharding import gather, local_parts

__all__ = ["WeightAverage"]


def is_prefix(model: nn.Module) -> bool:
    """Whether a model is one of the prefix family, whose export rounds what its adapters are merged into."""
    return getattr(getattr(model, "config", None), "kind", "") == "prefix"


class WeightAverage:
    """Exponential moving average of a model's weights, by name; young averages forget faster.

    Args:
        decay: of an old average. After n updates it is at most (1 + n) / (10 + n).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.rounded: dict[str, int] | None = None  # bits of a prefix model's matrices, in a stage that rounds them
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
        if any(type(module).__name__ == "Linear4bit" for module in model.modules()):
            raise ConfigError("quantized is true; allowed: false, with precision nf4, whose matrices are rounded")
        layers = quantised_layers(model)
        chosen = read_bits(Path(bits), layers) if bits else {}
        if is_prefix(model):  # whose weights have no steps to learn
            self.rounded = tensor_bits(layers, chosen)
            return
        learn_steps(model, chosen)
        plain = self.values
        self.values = {
            name: plain.get(plain_name(name), value).detach().clone() for name, value in model.state_dict().items()
        }

    def rounding(self, model: nn.Module) -> AbstractContextManager[None]:
        """A context in which the model computes with rounded weights, if it is to."""
        return rounded_once(model) if self.rounded is None else rounded_matrices(model, self.rounded)

    def end_rounding(self, model: nn.Module) -> None:
        """At the end of a stage: the rounded weights, if any, become the weights of model and average."""
        self.rounded = None
        self.values = self.shipped(model)
        fold_steps(model)
