"""Few of many: which are taken, and how far their mean can be trusted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence
from typing import TypeVar

from fastcap.errors import counted

__all__ = ["SMALL", "margin", "small_sample", "spread"]

Item = TypeVar("Item")

SMALL = 200  # pictures; the CIDEr of as many is known to about 7 points, that of Flickr8k's 1,000 to about 3


def margin(scores: Collection[float]) -> float | None:
    """Half the width of the 95 % confidence interval of a mean, in the unit of the scores; None for fewer than two."""
    return 1.96 * statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None


def small_sample(scores: Collection[float]) -> str:
    """What to say of a mean of CIDEr points, or of differences in them, of fewer than 200 pictures; else ""."""
    if len(scores) >= SMALL:
        return ""
    width = margin(scores)
    known = f"known to within ±{width:.1f} points" if width else "says little"
    return f"{counted(len(scores), 'picture')}, a small sample: {known}"


def spread(items: Sequence[Item], limit: int) -> list[Item]:
    """`limit` of the items, spread evenly over all."""
    limit = min(limit, len(items))
    return [items[i * len(items) // limit] for i in range(limit)]
