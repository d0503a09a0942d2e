"""`fastcap data report`: what is in a data set, what is wrong with it, and what to do next."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fastcap.cli.options import one_reader
from fastcap.cli.parser import Number, one_of, print_wrapped
from fastcap.cli.progress import continuing, progress_bar
from fastcap.errors import ConfigError, FastcapError

__all__ = ["add_arguments", "run"]

NOTES = ".examined.jsonl"
UNPACKED = ".unpacked"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    told = "folder of the data set, as its archive unpacks, or of a merge; or a name that 'fastcap data merge' knows"
    parser.add_argument("folder", type=Path, metavar="DIR", help=told)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; a second run goes on")
    one_reader(parser)
    parser.add_argument("--split", default="", metavar="NAME", help="one split alone (default: all that are there)")
    told = "only the first N pictures of each split (default: all)"
    parser.add_argument("--max-samples", type=Number(int, 1), metavar="N", help=told)
    told = "bundled model or model directory that judges how well captions fit; none for nothing"
    parser.add_argument("--model", default="fastcap-base", metavar="NAME|DIR|none", help=told)
    told = "folder of a CLIP, as transformers saves it, that judges in place of the model (default: none)"
    parser.add_argument("--clip", type=Path, metavar="DIR", help=told)
    told = "what compares transformed captions with their originals"
    parser.add_argument("--fidelity", **one_of(("words", "minilm")), default="words", help=told)
    parser.add_argument(
        "--workers", type=Number(int, 1, 64), metavar="N", help="processes (default: as many as there are cores)"
    )
    told = "worst pairs that are written to top_failures/"
    parser.add_argument("--topk", type=Number(int, 1), default=300, metavar="N", help=told)
    told = "pictures below which an object is rare"
    parser.add_argument("--rare-threshold", type=Number(int, 2), default=50, metavar="N", help=told)
    told = "Gini's coefficient of objects from which they are called imbalanced"
    parser.add_argument("--imbalance-gini-alert", type=Number(float, 0, 1), default=0.5, metavar="X", help=told)
    told = "share of the five most frequent objects from which they are called imbalanced"
    parser.add_argument("--imbalance-topk-alert", type=Number(float, 0, 1), default=0.5, metavar="X", help=told)
    parser.add_argument("--plot", action="store_true", help="write the plots as files, too")
    told = "exit with 1 if any of leak, duplicate, unreadable, misfit, bias or imbalance exceeds N, by default 0"
    parser.add_argument("--fail-on", metavar="NAME[=N],...", help=f"{told} (default: nothing)")


def run(args: argparse.Namespace) -> int:
    """Write the report and print where it is; returns 1 if `--fail-on` names something that was found."""
    from fastcap.curation.advice import failures, parse_faults
    from fastcap.curation.hub import find_source, named_as
    from fastcap.curation.outputs import write_tables
    from fastcap.curation.page import plots_of, render_report
    from fastcap.curation.quality import Thresholds, examine_dataset
    from fastcap.curation.sources import find_reader, read_splits
    from fastcap.curation.unpacking import unpacked
    from fastcap.files import written_aside

    allowed = parse_faults(args.fail_on) if args.fail_on is not None else {}
    _check_out(args.out)
    if args.folder.is_dir() or not named_as(args.folder.as_posix()):
        folder = unpacked(args.folder, args.out / UNPACKED)
    else:
        folder = find_source(args.folder.as_posix(), Path("data"), args.out / UNPACKED).root
    name = args.dataset or find_reader(folder)
    splits = read_splits(name, folder, [args.split] if args.split else [])
    align, fidelity = _judges(args)
    args.out.mkdir(parents=True, exist_ok=True)
    with continuing(), ExitStack() as stack:

        def start(count: int) -> Callable[[], object]:
            return stack.enter_context(progress_bar(count))

        report = examine_dataset(
            name,
            folder,
            splits,
            args.out / NOTES,
            limit=args.max_samples,
            thresholds=Thresholds(args.topk, args.rare_threshold, args.imbalance_gini_alert, args.imbalance_topk_alert),
            model="" if args.model == "none" else args.model,
            workers=args.workers,
            align=align,
            fidelity=fidelity,
            on_start=start,
        )
    write_tables(report, args.out)
    if args.plot:
        for plot, (_, svg) in plots_of(report).items():
            with written_aside(args.out / f"{plot}.svg") as path:
                path.write_text(svg + "\n", encoding="utf-8")
    with written_aside(args.out / "report.html") as path:
        path.write_text(render_report(report), encoding="utf-8", errors="backslashreplace")
    print(args.out / "report.html")
    for number, line in enumerate(report.summary["next"], 1):
        print_wrapped(f"{number}. ", line, 3)
    found = failures(report.summary, allowed)
    for line in found:
        print(f"fastcap: {line}", file=sys.stderr)
    return 1 if found else 0


def _check_out(out: Path) -> None:
    """A report replaces files of its own only; in a data set's folder its tables would be taken for splits."""
    if out.exists() and not out.is_dir():
        raise FastcapError(f"{out}: not a folder; --out takes a folder")
    own = (NOTES, UNPACKED, "quality_summary.json")
    if out.is_dir() and any(out.iterdir()) and not any((out / name).exists() for name in own):
        raise ConfigError(
            f"--out: {out} holds something else than a report; allowed: a new folder or an earlier report"
        )


def _judges(args: argparse.Namespace) -> tuple[Any, Any]:
    """What `--clip` and `--fidelity` ask for."""
    from fastcap.curation.language import word_fidelity
    from fastcap.evaluation.judges import clip_alignment, minilm_fidelity

    align = clip_alignment(args.clip) if args.clip else None
    return align, minilm_fidelity() if args.fidelity == "minilm" else word_fidelity
