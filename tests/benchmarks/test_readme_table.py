"""The README's figures are those of the committed measurements, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
MACHINE = {"cpu": "A Processor", "flags": ["avx2"], "cores": 2}
SOURCE = {
    "machine": MACHINE,
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abc1234",
    "command": "fastcap x",
}


def bench(ms: float) -> dict:
    stages = ("decode", "resize", "network", "text", "photo to text")
    times = {stage: {"p50_ms": ms, "p95_ms": 2 * ms, "repeats": 3} for stage in stages}
    return SOURCE | {
        "photos": [{"name": "640x480", "bytes": 90000, "runs": [{"threads": 1, "stages": times}]}],
        "process": {"peak_memory_mb": 88.0, "import_ms": 20.0, "caption_command_ms": 300.0},
        "model": {"name": "fastcap-base", "bytes": 8_000_000},
        "peers_note": "Weights are RANDOM.",
        "peers": [
            {
                "name": "big",
                "architecture": "large + larger",
                "parameters_millions": 182.5,
                "fp32_mb": 730.0,
                "p50_ms": 660.0,
                "times_ours": 66.0,
                "size_times_ours": 91.2,
            }
        ],
    }


@pytest.fixture
def readme(readme_table: ModuleType) -> str:
    return "".join(f"<!-- begin: {name} -->\n<!-- end: {name} -->\n" for name in readme_table.TABLES)


def test_the_readme_equals_the_committed_results(readme_table: ModuleType) -> None:
    found = (ROOT / "README.md").read_text(encoding="utf-8")
    wanted, _ = readme_table.rewrite(found, readme_table.RESULTS)
    assert found == wanted, "run `make readme`"


def test_figures_come_from_the_file(readme_table: ModuleType, readme: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(bench(ms=10.0)))
    text, _ = readme_table.rewrite(readme, tmp_path)
    assert "| 640x480 | 1 | 10.0 | 10.0 | 10.0 | 10.0 | 10.0 | 20.0 |" in text
    assert "| big: large + larger | 182 | 730 | 660 | 66 | 91 |" in text
    assert "Weights are RANDOM." in text
    assert "`fastcap x` on A Processor (avx2), 2 cores, 2026-01-02, commit abc1234" in text


def test_drawing_twice_changes_nothing(readme_table: ModuleType, readme: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(bench(ms=10.0)))
    once, _ = readme_table.rewrite(readme, tmp_path)
    assert readme_table.rewrite(once, tmp_path)[0] == once


def test_quality_shows_every_metric(readme_table: ModuleType, readme: str, tmp_path: Path) -> None:
    facts = {"images": 1091, "data": {"name": "flickr8k", "split": "val"}, "model": {"name": "fastcap-base"}}
    metrics = {name: 12.3456 for name in readme_table.UNITS}
    (tmp_path / "quality.json").write_text(json.dumps(SOURCE | facts | {"metrics": metrics}))
    text, _ = readme_table.rewrite(readme, tmp_path)
    assert "fastcap-base on 1091 pictures of flickr8k, split val." in text
    for name, unit in readme_table.UNITS.items():
        assert f"| {name} | 12.35 | {unit} |" in text


def test_a_missing_file_is_said_with_the_command_that_makes_it(
    readme_table: ModuleType, readme: str, tmp_path: Path
) -> None:
    text, missing = readme_table.rewrite(readme, tmp_path)
    assert text.count("Not measured yet") == len(missing) == len(readme_table.TABLES)
    assert any("bench.json does not exist; make it with `make bench`" in line for line in missing)


def test_a_readme_without_a_marker_is_refused(readme_table: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="begin: speed"):
        readme_table.rewrite("no markers", tmp_path)
