# ruff: noqa: E501
"""Writes docs/good_enough.md: is the bundled model good enough for somebody's pictures?

    python benchmarks/good_enough.py --data data [--model NAME|DIR] [--html runs/good_enough.html]

Captions by what people say is in the picture, by confidence, and with the bars of `--min-confidence`; what is no photo,
by the figures that `python scripts/kinds.py fit --report benchmarks/results/kinds.json` left; and the 50 worst captions of
Flickr8k val, as text. The page with the pictures is local: the photos belong to others.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from fastcap.data.readers import load_dataset
from fastcap.evaluation.calibration import FUNCTION_WORDS, reliability
from fastcap.evaluation.evaluate import Evaluation, EvaluationRow, evaluate_model
from fastcap.evaluation.page import render_page
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.runtime.captioner import Caption, Captioner

ROOT = Path(__file__).resolve().parent.parent
PAGE, RESULTS = ROOT / "docs/good_enough.md", ROOT / "benchmarks/results"
SETS = {"flickr8k": "Flickr8k val", "coco": "COCO val"}
WORST = 50
PLAIN = "photo, as they are"  # of the report of scripts/kinds.py
BARS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
CONTENT = {
    "people": "man men woman women person people boy boys girl girls child children lady guy crowd baby",
    "dogs and cats": "dog dogs puppy cat cats kitten",
    "other animals": "horse horses cow cows sheep bird birds elephant elephants zebra zebras giraffe giraffes bear",
    "sport": "player players ball soccer football baseball basketball tennis skateboard surfboard skis snowboard race",
    "water": "water ocean sea lake river pool beach wave waves boat boats surfing swimming",
    "snow and mountains": "snow snowy mountain mountains ski skiing snowboarding cliff rock climbing",
    "streets and vehicles": "street road car cars bus train truck motorcycle bicycle bike traffic sidewalk",
    "food": "food plate pizza cake sandwich table fruit vegetables bowl eating",
    "rooms": "room kitchen bathroom bedroom living bed couch sink toilet desk",
}
"""Words of people's captions, by kind of content; a picture counts where at least two captions have one."""


class Watched:
    """A captioner that keeps its captions, for what an evaluation does not record."""

    def __init__(self, captioner: Captioner) -> None:
        self.bundle, self._captioner = captioner.bundle, captioner
        self.captions: dict[Path, Caption] = {}

    def caption(self, image: Path, options: Any) -> Caption:
        self.captions[image] = caption = self._captioner.caption(image, options)
        return caption


def shows(row: EvaluationRow, words: frozenset[str]) -> bool:
    """Whether at least two people name such a thing."""
    return sum(bool(words & set(re.findall(r"[a-z]+", text.lower()))) for text in row.references) >= 2


def by_content(rows: Sequence[EvaluationRow]) -> list[dict[str, Any]]:
    """Number, CIDEr, confidence and support of each kind of content."""
    groups = {name: [row for row in rows if shows(row, frozenset(words.split()))] for name, words in CONTENT.items()}
    known = {id(row) for group in groups.values() for row in group}
    groups |= {"none of these": [row for row in rows if id(row) not in known], "all": list(rows)}
    return [{"content": name, **means(group)} for name, group in groups.items()]


def means(rows: Sequence[EvaluationRow]) -> dict[str, Any]:
    """Figures of some pictures."""
    if not rows:
        return {"pictures": 0}
    columns = {"cider": "cider", "confidence": "confidence", "right": "support"}
    return {"pictures": len(rows)} | {
        name: round(float(np.mean([getattr(row, field) for row in rows])), 4) for name, field in columns.items()
    }


def by_bar(rows: Sequence[EvaluationRow]) -> list[dict[str, Any]]:
    """What `--min-confidence` keeps, and how good that is."""
    kept = {bar: [row for row in rows if row.confidence >= bar] for bar in BARS}
    return [{"bar": bar, "kept": round(len(group) / len(rows), 4), **means(group)} for bar, group in kept.items()]


def measured(
    captioner: Captioner, evaluations: Mapping[str, Evaluation], kinds: Mapping[str, list[str]]
) -> dict[str, Any]:
    """All figures, fit for JSON."""
    facts = next(iter(evaluations.values())).facts
    sets = {}
    for name, evaluation in evaluations.items():
        silenced = [kind for kind in kinds[name] if kind != "photo"]
        sets[name] = {
            "content": by_content(evaluation.rows),
            "bars": by_bar(evaluation.rows),
            "reliability": [
                {"confidence": round(c, 4), "right": round(s, 4), "captions": n}
                for c, s, n in reliability(*evaluation.calibration())
            ],
            "calibration_error": evaluation.as_json()["calibration"]["error"],
            "taken_for_no_photo": round(len(silenced) / len(kinds[name]), 4),
            "taken_for": {kind: silenced.count(kind) for kind in sorted(set(silenced))},
        }
    worst = sorted(evaluations["flickr8k"].rows, key=lambda row: (row.cider, row.confidence, row.image_id))[:WORST]
    return {
        "format": 1,
        "kind": "good enough",
        "model": captioner.bundle.name,
        **{name: facts[name] for name in ("date", "commit", "machine")},
        "sets": sets,
        "worst": [
            {
                "picture": row.image_id,
                "caption": row.caption,
                "people": named(row),
                "confidence": round(row.confidence, 2),
                "cider": round(row.cider, 1),
            }
            for row in worst
        ],
    }


def named(row: EvaluationRow) -> list[str]:
    """Content words that at least two people used, those of most people first."""
    counts = Counter(word for text in row.references for word in dict.fromkeys(ptb_tokens(text)))
    words = [word for word, count in counts.most_common() if count >= 2 and word.isalpha()]
    return [word for word in words if word not in FUNCTION_WORDS][:5]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of Markdown; texts of cells are made harmless."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]


def page(result: Mapping[str, Any], no_photos: Mapping[str, Any] | None, command: str) -> str:
    """docs/good_enough.md."""
    lines = [
        "<!-- Written by benchmarks/good_enough.py; change that. -->",
        "",
        "# Is this good enough for me?",
        "",
        f"For photos of everyday things, mostly; not for anything else. This page says how good captions of "
        f"`{result['model']}` are by what is in the picture, how far its confidence can be trusted, how to have silence "
        f"in place of a guess, and shows the {WORST} worst captions of a validation set. All of it is written by",
        "",
        f"```\n{command}\n```",
        "",
        "on Flickr8k val (1,091 photos) and COCO val (1,017). The model was chosen, and its confidence fitted, on the "
        "former; on photos unlike these it does worse.",
        "",
        "## By what is in the picture",
        "",
        "*Right*: the share of a caption's content words that at least one of five people used as well.",
        "",
    ]
    for name, title in SETS.items():
        rows = [row for row in result["sets"][name]["content"] if row["pictures"] >= 20]
        cells = [
            (row["content"], f"{row['pictures']:,}", f"{row['cider']:.0f}", *shares(row["right"], row["confidence"]))
            for row in rows
        ]
        lines += table((title, "photos", "CIDEr", "right", "confidence"), cells)
    lines += ["## What a confidence means", ""]
    lines += [
        f"Calibration error: {result['sets']['flickr8k']['calibration_error']:.3f} on Flickr8k val, to which it was "
        f"fitted, {result['sets']['coco']['calibration_error']:.3f} on COCO val.",
        "",
    ]
    for name, title in SETS.items():
        rows = result["sets"][name]["reliability"]
        cells = [(f"{row['confidence']:.2f}", f"{row['right']:.2f}", f"{row['captions']:,}") for row in rows]
        lines += table((f"{title}: confidence", "right", "captions"), cells)
    lines += ["## Silence instead of a guess", ""]
    lines += [
        "`--min-confidence P` gives no caption below P (`fastcap caption`, `fastcap alt`, `fastcap serve`, "
        '`Options.min_confidence`, the web page); `--hedge P` gives it with "Maybe: " before it. What they do to photos:',
        "",
    ]
    for name, title in SETS.items():
        cells = [
            (f"{row['bar']:.1f}", *shares(row["kept"]), f"{row.get('cider', 0):.0f}", *shares(row.get("right", 0)))
            for row in result["sets"][name]["bars"]
        ]
        lines += table((f"{title}: P", "get a caption", "CIDEr of these", "right"), cells)
    lines += no_photo_section(result, no_photos)
    lines += [f"## The {WORST} worst captions of Flickr8k val", "", "By CIDEr, lowest first.", ""]
    lines += table(
        ("picture", "the model", "words of at least two people", "confidence"),
        [
            (row["picture"], row["caption"], ", ".join(row["people"]), f"{row['confidence']:.2f}")
            for row in result["worst"]
        ],
    )
    return "\n".join(lines).rstrip() + "\n"


def no_photo_section(result: Mapping[str, Any], no_photos: Mapping[str, Any] | None) -> list[str]:
    """What is said of pictures that are no photos."""
    shown = ", ".join(
        f"{100 * result['sets'][name]['taken_for_no_photo']:.1f} % of {title}" for name, title in SETS.items()
    )
    lines = [
        "## What is no photo",
        "",
        "Of a blank picture, a text, a screen, a chart or a drawing the model would say what such colours are in "
        "photos. A small head over the picture's vector and a few counts of its pixels tells them from photos: `Caption.kind`. "
        "Their confidence is multiplied by the probability that they are photos after all, so that `--min-confidence "
        f"0.2` leaves them out, and hardly a photo. Photos that it takes for something else: {shown}.",
        "",
    ]
    if no_photos is None:
        return lines
    lines += [
        "It was fitted to pictures made by `scripts/kinds.py`, and is measured here on families that it never saw: other "
        "fonts, other kinds of charts and pages, other ways of drawing. AUROC is against the photos of both val "
        "splits; all photos are those and others that were changed (dark, grey, blurred, framed, ...).",
        "",
    ]
    rows = [row for row in no_photos["held_out"] if "," not in row["pictures"] or row["pictures"] == PLAIN]
    cells = [
        (
            "photos of both val splits" if row["pictures"] == PLAIN else row["pictures"],
            f"{row['number']:,}",
            "" if row["auroc"] is None else f"{row['auroc']:.4f}",
            *shares(row["no_photo"]),
        )
        for row in rows
    ]
    return lines + table(("held out", "pictures", "AUROC", "told to be no photo"), cells)


def shares(*values: float) -> list[str]:
    """As readers see them."""
    return [f"{100 * value:.1f} %" for value in values]


def main() -> None:
    """Caption, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder that holds flickr8k and coco")
    parser.add_argument("--model", default="fastcap-base", help="bundled model or model directory (%(default)s)")
    parser.add_argument("--html", type=Path, default=ROOT / "runs/good_enough.html", help="local page with thumbnails")
    args = parser.parse_args()
    captioner = Captioner.open(args.model)
    evaluations, kinds = {}, {}
    with Progress() as progress:
        for name, title in SETS.items():
            examples, watched = load_dataset(name, args.data / name, "val"), Watched(captioner)
            task = progress.add_task(title, total=len(examples))
            evaluations[name] = evaluate_model(watched, examples, on_caption=lambda task=task: progress.advance(task))
            kinds[name] = [watched.captions[example.image].kind or "photo" for example in examples]
    result = measured(captioner, evaluations, kinds)
    (RESULTS / "good_enough.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    told = RESULTS / "kinds.json"
    no_photos = json.loads(told.read_text(encoding="utf-8")) if told.is_file() else None
    PAGE.write_text(page(result, no_photos, "python benchmarks/good_enough.py --data data"), encoding="utf-8")
    args.html.parent.mkdir(parents=True, exist_ok=True)
    args.html.write_text(render_page(evaluations["flickr8k"]), encoding="utf-8")
    print(PAGE, args.html, sep="\n")


if __name__ == "__main__":
    main()
