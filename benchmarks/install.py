"""How large is the wheel, and how long does it take from an empty environment to a first caption?

    python benchmarks/install.py                 # writes benchmarks/results/install.json

The wheel is built as `make wheel` does (run `make web` first), then installed twice into empty environments: the first
time fills pip's cache, the second is measured, with the caption of a photo.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.speed import sample_photo

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "install.json"
MARKS = {"wheel_mb": 14.0, "seconds": 15.0}


def run(*line: object, **options: Any) -> None:
    subprocess.run([*map(str, line)], check=True, **options)


def installed(wheel: Path, folder: Path, photo: Path) -> dict[str, float]:
    """Seconds by the clock, and of processor time, from an empty environment to a caption."""
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    started, used = time.perf_counter(), processor_seconds()
    run(programs / "python", "-m", "pip", "install", "-q", wheel, env=alone)
    middle = time.perf_counter()
    run(programs / "fastcap", "caption", photo, env=alone, stdout=subprocess.DEVNULL)
    ended = time.perf_counter()
    return {
        "seconds": round(ended - started, 1),
        "install_seconds": round(middle - started, 1),
        "first_caption_seconds": round(ended - middle, 1),
        "cpu_seconds": round(processor_seconds() - used, 1),
    }


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default=str(RESULT), metavar="FILE|-", help="where to write the result (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT)
        (wheel,) = folder.glob("*.whl")
        photo = folder / "photo.jpg"
        photo.write_bytes(sample_photo(640, 480, seed=0))
        installed(wheel, folder / "first", photo)
        facts = installed(wheel, folder / "second", photo)
        result = {
            "format": 1,
            "kind": "install",
            "date": now(),
            "commit": git_commit(),
            "command": "python benchmarks/install.py",
            "machine": machine_facts(),
            "wheel": wheel.name,
            "wheel_mb": round(wheel.stat().st_size / 1e6, 2),
            **facts,
            "marks": {name: {"wanted": f"<= {limit:g}"} for name, limit in MARKS.items()},
        }
    for name, limit in MARKS.items():
        result["marks"][name]["reached"] = result[name] <= limit
    text = json.dumps(result, indent=1) + "\n"
    print(text, end="")
    if args.json != "-":
        Path(args.json).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
