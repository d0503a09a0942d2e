"""Answers as one HTML file: pictures with their questions, what the model and people answered, wrong ones first."""

from __future__ import annotations

import random
from html import escape
from pathlib import Path

from fastcap.evaluation.page import SEED, THUMBNAIL, document
from fastcap.evaluation.vqa import MODEL, VqaEvaluation, VqaRow
from fastcap.runtime.gallery import thumbnail

__all__ = ["render_answers"]

PICTURES = 150
SCRIPT = """
const list = document.getElementById("pictures"), show = document.getElementById("show");
const kind = document.getElementById("kind"), count = document.getElementById("count");
function update() {
  let shown = 0;
  for (const item of list.children) {
    const fits = !show.value || item.dataset.right === show.value;
    item.hidden = !(fits && (!kind.value || item.dataset.kind === kind.value));
    shown += !item.hidden;
  }
  count.textContent = shown + (shown === 1 ? " question" : " questions");
}
show.addEventListener("change", update);
kind.addEventListener("change", update);
update();
"""
NAMES = {
    MODEL: "the model",
    "majority": "most frequent answer",
    "question": "question alone",
    "other_picture": "somebody else's picture",
}


def render_answers(evaluation: VqaEvaluation) -> str:
    """The page as HTML text, of `PICTURES` questions drawn by a seed, so that two models' pages show the same.

    Raises:
        ImageError: a picture can no longer be read.
    """
    record, readers = evaluation.as_json(), evaluation.readers
    drawn = random.Random(SEED).sample(range(len(evaluation.rows)), min(PICTURES, len(evaluation.rows)))
    rows = sorted((evaluation.rows[place] for place in sorted(drawn)), key=lambda row: row.accuracy[MODEL])
    head = "".join(f'<th scope="col">{escape(NAMES[reader])}</th>' for reader in readers)
    lines = {"all": {"questions": record["questions"], **record["accuracy"]}, **record["kinds"]}
    figures = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{values["questions"]:,}</td>'
        + "".join(f"<td>{values[reader]:.1f}</td>" for reader in readers)
        + "</tr>"
        for name, values in lines.items()
    )
    kinds = "".join(f'<option value="{escape(kind)}">{escape(kind)}</option>' for kind in record["kinds"])
    model, data = record.get("model", {}), record.get("data", {})
    within = record["margin"]
    about = [
        f"Model: {model['name']}" if model else "",
        f"Data: {data['name']}" if data else "",
        f"In 19 of 20 draws of as many questions the model is within {within:.1f} of its accuracy" if within else "",
        f"Measured {record['date']}" if "date" in record else "",
    ]
    title = f"Answers to {record['questions']:,} questions about {record['pictures']:,} pictures"
    return document(
        title,
        f"""<ul>{"".join(f"<li>{escape(line)}</li>" for line in about if line)}</ul>
<table><caption>VQA accuracy in percent</caption>
<thead><tr><td></td><th scope="col">questions</th>{head}</tr></thead><tbody>{figures}</tbody></table>
<div class="tools">
<label>Answers<select id="show"><option value="">All</option><option value="no">Wrong</option>
<option value="part">Partly right</option><option value="yes">Right</option></select></label>
<label>Kind<select id="kind"><option value="">All</option>{kinds}</select></label>
<span id="count" role="status"></span>
</div>
<ul id="pictures">{"".join(map(card, rows))}</ul>
""",
        script=SCRIPT,
    )


def card(row: VqaRow) -> str:
    """One question with its picture and answers."""
    right = "yes" if row.accuracy[MODEL] >= 0.995 else "part" if row.accuracy[MODEL] > 0 else "no"
    others = "".join(
        f"<li>{escape(NAMES[reader])}: {escape(answer)}</li>" for reader, answer in row.told.items() if reader != MODEL
    )
    people = ", ".join(dict.fromkeys(row.people))
    return (
        f'<li data-right="{right}" data-kind="{escape(row.kind)}">'
        f'<img src="{thumbnail(row.image, THUMBNAIL)}" alt="" loading="lazy">'
        f'<p class="facts">{escape(row.question)}</p><p class="caption">{escape(row.told[MODEL])}</p>'
        f'<p class="facts">{100 * row.accuracy[MODEL]:.0f} % · people: {escape(people)} · '
        f'{escape(row.kind)} · {escape(Path(row.image).name)}</p><ul class="references">{others}</ul></li>\n'
    )
