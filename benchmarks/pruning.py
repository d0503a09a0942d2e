"""How much faster and smaller a model gets when units are removed: fp32 or int8 graphs, one thread.

`python benchmarks/pruning.py --checkpoint DIR --kinds units=0.5 channels=0.5`. Units are chosen at random, since time
does not depend on which ones: quality is measured by `fastcap compress`. Prints a table, and writes JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastcap.checkpoint import load_checkpoint
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.speed import Timing
from fastcap.export.compare import open_graph, open_stepper
from fastcap.export.families import EXPORTS
from fastcap.model import CaptionModel
from fastcap.model.shrinking import groups_of
from fastcap.quantization.pruning import choose_units, prune
from fastcap.release.drawn import drawn
from fastcap.release.sizes import quantised_graphs
from fastcap.runtime.contract import KINDS

ROWS = 3  # of a beam


def graph_facts(model: CaptionModel, folder: Path, precision: str, repeats: int) -> dict[str, Any]:
    """Bytes of a model's graphs, and processor milliseconds of encoding a picture and of one token of a beam."""
    family, kind = EXPORTS[model.config.kind], model.config.kind
    parts, graphs = folder / "parts", folder / precision
    if not parts.is_dir():
        parts.mkdir(parents=True)
        family.parts(model, parts)
    pictures = np.stack([drawn(seed, model.config.image_size) for seed in range(4)])
    if precision == "fp32":
        family.assemble(parts, graphs, model.config)
    else:
        quantised_graphs(parts, graphs, model, pictures, {}, corrected=False)
    stepper, rows = open_stepper(graphs, kind), np.arange(ROWS)
    encoder = open_graph(graphs / KINDS[kind].left_to_right[0])
    inputs = {entry.name for entry in encoder.get_inputs()}
    feeds = {name: value for name, value in family.feeds(model.config).items() if name in inputs}
    state = stepper.start(stepper.encode(pictures[:1]), ROWS)
    _, state = stepper.step(rows, state, rows)
    timed = {
        "encoder": partial(encoder.run, None, {"images": pictures[:1], **feeds}),
        "picture": partial(stepper.encode, pictures[:1]),
        "token": partial(stepper.step, rows, state, rows),
    }
    found: dict[str, Any] = {"bytes": sum(path.stat().st_size for path in graphs.iterdir())}
    for name, action in timed.items():
        found[f"{name}_ms"] = Timing.of(action, repeats, clock=time.process_time).percentile(50)
    return found


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--kinds", nargs="+", default=["units=0.5"], metavar="KIND=SHARE")
    parser.add_argument("--precision", nargs="+", default=["int8"], choices=["fp32", "int8"])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    model, _ = load_checkpoint(args.checkpoint)
    shares = {kind: float(share) for kind, _, share in (text.partition("=") for text in args.kinds)}
    worth = {name: torch.rand(group.size) for name, group in groups_of(model).items()}
    models = {"whole": model, ", ".join(args.kinds): prune(model, choose_units(model, worth, shares))}
    rows = []
    with tempfile.TemporaryDirectory() as aside:
        for index, (name, each) in enumerate(models.items()):
            for precision in args.precision:
                facts = graph_facts(each, Path(aside) / str(index), precision, args.repeats)
                rows.append({"model": name, "precision": precision, **facts})
                print(f"{name:24} {precision} {facts['bytes'] / 1e6:8.2f} MB", end="")
                print("".join(f"  {key} {value:.2f}" for key, value in facts.items() if key != "bytes"), flush=True)
    if args.json:
        report = {"format": 1, "kind": "pruning", "date": now(), "commit": git_commit(), "machine": machine_facts()}
        report |= {"checkpoint": str(args.checkpoint), "threads": 1, "seed": 0, "repeats": args.repeats, "rows": rows}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
