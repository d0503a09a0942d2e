"""Accuracy of answers against time and size: models, and each of their exits at several thresholds.

    python benchmarks/fastvlm.py curve --model models/fastvlm-base --questions data/coco/conversations_val.json \\
        --limit 400 --thresholds 0.5 0.6 0.7 0.8 0.9 --out curve.json
    python benchmarks/fastvlm.py plot curve.json --out docs/fastvlm.png
    python benchmarks/fastvlm.py prefix --tokens 64 576 --out prefix.json
    python benchmarks/fastvlm.py selection --questions existence_train.json --held existence_val.json \\
        --out selection.json
    python benchmarks/fastvlm.py record --yes-no a.json --open b.json --existence c.json --bench bench.json \\
        --curve curve.json --out benchmarks/results/recorded/fastvlm.json

`curve` goes on where it was interrupted: a model with a threshold that its file has is not measured again. A threshold
of 2 computes all scales of every picture. Times are processor time on one thread, of `--timed` pictures. `selection`
trains the smallest size four times, with all 576 tokens of pictures at 384 pixels and with 64 of them, and asks each
about other pictures; it goes on, too. `record` joins
what `fastcap evaluate --task vqa --json` and `fastcap bench --json` wrote to what docs/claims.md reads.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from rich.progress import track

from fastcap.checkpoint import load_checkpoint
from fastcap.config import TrainConfig, load_config
from fastcap.data.conversations import load_conversations
from fastcap.eager import checkpoint_captioner
from fastcap.errors import FastcapError
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.reading import QUESTIONS, what_is_read
from fastcap.evaluation.sample import margin, spread
from fastcap.evaluation.speed import Timing
from fastcap.evaluation.vqa import MODEL, evaluate_answers
from fastcap.files import written_aside
from fastcap.model.frozen import load_language_model
from fastcap.parts import local_part
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import Exits
from fastcap.runtime.conversation import Conversation
from fastcap.training.trainer import train

WHOLE = 2.0  # a threshold that no confidence reaches
SELECTIONS = {"pool": ("pool", 64), "learned": ("learned", 64), "random": ("random", 64), "all": ("pool", 576)}
"""By name: how tokens of a 24x24 grid are selected, and how many are left. What takes longest comes last."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    curve = verbs.add_parser("curve", help="measure")
    curve.add_argument("--model", nargs="+", required=True, help="model directories that answer")
    curve.add_argument("--questions", type=Path, nargs="+", required=True, help="files of validation questions")
    curve.add_argument("--limit", type=int, default=400, help="questions of each file, spread evenly (%(default)s)")
    curve.add_argument(
        "--thresholds", type=float, nargs="*", default=[], help="of exits; that of the model and 2 always"
    )
    curve.add_argument("--timed", type=int, default=30, help="pictures that are timed (%(default)s)")
    curve.set_defaults(run=measure)
    plot = verbs.add_parser("plot", help="draw what was measured")
    plot.add_argument("curves", type=Path, nargs="+")
    plot.set_defaults(run=draw)
    prefix = verbs.add_parser("prefix", help="time in which a language model reads so many image tokens")
    prefix.add_argument("--language-model", default="smollm2-135m-instruct", metavar="NAME|DIR")
    prefix.add_argument("--tokens", type=int, nargs="+", default=[16, 64, 144, 576])
    prefix.set_defaults(run=time_prefixes)
    selection = verbs.add_parser("selection", help="what it costs to choose 64 of 576 image tokens: four trainings")
    selection.add_argument("--questions", type=Path, required=True, help="of train, as `fastcap data questions` writes")
    selection.add_argument(
        "--held", type=Path, nargs="+", required=True, help="files of questions about other pictures"
    )
    selection.add_argument("--work", type=Path, default=Path("runs/selection"), help="for the trainings (%(default)s)")
    selection.add_argument("--pictures", type=int, default=2500, help="of train, spread evenly (%(default)s)")
    selection.add_argument("--steps", type=int, default=400, help="of each training (%(default)s)")
    selection.add_argument("--images", type=int, default=32, help="pictures a step, four questions each (%(default)s)")
    selection.add_argument("--limit", type=int, default=2000, help="questions of each held file (%(default)s)")
    selection.set_defaults(run=compare_selections)
    record = verbs.add_parser("record", help="join results for docs/claims.md")
    for name in ("yes-no", "open", "existence", "bench"):
        record.add_argument(f"--{name}", type=Path, required=True)
    record.add_argument("--curve", type=Path, help="of a model that has exits")
    record.set_defaults(run=join)
    for verb in (curve, plot, prefix, selection, record):
        verb.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.run(args)


def measure(args: argparse.Namespace) -> None:
    """Write a row for each model and threshold, as soon as it is measured."""
    files = {path.stem: spread(load_conversations(path), args.limit) for path in args.questions}
    record = read(args.out) if args.out.is_file() else {"format": 1, "kind": "fastvlm_curve", "rows": []}
    for model in args.model:
        bundle = Bundle.open(find_model(model))
        own = bundle.exits.thresholds if bundle.exits else ()
        wanted = [own, *((value,) * len(own) for value in (*args.thresholds, WHOLE) if own)]
        for thresholds in dict.fromkeys(wanted):
            known = [(row["model"], tuple(row["thresholds"])) for row in record["rows"]]
            if (bundle.name, thresholds) not in known:
                chosen = dataclasses.replace(bundle, exits=Exits(thresholds) if thresholds else None)
                record["rows"].append(row_of(chosen, thresholds == own, files, args.timed))
                facts = {"date": now(), "commit": git_commit(), "machine": machine_facts(), "threads": 1}
                facts |= {"command": " ".join(sys.argv), "limit": args.limit}
                write(args.out, record | facts)


def row_of(bundle: Bundle, usual: bool, files: dict[str, list[Conversation]], timed: int) -> dict[str, Any]:
    """Accuracy in percent, milliseconds of the vision part and of a first question, and where pictures left."""
    captioner = Captioner(bundle)
    asker: Any = captioner
    accuracy = {}
    for name, questions in files.items():
        bar = iter(track(range(len({each.image for each in questions})), f"{bundle.name}, {name}"))
        evaluation = evaluate_answers(asker, questions, other_pictures=False, on_picture=lambda bar=bar: next(bar))
        next(bar, None)
        accuracy[name] = 100 * evaluation.accuracy()
    taken = captioner.exits_taken
    pictures = spread(list(dict.fromkeys(each.image for questions in files.values() for each in questions)), timed + 1)
    vision, first = [], []
    for picture in pictures:
        started = time.process_time()
        encoded = captioner.encode(picture)
        vision.append(1000 * (time.process_time() - started))
        captioner.ask(encoded, QUESTIONS[0])
        first.append(1000 * (time.process_time() - started))
    return {
        "model": bundle.name,
        "thresholds": list(bundle.exits.thresholds) if bundle.exits else [],
        "usual": usual,
        "accuracy": accuracy,
        "mb": sum(path.stat().st_size for path in bundle.folder.iterdir()) / 1e6,
        "vision_ms": statistics.mean(vision[1:]),  # a mean, since exits differ; the first picture warms up
        "first_ms": statistics.median(first[1:]),
        "exits": None if taken is None else [count / sum(taken) for count in taken],
        **{name: value for name, value in what_is_read(bundle, pictures[0]).items() if name.startswith("tokens")},
    }


def draw(args: argparse.Namespace) -> None:
    """Accuracy against time, and against size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for path in args.curves for row in read(path)["rows"]]
    figure, (by_time, by_size) = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for name in dict.fromkeys(row["model"] for row in rows):
        mine = sorted((row for row in rows if row["model"] == name), key=lambda row: row["first_ms"])
        height = [statistics.mean(row["accuracy"].values()) for row in mine]
        by_time.plot([row["first_ms"] for row in mine], height, "o-", label=name)
        for row, accuracy in zip(mine, height, strict=True):
            if row["thresholds"]:
                told = "all scales" if row["thresholds"][0] == WHOLE else f"exit at {row['thresholds'][0]:.2f}"
                by_time.annotate(
                    told, (row["first_ms"], accuracy), xytext=(4, 4), textcoords="offset points", fontsize=8
                )
        by_size.plot([row["mb"] for row in mine], height, "o", label=name)
    by_time.set(xlabel="first question, ms of processor time", ylabel="VQA accuracy, %")
    by_size.set(xlabel="model directory, MB")
    by_time.legend()
    figure.savefig(args.out, dpi=120)


def time_prefixes(args: argparse.Namespace) -> None:
    """Milliseconds of processor time for each number of image tokens: PyTorch, fp32, one thread, the median of 5."""
    import torch

    torch.set_num_threads(1)
    body = load_language_model(local_part(args.language_model), torch.float32).base_model
    torch.manual_seed(0)
    rows = {}
    with torch.no_grad():
        for count in args.tokens:
            image = torch.randn(1, count, body.get_input_embeddings().embedding_dim)
            action = functools.partial(body, inputs_embeds=image, use_cache=True)
            rows[count] = Timing.of(action, 5, clock=time.process_time).percentile(50)
            print(f"{count:4} image tokens: {rows[count]:.0f} ms")
    facts = {"date": now(), "commit": git_commit(), "machine": machine_facts(), "threads": 1, "seed": 0}
    write(args.out, {"format": 1, "kind": "fastvlm_prefix", "command": " ".join(sys.argv), "ms": rows, **facts})


def compare_selections(args: argparse.Namespace) -> None:
    """Train with 64 tokens, pooled, learned and random, and with all of them; write a row for each."""
    held = {path.stem: spread(load_conversations(path), args.limit) for path in args.held}
    args.work.mkdir(parents=True, exist_ok=True)
    asked = args.work / "questions.json"
    if not asked.is_file():
        write(asked, about_some_pictures(args.questions, args.pictures))
    record: Any = read(args.out) if args.out.is_file() else {"format": 1, "kind": "fastvlm_selection", "rows": []}
    for name, (kind, tokens) in SELECTIONS.items():
        if name in [row["selection"] for row in record["rows"]]:
            continue
        best = train(selection_recipe(args, asked, name, kind, tokens))
        record["rows"].append({"selection": name, "tokens": tokens, **selection_row(best, held, record["rows"])})
        facts = {"date": now(), "commit": git_commit(), "machine": machine_facts(), "threads": 1, "seed": 1}
        asked_of = {"pictures": args.pictures, "steps": args.steps, "images": args.images}
        write(args.out, record | facts | asked_of | {"command": " ".join(sys.argv)})


def about_some_pictures(path: Path, count: int) -> list[dict[str, Any]]:
    """The questions of a file about so many of its pictures, spread evenly, with the pictures' whole paths."""
    rows = read(path)
    chosen = set(spread(list(dict.fromkeys(row["image_path"] for row in rows)), count))
    return [
        row | {"image_path": str((path.parent / row["image_path"]).resolve())}
        for row in rows
        if row["image_path"] in chosen
    ]


def roomier(part: Path, copy: Path) -> Path:
    """A copy of a language model that may read 1,024 tokens: 576 are more than ours was made for. Its positions turn
    pairs of numbers, so that they have no weights; it has learnt none above some sixty anyway."""
    shutil.copytree(part, copy, dirs_exist_ok=True)
    write(copy / "config.json", read(copy / "config.json") | {"max_position_embeddings": 1024})
    return copy.resolve()


def selection_recipe(args: argparse.Namespace, asked: Path, name: str, kind: str, tokens: int) -> TrainConfig:
    """The smallest size at 384 pixels and stride 16, trained on questions alone; frozen maps are kept once for all."""
    stage = f"steps: {args.steps}, images: {args.images}, captions: 0, questions: 4, learning_rate: 1.0e-3"
    stage += f", warmup: {max(1, args.steps // 8)}, smoothing: 0.0, crop_scale: 0.8"
    settings = {
        "model.image_size": 384,
        "model.decoder.language_model": roomier(local_part("tiny-language-model"), args.work / "language-model"),
        "model.backbone.scales": '["384/16"]',
        "model.decoder.image_tokens": tokens,
        "model.decoder.selection": kind,
        "output": args.work / name,
        "data.cache": args.work / "cache",
        "data.root": "/",
        "data.train": "[]",
        "data.val": "[]",
        "data.conversations": f"[{asked.resolve()}]",
        "data.val_conversations": f"[{args.held[0].resolve()}]",
        "data.val_limit": 100,
        "precision": "bf16",
        "threads": 1,
        "views": 1,
        "ema": 0.99,
        "evaluate_every": args.steps,
        "stages": f"[{{name: answers, {stage}}}]",
    }
    return load_config("fastvlm_tiny", [f"{key}={value}" for key, value in settings.items()])


def selection_row(best: Path, held: dict[str, list[Conversation]], before: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy of a checkpoint in percent with its margin, what pooling gains over it, question by question,
    and the milliseconds of processor time in which it reads the prefix of a picture."""
    import torch

    captioner = checkpoint_captioner(best)
    asker: Any = captioner
    accuracy, right = {}, {}
    for name, questions in held.items():
        bar = iter(track(range(len({each.image for each in questions})), f"{best.parent.name}, {name}"))
        rows = evaluate_answers(asker, questions, other_pictures=False, on_picture=lambda bar=bar: next(bar)).rows
        next(bar, None)
        right[name] = [100 * row.accuracy[MODEL] for row in rows]
        accuracy[name] = {"accuracy": statistics.mean(right[name]), "margin": margin(right[name])}
        if before:
            lost = [pooled - mine for pooled, mine in zip(before[0]["right"][name], right[name], strict=True)]
            accuracy[name] |= {"pooling_gains": statistics.mean(lost), "pooling_gains_margin": margin(lost)}
    model, _ = load_checkpoint(best)
    with torch.no_grad():
        image = model.encode(torch.from_numpy(captioner.prepare(next(iter(held.values()))[0].image).pixels))
        milliseconds = Timing.of(
            lambda: model.decoder.new_cache(model.decoder.prepare(image), 1), 9, warm_up=1, clock=time.process_time
        ).percentile(50)
    return {"prefix_ms": milliseconds, "held": accuracy, "right": right}


def join(args: argparse.Namespace) -> None:
    """Write one file of what was measured."""
    marks = {"yes_no": args.yes_no, "open": args.open, "existence": args.existence}
    told = {name: read(path) for name, path in marks.items()}
    bench = read(args.bench)
    write(
        args.out,
        {
            "format": 1,
            "kind": "recorded",
            "date": now()[:10],
            "commit": git_commit(),
            "command": "; ".join([*(each["command"] for each in told.values()), bench["command"]]),
            "machine": bench["machine"],
            "threads": 1,
            "seed": 0,
            **{
                name: {key: each[key] for key in ("questions", "accuracy", "margin", "kinds")}
                for name, each in told.items()
            },
            "mb": bench["model"]["bytes"] / 1e6,
            "first_ms": bench["asking"]["first"]["p50_ms"],
            "times_first": bench["asking"]["times_first"],
            "first_token_ms": bench["decoding"]["first_token"]["p50_ms"],
            "tokens_per_second": bench["decoding"]["tokens_per_second"],
            "peak_mb": bench["process"]["peak_memory_mb"],
            **({"exits": exits_of(read(args.curve)["rows"])} if args.curve else {}),
        },
    )


def exits_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the exits of a model bring at its own thresholds, beside no exit."""
    usual = next(row for row in rows if row["usual"])
    whole = next((row for row in rows if row["thresholds"] and row["thresholds"][0] == WHOLE), usual)
    lost = {name: whole["accuracy"][name] - usual["accuracy"][name] for name in usual["accuracy"]}
    return {
        "taken": usual["exits"],
        "saved": 1 - usual["vision_ms"] / whole["vision_ms"],
        "points_lost": statistics.mean(lost.values()),
    }


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, record: Any) -> None:
    with written_aside(path) as file:
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except FastcapError as error:
        raise SystemExit(str(error)) from None
