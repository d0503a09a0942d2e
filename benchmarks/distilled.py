"""What a teacher is worth: models that began alike, measured on the same pictures and questions; as JSON.

    python benchmarks/distilled.py draw --questions 1400=data/coco/conversations_train.json \\
        --questions 900=data/coco/open_conversations_train.json --questions 700=existence_train.json \\
        --captions flickr8k:train=data/flickr8k --captions coco:train=data/coco --captions coco:more=data/coco \\
        --out drawn
    python benchmarks/distilled.py measure --model start=DIR --model people=DIR --model teacher=DIR \\
        --flickr8k data/flickr8k --questions yes_no=data/coco/conversations_val.json \\
        --questions open=data/coco/open_conversations_val.json --questions existence=existence_val.json \\
        --work scores --out distilled.json

`draw` takes so many training pictures of each file of questions, with all that is asked and said of them: teaching
costs by the picture. docs/distillation.md has the two trainings. `measure`: a model is a directory of `fastcap export`,
or a checkpoint. For each there are CIDEr on Flickr8k val and VQA accuracy, each with half the width of its 95 %
interval; and for each pair of models the mean difference of their scores, question by question and picture by picture,
with its own. It goes on where it stopped: scores are kept in `--work`.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import random
import shlex
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.progress import Progress

from fastcap import load_model
from fastcap.data.conversations import load_conversations
from fastcap.data.readers import load_dataset
from fastcap.errors import FastcapError
from fastcap.evaluation.evaluate import evaluate_model
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.sample import margin
from fastcap.evaluation.vqa import MODEL, evaluate_answers
from fastcap.files import written_aside
from fastcap.runtime.captioner import Captioner

CAPTIONS = "captions"
DIGITS = 2
Measure = Callable[[Captioner, Callable[[], object]], list[float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    drawing = verbs.add_parser("draw")
    drawing.add_argument("--questions", action="append", required=True, type=named, metavar="PICTURES=FILE")
    drawing.add_argument("--captions", action="append", required=True, type=named, metavar="NAME:SPLIT=DIR")
    drawing.add_argument("--seed", type=int, default=17)
    drawing.add_argument("--out", required=True, type=Path, help="folder of conversations.json and captions.jsonl")
    drawing.set_defaults(run=draw)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("--model", action="append", required=True, type=named, metavar="NAME=DIR")
    measuring.add_argument("--questions", action="append", default=[], type=named, metavar="NAME=FILE")
    measuring.add_argument("--flickr8k", type=Path, metavar="DIR", help="folder of the data set (default: no captions)")
    measuring.add_argument("--work", required=True, type=Path, help="where scores are kept")
    measuring.add_argument("--out", required=True, type=Path)
    measuring.set_defaults(run=measure_models)
    args = parser.parse_args()
    try:
        args.run(args)
    except FastcapError as error:
        print(f"distilled: error: {error}", file=sys.stderr)
        return 1
    return 0


def draw(args: argparse.Namespace) -> None:
    """Write the questions and the captions of pictures that are drawn."""
    asked = [each for _, file in args.questions for each in load_conversations(file)]
    rng = random.Random(args.seed)
    chosen: set[str] = set()
    for count, file in args.questions:
        known = sorted({str(each.image.resolve()) for each in load_conversations(file)} - chosen)
        chosen |= set(rng.sample(known, min(int(count), len(known))))
    records = [
        {
            "image": str(each.image.resolve()),
            "conversations": [{"role": turn.role, "content": turn.text} for turn in each.turns],
            **({"answers": list(each.answers)} if each.answers else {}),
            **({"kind": each.kind} if each.kind else {}),
        }
        for each in asked
        if str(each.image.resolve()) in chosen
    ]
    said: dict[str, list[str]] = {}
    for name, root in args.captions:
        for example in load_dataset(name.partition(":")[0], root, name.partition(":")[2]):
            if str(example.image.resolve()) in chosen:
                said.setdefault(str(example.image.resolve()), []).extend(example.captions)
    lines = [json.dumps({"image": image, "captions": texts}) + "\n" for image, texts in said.items()]
    args.out.mkdir(parents=True, exist_ok=True)
    for path, text in {"conversations.json": json.dumps(records), "captions.jsonl": "".join(lines)}.items():
        with written_aside(args.out / path) as file:
            file.write_text(text, encoding="utf-8")
    print(f"{len(chosen)} pictures, {len(records)} questions, {sum(map(len, said.values()))} captions of {len(said)}")


def measure_models(args: argparse.Namespace) -> None:
    """Write what models are worth, and how far they differ."""
    scores = {name: scores_of(name, folder, args) for name, folder in args.model}
    record = {
        "format": 1,
        "kind": "recorded",
        "date": now(),
        "commit": git_commit(),
        "command": shlex.join(["python", *sys.argv]),
        "machine": machine_facts(),
        "threads": 1,
        **summary(scores),
    }
    with written_aside(args.out) as file:
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def named(text: str) -> tuple[str, Path]:
    """NAME=PATH."""
    name, _, path = text.partition("=")
    if not (name and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def scores_of(name: str, folder: Path, args: argparse.Namespace) -> dict[str, list[float]]:
    """Points of a model, one a picture that it captioned, and one a question, by task."""
    asked: dict[str, Measure] = {task: functools.partial(answers, file) for task, file in args.questions}
    if args.flickr8k:
        asked[CAPTIONS] = functools.partial(captions, args.flickr8k)
    found: dict[str, list[float]] = {}
    model: Captioner | None = None
    args.work.mkdir(parents=True, exist_ok=True)
    for task, measure in asked.items():
        kept = args.work / f"{name}-{task}.json"
        if not kept.is_file():
            model = model or load_model(folder)
            with Progress() as bar:
                title = bar.add_task(f"{name}: {task}", total=None)
                points = measure(model, functools.partial(bar.advance, title))
            with written_aside(kept) as file:
                file.write_text(json.dumps(points), encoding="utf-8")
        found[task] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def captions(root: Path, model: Captioner, tick: Callable[[], object]) -> list[float]:
    """CIDEr-D x 100 of each picture of Flickr8k val."""
    examples = load_dataset("flickr8k", root, "val")
    return [row.cider for row in evaluate_model(model, examples, on_caption=tick).rows]


def answers(file: Path, model: Captioner, tick: Callable[[], object]) -> list[float]:
    """VQA accuracy in percent of the answer to each question of a file."""
    asker: Any = model
    found = evaluate_answers(asker, load_conversations(file), other_pictures=False, on_picture=tick)
    return [100 * row.accuracy[MODEL] for row in found.rows]


def summary(scores: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Means and differences of paired scores, each with half the width of its 95 % interval, by model and task."""
    rows = [{"model": name, **{task: told(points) for task, points in by.items()}} for name, by in scores.items()]
    differences = [
        {
            "model": other,
            "against": one,
            **{
                task: told([b - a for a, b in zip(scores[one][task], scores[other][task], strict=True)])
                for task in scores[one]
            },
        }
        for one, other in itertools.combinations(scores, 2)
    ]
    return {"rows": rows, "differences": differences}


def told(points: list[float]) -> dict[str, float]:
    """How many, their mean, and half the width of its 95 % interval."""
    width = margin(points) or 0.0
    return {"number": len(points), "mean": round(statistics.fmean(points), DIGITS), "margin": round(width, DIGITS)}


if __name__ == "__main__":
    sys.exit(main())
