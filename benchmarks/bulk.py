"""How fast is a bulk job, how much of it is decoding, and does its memory stay flat?

    python benchmarks/bulk.py                      # 10,000 pictures: minutes; writes benchmarks/results/bulk.json
    python benchmarks/bulk.py --images 300 --json -

Synthetic 640x480 JPEGs of the size of everyday photos, `DISTINCT` of them, the rest links. Two `fastcap caption --json`
side by side, one thread and half of the pictures each, are what two workers are held against.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.speed import sample_photo
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.images import load_image

DISTINCT = 100
WORKERS = 2
RESULT = Path(__file__).parent / "results" / "bulk.json"
MARKS = {"images_per_second": (">=", 100.0), "share_of_two_runs": (">=", 0.85), "memory_growth_mb": ("<", 20.0)}


def make_photos(folder: Path, count: int) -> list[Path]:
    """`count` photo files, half of them in each of two folders."""
    halves = [folder / "a", folder / "b"]
    for half in halves:
        half.mkdir(parents=True)
    paths = [halves[number % 2] / f"{number:06}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if number < DISTINCT:
            path.write_bytes(sample_photo(640, 480, seed=number))
        else:
            os.link(paths[number % DISTINCT], path)
    return paths


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "fastcap", "caption", *map(str, arguments)]


def single_runs(folder: Path, count: int, model: str) -> list[float]:
    """Pictures a second of two processes at once, one thread and half of the pictures each."""
    started = time.perf_counter()
    runs = [
        subprocess.Popen(command(half, "--json", "--model", model), stdout=subprocess.DEVNULL)
        for half in sorted(folder.iterdir())
    ]
    seconds: dict[int, float] = {}
    while len(seconds) < len(runs):
        time.sleep(0.01)
        for number, run in enumerate(runs):
            if number not in seconds and run.poll() is not None:
                if run.returncode:
                    sys.exit(f"a single run ended with status {run.returncode}")
                seconds[number] = time.perf_counter() - started
    return [count / len(runs) / spent for spent in seconds.values()]


def bulk_run(folder: Path, count: int, model: str) -> tuple[float, dict[int, float]]:
    """Seconds of the whole command, and the memory in MB of all its processes after some numbers of rows."""
    out = folder.with_suffix(".jsonl")
    moments = [count // 10, count - max(10, count // 100)]  # at the very end the workers have gone
    memory: dict[int, float] = {}
    started = time.perf_counter()
    line = command(folder, "--recursive", "--out", out, "--workers", WORKERS, "--model", model)
    with subprocess.Popen(line) as job:
        processes = psutil.Process(job.pid)
        rows, read = 0, 0
        while job.poll() is None:
            time.sleep(0.05)
            if out.exists():
                with out.open("rb") as file:
                    file.seek(read)
                    chunk = file.read()
                rows, read = rows + chunk.count(b"\n"), read + len(chunk)
            if len(memory) < len(moments) and rows >= moments[len(memory)] and rows < count:
                family = [processes, *processes.children()]
                memory[rows] = sum(process.memory_info().rss for process in family) / 1e6
    seconds = time.perf_counter() - started
    if job.returncode or len({json.loads(row)["image"] for row in out.open()}) != count:
        sys.exit(f"the bulk job failed with status {job.returncode}")
    return seconds, memory


def decoding_share(photos: list[Path], model: str) -> dict[str, float]:
    """Medians of one thread, in milliseconds: the file to the network's input, and all of it."""
    captioner = Captioner.open(model)
    size = captioner.bundle.preprocessing
    times = []
    for photo in [*photos[:3], *photos]:
        marks = [time.perf_counter()]
        pixels = load_image(photo, (size.width, size.height))
        marks.append(time.perf_counter())
        captioner.caption_pixels(pixels[None])
        marks.append(time.perf_counter())
        times.append(np.diff(marks) * 1e3)
    decode, caption = np.median(times[3:], axis=0)
    return {
        "decode_ms": round(decode, 2),
        "photo_to_text_ms": round(decode + caption, 2),
        "share": round(decode / (decode + caption), 3),
    }


def measure(count: int, model: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        photos = make_photos(folder, count)
        decoding = decoding_share(photos[:DISTINCT], model)
        singles = single_runs(folder, count, model)
        seconds, memory = bulk_run(folder, count, model)
        size = float(np.mean([photo.stat().st_size for photo in photos[:DISTINCT]]))
    (first, before), (last, after) = sorted(memory.items())
    measured = {
        "images_per_second": round(count / seconds, 1),
        "share_of_two_runs": round(count / seconds / sum(singles), 3),
        "memory_growth_mb": round(after - before, 1),
    }
    reached = {
        name: measured[name] >= limit if sign == ">=" else measured[name] < limit
        for name, (sign, limit) in MARKS.items()
    }
    return {
        "format": 1,
        "kind": "bulk",
        "date": now(),
        "commit": git_commit(),
        "command": f"python benchmarks/bulk.py --images {count} --model {model}",
        "machine": machine_facts(),
        "images": count,
        "mean_image_bytes": round(size),
        "workers": WORKERS,
        "seconds": round(seconds, 2),
        **measured,
        "single_runs_images_per_second": [round(rate, 1) for rate in singles],
        "decoding": decoding,
        "memory_mb": {str(first): round(before, 1), str(last): round(after, 1)},
        "marks": {
            name: {"wanted": f"{sign} {limit:g}", "reached": reached[name]} for name, (sign, limit) in MARKS.items()
        },
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="at least 200 (%(default)s)")
    parser.add_argument("--model", default="fastcap-base", help="bundled model or model directory (%(default)s)")
    parser.add_argument("--json", default=str(RESULT), metavar="FILE", help="%(default)s; - prints only")
    args = parser.parse_args()
    if args.images < 200:
        parser.error(f"--images is {args.images}; at least 200 are needed")
    text = json.dumps(measure(args.images, args.model), indent=1)
    print(text)
    if args.json != "-":
        Path(args.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
