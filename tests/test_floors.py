"""The lowest versions are read out of pyproject.toml, so that what CI installs cannot drift from what it allows."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "floors.py"
spec = importlib.util.spec_from_file_location("floors", SCRIPT)
assert spec and spec.loader
floors = importlib.util.module_from_spec(spec)
spec.loader.exec_module(floors)

PROJECT = {
    "name": "own",
    "dependencies": ["numpy>=1.26", "rich>=13"],
    "optional-dependencies": {
        "plain": ["a>=2", "b.c_d-e>=1.2.3,<2"],
        "exact": ["ray[data]==2.51"],
        "nested": ["own[plain,exact]", "a>=10"],
        "higher": ["numpy>=2.1"],
        "lower": ["numpy>=1.3"],
        "deep": ["own[nested]"],
        "none": ["free"],
        "upper": ["free<2"],
        "other": ["free!=2"],
    },
}
RUNTIME = {"numpy": "1.26", "rich": "13"}


@pytest.mark.parametrize(
    ("extras", "expected"),
    [
        ([], RUNTIME),
        (["plain"], RUNTIME | {"a": "2", "b.c_d-e": "1.2.3"}),
        (["exact"], RUNTIME | {"ray[data]": "2.51"}),
        (["nested"], RUNTIME | {"a": "10", "b.c_d-e": "1.2.3", "ray[data]": "2.51"}),
        (["deep"], RUNTIME | {"a": "10", "b.c_d-e": "1.2.3", "ray[data]": "2.51"}),
        (["higher"], RUNTIME | {"numpy": "2.1"}),
        (["lower"], RUNTIME),
        (["plain", "exact"], RUNTIME | {"a": "2", "b.c_d-e": "1.2.3", "ray[data]": "2.51"}),
    ],
)
def test_the_lowest_version_of_each_requirement(extras, expected):
    assert floors.floors(PROJECT, extras) == expected


@pytest.mark.parametrize("extra", ["none", "upper", "other", "unknown"])
def test_a_requirement_without_one_or_an_unknown_extra_is_an_error(extra):
    with pytest.raises(SystemExit, match=r"states no lowest version|no extra 'unknown'; allowed are plain"):
        floors.floors(PROJECT, [extra])


def test_every_requirement_of_ours_states_one():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    extras = re.findall(
        r"^([a-z]+) = \[", text.partition("[project.optional-dependencies]")[2].partition("\n[")[0], re.M
    )
    assert {"serve", "train", "gradio", "dev", "heif"} <= set(extras)
    done = subprocess.run([sys.executable, SCRIPT, *extras], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+(\[data\])?==[0-9.]+", line) for line in lines)
    assert len({line.partition("==")[0] for line in lines}) == len(lines) > 30


def test_ci_installs_them_and_runs_the_smoke_tests():
    assert "make test-floors" in (ROOT / ".ci" / "run").read_text("utf-8")
    recipe = (ROOT / "Makefile").read_text("utf-8")
    assert "scripts/floors.py serve) pytest" in recipe
    assert ".venv-floors/bin/python -m pytest tests/smoke" in recipe
