"""What `decode="sample"` draws with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastcap.errors import ConfigError

__all__ = ["RANGES", "Sampling"]

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.01, 100.0),
    "top_k": (0, 2**20),  # the largest vocabulary
    "top_p": (0.01, 1.0),
    "seed": (0, 2**32 - 1),
    "no_repeat": (0, 512),  # the longest caption
}
"""The smallest and the largest value of each setting."""

_WHOLE = ("top_k", "seed", "no_repeat")


@dataclass(frozen=True)
class Sampling:
    """How captions are drawn at random, token by token; by default from the probabilities as the model gives them.

    `temperature`: divides the logarithms of the probabilities; below 1 prefers what is likely, above 1 levels.
    `top_k`: only that many likeliest tokens may be drawn; 0 for all.
    `top_p`: and of these only the likeliest whose probabilities first sum up to this (Holtzman et al. 2020).
    `seed`: the same one draws the same captions of a picture, whatever other pictures are captioned with it.
    `no_repeat`: no sequence of that many tokens is said twice in a caption; 0 for no such guard.

    Raises ConfigError for a value outside `RANGES`.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    no_repeat: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value: Any = getattr(self, name)
            numbers = (int,) if name in _WHOLE else (int, float)
            if type(value) not in numbers or not low <= value <= high:
                kind = "whole numbers" if name in _WHOLE else "numbers"
                raise ConfigError(f"{name} is {value!r}; allowed are {kind} from {low} to {high}")
