"""What a compression tried, as JSON and as a picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastcap.release.search import Candidate

__all__ = ["Tried", "write_report"]


@dataclass(frozen=True)
class Tried:
    """A candidate that was made and measured.

    Attributes:
        size: bytes of its model directory.
        score: CIDEr points (x 100).
        accuracy: of answers, in percent; None where nothing was asked.
        milliseconds: of the network, one picture on one thread.
        same: share of the pictures with the very caption of the uncompressed model.
        refused: why; "" if it is what was written.
    """

    candidate: Candidate
    size: int
    score: float
    accuracy: float | None
    milliseconds: float
    same: float
    refused: str

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        bits = list(self.candidate.bits.values())
        return {
            "shape": self.candidate.shape.name,
            "shares": dict(self.candidate.shape.shares),
            "layers_by_bits": {str(width): bits.count(width) for width in sorted(set(bits))},
            "expected_bytes": self.candidate.size,
            "expected_loss": round(self.candidate.loss, 5),
            "bytes": self.size,
            "score": round(self.score, 2),
            "accuracy": self.accuracy,
            "milliseconds": round(self.milliseconds, 2),
            "same_captions": round(self.same, 4),
            "refused": self.refused,
        }


def write_report(out: Path, whole: dict[str, Any], expected: list[Candidate], tried: list[Tried], facts: Any) -> None:
    """Write `OUT.compress.json` and `OUT.compress.png` beside a model directory.

    Args:
        whole: bytes, score and milliseconds of the uncompressed fp32 model.
        expected: all candidates, those that are expected to lose least first.
        facts: other things that the report should say.
    """
    shapes = [{"shape": each.shape.name, "bytes": each.size, "loss": round(each.loss, 5)} for each in expected]
    report = {"format": 1, "kind": "compression", **facts, "whole": whole, "expected": shapes}
    report["tried"] = [each.as_json() for each in tried]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_name(f"{out.name}.compress.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw(report, out.with_name(f"{out.name}.compress.png"))


def draw(report: dict[str, Any], path: Path) -> None:
    """Size, time and quality of what was tried beside the whole model, and what every shape was expected to lose."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = ["whole, fp32", *(f"{row['shape']}{' (refused)' * bool(row['refused'])}" for row in report["tried"])]
    rows = [report["whole"], *report["tried"]]
    colours = ["0.7", *("tab:orange" if row["refused"] else "tab:blue" for row in report["tried"])]
    figure, axes = plt.subplots(1, 4, figsize=(15, 1.6 + 0.5 * len(rows) + 1.5), layout="constrained")
    panels = (
        ("MB", [row["bytes"] / 1e6 for row in rows]),
        ("ms a picture, network alone", [row["milliseconds"] for row in rows]),
        ("CIDEr x 100", [row["score"] for row in rows]),
    )
    if report["whole"]["accuracy"] is not None:
        panels = (*panels[:2], ("answers right, %", [row["accuracy"] for row in rows]))
    for axis, (title, values) in zip(axes, panels, strict=False):
        bars = axis.barh(names[::-1], values[::-1], color=colours[::-1])
        axis.bar_label(bars, fmt="%.1f", padding=2)
        axis.set_xlabel(title)
        axis.margins(x=0.2)
        if axis is not axes[0]:
            axis.set_yticklabels([])
    axes[0].axvline(report["target_bytes"] / 1e6, color="black", linewidth=0.8, linestyle="--")
    points = [(row["bytes"] / 1e6, row["loss"], row["shape"]) for row in report["expected"]]
    axes[3].scatter([size for size, _, _ in points], [loss for _, loss, _ in points], s=14)
    for size, loss, shape in points[:6]:
        axes[3].annotate(shape, (size, loss), fontsize=6, rotation=20)
    axes[3].set_xlabel("MB expected")
    axes[3].set_ylabel("rise of the loss expected, nats")
    figure.savefig(path, dpi=110)
    plt.close(figure)
