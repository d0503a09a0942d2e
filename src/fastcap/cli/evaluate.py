"""`fastcap evaluate`: the quality of a model's captions on a data set, and the time they take."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.cli.options import add_bad_data, add_captioner, check_folder, open_captioner, write_json
from fastcap.cli.parser import Number, one_of
from fastcap.cli.progress import progress_bar
from fastcap.errors import ConfigError, DataError, counted, nearest

if TYPE_CHECKING:
    from fastcap.data.readers import Example
    from fastcap.evaluation.evaluate import Evaluation

__all__ = ["add_arguments", "add_dataset", "load_examples", "run"]

FILES = ".jsonl, .csv, .tsv, COCO's captions_*.json or Karpathy's dataset*.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    told = "captions against people's, or vqa: answers to the questions of a file of conversations"
    parser.add_argument("--task", **one_of(("captions", "vqa")), default="captions", help=told)
    add_dataset(parser, required=True)
    told = "vqa: conversations that readers without the picture learn from (default: no such readers)"
    parser.add_argument("--train", type=Path, metavar="FILE", help=told)
    told = "vqa: do not ask all questions once more about somebody else's picture"
    parser.add_argument("--once", action="store_true", help=told)
    add_captioner(parser)
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="print the figures as JSON, or write them to a file (default: print a table)",
    )
    told = "write a page of pictures with their captions (default: none)"
    parser.add_argument("--report", type=Path, metavar="FILE.html", help=told)
    parser.epilog = (
        f"Of several candidates the best is measured. --neutral makes the references neutral, too.\n\n{parser.epilog}"
    )


def add_dataset(parser: argparse.ArgumentParser, required: bool) -> None:
    """Declare which pictures with captions by people are read."""
    told = f"a known data set, such as flickr8k or coco, or a captions file: {FILES}"
    told += "" if required else " (default: the pictures of --images)"
    parser.add_argument("--dataset", required=required, metavar="NAME|FILE", help=told)
    told = "folder of the data set; required for a NAME, not for a FILE (default: that of the FILE)"
    parser.add_argument("--root", type=Path, metavar="DIR", help=told)
    parser.add_argument(
        "--split", default="val", metavar="NAME", help="train, val or test; most files are one split already"
    )
    parser.add_argument(
        "--limit",
        type=Number(int, 1),
        metavar="N",
        help="only the first N pictures; CIDEr then differs from that of the whole split (default: all)",
    )
    add_bad_data(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print. Arguments and data are checked before the first caption."""
    from fastcap.evaluation.evaluate import evaluate_model

    check_folder("--json", args.json)
    check_folder("--report", args.report)
    if args.task == "vqa":
        return answer_questions(args)
    if args.train or args.once:
        raise ConfigError("--train and --once go with --task vqa")
    source_of(args)
    captioner, options = open_captioner(args)
    examples, bad_rows = load_examples(args)
    with progress_bar(len(examples)) as advance:
        evaluation = evaluate_model(
            captioner,
            examples,
            options,
            facts={
                "data": {"name": args.dataset, "split": source_of(args)[2], **bad_rows},
                "threads": args.threads,
                "command": shlex.join(["fastcap", *sys.argv[1:]]),
            },
            on_caption=advance,
        )
    if args.report:
        from fastcap.evaluation.page import render_page

        args.report.write_text(render_page(evaluation), encoding="utf-8")
    if not write_json(args.json, evaluation.as_json()):
        _show(evaluation)
    return 0


def answer_questions(args: argparse.Namespace) -> int:
    """Ask the questions of a file, and print how right the answers are, beside readers that see less."""
    from fastcap.data.conversations import load_conversations
    from fastcap.evaluation.machine import git_commit, machine_facts, now
    from fastcap.evaluation.vqa import evaluate_answers
    from fastcap.evaluation.vqa_page import render_answers

    file = Path(args.dataset) if args.root is None else args.root / args.dataset
    policy = {"on_bad_data": args.on_bad_data, "max_bad_share": args.max_bad_share}
    asked, train = load_conversations(file, **policy), load_conversations(args.train) if args.train else []
    captioner, _ = open_captioner(args)
    asker: Any = captioner
    conversations = asked[: args.limit]
    n_pictures = len({conversation.image for conversation in conversations})
    with progress_bar(n_pictures * (1 if args.once or n_pictures == 1 else 2)) as advance:
        evaluation = evaluate_answers(
            asker,
            conversations,
            train=train,
            other_pictures=not args.once,
            facts={
                "model": {"name": captioner.bundle.name},
                "data": {"name": str(file), "bad_rows": len(asked.bad_rows)},
                "threads": args.threads,
                "machine": machine_facts(),
                "commit": git_commit(),
                "date": now(),
                "command": shlex.join(["fastcap", *sys.argv[1:]]),
            },
            on_picture=advance,
        )
    if args.report:
        args.report.write_text(render_answers(evaluation), encoding="utf-8")
    taken = captioner.exits_taken
    record = evaluation.as_json() | ({} if taken is None else {"exits_taken": taken})
    if not write_json(args.json, record):
        show_answers(record)
    return 0


def show_answers(record: dict[str, Any]) -> None:
    """A table of the accuracies by kind."""
    from rich.console import Console
    from rich.table import Table

    readers = list(record["accuracy"])
    table = Table(
        title=f"VQA accuracy in percent, {counted(record['pictures'], 'picture')} of {record['data']['name']}"
    )
    table.title_justify = "left"
    for name in ("kind", "questions", *(reader.replace("_", " ") for reader in readers)):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for kind, values in {"all": {"questions": record["questions"], **record["accuracy"]}, **record["kinds"]}.items():
        table.add_row(kind, str(values["questions"]), *(f"{values[reader]:.1f}" for reader in readers))
    console = Console()
    console.print(table)
    within = record["margin"]
    if within is not None:
        told = f"{record['model']['name']}: within {within:.1f} of this accuracy in 19 of 20 draws of as many questions"
        console.print(told, highlight=False, markup=False)
    if "calibration_error" in record:
        console.print(f"calibration error of the confidence: {record['calibration_error']:.3f}", highlight=False)
    if "exits_taken" in record:
        console.print(f"pictures that left at each exit: {record['exits_taken']}", highlight=False)


def load_examples(args: argparse.Namespace) -> tuple[list[Example], dict[str, int]]:
    """The pictures that `args` names, and how many rows were left out, if any, which stderr is told."""
    from fastcap.data.readers import load_dataset

    name, root, split = source_of(args)
    loaded = load_dataset(
        name,
        root,
        split,
        on_bad_data=args.on_bad_data,
        max_bad_share=args.max_bad_share,
        decode_images=args.on_bad_data == "skip",
    )
    if not loaded.bad_rows:
        return loaded[: args.limit], {}
    first = loaded.bad_rows[0]
    told = f"{len(loaded.bad_rows)} of {loaded.n_rows} rows left out, the first: {first.where}: {first.problem}"
    print(f"fastcap: {told}", file=sys.stderr)
    return loaded[: args.limit], {"bad_rows": len(loaded.bad_rows)}


def source_of(args: argparse.Namespace) -> tuple[str, Path, str]:
    """Reader, root and split of the data set that `args` names."""
    from fastcap.data.formats import READERS, has_splits

    path = Path(args.dataset)
    if not path.suffix:
        if args.dataset not in READERS:
            named = f"{args.dataset!r}{nearest(args.dataset, READERS)}"
            raise ConfigError(f"unknown data set {named}; allowed are {', '.join(READERS)}, or a file: {FILES}")
        if args.root is None:
            raise ConfigError(f"--root is missing: the folder that holds data set {args.dataset}")
        return args.dataset, args.root, args.split
    if args.root is not None:
        raise ConfigError("--root goes with the name of a data set; a FILE's images are looked for beside it")
    if not path.is_file():
        raise DataError(f"{path}: no such file; --dataset takes a data set's name or a captions file")
    if path.suffix in (".csv", ".tsv") and has_splits(path):
        return "csv", path, args.split
    if path.suffix in (".jsonl", ".csv", ".tsv"):
        return path.suffix[1:].replace("tsv", "csv"), path.parent, path.stem
    if path.suffix == ".json" and path.stem.startswith("captions_"):
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
        return "coco", root, path.stem.removeprefix("captions_")
    if path.suffix == ".json" and path.stem.startswith("dataset"):
        return "karpathy", path.parent, args.split
    raise ConfigError(f"--dataset is the file {path}; allowed are {FILES}")


def _show(evaluation: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    from fastcap.evaluation.metrics import UNITS

    facts: dict[str, Any] = evaluation.as_json()
    latency, machine, data, model = (facts[key] for key in ("latency", "machine", "data", "model"))
    console = Console()
    table = Table(title=f"{counted(facts['images'], 'picture')} of {data['name']}, split {data['split']}")
    table.title_justify = "left"
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("unit")
    for name, value in evaluation.metrics.items():
        table.add_row(name, f"{value:.3f}" if value < 1 else f"{value:.2f}".removesuffix(".00"), UNITS[name])
    table.add_section()
    table.add_row("p50_ms", f"{latency['p50_ms']:.1f}", "ms from file to text, p50, one picture at a time")
    table.add_row("p95_ms", f"{latency['p95_ms']:.1f}", "ms from file to text, p95")
    table.add_row("calibration_error", f"{facts['calibration']['error']:.3f}", "calibration error of the confidence")
    console.print(table)
    if evaluation.small_sample:
        console.print(f"CIDEr of {evaluation.small_sample}", highlight=False)
    console.print(
        f"{model['name']} ({model['bytes'] / 1e6:.2f} MB, sha256 {model['sha256'][:12]}), length "
        f"{facts['length']}, candidates {facts['candidates']}, decode {facts['decode']}, threads {facts['threads']}; "
        f"captions with a gendered word: {facts['gendered_captions']}",
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_average']}",
        f"commit {facts['commit'] or 'unknown'}",
        sep="\n",
        highlight=False,
        markup=False,
    )
