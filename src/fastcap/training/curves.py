"""Pictures of a training run."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["draw_curves"]


def draw_curves(log: Path, picture: Path) -> None:
    """Draw every value of a log.jsonl against the step, losses smoothed, one panel a value."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    if not log.is_file():
        return
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    names = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in ("stage", "step", "time")]
    if not names:
        return
    columns = 3
    figure, axes = plt.subplots(-(-len(names) // columns), columns, figsize=(13, 3 * -(-len(names) // columns)))
    for axis, name in zip(np.atleast_1d(axes).flat, names, strict=False):
        for stage in dict.fromkeys(row["stage"] for row in rows):
            points = np.array([(row["step"], row[name]) for row in rows if name in row and row["stage"] == stage])
            if not len(points):
                continue
            window = max(1, len(points) // 50)
            smooth = np.convolve(points[:, 1], np.ones(window) / window, mode="valid")
            axis.plot(points[window - 1 :, 0], smooth, label=stage, marker="." if len(points) < 30 else "")
        axis.set_title(name)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    for axis in np.atleast_1d(axes).flat[len(names) :]:
        axis.set_axis_off()
    np.atleast_1d(axes).flat[0].legend()
    figure.tight_layout()
    figure.savefig(picture, dpi=90)
    plt.close(figure)
