"""Parallel decoding against decoding from left to right with a cache: the same network, the same runtime, one thread.

A decoder of the shipped shape (three layers, 4,096 tokens, int8) at several widths, untrained, since time does not
depend on what was learned; and a model directory at its own width. Captions have 12 tokens. Parallel decoding is all of
it: three passes, and ranking by the causal reading; with one length beside greedy search, and with three lengths, as it
is shipped, beside a beam of three. Encoding the picture is the same for all, and left out. Times are processor time,
which on one thread is what a clock shows on a quiet machine.

`python benchmarks/decoding.py [--model NAME|DIR] [--repeats 40] [--save]`
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastcap.config import ModelConfig
from fastcap.errors import FastcapError
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.export.compare import open_graph, open_stepper
from fastcap.export.parallel import assemble_parallel, export_parallel
from fastcap.generation.autoregressive import beam_search
from fastcap.model import build_model
from fastcap.quantization.products import quantize_products
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.contract import DECODES
from fastcap.vocabulary import Vocabulary

ROOT = Path(__file__).parents[1]
RESULTS, PICTURE = ROOT / "benchmarks" / "results" / "decoding.json", ROOT / "docs" / "decoding.png"
WIDTHS = (128, 256, 384, 512)
TOKENS = 12
PAIRS = {"1 length, greedy": ("parallel, 1 length", "greedy"), "3 lengths, beam 3": ("parallel, 3 lengths", "beam 3")}


def export_untrained(width: int, folder: Path) -> ModelConfig:
    """Write the int8 graphs of an untrained decoder of that width, behind an encoder of very small pictures."""
    config = ModelConfig(image_size=64, d_model=width)
    config = replace(config, decoder=replace(config.decoder, d_hidden=2 * width))
    torch.manual_seed(0)
    export_parallel(build_model(config), folder)
    for part in folder.iterdir():
        quantize_products(part, {})
    assemble_parallel(folder, folder / "graphs", config)
    return config


def strategies(folder: Path, size: int, vocabulary: Vocabulary) -> dict[str, Callable[[], object]]:
    """What is timed, by name. Parallel decoding includes encoding the picture, which is timed apart."""
    whole = open_graph(folder / "model.onnx")
    stepper = open_stepper(folder)
    picture = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    state = stepper.encode(picture)

    def parallel(low: int, high: int) -> object:
        feeds = {
            "images": picture,
            "length_range": np.array([low, high]),
            "candidates": np.array([high - low + 1]),
            "penalties": np.zeros(vocabulary.size, np.float32),
        }
        return whole.run(None, feeds)

    def search(beams: int) -> object:
        limits = {"min_length": TOKENS, "max_length": TOKENS, "forbidden": vocabulary.barred_in_search}
        marks = {"bos_id": vocabulary.bos_id, "eos_id": vocabulary.eos_id}
        return beam_search(stepper, state, 1, beams=beams, **marks, **limits)

    return {
        "encode": lambda: stepper.encode(picture),
        "parallel, 1 length": lambda: parallel(TOKENS, TOKENS),
        "parallel, 3 lengths": lambda: parallel(TOKENS - 1, TOKENS + 1),
        "greedy": lambda: search(1),
        "beam 3": lambda: search(3),
    }


def measure(actions: dict[str, Callable[[], object]], repeats: int) -> dict[str, Any]:
    """Median milliseconds of decoding. Every repeat goes through all, so that a busy moment does not fall on one."""

    def milliseconds(action: Callable[[], object]) -> float:
        started = time.process_time()
        action()
        return (time.process_time() - started) * 1e3

    rounds = [[milliseconds(action) for action in actions.values()] for _ in range(repeats + 1)]
    times = dict(zip(actions, np.median(rounds[1:], axis=0).tolist(), strict=True))
    encode = times.pop("encode")
    times = {name: spent - encode if name.startswith("parallel") else spent for name, spent in times.items()}
    return {
        "encode_ms": round(encode, 3),
        "decode_ms": {name: round(spent, 3) for name, spent in times.items()},
        "speedup": {pair: round(times[slow] / times[fast], 2) for pair, (fast, slow) in PAIRS.items()},
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Milliseconds over width, and how many times faster parallel decoding is."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    widths = [row["width"] for row in result["widths"]]
    colours = dict(zip(PAIRS, ("tab:blue", "tab:orange"), strict=True))
    for pair, names in PAIRS.items():
        for name, style in zip(names, ("-o", "--s"), strict=True):
            times = [row["decode_ms"][name] for row in result["widths"]]
            left.plot(widths, times, style, color=colours[pair], label=name)
        right.plot(widths, [row["speedup"][pair] for row in result["widths"]], "-o", color=colours[pair], label=pair)
        shipped = result["model"]
        right.plot(shipped["width"], shipped["speedup"][pair], "*", markersize=14, color=colours[pair])
    left.set(xlabel="width of the decoder", ylabel=f"milliseconds for {TOKENS} tokens, one thread", ylim=(0, None))
    right.set(xlabel="width of the decoder", ylabel="left to right / parallel", ylim=(0, None))
    right.axhline(1, color="gray", linestyle=":")
    right.set_title(f"star: {result['model']['name']}", fontsize=9)
    for axis in (left, right):
        axis.set_xticks(widths)
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Export, measure, print; with --save write the figures and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fastcap-base", help="bundled model or model directory (%(default)s)")
    parser.add_argument("--repeats", type=int, default=40, help="%(default)s")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name} and {PICTURE.name}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    bundle = Bundle.open(find_model(args.model))
    if bundle.decodes != DECODES:
        raise FastcapError(f"model {bundle.name!r} decodes {', '.join(bundle.decodes)}; needed: {', '.join(DECODES)}")
    shipped = strategies(bundle.folder, bundle.preprocessing.width, bundle.vocabulary)
    rows = []
    for width in WIDTHS:
        with tempfile.TemporaryDirectory() as folder:
            config = export_untrained(width, Path(folder))
            actions = strategies(Path(folder) / "graphs", config.image_size, config.vocabulary)
            rows.append({"width": width, **measure(actions, args.repeats)})
        print(rows[-1], flush=True)
    inputs = {node.name: node.shape for node in open_graph(bundle.folder / "step.onnx").get_inputs()}
    _, heads, _, _, head_width = inputs["cache"]
    result = {
        "format": 1,
        "kind": "decoding",
        "date": now(),
        "commit": git_commit(),
        "command": f"python benchmarks/decoding.py --model {args.model} --repeats {args.repeats} --save",
        "machine": machine_facts(),
        "threads": 1,
        "clock": "processor time",
        "repeats": args.repeats,
        "tokens": TOKENS,
        "passes": config.generation.passes,
        "widths": rows,
        "model": {"name": bundle.name, "width": heads * head_width, **measure(shipped, args.repeats)},
    }
    print(json.dumps(result, indent=1))
    if args.save:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        draw(result, PICTURE)


if __name__ == "__main__":
    main()
