"""The autoregressive family's graphs against PyTorch in eager mode: one picture, one thread, decoding with a cache.

The recipes' models, untrained, since time does not depend on what was learned; captions have 12 tokens, and the search
around the networks is the same for all. Times are processor time, which on one thread is what a clock shows on a quiet
machine. The model directory's size is that of its graphs.

`python benchmarks/autoregressive.py [--repeats 30] [--save]`
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastcap.config import load_config
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.export.compare import open_stepper
from fastcap.export.families import EXPORTS
from fastcap.generation.autoregressive import beam_search
from fastcap.model import TorchStepper, build_model
from fastcap.release.sizes import quantised_graphs
from fastcap.vocabulary import Vocabulary

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "autoregressive.json"
RECIPES = ("resnet_vit", "mobilenet_vit", "mamba_rope")
TOKENS = 12
BEAMS = {"greedy": 1, "beam 3": 3}
CALIBRATING = 4  # pictures; which ones does not change the time


def actions_of(encode: Callable[[], Any], stepper: Any, vocabulary: Vocabulary) -> dict[str, Callable[[], object]]:
    """What is timed of one way to run a model, by name."""
    state = encode()
    limits = {"min_length": TOKENS, "max_length": TOKENS, "forbidden": vocabulary.barred_in_search}
    marks = {"bos_id": vocabulary.bos_id, "eos_id": vocabulary.eos_id}

    def search(beams: int) -> Callable[[], object]:
        return lambda: beam_search(stepper, state, 1, beams=beams, **marks, **limits)

    return {"encode": encode, **{name: search(beams) for name, beams in BEAMS.items()}}


@torch.no_grad()
def measure(recipe: str, repeats: int) -> dict[str, Any]:
    """Median milliseconds of each way. Every repeat goes through all, so that a busy moment does not fall on one."""
    config = load_config(ROOT / "configs" / "model" / f"{recipe}.yaml").model
    torch.manual_seed(0)
    model = build_model(config).eval()
    shape = (CALIBRATING, config.image_size, config.image_size, 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def eager() -> Any:
        return model.decoder.prepare(model.encode(torch.from_numpy(pictures[:1])))

    with tempfile.TemporaryDirectory() as aside:
        folder, family = Path(aside), EXPORTS[config.kind]
        (folder / "parts").mkdir()
        family.parts(model, folder / "parts")
        family.assemble(folder / "parts", folder / "fp32", config)
        quantised_graphs(folder / "parts", folder / "int8", model, pictures, {})
        ways = {"PyTorch eager": actions_of(eager, TorchStepper(model.decoder), config.vocabulary)}
        sizes = {}
        for precision in ("fp32", "int8"):
            stepper = open_stepper(folder / precision)
            encode = functools.partial(stepper.encode, pictures[:1])
            ways[f"ONNX {precision}"] = actions_of(encode, stepper, config.vocabulary)
            sizes[precision] = sum(path.stat().st_size for path in (folder / precision).iterdir())
        actions = {(way, name): action for way, found in ways.items() for name, action in found.items()}
        rounds = [[milliseconds(action) for action in actions.values()] for _ in range(repeats + 1)]
    spent = dict(zip(actions, np.median(rounds[1:], axis=0).tolist(), strict=True))
    slow = "PyTorch eager"
    return {
        "recipe": f"configs/model/{recipe}.yaml",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bytes": sizes,
        "ms": {way: {name: round(spent[way, name], 3) for name in found} for way, found in ways.items()},
        "speedup": {
            way: {name: round(spent[slow, name] / spent[way, name], 2) for name in found}
            for way, found in ways.items()
            if way != slow
        },
    }


def milliseconds(action: Callable[[], object]) -> float:
    """Processor time of an action."""
    started = time.process_time()
    action()
    return (time.process_time() - started) * 1e3


def main() -> None:
    """Export, measure, print; with --save write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30, help="%(default)s")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "format": 1,
        "kind": "autoregressive",
        "date": now(),
        "commit": git_commit(),
        "command": f"python benchmarks/autoregressive.py --repeats {args.repeats} --save",
        "machine": machine_facts(),
        "threads": 1,
        "clock": "processor time",
        "repeats": args.repeats,
        "tokens": TOKENS,
        "models": [measure(recipe, args.repeats) for recipe in RECIPES],
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.save:
        RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
