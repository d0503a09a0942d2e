"""Fixtures that several parts share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of public data, from FASTCAP_DATA or `../shared/data` beside the repository; else skip."""
    named = os.environ.get("FASTCAP_DATA")
    path = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no data at {path}; point FASTCAP_DATA at the data folder")
    return path
