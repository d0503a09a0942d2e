"""What the web page takes from Python is what Python says today."""

from __future__ import annotations

import runpy

import pytest
from visiting import WEB

WRITTEN = runpy.run_path(str(WEB.parent / "scripts" / "web_constants.py"))["files"]()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_generated_file_is_what_the_command_writes(name):
    assert (WEB / name).read_text(encoding="utf-8") == WRITTEN[name], "run: python scripts/web_constants.py"
