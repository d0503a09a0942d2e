"""The command `scripts/kinds.py`: make pictures, fit a head."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import blanks  # noqa: F401  (it adds its families to the table, as the next ones do)
import charts  # noqa: F401
import drawings  # noqa: F401
import numpy as np
import screens  # noqa: F401
import texts  # noqa: F401
from make import make_all, photos_of

from fastcap.errors import FastcapError
from fastcap.export.writer import add_photo, check_destination
from fastcap.runtime.captioner import Captioner


def main() -> int:
    """Make pictures, or fit and write a head; returns the exit status."""
    parser = argparse.ArgumentParser(prog="kinds", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("make", help="make pictures; a second run continues")
    make.add_argument("--out", type=Path, required=True, help="folder to write")
    make.add_argument("--train", type=int, default=44, metavar="N", help="pictures of a family (default: 44)")
    make.add_argument("--held-out", type=int, default=16, metavar="N", help="of one that is held out (default: 16)")
    fit = verbs.add_parser("fit", help="fit, measure and write the head")
    fit.add_argument("--model", required=True, help="bundled model or model directory")
    fit.add_argument("--pictures", type=Path, required=True, help="what make wrote")
    fit.add_argument("--out", type=Path, required=True, help="model directory to write")
    fit.add_argument("--every", type=int, default=6, metavar="N", help="use every Nth photo to train on (default: 6)")
    fit.add_argument("--report", type=Path, help="JSON file for the figures of every family")
    fit.add_argument("--overwrite", action="store_true", help="replace a model directory at --out")
    for each in (make, fit):
        each.add_argument("--data", type=Path, required=True, help="folder that holds flickr8k and coco")
    args = parser.parse_args()
    try:
        if args.verb == "make":
            make_all(args.data, args.out, args.train, args.held_out)
        else:
            write_head(args)
    except (FastcapError, RuntimeError) as error:
        print(f"kinds: error: {error}", file=sys.stderr)
        return 1
    print(args.out)
    return 0


def write_head(args: argparse.Namespace) -> None:
    """Fit, measure, write."""
    import fit

    captioner = Captioner.open(args.model)
    check_destination(args.out, args.overwrite)
    train = fit.pictures_of(captioner, args.pictures / "train", photos_of(args.data, False)[:: args.every])
    held_out = fit.pictures_of(captioner, args.pictures / "held_out", photos_of(args.data, True))
    values = fit.fit(train)
    fit.set_threshold(values, train)
    text = fit.as_json(values)
    values = {key: np.asarray(value) for key, value in json.loads(text).items() if key != "kinds"}  # as they are read
    rows = list(fit.report(held_out, fit.logits(values, held_out.inputs)))
    width = max(len(row[0]) for row in rows)
    print(f"{'held out':{width}}  pictures    AUROC  taken for no photo")
    for name, count, area, silenced in rows:
        print(f"{name:{width}}  {count:8}  {'' if np.isnan(area) else f'{area:.4f}':>7}  {silenced:18.1%}")
    if args.report:
        figures = [
            {
                "pictures": name,
                "number": n,
                "auroc": None if np.isnan(area) else round(area, 4),
                "no_photo": round(s, 4),
            }
            for name, n, area, s in rows
        ]
        told = {"command": shlex.join(["python", *sys.argv]), "model": captioner.bundle.name, "held_out": figures}
        args.report.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    add_photo(captioner.bundle, args.out, text, overwrite=args.overwrite)


if __name__ == "__main__":
    sys.exit(main())
