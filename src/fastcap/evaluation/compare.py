"""Two sets of captions of the same pictures side by side: before and after a change of a model."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from fastcap.errors import DataError
from fastcap.evaluation.metrics import UNITS, score_captions
from fastcap.evaluation.page import document
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.evaluation.sample import small_sample
from fastcap.runtime.gallery import thumbnail

__all__ = ["Compared", "Comparison", "compare_captions", "read_captions", "render_comparison", "same_pictures"]

PICTURES = 200  # on the page, those that changed most first: a page of a few megabytes
THUMBNAIL = 224  # pixels, the longer side
SHOWN = ("cider", "bleu_4", "rouge_l", "meteor")  # of the metrics that compare with references
OWN = ("distinct_captions", "vocabulary", "mean_length", "repetition_rate")  # of those that need none


@dataclass(frozen=True)
class Compared:
    """One picture: its two captions, what people wrote, and CIDEr-D x 100 of both where anybody did."""

    image: str
    before: str
    after: str
    references: tuple[str, ...] = ()
    cider: tuple[float, float] | None = None

    @property
    def change(self) -> str:
        """ "same", "better" or "worse" by CIDEr, or "other" where nothing tells which it is."""
        if self.before == self.after:
            return "same"
        if self.cider is None or self.cider[0] == self.cider[1]:
            return "other"
        return "better" if self.cider[1] > self.cider[0] else "worse"


@dataclass(frozen=True)
class Comparison:
    """The rows, those that changed most first, and figures over all of them: name -> (before, after)."""

    rows: tuple[Compared, ...]
    figures: dict[str, tuple[float, float]]

    def as_json(self) -> dict[str, Any]:
        """Fit for `json.dumps`."""
        changes = [row.change for row in self.rows]
        return {
            "format": 1,
            "kind": "comparison",
            "pictures": len(self.rows),
            "changes": {name: changes.count(name) for name in ("same", "better", "worse", "other")},
            "figures": {name: [round(value, 4) for value in pair] for name, pair in self.figures.items()},
        }


def read_captions(path: Path) -> dict[str, str]:
    """The captions of a file, by picture: JSONL as `fastcap caption --json` prints it, or CSV with the columns image
    and caption. Pictures that failed are left out; a picture's path is relative to the file's folder, as it stands
    there, or absolute.

    Raises:
        DataError: the file cannot be read, or a row has no picture or no caption.
    """
    captions: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = path.suffix.lower() == ".csv"
            rows: Iterable[Any] = csv.DictReader(file) if table else map(json.loads, filter(str.strip, file))
            for number, row in enumerate(rows, start=1):
                if isinstance(row, dict) and row.get("error"):
                    continue
                if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("image", "caption")):
                    raise DataError(f"{path}, row {number}: needed are an image and a caption, both texts")
                captions[row["image"]] = row["caption"]
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise DataError(f"{path} cannot be read as captions ({error}); allowed: .jsonl and .csv") from error
    if not captions:
        raise DataError(f"{path} holds no caption")
    return captions


def same_pictures(captions: Mapping[str, str], images: Sequence[str], name: str) -> dict[str, str]:
    """The captions of these images, which may lie elsewhere than when they were captioned: then their names decide.

    Raises:
        DataError: an image has no caption in `name`, or two pictures of one name have.
    """
    by_path = {str(Path(image).resolve()): text for image, text in captions.items()}
    names: dict[str, list[str]] = {}
    for image, text in captions.items():
        names.setdefault(Path(image).name, []).append(text)
    found: dict[str, str] = {}
    missing: list[str] = []
    for image in images:
        path = str(Path(image).resolve())
        alike = names.get(Path(image).name, [])
        if image in captions or path in by_path:
            found[image] = captions[image] if image in captions else by_path[path]
        elif len(alike) > 1:
            raise DataError(f"{name} has {len(alike)} pictures of the name {Path(image).name!r}: which is {image}?")
        elif alike:
            found[image] = alike[0]
        else:
            missing.append(image)
    if missing:
        raise DataError(f"{name} has no caption for {len(missing)} of {len(images)} pictures, among them {missing[0]}")
    return found


def compare_captions(
    before: Mapping[str, str], after: Mapping[str, str], references: Mapping[str, Sequence[str]] | None = None
) -> Comparison:
    """Captions by picture, twice, and what people wrote of the same pictures, if anybody did.

    Raises:
        DataError: they are not about the same pictures, or there are none.
    """
    if before.keys() != after.keys() or not before:
        raise DataError(f"{len(before)} and {len(after)} captions; needed: captions of the same pictures, 1 or more")
    # Without references the caption itself stands in: what needs them is not shown.
    scores = [score_captions(texts, references or {key: [text] for key, text in texts.items()})
              for texts in (before, after)]  # fmt: skip
    rows = [
        Compared(
            key,
            before[key],
            after[key],
            tuple(references[key]) if references else (),
            (scores[0].cider[key], scores[1].cider[key]) if references else None,
        )
        for key in before
    ]
    shown = (*SHOWN, *OWN) if references else OWN
    figures = {name: (scores[0].metrics[name], scores[1].metrics[name]) for name in shown}
    return Comparison(tuple(sorted(rows, key=size_of_change, reverse=True)), figures)


def size_of_change(row: Compared) -> tuple[float, float]:
    """How much a caption changed: by CIDEr where there are references, then by the share of its words."""
    one, other = (set(ptb_tokens(text)) for text in (row.before, row.after))
    words = 1 - len(one & other) / max(1, len(one | other))
    return (abs(row.cider[1] - row.cider[0]) if row.cider else 0.0, words + (row.before != row.after))


SCRIPT = """
const list = document.getElementById("pictures"), show = document.getElementById("show");
const count = document.getElementById("count");
function update() {
  const wanted = show.value.split(" ");
  for (const item of list.children) item.hidden = !wanted.includes(item.dataset.change);
  count.textContent = [...list.children].filter((item) => !item.hidden).length + " pictures";
}
show.addEventListener("change", update);
update();
"""


def render_comparison(comparison: Comparison, before: str, after: str) -> str:
    """The page as HTML text; `before` and `after` name the two. It loads nothing: style, script and thumbnails are part
    of it.

    Raises:
        ImageError: a picture can no longer be read.
    """
    rows, changes = comparison.rows, comparison.as_json()["changes"]
    told = [f"{count} {name}" for name, count in changes.items() if count]
    differences = [row.cider[1] - row.cider[0] for row in rows if row.cider]
    sample = small_sample(differences) if differences else ""
    about = [
        f"Before: {before}",
        f"After: {after}",
        f"Captions: {', '.join(told)}" + (" (by CIDEr)" if differences else ""),
        f"Difference of CIDEr of {sample}" if sample else "",
        f"Shown are the {PICTURES} that changed most" if len(rows) > PICTURES else "",
    ]
    figures = "".join(
        f'<tr><th scope="row">{escape(UNITS[name])}</th><td>{one:,.2f}</td><td>{other:,.2f}</td>'
        f"<td>{other - one:+,.2f}</td></tr>"
        for name, (one, other) in comparison.figures.items()
    )
    title = f"{len(rows)} pictures before and after"
    return document(
        title,
        f"""<ul>{"".join(f"<li>{escape(line)}</li>" for line in about if line)}</ul>
<table><caption>Over all pictures</caption>
<thead><tr><td></td><th scope="col">before</th><th scope="col">after</th><th scope="col">change</th></tr></thead>
<tbody>{figures}</tbody></table>
<div class="tools">
<label>Pictures<select id="show">
<option value="better worse other">Captions that changed</option><option value="better">Better by CIDEr</option>
<option value="worse">Worse by CIDEr</option><option value="same better worse other">All</option></select></label>
<span id="count" role="status"></span>
</div>
<ul id="pictures">{"".join(map(card, rows[:PICTURES]))}</ul>
""",
        script=SCRIPT,
    )


def card(row: Compared) -> str:
    """One picture with its two captions."""
    cider = ("", "") if row.cider is None else tuple(f" · CIDEr {value:.0f}" for value in row.cider)
    references = "".join(f"<li>{escape(text)}</li>" for text in row.references)
    listed = f'<ul class="references" aria-label="References">{references}</ul>' if references else ""
    return (
        f'<li data-change="{row.change}"><img src="{thumbnail(row.image, THUMBNAIL)}" alt="" loading="lazy">'
        f'<p class="facts">before{cider[0]}</p><p class="caption">{escape(row.before)}</p>'
        f'<p class="facts">after{cider[1]}</p><p class="caption">{escape(row.after)}</p>'
        f'<p class="facts">{escape(Path(row.image).name)}</p>{listed}</li>\n'
    )
