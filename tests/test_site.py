"""The documentation as a site: every page is in it, and links lead to where things are."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "scripts" / "site.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_of(nav: Any) -> Iterator[str]:
    for entry in nav.values() if isinstance(nav, dict) else nav:
        if isinstance(entry, str):
            yield entry
        else:
            yield from pages_of(entry)


def test_the_navigation_has_every_page_once(hooks: ModuleType) -> None:
    listed = list(pages_of(SETTINGS["nav"]))
    docs = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(listed) == sorted({*docs, "demo.md", *hooks.ROOT_PAGES.values()})


def test_fonts_and_trackers_are_off() -> None:
    assert SETTINGS["theme"]["font"] is False
    assert SETTINGS["extra"].keys() == {"generator"}
    assert SETTINGS["plugins"] == ["search"]


@pytest.mark.parametrize(
    ("source", "before", "after"),
    [
        ("memory.md", "[log](log.md#a)", "[log](log.md#a)"),
        ("memory.md", "[README](../README.md)", "[README](overview.md)"),
        ("lint/index.md", "[neutral](../neutral.md)", "[neutral](../neutral.md)"),
        ("overview.md", "[memory](docs/memory.md) and [licence](LICENSE)", "[memory](memory.md) and licence"),
        ("memory.md", "[a file](../src/fastcap/scan.py)", "a file"),
        ("memory.md", "![plot](decoding.png), [web](https://a.org), [here](#b)", None),
        ("memory.md", "`[code](../src/a.py)`\n\n```\n[code](../src/a.py)\n```\n", None),
    ],
)
def test_links_lead_to_where_things_are_in_the_site(
    hooks: ModuleType, source: str, before: str, after: str | None
) -> None:
    there = {"memory.md", "log.md", "overview.md", "neutral.md", "lint/index.md", "decoding.png"}
    assert hooks.relinked(before, source, there) == (after or before)
