"""docs/phones.md shows the recorded figures of converted models, and nothing that somebody typed."""

from __future__ import annotations

import json
from types import ModuleType


def test_the_table_of_the_page_is_that_of_the_committed_results(converters: ModuleType) -> None:
    rows = json.loads(converters.RESULTS.read_text("utf-8"))["rows"]
    shown = converters.TABLE.search(converters.PAGE.read_text("utf-8"))
    assert shown and shown[0] == converters.table(rows), "run `python benchmarks/converters.py --page`"


def test_a_row_that_was_not_executed_claims_nothing(converters: ModuleType) -> None:
    row = {"converter": "litert", "precision": "fp32", "model": "tiny", "parts": {"model.tflite": 1_500_000}}
    shown = converters.table([row | {"executed": False, "versions": {"litert-torch": "0.10.0"}}]).splitlines()[-1]
    assert shown == "| LiteRT | fp32 | tiny | `model.tflite` 1.5 | no | - | - | - |"
