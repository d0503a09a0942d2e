"""A copy of a model directory that has learnt from captioned pictures to choose among its candidates: by the words that
people use of a picture like it and, with --pictures, by a memory of those pictures.

python scripts/remember.py --model fastcap-base --out DIR --memory flickr8k DIR --memory coco DIR \\
    --memory coco:more DIR --measure flickr8k DIR

Words and ranking are learnt from the sets after --memory, confidence and figures from the one after --measure.
`fastcap export --memory` and `fastcap adapters --memory` do the same for a checkpoint. Of a model that was built of
adapters, --adapters DIR keeps the words, the ranking and the figures with these, too.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from fastcap.data.readers import Example, load_dataset
from fastcap.errors import FastcapError
from fastcap.evaluation.calibration import fit_calibration
from fastcap.export.writer import check_destination, rewrite_bundle
from fastcap.release.adapters import renew_facts
from fastcap.release.memory import MemorySettings, remember, remembered_captions, ways
from fastcap.release.pipeline import fitted_error
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import Calibration

TIMED = 100  # pictures


def main() -> int:
    """Remember, fit, measure, write, print the directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="bundled model or model directory")
    parser.add_argument("--out", required=True, type=Path, help="model directory to write")
    pair = {"nargs": 2, "required": True, "metavar": ("NAME[:SPLIT]", "DIR")}
    told = "a data set to learn from (split: train); may be repeated"
    parser.add_argument("--memory", action="append", help=told, **pair)
    parser.add_argument("--pictures", action="store_true", help="remember its pictures as well as its words")
    parser.add_argument("--measure", help="a data set to measure on and to fit the confidence to (split: val)", **pair)
    parser.add_argument("--candidates", type=int, metavar="K", help="captions that are decoded (default: as before)")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only N pictures of each, to try it: figures mean nothing"
    )
    parser.add_argument("--adapters", type=Path, metavar="DIR", help="the adapters that the model was built of")
    parser.add_argument("--overwrite", action="store_true", help="replace a model directory at DIR")
    args = parser.parse_args()
    try:
        write(args)
        if args.adapters:
            renew_facts(args.adapters, args.out)
    except FastcapError as error:
        print(f"remember: error: {error}", file=sys.stderr)
        return 1
    print(args.out)
    return 0


def write(args: argparse.Namespace) -> None:
    """The steps, in turn."""
    bundle = Bundle.open(find_model(args.model))
    check_destination(args.out, args.overwrite)
    if args.candidates:
        decoding = bundle.decoding._replace(default_candidates=args.candidates)
        bundle = Bundle(**{**vars(bundle), "decoding": decoding})
    name, _, split = args.measure[0].partition(":")
    examples = load_dataset(name, args.measure[1], split or "val")
    captions = remembered_captions(args.memory, examples)
    if args.limit:
        examples, captions = examples[: args.limit], dict(list(captions.items())[: args.limit])
    settings = MemorySettings(pictures=args.pictures)
    with Progress() as progress:
        total = len(captions) + len(ways(bundle)) * min(settings.fitted, len(captions)) + len(examples)
        advance = partial(progress.advance, progress.add_task("pictures", total=total))
        made = remember(bundle, captions, examples, settings, on_picture=advance)
    facts = made.evaluation.as_json()
    confidences, supports = made.evaluation.calibration()
    measured = {
        "data": f"{name} {split or 'val'}, {facts['images']} pictures",
        "command": shlex.join(["python", *sys.argv]),
        "commit": facts["commit"],
        "date": facts["date"],
    }
    quality = {name: round(facts["metrics"][name], 2) for name in ("cider", "bleu_4", "meteor", "rouge_l")}
    errors = [fitted_error(confidences, supports, part, 1 - part) for part in (0, 1)]
    quality |= {"calibration_error": round(sum(errors) / 2, 4)}
    # What fp32 graphs would say so ranked was not measured.
    kept = {name: value for name, value in bundle.quality.items() if name != "cider_fp32"}
    captioner = Captioner(replace(bundle, ranking=None), ranker=made.ranker(bundle))
    speed = {**processor_time(captioner, examples[:TIMED]), "threads": 1, "machine": facts["machine"]["cpu"]}
    rewrite_bundle(
        bundle,
        args.out,
        made.memory,
        made.words,
        overwrite=args.overwrite,
        ranking=made.ranking,
        calibration=Calibration(*fit_calibration(confidences, supports)),
        quality={**kept, **quality, **measured},
        speed={**speed, **measured},
    )


def processor_time(captioner: Captioner, examples: Sequence[Example]) -> dict[str, Any]:
    """Milliseconds from file to sentence; of processor time, so that it does not matter what else a machine does."""
    taken = []
    for example in examples:
        started = time.process_time()
        captioner.caption(example.image)
        taken.append(1000 * (time.process_time() - started))
    p50, p95 = (round(float(np.percentile(taken, part)), 2) for part in (50, 95))
    return {"p50_ms": p50, "p95_ms": p95, "of": "processor time"}


if __name__ == "__main__":
    sys.exit(main())
