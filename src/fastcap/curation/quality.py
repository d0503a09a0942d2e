"""A data set examined: what is in it, what is wrong with it, and what to do next.

`examine_dataset` measures; `fastcap.curation.outputs` writes the files, `fastcap.curation.page` the page.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastcap.curation.advice import advice, alerts
from fastcap.curation.bias import CATEGORIES, Mention, mentions
from fastcap.curation.duplicates import Match, find_matches, grouped, pairs_across
from fastcap.curation.examine import Examined, examine
from fastcap.curation.language import Agreement, Fidelity, language_figures, word_fidelity
from fastcap.curation.measures import as_json, mentioned
from fastcap.curation.objects import ObjectCounts, sampling_weights
from fastcap.data.readers import BadRow, Example, Examples
from fastcap.errors import DataError

__all__ = ["Pair", "Picture", "Report", "Thresholds", "examine_dataset"]

TOP_OBJECTS = 5  # whose share of all counts is held against `topk_alert`
LISTED = 20  # rows of each list in the summary
_FAR = 3.0
_MANY = 100  # scores; what is usual among fewer says little
_LICENCES = ("LICENSE*", "LICENCE*", "COPYING*", "license*", "licence*", "README*")


@dataclass(frozen=True)
class Thresholds:
    """When something is worth a warning.

    Attributes:
        topk: worst pairs that are written to `top_failures/`.
        rare: pictures below which an object is rare.
        gini_alert, topk_alert: Gini's coefficient of the objects' counts, and the share of the five most frequent ones,
            above which a data set is called imbalanced; 0 to 1.
    """

    topk: int = 300
    rare: int = 50
    gini_alert: float = 0.5
    topk_alert: float = 0.5


@dataclass(frozen=True)
class Picture:
    """A picture of a split, what was measured on it, the objects that its captions name, and how likely it should be
    drawn for training (the probabilities of a split sum to 1)."""

    split: str
    example: Example
    examined: Examined
    objects: frozenset[str]
    probability: float


@dataclass(frozen=True)
class Pair:
    """A caption and its picture, by number in `Report.pictures`; how well they fit, each None where nothing tells.

    Attributes:
        index: the caption's number among those of its picture.
        alignment, likelihood: see `PairScorer`.
        agreement: cosine with the closest other caption of the picture.
        fidelity: to the original of a transformed caption, 0 to 1.
        combined: the mean of alignment, agreement and fidelity after each was standardised over the data set, so 0 is
            usual and what is far below does not fit. Likelihood is no part of it: on swapped captions it found less
            than these do, and adding it made the order worse (docs/dataset_quality.md).
        mentions: of protected attributes, in the caption.
    """

    picture: int
    index: int
    caption: str
    original: str
    alignment: float | None
    likelihood: float | None
    agreement: float | None
    fidelity: float | None
    combined: float
    mentions: tuple[Mention, ...]

    @property
    def categories(self) -> tuple[str, ...]:
        """The protected attributes that the caption mentions."""
        return tuple(sorted({mention.category for mention in self.mentions}, key=CATEGORIES.index))


@dataclass(frozen=True)
class Report:
    """What is known of a data set. `pairs` stand in the order of the files, `ranked` are they, worst first."""

    name: str
    root: Path
    thresholds: Thresholds
    pictures: list[Picture]
    pairs: list[Pair]
    ranked: list[Pair]
    bad_rows: dict[str, tuple[BadRow, ...]]
    matches: list[Match]
    leaks: list[Match]
    objects: ObjectCounts
    summary: dict[str, Any] = field(default_factory=dict)


def examine_dataset(
    name: str,
    root: Path,
    splits: Mapping[str, Examples],
    notes: Path,
    *,
    limit: int | None = None,
    thresholds: Thresholds | None = None,
    model: str = "fastcap-base",
    workers: int | None = None,
    align: Callable[[Sequence[Example]], list[list[float | None]]] | None = None,
    fidelity: Fidelity = word_fidelity,
    on_start: Callable[[int], Callable[[], object]] = lambda _: lambda: None,
) -> Report:
    """Measure a data set.

    Args:
        name, root: of the data set, for the report.
        splits: its examples, as `read_splits` gives them.
        notes: a file for what was measured on each picture; a second run goes on there.
        limit: only the first pictures of each split.
        model: what judges how well captions fit; "" for nothing.
        workers: processes; as many as there are cores by default.
        align: judges in place of the model, for instance a CLIP.
        fidelity: of transformed captions to their originals, each from 0 to 1.
        on_start: called with the number of pictures; what it returns is called for each.

    Raises ConfigError, ModelFileError or OSError as `examine`, DataError if there is no picture.
    """
    thresholds = thresholds or Thresholds()
    rows = [(split, example) for split, examples in splits.items() for example in examples[:limit]]
    if not rows:
        raise DataError(f"{root}: no captioned picture; needed: at least one")
    captions: dict[Path, list[str]] = defaultdict(list)
    for _, example in rows:  # a picture may stand in two splits
        captions[example.image] += [text for text in example.captions if text not in captions[example.image]]
    done = on_start(len(captions))
    own_model = "" if align else model
    measured = examine(captions, notes, model=own_model, workers=workers, on_picture=done)
    examples = [example for _, example in rows]
    objects = ObjectCounts(example.captions for example in examples)
    probabilities = _probabilities([split for split, _ in rows], objects, thresholds.rare)
    pictures = [
        Picture(split, example, measured[example.image], names, probability)
        for (split, example), names, probability in zip(rows, objects.by_picture, probabilities, strict=True)
    ]
    alignments = align(examples) if align else _scores(pictures, captions, "alignments")
    pairs = _pairs(pictures, alignments, Agreement(e.captions for e in examples).closest(), fidelity)
    ranked = sorted(pairs, key=lambda pair: (pair.combined, pair.picture, pair.index))
    if own_model:
        worst = {pictures[pair.picture].example.image for pair in ranked[: thresholds.topk]}
        asked = {path: captions[path] for path in worst if not measured[path].problem}
        measured |= examine(asked, notes, model=own_model, likelihoods=True, workers=workers)
        pictures = [_with(picture, measured[picture.example.image]) for picture in pictures]
        likelihoods = _scores(pictures, captions, "likelihoods")
        pairs = [_likely(pair, likelihoods[pair.picture][pair.index]) for pair in pairs]
        ranked = sorted(pairs, key=lambda pair: (pair.combined, pair.picture, pair.index))
    matches = _matches(pictures)
    report = Report(
        name,
        root,
        thresholds,
        pictures,
        pairs,
        ranked,
        {split: examples.bad_rows for split, examples in splits.items()},
        matches,
        pairs_across(matches, {at: picture.split for at, picture in enumerate(pictures)}),
        objects,
    )
    report.summary.update(_summary(report))
    return report


# --- pairs -------------------------------------------------------------------------------------------------


def _scores(pictures: Sequence[Picture], captions: Mapping[Path, Sequence[str]], kind: str) -> list[list[float | None]]:
    """For each picture the scores of its captions."""
    found = []
    for picture in pictures:
        known = getattr(picture.examined, kind)
        by_text = dict(zip(captions[picture.example.image], known, strict=True)) if known else {}
        found.append([by_text.get(text) for text in picture.example.captions])
    return found


def _pairs(
    pictures: Sequence[Picture],
    alignments: Sequence[Sequence[float | None]],
    agreements: Sequence[Sequence[float | None]],
    fidelity: Fidelity,
) -> list[Pair]:
    places = [(at, index) for at, picture in enumerate(pictures) for index in range(len(picture.example.captions))]
    originals = [
        pictures[at].example.originals[index] if pictures[at].example.originals else "" for at, index in places
    ]
    texts = [pictures[at].example.captions[index] for at, index in places]
    changed = [place for place, original in enumerate(originals) if original]
    kept: list[float | None] = [None] * len(texts)
    for place, value in zip(
        changed, fidelity([originals[at] for at in changed], [texts[at] for at in changed]), strict=True
    ):
        kept[place] = value
    columns = [
        [alignments[at][index] for at, index in places],
        [agreements[at][index] for at, index in places],
        kept,
    ]
    combined = _combined(columns)
    return [
        Pair(
            *(at, index, text, original, aligned, None, agreed, same),
            round(float(score), 4),
            tuple(mentions(text)),
        )
        for (at, index), text, original, aligned, agreed, same, score in zip(
            places, texts, originals, *columns, combined, strict=True
        )
    ]


def _combined(columns: Sequence[Sequence[float | None]]) -> np.ndarray:
    """The mean of standardised columns, in which None is left out; 0 where all are."""
    table = np.array([[np.nan if value is None else value for value in column] for column in columns], float)
    known = ~np.isnan(table)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    values = np.where(known, table, 0)
    mean = values.sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(known, table - mean, 0) ** 2).sum(axis=1, keepdims=True) / count)
    standard = np.where(known, (values - mean) / np.maximum(spread, 1e-9), 0)
    return standard.sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def _with(picture: Picture, examined: Examined) -> Picture:
    return Picture(picture.split, picture.example, examined, picture.objects, picture.probability)


def _likely(pair: Pair, likelihood: float | None) -> Pair:
    return Pair(**{**vars(pair), "likelihood": likelihood})


def _probabilities(splits: Sequence[str], objects: ObjectCounts, rare: int) -> list[float]:
    weights = sampling_weights(objects.by_picture, objects.pictures, threshold=rare)
    totals: Counter[str] = Counter()
    for split, weight in zip(splits, weights, strict=True):
        totals[split] += weight  # type: ignore[assignment]
    return [weight / totals[split] for split, weight in zip(splits, weights, strict=True)]


def _matches(pictures: Sequence[Picture]) -> list[Match]:
    small = [picture.examined.small for picture in pictures]
    digests = [picture.examined.digest for picture in pictures]
    return find_matches([picture.example.image for picture in pictures], small, digests)


# --- the summary -------------------------------------------------------------------------------------------


def _summary(report: Report) -> dict[str, Any]:
    """`quality_summary.json`."""
    texts = [pair.caption for pair in report.pairs]
    limits = report.thresholds
    figures = report.objects.figures(TOP_OBJECTS, limits.rare)
    summary: dict[str, Any] = {
        "dataset": report.name,
        "licence": _licence(report.root),
        "splits": _splits(report),
        "pictures": _files(report),
        "unreadable": _unreadable(report),
        "duplicates": _duplicates(report),
        "fit": _fit(report),
        "language": language_figures(texts),
        "objects": {
            **{key: round(value, 4) for key, value in figures.items()},
            "topk": TOP_OBJECTS,
            "rare_below": limits.rare,
            "most_frequent": [list(item) for item in report.objects.ranked()[:LISTED]],
            "rarest": [list(item) for item in report.objects.rare(limits.rare)[-LISTED:]],
        },
        "bias": _bias(report),
    }
    summary["alerts"] = alerts(summary, limits.gini_alert, limits.topk_alert)
    summary["next"] = advice(summary)
    return summary


def _splits(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split, bad in report.bad_rows.items():
        members = [picture for picture in report.pictures if picture.split == split]
        found[split] = {
            "pictures": len(members),
            "captions": sum(len(picture.example.captions) for picture in members),
            "bad_rows": len(bad),
        }
    return found


def _files(report: Report) -> dict[str, Any]:
    readable = [picture.examined for picture in report.pictures if not picture.examined.problem]
    sizes = Counter(f"{width}x{height}" for width, height in (examined.size for examined in readable))
    areas = sorted(width * height for width, height in (examined.size for examined in readable)) or [0]
    return {
        "count": len(report.pictures),
        "bytes": sum(examined.bytes for examined in readable),
        "formats": dict(Counter(examined.format for examined in readable).most_common()),
        "sizes": dict(sizes.most_common(LISTED)),
        "megapixels": [round(areas[int(q * (len(areas) - 1))] / 1e6, 3) for q in (0, 0.5, 1)],
    }


def _unreadable(report: Report) -> dict[str, Any]:
    """Rows that were left out, and pictures that cannot be decoded."""
    rows = [f"{row.where}: {row.problem}" for bad in report.bad_rows.values() for row in bad]
    rows += [picture.examined.problem for picture in report.pictures if picture.examined.problem]
    return {"count": len(rows), "first": rows[:LISTED]}


def _duplicates(report: Report) -> dict[str, Any]:
    within = [match for match in report.matches if match not in set(report.leaks)]
    return {
        "within_splits": len(within),
        "leaks": len(report.leaks),
        "groups": len(grouped(report.matches)),
        "kinds": dict(Counter(match.kind for match in report.matches)),
        "leaking": [_told(report, match) for match in report.leaks[:LISTED]],
        "repeated": [_told(report, match) for match in within[:LISTED]],
    }


def _told(report: Report, match: Match) -> dict[str, Any]:
    first, second = (report.pictures[at] for at in (match.first, match.second))
    names = [f"{picture.split}/{picture.example.image.name}" for picture in (first, second)]
    return {"first": names[0], "second": names[1], "kind": match.kind, "score": match.score}


def _fit(report: Report) -> dict[str, Any]:
    """Mean and quantiles (5, 50 and 95 %) of each score, and the share of pairs that are far below what is usual."""
    found: dict[str, Any] = {}
    for name in ("alignment", "likelihood", "agreement", "fidelity"):
        values = [value for pair in report.pairs if (value := getattr(pair, name)) is not None]
        if values:
            quantiles = np.quantile(values, [0.05, 0.5, 0.95]).round(4).tolist()
            found[name] = {"pairs": len(values), "mean": round(float(np.mean(values)), 4), "quantiles": quantiles}
    combined = np.array([pair.combined for pair in report.pairs])
    far = _far_below(combined)
    return found | {"far_below": int(far), "far_below_share": round(far / max(1, len(combined)), 4)}


def _far_below(scores: np.ndarray) -> int:
    """How many scores lie more than `_FAR` deviations below the median, as the median deviation estimates them. Of
    captions that were swapped for a test 87 % did, and 0.6 % of the others (docs/dataset_quality.md)."""
    if len(scores) < _MANY:
        return 0
    middle = float(np.median(scores))
    deviation = 1.4826 * float(np.median(np.abs(scores - middle)))  # of a normal distribution
    return int((scores < middle - _FAR * deviation).sum())


def _bias(report: Report) -> dict[str, Any]:
    """Per category how many captions mention it, and the words; of transformed captions also of their originals."""
    originals = [mentions(pair.original) for pair in report.pairs if pair.original]
    any_ = sum(bool(pair.mentions) for pair in report.pairs)
    found: dict[str, Any] = {
        "captions": any_,
        "share": round(any_ / max(1, len(report.pairs)), 4),
        "categories": as_json(mentioned([pair.mentions for pair in report.pairs], LISTED)),
    }
    return found | ({"originals": as_json(mentioned(originals, LISTED))} if originals else {})


def _licence(root: Path) -> str:
    """The name of the file that states terms, if there is one; what it says is for people to read."""
    for pattern in _LICENCES:
        if found := sorted(root.glob(pattern)):
            return found[0].name
    return "no file states the terms of use"
