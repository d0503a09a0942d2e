"""Photo to text of several installations or model directories, picture by picture in turn, in one run.

    git worktree add ../first b4ef1f6 && git worktree add ../three b3e623d
    python benchmarks/versus.py "0.1.0=../first/src" "with the head=../three/src" today=src [--photos 160] [--save]

Each `NAME=SOURCES[:MODEL]` is a process of its own that captions with one thread; MODEL is fastcap-base unless said.
What counts is processor time, since what else a shared machine does is not ours, and the median of its ratios to the
first one's for the same photo of 640x480 pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.speed import sample_photo

RESULTS = Path(__file__).parent / "results"
PHOTOS, DRAWN = 20, 300  # different ones; resamplings for the error of a ratio
WORKER = """
import sys, time
import fastcap
captioner = fastcap.load_model(sys.argv[1])
print(sum(path.stat().st_size for path in captioner.bundle.folder.iterdir()), flush=True)
for line in sys.stdin:
    started = time.process_time()
    captioner.caption(line.strip())
    print(1000 * (time.process_time() - started), flush=True)
"""


class Installation:
    """A process that captions and says how long that took it."""

    def __init__(self, sources: str, model: str) -> None:
        paths = os.environ | {"PYTHONPATH": str(Path(sources).resolve())}
        command = [sys.executable, "-c", WORKER, model]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=paths)
        assert self._process.stdout
        self.bytes = int(self._process.stdout.readline())  # of the model directory

    def milliseconds(self, photo: Path) -> float:
        """Processor time from the file to the sentence."""
        assert self._process.stdin and self._process.stdout
        print(photo, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.communicate()


def main() -> None:
    """Start all, ask them in turn, print or save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("installations", nargs="+", metavar="NAME=SOURCES[:MODEL]", help="the first is compared with")
    parser.add_argument("--photos", type=int, default=160, help="captions of each (%(default)s)")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/versus.json")
    args = parser.parse_args()
    running: dict[str, Installation] = {}
    for each in args.installations:
        name, _, rest = each.partition("=")
        sources, _, model = rest.partition(":")
        running[name] = Installation(sources, model or "fastcap-base")
    with tempfile.TemporaryDirectory() as folder:
        photos = [Path(folder) / f"{seed}.jpg" for seed in range(PHOTOS)]
        for seed, photo in enumerate(photos):
            photo.write_bytes(sample_photo(640, 480, seed=seed))
        taken = measured(running, photos, args.photos)
    for installation in running.values():
        installation.stop()
    facts = {"date": now(), "commit": git_commit(), "machine": machine_facts(), "threads": 1, "seed": 0}
    command = "python benchmarks/versus.py NAME=SOURCES[:MODEL]... --save"
    result = {
        "format": 1,
        "kind": "versus",
        **facts,
        "command": command,
        "photos": args.photos,
        "rows": rows(taken, running),
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text, end="")
    if args.save:
        (RESULTS / "versus.json").write_text(text, encoding="utf-8")


def measured(running: dict[str, Installation], photos: list[Path], count: int) -> dict[str, np.ndarray]:
    """Milliseconds of each photo, each installation being asked in another order every time."""
    taken: dict[str, list[float]] = {name: [] for name in running}
    for photo in photos[:4]:
        for installation in running.values():
            installation.milliseconds(photo)
    drawn = np.random.default_rng(0)
    for place in track(range(count), "photos"):
        for name in drawn.permutation(list(running)).tolist():
            taken[name].append(running[name].milliseconds(photos[place % len(photos)]))
    return {name: np.array(each) for name, each in taken.items()}


def rows(taken: dict[str, np.ndarray], running: dict[str, Installation]) -> list[dict[str, Any]]:
    """Median and ratio of each, with the ratio's standard error by resampling the photos, and its files' size."""
    first, drawn = next(iter(taken.values())), np.random.default_rng(0)
    found = []
    for name, each in taken.items():
        ratios = each / first
        errors = [np.median(drawn.choice(ratios, len(ratios))) for _ in range(DRAWN)]
        row = {"name": name, "ms": round(float(np.median(each)), 2), "ratio": round(float(np.median(ratios)), 3)}
        found.append({**row, "error": round(float(np.std(errors)), 3), "bytes": running[name].bytes})
    return found


if __name__ == "__main__":
    main()
