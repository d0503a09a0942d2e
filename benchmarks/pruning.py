"""How much faster and smaller a model gets when units are removed: fp32 or int8 graphs, one thread.

`python benchmarks/pruning.py --checkpoint DIR --kinds units=0.5 channels=0.5`. Units are chosen at random, since time
does not depend on which ones: quality is measured by `fastcap compress`. Prints a table, and writes JSON with --json.

Models are timed in turn, one call each, so that what else the machine does slows all of them alike: the median of
processor time. Of convolutions, ONNX Runtime's profiler knows the time on the wall alone: the lowest tenth.

Of a prefix model, --token makes and times the graph of the language model alone, in a fifth of the time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from fastcap.checkpoint import load_checkpoint
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.export.compare import open_graph, open_stepper
from fastcap.export.families import EXPORTS
from fastcap.export.prefix import PrefixInit, export_step, with_merged_adapters
from fastcap.model import CaptionModel
from fastcap.model.shrinking import groups_of
from fastcap.quantization.post_training import quantize_prefix
from fastcap.quantization.pruning import choose_units, prune
from fastcap.release.drawn import drawn
from fastcap.release.sizes import quantised_graphs
from fastcap.runtime.contract import KINDS, LANGUAGE_MODEL, STATE

ROWS, TOKENS = 3, 8  # of a beam, and those that it has read
WARM_UP = 3
PROFILED = 30  # runs
CONVOLUTIONS = ("Conv", "FusedConv", "QLinearConv", "ConvInteger")
SHARE = 10  # percent of a kernel's runs that count as undisturbed

Actions = dict[str, Callable[[], object]]


def graphs_of(model: CaptionModel, folder: Path, precision: str) -> Path:
    """The folder of a model's graphs, which are made."""
    family, parts, graphs = EXPORTS[model.config.kind], folder / "parts", folder / precision
    if not parts.is_dir():
        parts.mkdir(parents=True)
        family.parts(model, parts)
    if precision == "fp32":
        family.assemble(parts, graphs, model.config)
    else:
        pictures = np.stack([drawn(seed, model.config.image_size) for seed in range(4)])
        quantised_graphs(parts, graphs, model, pictures, {}, corrected=False)
    return graphs


def feeds_of(model: CaptionModel, session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """What the graph that reads pictures is fed with."""
    inputs = {entry.name for entry in session.get_inputs()}
    feeds = {name: value for name, value in EXPORTS[model.config.kind].feeds(model.config).items() if name in inputs}
    return {"images": drawn(0, model.config.image_size)[None], **feeds}


def actions(model: CaptionModel, graphs: Path) -> Actions:
    """What is timed: encoding a picture, the same with all that precedes the first token, and a token of a beam."""
    kind = model.config.kind
    stepper, rows = open_stepper(graphs, kind), np.arange(ROWS)
    encoder = open_graph(graphs / KINDS[kind].left_to_right[0])
    feeds = feeds_of(model, encoder)
    state = stepper.start(stepper.encode(feeds["images"]), ROWS)
    _, state = stepper.step(rows, state, rows)
    return {
        "encoder": partial(encoder.run, None, feeds),
        "picture": partial(stepper.encode, feeds["images"]),
        "token": partial(stepper.step, rows, state, rows),
    }


def language_model_of(model: CaptionModel, folder: Path, precision: str) -> Path:
    """The folder with the language model's graph alone, and a prefix in a file of its own."""
    graphs = folder / precision
    graphs.mkdir(parents=True)
    whole: Any = with_merged_adapters(model)
    with torch.no_grad():
        state = PrefixInit(whole)(whole.decoder.embed(torch.arange(model.config.decoder.image_tokens)[None]))
        export_step(whole, state, graphs)
    if precision == "int8":
        quantize_prefix(graphs, {}, {})
    np.save(graphs / "state.npy", state.numpy())
    return graphs


def token_alone(graphs: Path) -> Actions:
    """A token of a beam, some tokens after a prefix."""
    session, state = open_graph(graphs / LANGUAGE_MODEL.file), np.load(graphs / "state.npy")
    rows = np.arange(ROWS)
    cache = np.zeros((*state.shape[:2], ROWS, TOKENS, state.shape[3]), np.float32)
    feeds = {"token_ids": rows[:, None], "parents": rows, "cache": cache, "padding": 0 * rows, f"{STATE}0": state}
    return {"token": partial(session.run, None, feeds)}


def in_turn(timed: list[Actions], repeats: int) -> list[dict[str, float]]:
    """The median processor milliseconds of each action of each model, which take turns."""
    spent: list[dict[str, list[float]]] = [{f"{name}_ms": [] for name in each} for each in timed]
    for repeat in range(WARM_UP + repeats):
        for found, each in zip(spent, timed, strict=True):
            for name, action in each.items():
                started = time.process_time()
                action()
                if repeat >= WARM_UP:
                    found[f"{name}_ms"].append((time.process_time() - started) * 1e3)
    return [{name: round(float(np.median(values)), 3) for name, values in found.items()} for found in spent]


def convolutions_ms(model: CaptionModel, graphs: Path, aside: Path) -> float:
    """Milliseconds of the encoder's convolutions."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling, options.log_severity_level = 1, True, 3
    options.profile_file_prefix = str(aside / "profile")
    path = graphs / KINDS[model.config.kind].left_to_right[0]
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = feeds_of(model, session)
    for _ in range(PROFILED):
        session.run(None, feeds)
    kernels: dict[str, list[float]] = {}
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["args"].get("op_name") in CONVOLUTIONS:
            kernels.setdefault(event["name"], []).append(event["dur"] / 1e3)
    return round(sum(float(np.percentile(values, SHARE)) for values in kernels.values()), 3)


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--kinds", nargs="+", action="append", metavar="KIND=SHARE", help="may be given several times")
    parser.add_argument("--precision", nargs="+", default=["int8"], choices=["fp32", "int8"])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--token", action="store_true", help="the language model's graph alone")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    model, _ = load_checkpoint(args.checkpoint)
    worth = {name: torch.rand(group.size) for name, group in groups_of(model).items()}
    models = {"whole": model}
    for kinds in args.kinds or [["units=0.5"]]:
        shares = {kind: float(share) for kind, _, share in (text.partition("=") for text in kinds)}
        models[", ".join(kinds)] = prune(model, choose_units(model, worth, shares))
    with tempfile.TemporaryDirectory() as aside:
        rows: list[dict[str, Any]] = []
        timed: list[Actions] = []
        for index, (name, each) in enumerate(models.items()):
            for precision in args.precision:
                make = language_model_of if args.token else graphs_of
                graphs = make(each, Path(aside) / str(index), precision)
                size = sum(path.stat().st_size for path in graphs.glob("*.onnx"))
                size += sum(path.stat().st_size for path in graphs.glob("*.data"))
                rows.append({"model": name, "precision": precision, "bytes": size})
                if not args.token:
                    rows[-1]["convolutions_ms"] = convolutions_ms(each, graphs, Path(aside))
                timed.append(token_alone(graphs) if args.token else actions(each, graphs))
        for row, facts in zip(rows, in_turn(timed, args.repeats), strict=True):
            row |= facts
            print(f"{row['model']:24} {row['precision']} {row['bytes'] / 1e6:8.2f} MB", end="")
            print("".join(f"  {key} {value:.2f}" for key, value in row.items() if key.endswith("_ms")), flush=True)
    if args.json:
        report = {"format": 1, "kind": "pruning", "date": now(), "commit": git_commit(), "machine": machine_facts()}
        report |= {
            "checkpoint": Path(args.checkpoint).name,
            "kind_of_model": model.config.kind,
            "threads": 1,
            "seed": 0,
        }
        report |= {"repeats": args.repeats, "rows": rows}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
