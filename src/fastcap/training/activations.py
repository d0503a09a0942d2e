"""Statistics of a network's activations in training: `fastcap train --debug-activations`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

__all__ = ["ActivationMonitor"]

RECTIFIERS = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default, torch.ops.aten.hardtanh.default)


class ActivationMonitor(TorchDispatchMode):
    """A context that watches the forward passes of a network inside it.

    After a pass, `rows` has for every module without children, by name: mean, standard deviation and largest magnitude
    of its output; `dead`, the share of units that were 0 for the whole batch after its last ReLU, inside the module or
    behind it; and after `note_gradients` the norm of its gradient. `first_nonfinite` names the first tensor of all
    passes that was not finite.

    Every operation is inspected, which makes a step a few times slower. -inf inside a module is what attention masks
    are made of; it counts as a fault only where a module returns it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.rows: dict[str, dict[str, float]] = {}
        self.first_nonfinite = ""
        self.inside: list[str] = []  # the modules whose forward is running, outermost first
        self.noting = False  # whether the statistics are being computed, which are no part of the network
        self.last = ""
        self.handles: list[RemovableHandle] = []

    def __enter__(self) -> ActivationMonitor:
        self.rows = {}
        for name, module in self.network.named_modules():
            enter = module.register_forward_pre_hook(lambda *_, name=name: self.inside.append(name))
            leave = module.register_forward_hook(lambda _, __, y, name=name: self.leave(name, y))
            self.handles += [enter, leave]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for handle in self.handles:
            handle.remove()
        self.handles, self.inside = [], []

    def leave(self, name: str, output: Any) -> None:
        """Note the statistics of a module's output."""
        self.inside.pop()
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return
        self.noting = True
        output = output.detach()
        if not output.isfinite().all():
            self.note_nonfinite(f"the output of {name}")
        if self.is_layer(name):
            self.last = name
            std = output.std(correction=0).item()
            self.row(name).update(mean=output.mean().item(), std=std, largest=output.abs().max().item())
        self.noting = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self.noting or "empty" in str(func):  # uninitialised memory may hold anything
            return output
        for part in output if isinstance(output, tuple) else (output,):
            floating = isinstance(part, Tensor) and part.is_floating_point()
            if floating and not self.first_nonfinite and (part.isnan() | (part == torch.inf)).any():
                self.note_nonfinite(f"what {func} gives in {self.inside[-1] if self.inside else 'the losses'}")
        if func in RECTIFIERS and output.numel():
            units = 1 if output.ndim == 4 else output.ndim - 1  # maps (B, C, H, W), else the last dimension
            others = [axis for axis in range(output.ndim) if axis != units]
            dead = (output.amax(dim=others) <= 0) if others else output <= 0
            inner = self.inside[-1] if self.inside else ""
            layer = inner if self.is_layer(inner) else self.last
            self.row(layer)["dead"] = dead.float().mean().item()
        return output

    def is_layer(self, name: str) -> bool:
        """Whether a module has no children."""
        return next(self.network.get_submodule(name).children(), None) is None

    def note_gradients(self) -> None:
        """Note the gradient norm of every module's own weights; call it after backward."""
        for name, parameter in reversed(list(self.network.named_parameters())):
            if parameter.grad is not None:
                norm = parameter.grad.norm().item()
                if not parameter.grad.isfinite().all():
                    self.note_nonfinite(f"the gradient of {name}")
                row = self.row(name.rpartition(".")[0])
                row["gradient"] = (row.get("gradient", 0.0) ** 2 + norm**2) ** 0.5

    def note_nonfinite(self, where: str) -> None:
        """Keep the name of the first tensor that was not finite."""
        self.first_nonfinite = self.first_nonfinite or where

    def row(self, name: str) -> dict[str, float]:
        """The figures of a layer."""
        return self.rows.setdefault(name, {})

    def summary(self) -> str:
        """One line: the layers with most dead units, and the range of gradient norms."""
        dead = sorted(((row["dead"], name) for name, row in self.rows.items() if row.get("dead")), reverse=True)[:3]
        gradients = [(row["gradient"], name) for name, row in self.rows.items() if "gradient" in row]
        parts = [f"dead units: {', '.join(f'{name} {share:.0%}' for share, name in dead) or 'none'}"]
        if gradients:
            (least, low), (most, high) = min(gradients), max(gradients)
            parts.append(f"gradient norms from {least:.1e} ({low}) to {most:.1e} ({high})")
        return "; ".join(parts)
