"""An evaluation as one HTML file: pictures beside captions and references, the best and the worst first."""

from __future__ import annotations

import random
from html import escape

from fastcap.evaluation.evaluate import Evaluation, EvaluationRow
from fastcap.evaluation.metrics import UNITS
from fastcap.runtime.gallery import thumbnail

__all__ = ["document", "render_page"]

PICTURES = 60  # of the best, of the worst and of random ones: a page of a few megabytes
THUMBNAIL = 224  # pixels, the longer side
SEED = 0  # of the random sample, so that two models' pages show the same pictures

STYLE = """
:root { color-scheme: light dark; --page: #fff; --card: #f4f4f6; --text: #1a1a1e; --faint: #55555f;
  --line: #c9c9d1; --accent: #0b57d0; }
@media (prefers-color-scheme: dark) {
  :root { --page: #131316; --card: #1e1e23; --text: #ececf1; --faint: #b3b3be; --line: #43434d;
    --accent: #a8c7fa; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin-top: 0; line-height: 1.2; }
table { border-collapse: collapse; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
th, td { text-align: left; padding: .2rem 1.5rem .2rem 0; border-bottom: 1px solid var(--line);
  font-weight: 400; }
td { text-align: right; font-variant-numeric: tabular-nums; }
.tools { display: flex; flex-wrap: wrap; gap: 1rem; margin: 2rem 0 1rem; align-items: end; }
label { display: grid; gap: .25rem; color: var(--faint); }
select { font: inherit; padding: .4rem; color: var(--text); background: var(--card);
  border: 1px solid var(--line); border-radius: .4rem; }
select:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
#pictures { list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
#pictures > li { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem; overflow-wrap: anywhere; }
#pictures > li[hidden] { display: none; }
img { display: block; width: 100%; height: 14rem; object-fit: contain; }
.caption { font-weight: 600; margin: .6rem 0 .2rem; }
.facts { color: var(--faint); font-size: .875rem; margin: 0 0 .4rem; }
.references { color: var(--faint); font-size: .875rem; margin: 0; padding-left: 1.1rem; }
"""

SCRIPT = """
const list = document.getElementById("pictures"), sort = document.getElementById("sort");
const show = document.getElementById("show"), count = document.getElementById("count");
const orders = {
  worst: (a, b) => a.dataset.cider - b.dataset.cider,
  best: (a, b) => b.dataset.cider - a.dataset.cider,
  sure: (a, b) => b.dataset.confidence - a.dataset.confidence,
  unsure: (a, b) => a.dataset.confidence - b.dataset.confidence,
};
function update() {
  const items = [...list.children].sort(orders[sort.value]);
  for (const item of items) item.hidden = !item.dataset.groups.split(" ").includes(show.value);
  list.append(...items);
  const shown = items.filter((item) => !item.hidden).length;
  count.textContent = shown + (shown === 1 ? " picture" : " pictures");
}
sort.addEventListener("change", update);
show.addEventListener("change", () => {
  sort.value = show.value === "best" ? "best" : "worst";
  update();
});
update();
"""


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """A page as HTML text that loads nothing: head, title as its heading, `body`, and more style and script."""
    run = f"\n<script>{script}</script>" if script else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}</main>{run}
</body>
</html>
"""


def render_page(evaluation: Evaluation) -> str:
    """The page as HTML text. It loads nothing: style, script and thumbnails are part of it.

    Raises:
        ImageError: a picture that was captioned can no longer be read.
    """
    facts, latency = evaluation.facts, evaluation.latency()
    machine = facts["machine"]
    title = f"{facts['model']['name']}: captions of {len(evaluation.rows)} pictures"
    about = [
        f"Data: {facts['data']['name']}, split {facts['data']['split']}" if "data" in facts else "",
        f"CIDEr of {evaluation.small_sample}" if evaluation.small_sample else "",
        f"Model: {facts['model']['bytes'] / 1e6:.2f} MB, sha256 {facts['model']['sha256'][:12]}",
        f"Decoding: length {facts['length']}, candidates {facts['candidates']}",
        f"Time from file to text: p50 {latency['p50_ms']:.1f} ms, p95 {latency['p95_ms']:.1f} ms",
        f"Machine: {machine['cpu']}, threads {facts['threads']}" if "threads" in facts else "",
        f"Measured {facts['date']}" + (f" at commit {facts['commit']}" if facts["commit"] else ""),
    ]
    metrics = "".join(
        f'<tr><th scope="row">{escape(UNITS[name])}</th><td>{value:,.{_digits(value)}f}</td></tr>'
        for name, value in evaluation.metrics.items()
    )
    cards = "".join(_card(row, groups) for row, groups in _chosen(evaluation.rows))
    return document(
        title,
        f"""<ul>{"".join(f"<li>{escape(line)}</li>" for line in about if line)}</ul>
<table><caption>Measures over all pictures</caption><tbody>{metrics}</tbody></table>
<div class="tools">
<label>Pictures<select id="show">
<option value="worst">Lowest CIDEr</option><option value="best">Highest CIDEr</option>
<option value="random">Random sample</option></select></label>
<label>Order<select id="sort">
<option value="worst">Lowest CIDEr first</option><option value="best">Highest CIDEr first</option>
<option value="sure">Highest confidence first</option><option value="unsure">Lowest confidence first</option>
</select></label>
<span id="count" role="status"></span>
</div>
<ul id="pictures">{cards}</ul>
""",
        script=SCRIPT,
    )


def _chosen(rows: tuple[EvaluationRow, ...]) -> list[tuple[EvaluationRow, list[str]]]:
    """The rows to show, lowest CIDEr first, and the groups of each."""
    ranked = sorted(rows, key=lambda row: (row.cider, str(row.image)))
    sample = random.Random(SEED).sample(sorted(rows, key=lambda row: str(row.image)), min(PICTURES, len(rows)))
    groups = {"worst": ranked[:PICTURES], "best": ranked[-PICTURES:], "random": sample}
    grouped = [(row, [name for name, members in groups.items() if row in members]) for row in ranked]
    return [(row, names) for row, names in grouped if names]


def _card(row: EvaluationRow, groups: list[str]) -> str:
    references = "".join(f"<li>{escape(reference)}</li>" for reference in row.references)
    return (
        f'<li data-cider="{row.cider:.3f}" data-confidence="{row.confidence:.4f}" '
        f'data-groups="{" ".join(groups)}">'
        f'<img src="{thumbnail(row.image, THUMBNAIL)}" alt="{escape(row.references[0])}" loading="lazy">'
        f'<p class="caption">{escape(row.caption)}</p>'
        f'<p class="facts">CIDEr {row.cider:.0f} · confidence {row.confidence:.2f} · '
        f"{escape(row.image_id)}</p>"
        f'<ul class="references" aria-label="References">{references}</ul></li>\n'
    )


def _digits(value: float) -> int:
    return 0 if float(value).is_integer() and value > 1 else 2 if value > 1 else 3
