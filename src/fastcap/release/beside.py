"""Model directories and converted folders beside each other, in one run: size, memory, and time from photo to text.

The photo is captioned by each of them in turn, with one thread and the default way of decoding, so that a busy moment
of the machine does not affect one of them alone. What runs elsewhere, on a Mac or in Node, has its size alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastcap.errors import ModelFileError
from fastcap.evaluation.speed import Timing, run_python
from fastcap.export.converted import MANIFEST, open_converted, read_json
from fastcap.export.targets import CONVERTERS
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.captioner import Captioner

__all__ = ["described", "measure_beside", "opened"]

WARM_UP = 3
ONE_CAPTION = """
import sys
from fastcap.release.beside import opened
opened(sys.argv[1]).caption(sys.argv[2])
from fastcap.evaluation.speed import peak_memory_mb
print(peak_memory_mb())
"""


def opened(name_or_folder: str) -> Captioner:
    """A captioner with one thread. Raises ConfigError or ModelFileError."""
    converted = (Path(name_or_folder) / MANIFEST).is_file()
    return open_converted(name_or_folder) if converted else Captioner.open(name_or_folder)


def described(name_or_folder: str) -> dict[str, Any]:
    """Name, runtime, what the weights are stored in if that is known, and the bytes of all files.

    Raises:
        ConfigError: neither a name nor a path.
        ModelFileError: neither a model directory nor a converted folder, or a damaged one.
    """
    path = Path(name_or_folder) / MANIFEST
    if path.is_file():
        folder, facts = path.parent, read_json(path)
        name, runtime = facts["model"].get("name"), CONVERTERS[facts["converter"]].runtime
        told = {"name": name, "runtime": runtime, "precision": facts["precision"]}
    else:
        bundle = Bundle.open(find_model(name_or_folder))
        folder, told = bundle.folder, {"name": bundle.name, "runtime": "ONNX Runtime", "precision": None}
    return told | {"bytes": sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())}


def measure_beside(models: Sequence[str], photo: Path, repeats: int) -> list[dict[str, Any]]:
    """A row for each, in order: what `described` tells, `p50_ms`, `p95_ms` and `peak_memory_mb` of a fresh process that
    captions once; of what does not run here, `why` instead of the last three.

    Raises:
        ConfigError: neither a name nor a path.
        ModelFileError: neither a model directory nor a converted folder.
    """
    rows = [described(model) for model in models]
    running: dict[int, tuple[Captioner, list[float]]] = {}
    for index, model in enumerate(models):
        try:
            running[index] = opened(model), []
        except ModelFileError as error:
            rows[index]["why"] = str(error)
    for _ in range(WARM_UP + repeats):
        for captioner, times in running.values():
            started = time.perf_counter()
            captioner.caption(photo)
            times.append((time.perf_counter() - started) * 1e3)
    for index, (_, times) in running.items():
        memory = json.loads(run_python("-c", ONE_CAPTION, models[index], str(photo)).replace("None", "null"))
        rows[index] |= Timing(tuple(times[WARM_UP:])).as_json() | {"peak_memory_mb": memory}
    return rows
