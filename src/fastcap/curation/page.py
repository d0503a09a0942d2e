"""A report as one HTML file that loads nothing: plots and thumbnails are part of it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastcap.curation.plots import bars, curve
from fastcap.curation.quality import Pair, Report
from fastcap.data.readers import printable
from fastcap.errors import ImageError
from fastcap.evaluation.page import document
from fastcap.runtime.images import load_thumbnail

__all__ = ["plots_of", "render_report"]

_WORST = 50  # pairs shown
_DOUBLES = 24  # pairs of pictures shown, leaks first
_SIDE = 192  # pixels of a thumbnail: the page stays below a megabyte
_BINS = 40
_MORE = """
h2 { margin: 2.5rem 0 .5rem; } ol.next { font-size: 1.125rem; }
.plots { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; color: var(--accent); }
svg text { fill: var(--faint); } .alert { border-left: .3rem solid #c5221f; padding-left: .8rem; }
.cards { list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); }
.cards > li { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem;
  overflow-wrap: anywhere; } .cards img { height: 11rem; } .two { display: flex; gap: .3rem; }
.two img { width: 50%; } td { overflow-wrap: anywhere; }
"""


def plots_of(report: Report) -> dict[str, tuple[str, str]]:
    """Plots by the name of their file: what each shows, and the SVG."""
    counts = [n for _, n in report.objects.ranked()]
    ordered = sorted(counts)
    total = max(1, sum(ordered))
    lorenz = [(0.0, 0.0)] + [((rank + 1) / len(ordered), part / total) for rank, part in enumerate(accumulate(ordered))]
    if len(lorenz) > 200:
        lorenz = lorenz[:: len(lorenz) // 200] + lorenz[-1:]
    ranks = sorted({round(10**exponent) for exponent in np.linspace(0, np.log10(max(1, len(counts))), 100)})
    frequency = [(float(rank), float(counts[rank - 1])) for rank in ranks if rank <= len(counts)]
    lengths = [(float(n), float(count)) for n, count in report.summary["language"]["length"]["histogram"].items()]
    found = {
        "caption_lengths": ("Words of a caption", bars("captions by number of words", "words", lengths)),
        "lorenz": (
            "How evenly objects are named: the dashed line would be all alike",
            curve("Lorenz curve of objects", "share of objects, rarest first", lorenz, diagonal=True),
        ),
        "object_frequency": (
            "Pictures that name an object, by its rank",
            curve("pictures by rank of object", "rank", frequency, logarithmic=True),
        ),
    }
    for name, told in (("alignment", "How well captions fit by the model"), ("agreement", "How far annotators agree")):
        values = [value for pair in report.pairs if (value := getattr(pair, name)) is not None]
        if values:
            heights, edges = np.histogram(values, _BINS)
            places = [(float(edge), float(height)) for edge, height in zip(edges, heights, strict=False)]
            found[name] = (told, bars(told, name, places))
    return found


def render_report(report: Report) -> str:
    """The page as HTML text."""
    summary = report.summary
    title = f"{report.name} in {printable(report.root)}: {len(report.pictures)} pictures, {len(report.pairs)} captions"
    plots = "".join(
        f"<figure><figcaption>{escape(told)}</figcaption>{svg}</figure>" for told, svg in plots_of(report).values()
    )
    parts = [
        _list("ol", summary["next"], "next"),
        "<h2>Warnings</h2>" + (_list("ul", summary["alerts"], "alert") if summary["alerts"] else "<p>None.</p>"),
        f"<h2>Counts</h2>{_counts(summary)}",
        f'<h2>Plots</h2><div class="plots">{plots}</div>',
        f"<h2>The same picture twice</h2>{_doubles(report)}",
        f"<h2>Pairs that fit worst</h2>{_worst(report)}",
        f"<h2>Captions as texts</h2>{_language(summary['language'])}",
        f"<h2>Objects</h2>{_objects(summary['objects'])}",
        f"<h2>Protected attributes</h2>{_bias(summary['bias'])}",
        f"<h2>What cannot be used</h2>{_unreadable(summary['unreadable'])}",
    ]
    return document(title, f"<h2>What to do next</h2>{''.join(parts)}\n", style=_MORE)


# --- sections ----------------------------------------------------------------------------------------------


def _counts(summary: Mapping[str, Any]) -> str:
    pictures = summary["pictures"]
    rows = [(name, part["pictures"], part["captions"], part["bad_rows"]) for name, part in summary["splits"].items()]
    sizes = ", ".join(f"{size} ({n:,})" for size, n in list(pictures["sizes"].items())[:5])
    formats = ", ".join(f"{name} ({n:,})" for name, n in pictures["formats"].items())
    fit = [
        (name, f"{part['mean']:.3f}", *(f"{value:.3f}" for value in part["quantiles"]), part["pairs"])
        for name, part in summary["fit"].items()
        if isinstance(part, Mapping)
    ]
    return (
        _table(("split", "pictures", "captions", "bad rows"), rows)
        + f"<p>Files: {pictures['bytes'] / 1e6:,.1f} MB; {escape(formats)}; sizes {escape(sizes)}. "
        + f"Licence: {escape(summary['licence'])}.</p>"
        + _table(("score of pairs", "mean", "5 %", "50 %", "95 %", "pairs"), fit)
        + f"<p>{summary['fit']['far_below']:,} pairs lie far below what is usual.</p>"
    )


def _doubles(report: Report) -> str:
    found = report.summary["duplicates"]
    leaks = set(report.leaks)
    shown = [*report.leaks, *(match for match in report.matches if match not in leaks)][:_DOUBLES]
    cards = []
    for match in shown:
        first, second = (report.pictures[at] for at in (match.first, match.second))
        images = "".join(_image(picture.example.image, picture.example.captions[0]) for picture in (first, second))
        where = "leak: " if match in leaks else ""
        names = (f"{picture.split}/{picture.example.image.name}" for picture in (first, second))
        facts = f"{where}{match.kind}, correlation {match.score:.3f}: {' and '.join(map(printable, names))}"
        cards.append(f'<li><div class="two">{images}</div><p class="facts">{escape(facts)}</p></li>')
    told = f"{found['leaks']:,} pairs across splits, {found['within_splits']:,} within one."
    more = f" The first {_DOUBLES} are shown." if len(report.matches) > _DOUBLES else ""
    return f'<p>{told}{more}</p><ul class="cards">{"".join(cards)}</ul>'


def _worst(report: Report) -> str:
    cards = "".join(_card(report, rank, pair) for rank, pair in enumerate(report.ranked[:_WORST], 1))
    return f'<ul class="cards">{cards}</ul>'


def _card(report: Report, rank: int, pair: Pair) -> str:
    picture = report.pictures[pair.picture]
    names = ("combined", "alignment", "likelihood", "agreement", "fidelity")
    scores = [f"{name} {value:.2f}" for name in names if (value := getattr(pair, name)) is not None]
    others = [text for at, text in enumerate(picture.example.captions) if at != pair.index]
    return (
        f"<li>{_image(picture.example.image, pair.caption)}"
        f'<p class="caption">{rank}. {escape(pair.caption)}</p><p class="facts">{escape(" · ".join(scores))} · '
        f"{escape(printable(f'{picture.split}/{picture.example.image.name}'))}</p>"
        f'<ul class="references" aria-label="Other captions">{"".join(f"<li>{escape(text)}</li>" for text in others)}'
        "</ul></li>"
    )


def _language(figures: Mapping[str, Any]) -> str:
    length = figures["length"]
    rows = [
        ("words a caption", f"{length['mean']:.1f}; from {length['quantiles'][0]} to {length['quantiles'][-1]}"),
        ("vocabulary", f"{figures['vocabulary']:,} words, {figures['used_once']:,} of them used once"),
        ("entropy of words", f"{figures['entropy_bits']:.2f} bits"),
        ("Gini of words", f"{figures['gini']:.3f}"),
        ("captions that stand more than once", _percent(figures["repeated"])),
        ("captions that repeat a word at once", _percent(figures["repetition_rate"])),
        ("captions with one of the usual openings", _percent(figures["boilerplate"])),
        *((f"rule of the linter: {rule}", f"{count:,} captions") for rule, count in figures["lint"].items()),
    ]
    return _table(("measure", "value"), rows) + _table(("usual opening", "captions"), figures["openings"])


def _objects(figures: Mapping[str, Any]) -> str:
    told = (
        f"{figures['objects']:,} objects; {figures['rare']:,} are in 2 to {figures['rare_below'] - 1} pictures, "
        f"{figures['once']:,} in one. Gini {figures['gini']:.3f}; the {figures['topk']} most frequent have "
        f"{_percent(figures['top_share'])} of all mentions; entropy {figures['entropy_bits']:.2f} bits."
    )
    tables = [_table((name, "pictures"), figures[key]) for name, key in _LISTS]
    return f'<p>{told}</p><div class="plots">{"".join(tables)}</div>'


_LISTS = (("most frequent", "most_frequent"), ("rarest of those in several", "rarest"))


def _bias(figures: Mapping[str, Any]) -> str:
    before = figures.get("originals", {})
    rows = []
    for category, part in figures["categories"].items():
        words = ", ".join(f"{word} ({n:,})" for word, n in part["phrases"][:8])
        original = [_percent(before[category]["share"])] if before else []
        rows.append((category.replace("_", " "), *original, f"{part['captions']:,}", _percent(part["share"]), words))
    columns = ("attribute", *(["originals"] if before else []), "captions", "share", "words")
    return f"<p>{_percent(figures['share'])} of captions mention one.</p>" + _table(columns, rows)


def _unreadable(figures: Mapping[str, Any]) -> str:
    if not figures["count"]:
        return "<p>All rows and pictures can be read.</p>"
    return f"<p>{figures['count']:,} rows or pictures; the first:</p>" + _list("ul", figures["first"], "references")


# --- pieces ------------------------------------------------------------------------------------------------


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{_cell(first)}</th>{"".join(f"<td>{_cell(value)}</td>" for value in rest)}</tr>'
        for first, *rest in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else escape(printable(value))


def _list(kind: str, lines: Iterable[str], style: str) -> str:
    return f'<{kind} class="{style}">{"".join(f"<li>{escape(printable(line))}</li>" for line in lines)}</{kind}>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _image(path: Path, text: str) -> str:
    try:
        file = BytesIO()
        Image.fromarray(load_thumbnail(path, _SIDE)).save(file, "JPEG", quality=70)
    except ImageError:
        return f"<p>{escape(printable(path.name))} cannot be read</p>"
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(text)}" loading="lazy">'
