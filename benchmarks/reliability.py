"""How much of what a model says with a given confidence is right: a picture, and its figures as JSON.

`python benchmarks/reliability.py --root data/flickr8k [--split val] [--model NAME|DIR] [--out docs/reliability.png]`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fastcap.data.readers import load_dataset
from fastcap.evaluation.calibration import reliability
from fastcap.evaluation.evaluate import evaluate_model
from fastcap.runtime.captioner import Captioner


def draw(bins: list[tuple[float, float, int]], error: float, total: int, path: Path) -> None:
    """One bar a range of confidence: as high as the support, as dark as there are captions."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 5))
    axis.plot([0, 1], [0, 1], color="gray", linestyle="--", label="calibrated")
    for confidence, support, count in bins:
        axis.bar(confidence, support, width=0.08, color="tab:blue", alpha=0.25 + 0.75 * count / total)
        axis.text(confidence, support + 0.01, str(count), ha="center", fontsize=8)
    axis.set(xlim=(0, 1), ylim=(0, 1.05), xlabel="confidence", ylabel="content words that people used as well")
    axis.set_title(f"{total} captions, calibration error {error:.3f}")
    axis.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    """Caption, count, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="folder of the data set")
    parser.add_argument("--dataset", default="flickr8k", help="%(default)s")
    parser.add_argument("--split", default="val", help="%(default)s")
    parser.add_argument("--model", default="fastcap-base", help="bundled model or model directory (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/reliability.png"), help="picture (%(default)s)")
    args = parser.parse_args()
    evaluation = evaluate_model(Captioner.open(args.model), load_dataset(args.dataset, args.root, args.split))
    facts = evaluation.as_json()
    bins = reliability(*evaluation.calibration())
    draw(bins, facts["calibration"]["error"], facts["images"], args.out)
    rows = [{"confidence": round(c, 4), "support": round(s, 4), "captions": n} for c, s, n in bins]
    result = {"format": 1, "kind": "reliability", "commit": facts["commit"], **facts["calibration"], "bins": rows}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
