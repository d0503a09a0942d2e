"""The load test asks a real server, and notices an answer that belongs to another picture."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from serving import Server

from fastcap.runtime.captioner import Captioner


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "benchmarks_server", Path(__file__).parents[2] / "benchmarks/server.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_answer_is_compared(benchmark, server: Server, tiny_bundle: Path, pictures, tmp_path):
    for colour, data in pictures.items():
        (tmp_path / f"{colour}.jpg").write_bytes(data)
    asked = benchmark.questions(tmp_path, Captioner.open(tiny_bundle))
    port = int(server.url.rpartition(":")[2])
    figures = benchmark.summary(*benchmark.ask(port, "/v1/caption", benchmark.first_caption, asked, 2, 12), 2)
    assert (figures["requests"], figures["wrong"], figures["lost"]) == (12, 0, 0)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    swapped = [question._replace(caption=asked[0].caption) for question in asked]
    answers, _ = benchmark.ask(port, "/v1/caption", benchmark.first_caption, swapped, 2, 12)
    assert sum(answer.wrong for answer in answers) == 8
