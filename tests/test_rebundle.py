"""New weights become the bundled model by one command: in order, from where it was interrupted; then what is typed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """#!/bin/sh
echo "$@" | tee -a ran
case "$*" in *"$(cat broken)"*) exit 1;; esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with our Makefile, a model, and programs that write down their arguments; what `broken` names fails."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    for folder in ("model", ".venv/bin", "web/vendor"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "web/fetch_runtime.py", "model/model.json", "broken", ".venv/.stamp"):
        (tmp_path / name).write_text("none of all", encoding="utf-8")
    (tmp_path / "web/vendor/ort.wasm.min.mjs").touch()
    for name in ("python", "fastcap"):
        (tmp_path / ".venv/bin" / name).write_text(PROGRAM, encoding="utf-8")
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    return tmp_path


def made(clone: Path, *words: str) -> tuple[int, list[str]]:
    """The exit status of make, and the program of each line that it ran since the last time."""
    (clone / "ran").unlink(missing_ok=True)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", *words], cwd=clone, env=variables, capture_output=True, text=True, check=False)
    ran = (clone / "ran").read_text(encoding="utf-8").splitlines() if (clone / "ran").exists() else []
    return done.returncode, [Path(line.split()[0]).stem for line in ran]


def test_words_and_ranking_come_first_and_tables_after_all_figures(clone: Path) -> None:
    status, ran = made(clone, "rebundle", "MODEL=model")
    assert status == 0
    assert ran[0] == "remember" and ran[-3:] == ["readme_table", "claims", "typed_figures"]
    pages = ["good_enough", "samples", "reliability", "choosing", "taught", "mobile_golden"]
    assert ran[1:-3] == [*["evaluate"] * 4, *pages, "bench", "web", "server", "bulk"]


def test_it_goes_on_where_it_was_interrupted(clone: Path) -> None:
    (clone / "broken").write_text("choosing.py", encoding="utf-8")
    status, ran = made(clone, "ranking", "MODEL=model")
    assert status and ran[-1] == "choosing"
    (clone / "broken").write_text("nothing of all", encoding="utf-8")
    assert made(clone, "ranking", "MODEL=model") == (0, ["choosing", "taught", "readme_table", "claims"])


def test_other_weights_begin_anew(clone: Path) -> None:
    assert made(clone, "bundle", "MODEL=model") == (0, ["remember"])
    assert made(clone, "bundle", "MODEL=model") == (0, [])
    (clone / "model/model.json").write_text("others", encoding="utf-8")
    assert made(clone, "bundle", "MODEL=model") == (0, ["remember"])


@pytest.mark.parametrize("words", [(), ("MODEL=nowhere",)])
def test_without_weights_nothing_is_run(clone: Path, words: tuple[str, ...]) -> None:
    assert made(clone, "rebundle", *words) == (2, [])


def test_figures_that_have_changed_are_found_where_they_were_typed() -> None:
    spec = importlib.util.spec_from_file_location("typed_figures", ROOT / "scripts/typed_figures.py")
    assert spec and spec.loader
    typed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(typed)
    before, now = ({"metrics": {"cider": cider, "images": 52.5}, "rows": [{"ms": 9.5}]} for cider in (52.45, 53.1))
    gone = typed.figures(before) - typed.figures(now)
    assert gone == {f"{52.45:.1f}", "52.45"}
    page = "CIDEr 52.45\n<!-- begin: table -->\n52.45\n<!-- end: table -->\n152.45 or 52.456, in 9.5 ms\n"
    assert [(number, found) for number, _, found in typed.stale(page, gone)] == [(1, ["52.45"])]
