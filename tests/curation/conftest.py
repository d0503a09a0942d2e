"""Data sets for tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sets import CAPTIONS, write_jsonl


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of eight pictures of train and four of val, three captions each."""
    rows = [{"image": f"{at}.jpg", "captions": list(CAPTIONS[at % len(CAPTIONS)])} for at in range(12)]
    return write_jsonl(tmp_path / "data", {"train": rows[:8], "val": rows[8:]})
