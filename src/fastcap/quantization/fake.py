"""Fake quantisation: training computes with the rounded weights of the graph to be exported, and learns their steps.

Learned step size quantisation (LSQ, Esser et al., ICLR 2020), with a step for each channel. Weights are rounded,
activations are not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fastcap.quantization.scales import Layer, channel_steps, check_bits, largest_integer, quantised_layers

__all__ = [
    "LearnedStep",
    "fold_steps",
    "folded_state",
    "learn_steps",
    "learns_steps",
    "plain_name",
    "rounded",
    "rounded_once",
]


def rounded(weight: Tensor, layer: Layer, bits: int) -> Tensor:
    """A copy of a layer's weight, rounded as in the exported graph, at 4 or 8 bits."""
    if layer.shapes:
        from fastcap.quantization.blocks import from_blocks, to_blocks  # whose graphs training does without

        matrix = weight.detach().T if layer.transposed else weight.detach()
        stored = to_blocks(matrix.float().cpu().numpy(), bits)
        found = torch.from_numpy(from_blocks(*stored, bits, matrix.shape[1])).to(weight)
        return found.T.contiguous() if layer.transposed else found
    largest = largest_integer(layer.kind, bits)
    step = torch.from_numpy(channel_steps(weight.detach().cpu().numpy(), layer.axes, largest)).to(weight.device)
    return (weight.detach() / step).round().clamp(-largest, largest) * step


class LearnedStep(nn.Module):
    """A parametrisation of a weight: whole multiples of a step, which is learned, one for each channel.

    The step's logarithm is the parameter, since an optimiser such as Adam moves all parameters by similar amounts, and
    a step is a thousand times smaller than a weight. A step is never wider than the channel's largest weight divided by
    the largest integer: a wider one would leave integers unused, and this way the step can be computed from the rounded
    weights (see `channel_steps`).

    Args:
        weight: the first steps are those that the exported graph would have for it.
        layer, bits: how it is rounded.
    """

    def __init__(self, weight: Tensor, layer: Layer, bits: int) -> None:
        super().__init__()
        self.axes, self.largest = layer.axes, largest_integer(layer.kind, bits)
        steps = torch.from_numpy(channel_steps(weight.detach().cpu().numpy(), self.axes, self.largest))
        self.log_step = nn.Parameter(steps.to(weight.device).log())
        # a step's gradient is a sum over its weights; this factor scales it down to theirs (LSQ, section 2.2)
        self.gradient_scale = (weight.numel() / steps.numel() * self.largest) ** -0.5

    def forward(self, weight: Tensor) -> Tensor:
        """weight -> rounded weight of the same shape."""
        log_step = self.log_step * self.gradient_scale + (self.log_step * (1 - self.gradient_scale)).detach()
        peak = weight.detach().abs().amax(dim=self.axes, keepdim=True)
        widest = torch.where(peak == 0, 1.0, peak / self.largest)
        step = log_step.exp()
        step = step - (step - widest).clamp(min=0).detach()
        multiples = (weight / step).clamp(-self.largest, self.largest)
        multiples = multiples + (multiples.round() - multiples).detach()  # straight-through (Bengio et al. 2013)
        return multiples * step


def learn_steps(model: nn.Module, bits: Mapping[str, int]) -> None:
    """Let all layers of a model compute with rounded weights, in place; the steps become parameters of the model.

    Args:
        bits: of layers by name; layers left out have 8, and those with 16 stay as they are.

    Raises:
        ConfigError: the model has no such layer, or bits are none of 4, 8 and 16.
    """
    layers = quantised_layers(model)
    check_bits(layers, bits, "bits")
    for layer in layers.values():
        if (chosen := bits.get(layer.name, 8)) == 16:
            continue
        for parameter in layer.parameters:
            owner, _, attribute = parameter.rpartition(".")
            module = model.get_submodule(owner)
            step = LearnedStep(getattr(module, attribute), layer, chosen)
            parametrize.register_parametrization(module, attribute, step)


def parametrised(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Name, owner and attribute of each weight that is rounded."""
    for owner, module in list(model.named_modules()):
        if parametrize.is_parametrized(module):
            for attribute in list(module.parametrizations):
                yield f"{owner}.{attribute}", module, attribute


def learns_steps(model: nn.Module) -> bool:
    """Whether a model is between `learn_steps` and `fold_steps`."""
    return any(parametrised(model))


@contextlib.contextmanager
def rounded_once(model: nn.Module) -> Iterator[None]:
    """A context in which each weight is rounded once, however often it is used.

    All are rounded at its beginning, with gradients: a weight that were first used under `torch.no_grad` would be
    cached without a gradient for its later uses.
    """
    with parametrize.cached():
        for _, module, attribute in parametrised(model):
            getattr(module, attribute)
        yield


def folded_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's state as `fold_steps` would leave it."""
    state = {name: value for name, value in model.state_dict().items() if ".parametrizations." not in name}
    state |= {name: getattr(module, attribute) for name, module, attribute in parametrised(model)}
    return {name: value.detach().clone() for name, value in state.items()}


def fold_steps(model: nn.Module) -> None:
    """Undo `learn_steps`: the rounded weights become the model's own."""
    for _, module, attribute in list(parametrised(model)):
        parametrize.remove_parametrizations(module, attribute, leave_parametrized=True)


def plain_name(name: str) -> str:
    """The name in an ordinary model's state of a weight that is parametrised here."""
    return name.replace(".parametrizations.", ".").removesuffix(".original")
