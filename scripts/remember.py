"""A copy of a model directory that has learnt from captioned pictures to choose among its candidates: by the words that
people use of a picture like it and, with --pictures, by a memory of those pictures.

python scripts/remember.py --model fastcap-base --out DIR --memory flickr8k DIR --memory coco DIR \\
    --memory coco:more DIR --fit flickr8k DIR --fit coco DIR

The ranking is fitted to the val splits of the sets after --fit. The confidence is fitted, and quality measured, on
the first of them: each picture with weights that were not fitted to it. `fastcap export --memory` does the same for a
checkpoint.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

from rich.progress import Progress

from fastcap.data.readers import load_dataset
from fastcap.errors import FastcapError
from fastcap.evaluation.calibration import fit_calibration
from fastcap.export.writer import check_destination, rewrite_bundle
from fastcap.release.memory import MemorySettings, remember, remembered_captions
from fastcap.release.pipeline import fitted_error
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.contract import Calibration


def main() -> int:
    """Remember, fit, measure, write, print the directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="bundled model or model directory")
    parser.add_argument("--out", required=True, type=Path, help="model directory to write")
    pair = {"nargs": 2, "action": "append", "required": True, "metavar": ("NAME[:SPLIT]", "DIR")}
    parser.add_argument("--memory", help="a data set to learn from (split: train); may be repeated", **pair)
    parser.add_argument("--pictures", action="store_true", help="remember its pictures as well as its words")
    parser.add_argument("--fit", help="a data set to fit the ranking to (split: val); may be repeated", **pair)
    parser.add_argument("--candidates", type=int, metavar="K", help="captions that are decoded (default: as before)")
    parser.add_argument("--overwrite", action="store_true", help="replace a model directory at DIR")
    args = parser.parse_args()
    try:
        write(args)
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
    sets = []
    for source, root in args.fit:
        name, _, split = source.partition(":")
        sets.append(load_dataset(name, root, split or "val"))
    captions = remembered_captions(args.memory, [example for part in sets for example in part])
    ways = 2 if "beam" in bundle.decodes[1:] else 1
    with Progress() as progress:
        task = progress.add_task("pictures", total=len(captions) + ways * sum(map(len, sets)) + len(sets[0]))
        settings = MemorySettings(pictures=args.pictures)
        advance = partial(progress.advance, task)
        made = remember(bundle, captions, sets[0], settings, others=sets[1:], on_picture=advance)
    facts = made.evaluation.as_json()
    confidences, supports = made.evaluation.calibration()
    measured = {
        "data": f"{args.fit[0][0]} val, {facts['images']} pictures, the ranking fitted to others",
        "command": shlex.join(["python", *sys.argv]),
        "commit": facts["commit"],
        "date": facts["date"],
    }
    quality = {name: round(facts["metrics"][name], 2) for name in ("cider", "bleu_4", "meteor", "rouge_l")}
    errors = [fitted_error(confidences, supports, part, 1 - part) for part in (0, 1)]
    quality |= {"calibration_error": round(sum(errors) / 2, 4)}
    speed = {**facts["latency"], "threads": 1, "machine": facts["machine"]["cpu"]}
    rewrite_bundle(
        bundle,
        args.out,
        made.memory,
        made.words,
        overwrite=args.overwrite,
        ranking=made.ranking,
        calibration=Calibration(*fit_calibration(confidences, supports)),
        quality={**bundle.quality, **quality, **measured},
        speed={**speed, **measured},
    )


if __name__ == "__main__":
    sys.exit(main())
