"""Where a run stands, and what follows from that alone: a step's random numbers, and how far its stage has come."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fastcap.config import ForcingConfig
from fastcap.losses.forcing import forcing_probability

__all__ = ["Position"]

ORDER = 7  # tells the generators of epochs from those of steps


@dataclass(frozen=True)
class Position:
    """A step of a run: `step` counts the steps of stage number `stage`, `seed` is the recipe's."""

    seed: int
    stage: int = 0
    step: int = 0

    def at(self, step: int) -> Position:
        """Another step of the same stage."""
        return replace(self, step=step)

    @property
    def step_seed(self) -> int:
        """The seed of PyTorch's generators in this step."""
        return (self.seed * 1_000_003 + self.stage) * 1_000_003 + self.step

    def torch_generator(self) -> torch.Generator:
        """A generator of this step's numbers."""
        return torch.Generator().manual_seed(self.step_seed)

    def numpy_generator(self) -> np.random.Generator:
        """A generator of this step's numbers, independent of `torch_generator`'s."""
        return np.random.default_rng([self.seed, self.stage, self.step])

    @property
    def order_seed(self) -> list[int]:
        """The seed of the order in which this stage reads its data; an epoch appends its number."""
        return [self.seed, self.stage, ORDER]

    def progress(self, steps: int) -> float:
        """How far a stage of so many steps has come: 0 at its first step, 1 at its last."""
        return min(1.0, self.step / max(1, steps - 1))

    def forcing(self, forcing: ForcingConfig, steps: int) -> float:
        """The probability that the causal reading is given the true word, in a stage of so many steps."""
        if forcing.schedule == "always":
            return 1.0
        return forcing_probability(forcing.schedule, self.progress(steps), forcing.end)
