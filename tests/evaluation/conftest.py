"""The reference tool's figures, from the data folder (tests skip when it is absent), and a tiny model."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image


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


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory whose captions follow the colour: red barn, green hummingbird, blue boat."""
    source = Path(__file__).parents[1] / "runtime" / "tiny_bundle.py"
    spec = importlib.util.spec_from_file_location("tiny_bundle_for_evaluation", source)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """`val.jsonl` beside two pictures: what people say of the red one agrees with the model."""
    for name, colour in (("red", "red"), ("blue", "blue")):
        Image.new("RGB", (64, 48), colour).save(tmp_path / f"{name}.jpg")
    rows = [
        {"image": "blue.jpg", "captions": ["<b>Fish & chips</b> on a plate.", "Dinner is served."]},
        {"image": "red.jpg", "captions": ["A red barn stands.", "A red barn stands under trees."]},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "val.jsonl").write_text(text, encoding="utf-8")
    return tmp_path
