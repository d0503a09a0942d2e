"""What a report's findings do to the next training: drawing pictures by its weights, leaving out the captions that fit
worst, and both, against neither; over seeds.

    fastcap data report DATA/flickr8k --out report --split train
    python benchmarks/reweighting.py --root DATA --report report [--seeds 0 1 2]

Trains the small captioner of configs/training/ablation.yaml on Flickr8k alone, everything else being equal, and
captions Flickr8k val. A run that is already in the JSON file is not repeated, so an interrupted one goes on. Recall: of
the objects that two or more people name in a picture, the share that the caption names; by how many pictures of train
show the object.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from fastcap.config import TrainConfig, load_config
from fastcap.curation.objects import objects_in
from fastcap.data.readers import Example, load_dataset
from fastcap.eager import checkpoint_captioner
from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.training.trainer import train

HERE = Path(__file__).resolve().parent
RECIPE = HERE.parent / "configs/training/ablation.yaml"  # a stage of words, then one of pictures
RESULT = HERE / "results/reweighting.json"
WORST = 0.01  # of captions, that are left out
RECALLS = {"recall_below_50": 50, "recall_below_500": 500, "recall_others": math.inf}  # pictures of train
WAYS = {"neither": (False, False), "weights": (True, False), "mended": (False, True), "both": (True, True)}


def main() -> None:
    """Train what is missing, measure, note."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the data sets (%(default)s)")
    parser.add_argument("--report", type=Path, required=True, help="folder of a report on Flickr8k's train")
    parser.add_argument("--output", type=Path, default=Path("runs/reweighting"), help="folder for runs (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="%(default)s")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="%(default)s")
    parser.add_argument("--result", type=Path, default=RESULT, help="%(default)s")
    parser.add_argument("--pictures", type=int, help="of val that are captioned (default: all)")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="settings of the recipe, e.g. stages.1.steps=9"
    )
    args = parser.parse_args()
    result: dict[str, Any] = json.loads(args.result.read_text()) if args.result.is_file() else {"runs": []}
    done = {(run["way"], run["seed"]) for run in result["runs"]}
    val = load_dataset("flickr8k", args.root / "flickr8k", "val")[: args.pictures]
    prepare(args.root / "flickr8k", args.report, args.output)
    counts = object_counts(args.report)
    for seed in args.seeds:
        for way in args.ways:
            if (way, seed) not in done:
                folder = trained(way, seed, args.root, args.output, args.overrides)
                result["runs"].append({"way": way, "seed": seed, **measured(folder, val, counts)})
                result |= {"format": 1, "kind": "reweighting", "date": now(), "commit": git_commit()}
                result |= {
                    "machine": machine_facts(),
                    "pictures": len(val),
                    "settings": args.overrides,
                    "summary": summary(result["runs"]),
                }
                args.result.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
                print(json.dumps(result["runs"][-1]), flush=True)
    print(json.dumps(result["summary"], indent=1))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def object_counts(report: Path) -> dict[str, int]:
    """In how many pictures of train each object is named."""
    return {row["object"]: int(row["pictures"]) for row in table(report / "object_counts.csv")}


def prepare(flickr: Path, report: Path, output: Path) -> None:
    """Write train with and without the worst captions as JSON lines, and weights that name pictures by whole paths."""
    ranked = [row for row in table(report / "ranked_by_combined.csv") if row["split"] == "train"]
    worst = {(row["image"], row["caption"]) for row in ranked[: round(WORST * len(ranked))]}
    captions: dict[str, list[str]] = {}
    for row in (row for row in table(report / "per_example_scores.csv") if row["split"] == "train"):
        captions.setdefault(row["image"], []).append(row["caption"])
    for name, left_out in (("whole", set()), ("mended", worst)):
        folder = output / name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
            for image, texts in captions.items():
                kept = [text for text in texts if (image, text) not in left_out]
                if kept:
                    file.write(json.dumps({"image": str((flickr / image).resolve()), "captions": kept}) + "\n")
    with (output / "weights.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "probability"])
        for row in table(report / "reweighting_probs.csv"):
            writer.writerow([(flickr / row["image"]).resolve(), row["probability"]])


def trained(way: str, seed: int, root: Path, output: Path, overrides: list[str]) -> Path:
    """Train one captioner; returns its last checkpoint. All ways of a seed begin with the same stage of words, which
    sees no picture, and so with one tokenizer."""
    words = replace(recipe("neither", seed, root, output, overrides), output=str(output / f"words-{seed}"))
    train(replace(words, stages=words.stages[:1]))
    pictures = recipe(way, seed, root, output, overrides)
    train(replace(pictures, stages=pictures.stages[1:], init=str(last(Path(words.output)))))
    return last(Path(pictures.output))


def recipe(way: str, seed: int, root: Path, output: Path, overrides: list[str]) -> TrainConfig:
    """The small captioner's recipe with a way's captions and weights."""
    weighted, mended = WAYS[way]
    data = (output / ("mended" if mended else "whole")).resolve()
    settings = [f"data.root={root}", f"output={output / f'{way}-{seed}'}", f"seed={seed}"]
    settings += [f"data.train=[{{name: jsonl, root: '{data}'}}]", *overrides]
    settings += [f"data.weights={(output / 'weights.csv').resolve()}"] if weighted else []
    return load_config(RECIPE, settings)


def last(run: Path) -> Path:
    """A run's last checkpoint."""
    return max((run / "checkpoints").glob("step-*"))


def measured(checkpoint: Path, val: list[Example], counts: dict[str, int]) -> dict[str, float]:
    """CIDEr of the captions, and the recall of objects by how frequent they are."""
    captioner = checkpoint_captioner(checkpoint)
    captions = [captioner.caption(example.image).text for example in val]
    scorer = CiderD({str(i): [ptb_tokens(text) for text in example.captions] for i, example in enumerate(val)})
    cider = scorer.corpus({str(i): ptb_tokens(text) for i, text in enumerate(captions)})[0]
    hits: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for example, caption in zip(val, captions, strict=True):
        named = Counter(name for text in example.captions for name in objects_in(text))
        said = set(objects_in(caption))
        for name in (name for name, people in named.items() if people >= 2):
            band = next(band for band, above in RECALLS.items() if counts.get(name, 0) < above)
            total[band] += 1
            hits[band] += name in said
    return {
        "cider": round(100 * cider, 2),
        **{band: round(hits[band] / max(1, total[band]), 4) for band in RECALLS},
        "distinct_captions": len(set(captions)),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation over the seeds, by way and figure."""
    found: dict[str, dict[str, list[float]]] = {}
    for way in WAYS:
        own = [run for run in runs if run["way"] == way]
        if own:
            found[way] = {
                figure: [
                    round(mean(run[figure] for run in own), 4),
                    round(stdev(run[figure] for run in own), 4) if len(own) > 1 else 0.0,
                ]
                for figure in ("cider", *RECALLS, "distinct_captions")
            }
    return found


if __name__ == "__main__":
    main()
