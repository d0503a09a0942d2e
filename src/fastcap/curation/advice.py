"""What of a summary deserves a warning, and what to do next, in three lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastcap.curation.rules import INVISIBLE
from fastcap.errors import ConfigError, counted, nearest

__all__ = ["FAULTS", "advice", "alerts", "failures", "parse_faults"]

_NOTICEABLE = 0.001  # share of pairs far below the usual, from which they are worth a look first


def alerts(summary: Mapping[str, Any], gini_alert: float, topk_alert: float) -> list[str]:
    """A line for each thing that is wrong."""
    objects, doubles = summary["objects"], summary["duplicates"]
    found = []
    if doubles["leaks"]:
        found.append(f"{counted(doubles['leaks'], 'leak')}: a picture of one split in another")
    if summary["unreadable"]["count"]:
        found.append(f"rows or pictures that cannot be used: {summary['unreadable']['count']}")
    if doubles["within_splits"]:
        found.append(f"{counted(doubles['within_splits'], 'pair')} of the same picture in one split")
    if objects["gini"] > gini_alert:
        found.append(f"objects are imbalanced: Gini {objects['gini']:.2f}, alert at {gini_alert:g}")
    if objects["top_share"] > topk_alert:
        share = f"{100 * objects['top_share']:.0f} %"
        found.append(f"the {objects['topk']} most frequent objects have {share}, alert at {100 * topk_alert:g} %")
    return found


def advice(summary: Mapping[str, Any]) -> list[str]:
    """The three things to do next, the most pressing first; fewer only if there is less to say."""
    doubles, fit, objects, bias = (summary[part] for part in ("duplicates", "fit", "objects", "bias"))
    lines = []
    if doubles["leaks"]:
        lines.append(
            f"{counted(doubles['leaks'], 'picture')} of one split can be seen in another, so scores say little: "
            "'fastcap data merge' puts each on one side."
        )
    if summary["unreadable"]["count"]:
        lines.append(
            f"Rows or pictures that cannot be used: {summary['unreadable']['count']}. Mend or drop what is listed."
        )
    if fit["far_below_share"] > _NOTICEABLE:
        lines.append(
            f"Captions that fit their picture far worse than is usual: {fit['far_below']}. Look at top_failures/, then "
            "down ranked_by_combined.csv until they are right."
        )
    categories = bias["categories"]
    first = max(INVISIBLE, key=lambda name: categories[name]["captions"])
    if categories[first]["share"] > 0.01:  # an age is what rewriting leaves, and no reason for it
        named = first.replace("race_", "race or ").replace("_", " ")
        lines.append(
            f"{100 * categories[first]['share']:.0f} % of captions state {named}, which a photo does not tell: "
            "'fastcap data rewrite' makes them neutral."
        )
    if objects["rare"]:
        lines.append(
            f"Objects in fewer than {objects['rare_below']} pictures: {objects['rare']}. Train with data.weights: "
            "reweighting_probs.csv, or have pictures drawn by 'fastcap data prompts'."
        )
    if doubles["within_splits"]:
        lines.append(f"{counted(doubles['within_splits'], 'pair')} of the same picture in one split: keep one of each.")
    if summary["language"]["lint"]:
        rule, count = next(iter(summary["language"]["lint"].items()))
        lines.append(f"Captions that break the rule '{rule}' of 'fastcap lint': {count}.")
    if not lines:
        lines.append("Nothing stands out: train on it, and look at the worst pairs once more afterwards.")
    return lines[:3]


FAULTS: dict[str, tuple[str, Callable[[Mapping[str, Any]], float], bool]] = {
    "leak": ("pairs of pictures in two splits", lambda s: s["duplicates"]["leaks"], False),
    "duplicate": ("pairs of pictures in one split", lambda s: s["duplicates"]["within_splits"], False),
    "unreadable": ("rows or pictures that cannot be used", lambda s: s["unreadable"]["count"], False),
    "misfit": ("captions that fit far worse than is usual", lambda s: s["fit"]["far_below_share"], True),
    "bias": ("captions that state a protected attribute", lambda s: s["bias"]["share"], True),
    "imbalance": ("Gini's coefficient of objects", lambda s: s["objects"]["gini"], True),
}
"""What `--fail-on` may name: what it counts, where that stands in a summary, and whether it is a share."""


def parse_faults(text: str) -> dict[str, float]:
    """ "leak,bias=5%" as the largest value that each fault may have: `leak` 0, `bias` 0.05. Raises ConfigError."""
    allowed: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, limit = part.partition("=")
        if name not in FAULTS:
            raise ConfigError(f"--fail-on has {name!r}{nearest(name, FAULTS)}; allowed: {', '.join(FAULTS)}")
        number = limit.removesuffix("%")
        try:
            value = float(number) / (100 if limit.endswith("%") else 1) if equals else 0.0
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise ConfigError(f"--fail-on has {part!r}; allowed are {name}, {name}=N and {name}=N%")
        allowed[name] = value
    if not allowed:
        raise ConfigError(f"--fail-on is {text!r}; needed: one or more of {', '.join(FAULTS)}")
    return allowed


def failures(summary: Mapping[str, Any], allowed: Mapping[str, float]) -> list[str]:
    """A line for each fault that exceeds what is allowed."""
    found = []
    for name, limit in allowed.items():
        told, value_of, is_share = FAULTS[name]
        value = value_of(summary)
        if value > limit:
            values = [f"{100 * v:.2f} %" if is_share else f"{v:g}" for v in (value, limit)]
            found.append(f"{name}: {values[0]} {told}, allowed are {values[1]}")
    return found
