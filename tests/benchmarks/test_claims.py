"""The page of claims holds the figures of the committed results, and nothing that somebody typed."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "recorded").mkdir()
    (tmp_path / "quality.json").write_text(json.dumps({"images": 1091, "metrics": {"cider": 50.8485, "share": 0.367}}))
    rows = [{"way": "beam 8", "by": "own", "cider": 52.1}, {"way": "beam 8", "by": "people", "cider": 75.2}]
    (tmp_path / "recorded" / "rows.json").write_text(json.dumps({"rows": rows, "files": {"model.onnx": 9}}))
    return tmp_path


def test_the_page_equals_its_template_and_the_committed_results(claims: ModuleType) -> None:
    assert claims.PAGE.read_text("utf-8") == claims.render(claims.TEMPLATE.read_text("utf-8")), "run `make claims`"


def test_no_measured_figure_is_typed(claims: ModuleType) -> None:
    assert claims.bare_figures(claims.TEMPLATE.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("{quality.metrics.cider:.1f}", "50.8"),
        ("{quality.images:,}", "1,091"),
        ("{quality.metrics.share:.1%}", "36.7 %"),
        ("{58 - quality.metrics.cider:.1f}", "7.2"),
        ("{quality.metrics.share * 100:.0f}", "37"),
        ("{rows.rows.-1.cider}", "75.2"),
        ("{rows.rows[way=beam 8][by=own].cider}", "52.1"),
        ("{rows.files[model.onnx]}", "9"),
    ],
)
def test_a_reference_stands_for_a_figure_of_a_file(
    claims: ModuleType, results: Path, reference: str, text: str
) -> None:
    assert claims.render(reference, results) == claims.NOTE + text


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("{nowhere.cider}", "no results 'nowhere'"),
        ("{quality.metrics.bleu}", "no 'bleu'; there are: cider, share"),
        ("{quality.metrics}", "is dict, no figure"),
        ("{rows.rows[by=nobody].cider}", "no entry has by 'nobody'"),
        ("{50.8:.1f}", "names no result"),
        ("{quality.images:.1q}", "Unknown format code"),
    ],
)
def test_a_reference_that_leads_nowhere_is_an_error_with_its_line(
    claims: ModuleType, results: Path, reference: str, told: str
) -> None:
    with pytest.raises(SystemExit, match=r"claims\.md\.in:2: ") as error:
        claims.render(f"first line\n{reference}", results)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("CIDEr 50.8 on val", ["50.8"]),
        ("0 of 17,579", ["0, 17,579"]),
        ("-2.9 to +2.9", ["2.9, 2.9"]),
        ("BLEU-4 and p99 of int8, 640x480, `make -j 2`, [here](log.md#1) (wanted: at most 60)", []),
        ("{quality.metrics.cider:.1f}", []),
    ],
)
def test_typed_figures_are_found_where_something_is_measured(claims: ModuleType, cell: str, found: list[str]) -> None:
    told = claims.bare_figures(f"# Marks of 0.1.0\n\n| F1 | at least 45 | `make test 3` | {cell} |\n")
    assert [line.partition(": ")[2].partition(" in ")[0] for line in told] == found
