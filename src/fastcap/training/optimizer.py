"""What a stage trains, and how fast."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fastcap.backbone.base import Cut
from fastcap.model import CaptionModel
from fastcap.training.sharding import shard_like

__all__ = ["FREEZES", "Freeze", "build_optimizer", "freeze", "schedule", "trained_share"]

STEP_RATE = 10.0  # of the learning rate: logarithms of steps are a hundred times larger than weights


class Freeze(NamedTuple):
    """What a stage keeps as it is: the backbone before one of its cuts; and if `trained` names parts of the model, all
    but these."""

    cut: str | None
    trained: tuple[str, ...] = ()


FREEZES = {  # by the recipe's word, `freeze`
    "none": Freeze(None),
    "convolutions": Freeze("convolutions"),
    "captioner": Freeze("tokens", trained=("alignment",)),
}


def freeze(model: CaptionModel, frozen: Freeze, *, aligns: bool) -> Cut | None:
    """Let what a stage trains require gradients, and nothing else; returns the cut of the backbone, if there is one.

    Args:
        aligns: whether the stage has a loss for the alignment, without which that is not trained.
    """
    if frozen.trained:
        model.requires_grad_(False)
    else:
        model.thaw()
    for name in frozen.trained:
        model.get_submodule(name).requires_grad_(True)
    cut = model.backbone.cuts[frozen.cut] if frozen.cut else None
    for module in cut.frozen if cut else ():
        module.requires_grad_(False)
    model.alignment.requires_grad_(aligns)
    return cut


def trained_share(model: nn.Module) -> str:
    """How much of a model is trained, in words: "2.1 M of 136.6 M parameters are trained (1.5 %)"."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    total, trained = sum(n for n, _ in counts), sum(n for n, learns in counts if learns)
    return f"{trained / 1e6:.1f} M of {total / 1e6:.1f} M parameters are trained ({100 * trained / total:.1f} %)"


def schedule(step: int, warmup: int, steps: int) -> float:
    """The factor of the learning rate at a step: linear warm-up, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def build_optimizer(
    parameters: Mapping[str, nn.Parameter],
    *,
    weight_decay: float,
    rates: Mapping[str, float],
    moments: Mapping[str, Tensor],
) -> torch.optim.Optimizer:
    """AdamW over the parameters that require gradients; vectors and learned quantisation steps do not decay.

    Args:
        parameters: by name.
        rates: factors of the learning rate, the `scale` of a group, for names that begin so; all others have 1.
        moments: of a resumed run, as NAME:step, NAME:exp_avg and NAME:exp_avg_sq.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        if parameter.requires_grad:
            scale = next((rate for prefix, rate in rates.items() if name.startswith(prefix)), 1.0)
            decay = weight_decay if parameter.ndim > 1 else 0.0
            if name.endswith(".log_step"):
                scale, decay = STEP_RATE, 0.0
            groups.setdefault((scale, decay), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": params, "scale": scale, "weight_decay": decay} for (scale, decay), params in groups.items()],
        betas=(0.9, 0.98),
    )
    for name, parameter in parameters.items():
        if f"{name}:step" in moments:
            own = {part: moments[f"{name}:{part}"].to(parameter.device) for part in ("exp_avg", "exp_avg_sq")}
            own = shard_like(own, dict.fromkeys(own, parameter))
            optimizer.state[parameter] = {"step": moments[f"{name}:step"], **own}
    return optimizer
