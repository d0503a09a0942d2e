"""The reference tool's figures, from the data folder; tests that need them skip when it is absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden(data_root: Path) -> dict:
    """608 COCO images: `scores` by the reference tool and `items` with raw text and the Java tokens."""
    path = data_root / "metrics" / "coco_608_golden.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    content = json.loads(path.read_text(encoding="utf-8"))
    for item in content["items"]:
        item["id"] = str(item["image_id"])
        item["prediction_tokens"] = item["ptb_prediction"].split()
        item["reference_tokens"] = [reference.split() for reference in item["ptb_references"]]
    return content
