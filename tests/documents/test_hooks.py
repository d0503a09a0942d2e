"""The hook and the action call the command as it is."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from fastcap.cli import _parser
from fastcap.documents.document import FORMATS

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]


def test_the_hooks_take_every_document_and_nothing_else():
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()):
        words = shlex.split(hook["entry"])
        assert words[:2] == ["fastcap", "alt"]
        _parser("alt").parse_args([*words[2:], "a.md"])
        for ending in [*FORMATS, ".epub"]:
            assert re.search(hook["files"], f"docs/a{ending}")
        assert not re.search(hook["files"], "a.py")


def test_the_action_calls_the_command_and_its_matcher_reads_what_that_prints():
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    _parser("alt").parse_args([*shlex.split(action["inputs"]["options"]["default"]), "."])
    assert 'fastcap" alt $OPTIONS $PATHS' in action["runs"]["steps"][1]["run"]
    [pattern] = json.loads((ROOT / "scripts" / "alt-matcher.json").read_text())["problemMatcher"][0]["pattern"]
    match = re.fullmatch(pattern["regexp"], "docs/a b.md:12: poor (file name): a.jpg: describe: the picture")
    assert match
    assert match.groups() == ("docs/a b.md", "12", "poor (file name)", "a.jpg: describe: the picture")
