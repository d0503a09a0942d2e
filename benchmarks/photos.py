"""How long do captions take that are written into photos, does memory stay flat, and do pixels stay?

    python benchmarks/photos.py                       # 10,000 photos; writes benchmarks/results/photos.json
    python benchmarks/photos.py --images 1000 --json -

Copies of a hundred synthetic 640x480 JPEGs, each a file of its own, since each is rewritten. After the run, every
file has a text, and the pixels of each are those of before (SHA-256 of the decoded picture, every tenth photo).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.speed import sample_photo
from fastcap.runtime.bulk.photos import WRITES, has_text

DISTINCT = 100
WORKERS = 2
SAMPLE = 10  # every so many photos is decoded before and after
RESULT = Path(__file__).parent / "results" / "photos.json"


def pixels(path: Path) -> str:
    with Image.open(path) as image:
        return hashlib.sha256(image.tobytes()).hexdigest()


def measure(count: int, model: str, kind: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = [sample_photo(640, 480, seed=seed) for seed in range(DISTINCT)]
        photos = [folder / f"{number:06}.jpg" for number in range(count)]
        for number, photo in enumerate(photos):
            photo.write_bytes(data[number % DISTINCT])
        before = [pixels(photo) for photo in photos[::SAMPLE]]
        line = [sys.executable, "-m", "fastcap", "caption", str(folder), "--write", kind]
        started, memory = time.perf_counter(), []
        with subprocess.Popen([*line, "--workers", str(WORKERS), "--model", model]) as job:
            process = psutil.Process(job.pid)
            while job.poll() is None:
                time.sleep(1)
                try:
                    memory.append(sum(each.memory_info().rss for each in [process, *process.children()]) / 1e6)
                except psutil.NoSuchProcess:  # it has just ended
                    continue
        seconds = time.perf_counter() - started
        if job.returncode:
            sys.exit(f"the job failed with status {job.returncode}")
        written = sum(has_text(str(photo), kind) for photo in photos)
        changed = sum(a != pixels(photo) for a, photo in zip(before, photos[::SAMPLE], strict=True))
    half = memory[len(memory) // 4 : len(memory) // 2] or memory
    return {
        "format": 1,
        "kind": "photos",
        "date": now(),
        "commit": git_commit(),
        "command": f"python benchmarks/photos.py --images {count} --model {model} --write {kind}",
        "machine": machine_facts(),
        "images": count,
        "workers": WORKERS,
        "threads": 1,
        "write": kind,
        "seconds": round(seconds, 1),
        "images_per_second": round(count / seconds, 1),
        "written": written,
        "pixels_changed": changed,
        "memory_growth_mb": round(max(memory[len(memory) // 2 :]) - max(half), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="photos (%(default)s)")
    parser.add_argument("--model", default="fastcap-base", help="bundled model or model directory (%(default)s)")
    parser.add_argument("--write", choices=WRITES, default="xmp", help="where captions go (%(default)s)")
    parser.add_argument("--json", default=str(RESULT), metavar="FILE|-", help="where to write the result (%(default)s)")
    args = parser.parse_args()
    text = json.dumps(measure(args.images, args.model, args.write), indent=1) + "\n"
    print(text, end="")
    if args.json != "-":
        Path(args.json).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
