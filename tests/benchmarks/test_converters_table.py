"""docs/phones.md shows the recorded figures of converted models, and nothing that somebody typed."""

from __future__ import annotations

import json
from types import ModuleType


def test_the_table_of_the_page_is_that_of_the_committed_results(converters: ModuleType) -> None:
    rows = json.loads(converters.RESULTS.read_text("utf-8"))["rows"]
    shown = converters.TABLE.search(converters.PAGE.read_text("utf-8"))
    assert shown and shown[0] == converters.table(rows), "run `python benchmarks/converters.py --page`"


def test_all_artefacts_of_the_page_are_those_of_one_run_of_bench(converters: ModuleType) -> None:
    measured = json.loads(converters.BESIDE.read_text("utf-8"))
    shown = converters.ARTEFACTS.search(converters.PAGE.read_text("utf-8"))
    assert shown and shown[0] == converters.artefacts(measured), "run `python benchmarks/converters.py --page`"
    ran = [row for row in measured["beside"] if "why" not in row]
    assert len(ran) > 5 and all(row["p50_ms"] > 0 and row["bytes"] > 0 for row in ran)


def test_a_row_that_was_not_executed_claims_nothing(converters: ModuleType) -> None:
    row = {"converter": "litert", "precision": "fp32", "model": "tiny", "parts": {"model.tflite": 1_500_000}}
    shown = converters.table([row | {"executed": False, "versions": {"litert-torch": "0.10.0"}}]).splitlines()[-1]
    assert shown == "| LiteRT | fp32 | tiny | `model.tflite` 1.5 | no | - | - | - |"
