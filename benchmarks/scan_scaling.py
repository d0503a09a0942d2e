"""Is token mixing linear? Times the selective scan on growing token grids and fits `time = c * tokens ** e`.

    python benchmarks/scan_scaling.py                 # prints the fit
    python benchmarks/scan_scaling.py --save          # and writes benchmarks/results/scan.{json,png}

The claim holds when e <= 1.1 for the scan. A second line shows the attention that it stands in for, whose
exponent heads for 2.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.speed import Timing
from fastcap.scan import selective_scan

SIDES = (14, 28, 42, 56)
HEADS, CHANNELS = 8, 32  # 256 wide
RESULTS = Path(__file__).parent / "results"


def mix_by_scan(n_tokens: int) -> Callable[[], object]:
    """One scan over `n_tokens` tokens of a 256-wide map."""
    log_decay = -torch.rand(1, HEADS, n_tokens)
    inputs = torch.randn(1, HEADS, n_tokens, CHANNELS)
    return lambda: selective_scan(log_decay, inputs)


def mix_by_attention(n_tokens: int) -> Callable[[], object]:
    """Softmax attention among the same tokens."""
    q, k, v = torch.randn(3, 1, HEADS, n_tokens, CHANNELS)
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v)


def exponent(n_tokens: list[int], milliseconds: list[float]) -> float:
    """Slope of log time over log tokens, by least squares: 1 is linear, 2 quadratic."""
    return float(np.polyfit(np.log(n_tokens), np.log(milliseconds), 1)[0])


def measure(repeats: int, sides: tuple[int, ...] = SIDES) -> dict[str, Any]:
    """Time both mixers on every grid, one thread, and fit their exponents to the median times."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    n_tokens = [side * side for side in sides]
    mixers = {}
    with torch.inference_mode():
        for name, mixer in {"selective_scan": mix_by_scan, "softmax_attention": mix_by_attention}.items():
            # Grids take turns, so that a busy moment of the machine does not fall on one of them alone.
            actions = [mixer(n) for n in n_tokens]
            rounds = [[Timing.of(a, 1, warm_up=1).milliseconds[0] for a in actions] for _ in range(repeats)]
            times = np.median(rounds, axis=0).tolist()
            mixers[name] = {
                "p50_ms": [round(t, 3) for t in times],
                "exponent": round(exponent(n_tokens, times), 3),
            }
    return {
        "format": 1,
        "kind": "scan",
        "date": now(),
        "commit": git_commit(),
        "command": "python benchmarks/scan_scaling.py --save",
        "machine": machine_facts(),
        "threads": 1,
        "repeats": repeats,
        "heads": HEADS,
        "channels": CHANNELS,
        "sides": list(sides),
        "tokens": n_tokens,
        "mixers": mixers,
    }


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw time over tokens on log axes, where the exponent is the slope."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, mixer in result["mixers"].items():
        label = f"{name.replace('_', ' ')} (exponent {mixer['exponent']:.2f})"
        axes.loglog(result["tokens"], mixer["p50_ms"], marker="o", label=label)
    axes.set_xticks(result["tokens"], [f"{side}×{side}" for side in result["sides"]])
    axes.minorticks_off()
    axes.set_xlabel("tokens")
    axes.set_ylabel("milliseconds, one thread")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/scan.json and scan.png")
    arguments = parser.parse_args()
    result = measure(arguments.repeats)
    for name, mixer in result["mixers"].items():
        times = ", ".join(f"{side}x{side} {t:.2f} ms" for side, t in zip(result["sides"], mixer["p50_ms"], strict=True))
        print(f"{name}: {times}; exponent {mixer['exponent']:.2f}")
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "scan.json").write_text(json.dumps(result, indent=1) + "\n")
        plot(result, RESULTS / "scan.png")


if __name__ == "__main__":
    main()
