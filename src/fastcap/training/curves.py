"""The curves of a training run."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["draw_curves"]


def draw_curves(log: Path, picture: Path) -> None:
    """Plot every value of a log.jsonl against the step, smoothed, one panel a value."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.lines import Line2D

    if not log.is_file():
        return
    rows = [json.loads(line) for line in log.read_bytes().splitlines()]
    names = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in ("stage", "step", "time")]
    if not names:
        return
    columns = 3
    panels = -(-len(names) // columns)
    figure, axes = plt.subplots(panels, columns, figsize=(13, 3 * panels), layout="constrained")
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    colors = plt.colormaps["tab20"](np.arange(len(stages)) % 20)  # a stage has the same one in every panel
    for axis, name in zip(np.atleast_1d(axes).flat, names, strict=False):
        for stage, color in zip(stages, colors, strict=True):
            points = np.array([(row["step"], row[name]) for row in rows if name in row and row["stage"] == stage])
            if not len(points):
                continue
            window = max(1, len(points) // 50)
            smooth = np.convolve(points[:, 1], np.ones(window) / window, mode="valid")
            axis.plot(points[window - 1 :, 0], smooth, color=color, marker="." if len(points) < 30 else "")
        axis.set_title(name)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    for axis in np.atleast_1d(axes).flat[len(names) :]:
        axis.set_axis_off()
    lines = [Line2D([], [], color=color) for color in colors]
    figure.legend(lines, stages, loc="outside upper center", ncols=5)
    figure.savefig(picture, dpi=90)
    plt.close(figure)
