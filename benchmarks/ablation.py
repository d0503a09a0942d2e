"""What each technique is worth: a small captioner with nothing, with each technique alone, and with all, over seeds.

    python benchmarks/ablation.py --root DATA [--seeds 0 1 2] [--only NAME ...]

All are trained by configs/training/ablation.yaml: same data, steps, order of pictures and learning rate; only what is
named differs. Each is measured on the whole of Flickr8k val. A run that is already in the JSON file is not repeated, so
an interrupted ablation goes on where it stopped. `--draw` trains nothing and makes tables and pictures from the file.
The autoregressive family has a table of its own: a captioner that writes from left to right, and what its losses add.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from fastcap.checkpoint import load_checkpoint
from fastcap.config import load_config
from fastcap.data.cache import ImageCache
from fastcap.decoder.rope_decoder import TokenExperts
from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.layers import ImageTokens, Routing
from fastcap.model import CaptionModel
from fastcap.runtime.encoding import decode
from fastcap.training.pools import read_examples
from fastcap.training.trainer import train

HERE = Path(__file__).resolve().parent
RECIPE = HERE.parent / "configs/training/ablation.yaml"
RESULT = HERE / "results/ablation.json"
PICTURE = HERE.parent / "docs/ablation.png"
FAMILY_PICTURE = HERE.parent / "docs/ablation_autoregressive.png"
TABLE = HERE.parent / "docs/ablation.md"
MAMBA = "model.backbone.mamba_depths=[1, 1]"
EXPERTS = "model.decoder.n_experts=4"
RALA = "model.decoder.cross_attention=rala"
ALIGNED = "stages.1.contrastive=0.2"
CONSISTENT = "stages.1.consistency=0.3"
TAUGHT = (
    "stages.1.teachers=[{kind: features, names: [teachers/mobilenetv2_imagenet.npz]}, "
    "{kind: sequences, names: [machine], weight: 0.5}]"
)
TRAINED = {  # what the recipe is changed in
    "baseline": [],
    "Spatial-Mamba": [MAMBA],
    "MoE": [EXPERTS],
    "RALA": [RALA],
    "PMTD": [TAUGHT],
    "CMFA": [ALIGNED],
    "SCR": [CONSISTENT],
    "all": [MAMBA, EXPERTS, RALA, TAUGHT, ALIGNED, CONSISTENT],
}
PIXELS = "stages.1.freeze=none"
VARIED = {  # sizes of the baseline, and where its convolutions come from
    "96 pixels": ["model.image_size=96"],
    "160 pixels": ["model.image_size=160"],
    "width 192": ["model.d_model=192"],
    "1 decoder layer": ["model.decoder.n_layers=1"],
    "3 decoder layers": ["model.decoder.n_layers=3"],
    "the teacher's convolutions, learning too": [PIXELS],
    "convolutions that only learn from the teacher": [
        PIXELS,
        "data.teacher=''",
        "stages.1.convolution_rate=1.0",
        "stages.1.teachers=[{kind: features, names: [teachers/mobilenetv2_imagenet.npz]}]",
    ],
}
INVERTED = "widths: [16, 24, 32, 64, 96, 160, 320], depths: [1, 2, 3, 4, 3, 3, 1]"
LEFT_TO_RIGHT = [
    f"model.backbone={{kind: resnet_vit, blocks: inverted, {INVERTED}, n_layers: 2, n_heads: 4, d_hidden: 256}}",
    "model.decoder={kind: rope, n_layers: 2, n_heads: 4, d_hidden: 256}",
    "stages.0.smoothing=0",
    "stages.1.smoothing=0",
]
FINE = "model.decoder={kind: rope, n_layers: 2, n_heads: 4, d_hidden: 64, n_experts: 8, top_k: 2, n_shared: 2"
AUTOREGRESSIVE = {  # the other family, and what its losses are worth
    "left to right": LEFT_TO_RIGHT,
    "label smoothing": [*LEFT_TO_RIGHT, "stages.0.smoothing=0.1", "stages.1.smoothing=0.1"],
    "sigmoid contrast": [*LEFT_TO_RIGHT, "stages.1.contrastive=0.2", "stages.1.contrast=sigmoid"],
    "scheduled forcing": [*LEFT_TO_RIGHT, "stages.1.forcing={schedule: linear, end: 0.5}"],
    "experts, not balanced": [*LEFT_TO_RIGHT, f"{FINE}}}", "stages.0.balance=0", "stages.1.balance=0"],
    "experts, routing loss": [*LEFT_TO_RIGHT, f"{FINE}}}"],
    "experts, biases": [*LEFT_TO_RIGHT, f"{FINE}, balancing: bias}}", "stages.0.balance=0", "stages.1.balance=0"],
}
RECIPES = {**TRAINED, **VARIED, **AUTOREGRESSIVE}
SEARCHED = {"greedy": 1, "beam of three": 3}  # the width of the beam
DECODED = {  # passes, and whether lengths are predicted, three of them, and ranked
    "one pass, constant length": (1, False),
    "ICMR": (3, False),
    "DLAG": (1, True),
    "ICMR + DLAG": (3, True),
}
CONSTANT_LENGTH = 11  # tokens, the median of Flickr8k's training captions


def main() -> None:
    """Train what is missing, measure, note, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the data sets (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"), help="folder for runs (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="%(default)s")
    names = list(RECIPES)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="which trainings")
    parser.add_argument("--draw", action="store_true", help="train nothing")
    args = parser.parse_args()
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else {"format": 1, "kind": "ablation", "runs": []}
    done = {(run["trained"], run["seed"]) for run in result["runs"]}
    for seed in [] if args.draw else args.seeds:
        for name in args.only:
            if (name, seed) not in done:
                run = {"trained": name, "seed": seed, **trained(name, seed, args.root, args.output)}
                result["runs"].append(run)
                RESULT.write_text(json.dumps(result, indent=1) + "\n")
                print(json.dumps(run))
    TABLE.write_text(table(result["runs"]))
    draw(summary(result["runs"]), PICTURE)
    draw(searched(result["runs"]), FAMILY_PICTURE)


def trained(name: str, seed: int, root: Path, output: Path) -> dict[str, Any]:
    """Train one captioner and measure it in every way of decoding."""
    folder = output / f"{name.replace(' ', '_')}-{seed}"
    overrides = [f"data.root={root}", f"output={folder}", f"seed={seed}", *RECIPES[name]]
    config = load_config(RECIPE, overrides)
    train(config)
    last = max((folder / "checkpoints").glob("step-*"))
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    watched = {key: rows[-1][key] for key in rows[-1] if key.startswith(("image_to_text", "text_to_image"))}
    agreed = [row["agreement"] for row in rows if "agreement" in row][-5:]
    ways = list(DECODED) if name == "baseline" else list(SEARCHED) if name in AUTOREGRESSIVE else ["ICMR + DLAG"]
    cider, shares = measured(last, config, ways)
    found = {
        "cider": cider,
        **({"smallest_share": min(shares)} if shares else {}),
        **({"retrieval": watched} if watched else {}),
        **({"agreement": round(mean(agreed), 4)} if agreed else {}),
        "steps": sum(stage.steps for stage in config.stages),
        "commit": git_commit(),
        "date": now(),
        "machine": machine_facts()["cpu"],
    }
    shutil.rmtree(folder)
    return found


@torch.no_grad()
def measured(checkpoint: Path, config: Any, ways: list[str]) -> tuple[dict[str, float], list[float]]:
    """CIDEr of some ways of decoding on the validation set; of a decoder whose tokens choose experts, the share of a
    layer's choices that fell on each, of all layers."""
    model, tokenizer = load_checkpoint(checkpoint)
    examples = [example for _, part in read_examples(config.data, "val") for example in part]
    images = ImageCache(Path(config.data.cache) / f"val-{config.model.image_size}", config.model.image_size)
    images.build([example.image for example in examples])
    scorer = CiderD({str(i): [ptb_tokens(text) for text in e.captions] for i, e in enumerate(examples)})
    captions: dict[str, dict[str, list[str]]] = {way: {} for way in ways}
    loads: dict[TokenExperts, Tensor] = {}

    def count(experts: TokenExperts, _: Any, output: tuple[Tensor, Routing]) -> None:
        loads[experts] += output[1].chosen.flatten().bincount(minlength=len(experts.bias))

    for module in model.modules():
        if isinstance(module, TokenExperts):
            loads[module] = torch.zeros_like(module.bias)
            module.register_forward_hook(count)
    for start in range(0, len(examples), 64):
        batch = list(range(start, min(start + 64, len(examples))))
        image = model.encode(torch.from_numpy(images[batch]))
        for way in ways:
            for index, ids in zip(batch, decoded(model, image, way), strict=True):
                captions[way][str(index)] = ptb_tokens(decode(tokenizer, ids))
    shares = [round(share, 4) for load in loads.values() for share in (load / load.sum()).tolist()]
    return {way: round(100 * scorer.corpus(found)[0], 3) for way, found in captions.items()}, shares


def decoded(model: CaptionModel, image: ImageTokens, way: str) -> list[list[int]]:
    """The best caption of each image, as tokens."""
    if way in SEARCHED:
        return [found[0].token_ids for found in model.search(image, SEARCHED[way])]
    passes, predicted = DECODED[way]
    model.refiner.passes = passes
    generation = model.config.generation
    limits = [generation.min_length, model.config.max_length] if predicted else [CONSTANT_LENGTH] * 2
    count = generation.candidates if predicted else 1
    return model.caption(image, torch.tensor(limits), torch.tensor([count])).best()


Rows = dict[str, tuple[list[float], str]]


def summary(runs: list[dict[str, Any]]) -> Rows:
    """CIDEr of every seed by technique, and the row that it is compared with, "" for none."""
    by_name = {name: [run["cider"] for run in runs if run["trained"] == name] for name in [*TRAINED, *VARIED]}
    plain, full = "one pass, constant length", "ICMR + DLAG"
    rows = {"baseline": ([cider[plain] for cider in by_name["baseline"]], "")}
    for way in ("ICMR", "DLAG", full):
        rows[f"+ {way}"] = ([cider[way] for cider in by_name["baseline"]], "baseline")
    for name, found in by_name.items():
        if name != "baseline":
            shown = f"+ {name}" if name in TRAINED and name != "all" else name
            rows[shown] = ([cider[full] for cider in found], f"+ {full}")
    return {name: row for name, row in rows.items() if row[0]}


def searched(runs: list[dict[str, Any]]) -> Rows:
    """The same of the autoregressive family, decoded by beam search; experts are compared with others unbalanced."""
    rows: Rows = {}
    for name in AUTOREGRESSIVE:
        found = [run["cider"]["beam of three"] for run in runs if run["trained"] == name]
        balanced = name in ("experts, routing loss", "experts, biases")
        against = "" if name == "left to right" else "experts, not balanced" if balanced else "left to right"
        if found:
            rows[name] = (found, against)
    return rows


def lines_of(rows: Rows) -> list[str]:
    """A row each, of Markdown: means and spreads over seeds, differences from the same seeds of what it is compared
    with."""
    lines = ["| trained and decoded with | CIDEr, mean of seeds | spread | against |", "|---|---|---|---|"]
    for name, (values, against) in rows.items():
        spread = f"± {stdev(values):.2f} ({len(values)} seeds)" if len(values) > 1 else "1 seed"
        differences = [value - other for value, other in zip(values, rows[against][0] if against else [], strict=False)]
        by_seed = ", ".join(f"{difference:+.1f}" for difference in differences)
        compared = f"{mean(differences):+.2f} on {against} (by seed: {by_seed})" if differences else ""
        lines.append(f"| {name} | {mean(values):.2f} | {spread} | {compared} |")
    return lines


def table(runs: list[dict[str, Any]]) -> str:
    """The summaries as Markdown."""
    rows, family = summary(runs), searched(runs)
    missing = [name for name in RECIPES if not any(run["trained"] == name for run in runs)]
    seeds = min(len(values) for name, (values, _) in rows.items() if name not in VARIED)
    lines = [
        "# What each technique is worth",
        "",
        "A small captioner trained by `configs/training/ablation.yaml` (380 steps, 128x128 pixels), measured on all of",
        "Flickr8k val; `make ablation` trains what is missing and writes this page. So short a training tells how soon",
        "a technique helps, not how far it goes; a difference within the spread of the seeds is within chance.",
        "",
        f"Seeds of every technique so far: {seeds}. Not trained yet: {', '.join(missing) or 'nothing'}.",
        "Below the line of all techniques: other sizes of the baseline, and other beginnings of its convolutions.",
        "",
        "![bars of CIDEr](ablation.png)",
        "",
        *lines_of(rows),
    ]
    if family:
        lines += [
            "",
            "## The autoregressive family",
            "",
            "The same recipe with a ResNet and ViT encoder (MobileNetV2's blocks, ImageNet's weights) and a decoder",
            "with rotary positions, both of two layers, without label smoothing; a beam of three. Experts: eight of a",
            "width of 64, two a token, beside two shared ones; how even their use is tells the share of the least used",
            "one of a layer.",
            "",
            "![bars of CIDEr](ablation_autoregressive.png)",
            "",
            *lines_of(family),
            "",
            "| experts | smallest share, by seed (even: 12.5 %) |",
            "|---|---|",
        ]
        for name in family:
            shares = [run["smallest_share"] for run in runs if run["trained"] == name and "smallest_share" in run]
            if shares:
                lines.append(f"| {name.removeprefix('experts, ')} | {', '.join(f'{share:.1%}' for share in shares)} |")
    return "\n".join(lines) + "\n"


def draw(rows: Rows, path: Path) -> None:
    """A summary as a picture: a bar a row, a dot a seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 0.4 * len(rows) + 1), layout="constrained")
    for place, (values, _) in enumerate(rows.values()):
        axes.barh(place, mean(values), color="#88aadd")
        axes.plot(values, [place] * len(values), "k.", markersize=5)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlabel("CIDEr on Flickr8k val (dots: seeds)")
    figure.savefig(path, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
