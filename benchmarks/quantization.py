"""Size, time and quality of a checkpoint's graphs with 32 and 8 bits everywhere, and with bits chosen for target sizes.

    python benchmarks/quantization.py --checkpoint DIR --root data/flickr8k --limit 200 --targets 8MB 7MB
    ... --save      # and writes benchmarks/results/quantization.json, and a picture of the last target's bits beside it

Sizes are those of the model directory; times of the network alone, one thread, three candidates, the median of 30 runs.
CIDEr is that of the first `--limit` pictures of val; it tells losses, not how good the model is. What is refused by
`fastcap export`, which allows a loss of 1 point, is measured here all the same.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from fastcap.checkpoint import load_checkpoint
from fastcap.data.readers import load_dataset
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.export.families import EXPORTS
from fastcap.quantization.bits import choose_bits, draw_report, options_of, report_rows, total
from fastcap.quantization.scales import BITS, tensor_bits
from fastcap.quantization.sensitivity import measure_sensitivity
from fastcap.release.gate import measure, network_milliseconds
from fastcap.release.pipeline import load_pictures
from fastcap.release.settings import parse_size
from fastcap.release.sizes import Sizes, directory_size, own_batches, quantised_graphs

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, help="checkpoint directory")
    parser.add_argument("--root", required=True, type=Path, help="folder of Flickr8k")
    parser.add_argument("--limit", type=int, default=200, help="pictures to measure on (%(default)s)")
    parser.add_argument("--calibration", type=int, default=100, help="pictures to calibrate on (%(default)s)")
    parser.add_argument("--sensitivity", type=int, default=64, help="of these, pictures for sensitivity (%(default)s)")
    parser.add_argument("--targets", nargs="+", type=parse_size, default=[8_000_000, 7_000_000], metavar="SIZE")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/quantization.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(stderr=True)
    model, tokenizer = load_checkpoint(args.checkpoint)
    examples = load_dataset("flickr8k", args.root, "val")[: args.limit]
    train = load_dataset("flickr8k", args.root, "train")
    pictures = load_pictures(train, args.calibration, model.config.image_size)
    with tempfile.TemporaryDirectory() as aside:
        folder, family = Path(aside), EXPORTS[model.config.kind]
        (folder / "parts").mkdir()
        family.parts(model, folder / "parts")
        sizes = Sizes.of(folder / "parts", model, tokenizer, pictures)
        layers = sizes.layers
        sensitivity = measure_sensitivity(model, layers, own_batches(model, tokenizer, pictures[: args.sensitivity]))
        options = options_of(layers, sensitivity)
        plans = {"int8": dict.fromkeys(layers, 8)}
        plans |= {f"{target / 1e6:g} MB": choose_bits(options, target - sizes.other) for target in args.targets}

        def row(name: str, graphs: Path, **facts: Any) -> dict[str, Any]:
            measured = measure(graphs, tokenizer, model.config, examples, console)
            milliseconds = network_milliseconds(graphs, model.config, pictures[:1])
            size, cider = directory_size(measured.directory), round(measured.cider, 2)
            return {"graph": name, "bytes": size, "network_ms": round(milliseconds, 2), "cider": cider, **facts}

        family.assemble(folder / "parts", folder / "fp32", model.config)
        rows = [row("fp32", folder / "fp32")]
        for name, bits in plans.items():
            where, tensors = folder / name.replace(" ", "_"), tensor_bits(layers, bits)
            graphs = quantised_graphs(folder / "parts", where, model, pictures, tensors)
            counts = {str(width): list(bits.values()).count(width) for width in BITS}
            rows.append(row(name, graphs, layers=counts, predicted_loss=round(total(options, bits).loss, 4)))
    result = {
        "format": 1,
        "kind": "quantization",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "threads": 1,
        "images": len(examples),
        "sensitivity_images": args.sensitivity,
        "smallest_bytes": sizes.smallest,
        "graphs": [{**each, "cider_loss": round(rows[0]["cider"] - each["cider"], 2)} for each in rows],
        "layers": report_rows(layers, sensitivity, bits),
    }
    print(table(result["graphs"]))
    if args.save:
        draw_report(result["layers"], RESULTS / "quantization.png")
        (RESULTS / "quantization.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def table(graphs: list[dict[str, Any]]) -> str:
    """The graphs as Markdown."""
    lines = ["| graph | layers with 4, 8, 16 bits | MB | network, ms | CIDEr | lost |", "|---|---|---|---|---|---|"]
    for each in graphs:
        counts = ", ".join(str(count) for count in each["layers"].values()) if "layers" in each else "-"
        sizes = f"{each['bytes'] / 1e6:.2f} | {each['network_ms']:.1f}"
        lines.append(f"| {each['graph']} | {counts} | {sizes} | {each['cider']:.2f} | {each['cider_loss']:+.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
