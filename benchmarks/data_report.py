"""Does the quality report find what is wrong, how soon, and in how much memory? Faults are planted in a copy of
Flickr8k: captions that belong to another picture, and pictures that stand in two splits.

    python benchmarks/data_report.py --root data/flickr8k           # writes benchmarks/results/data_report.json
    python benchmarks/data_report.py --root data/flickr8k --pictures 600 --json -

The copy has the pictures of train and val, as links. In it 2 of 100 captions are swapped, each with one of another
picture of its split, and 200 pictures of train are copied into val: encoded again as JPEG, cropped by 5 % of each side
at a random place, or mirrored.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from PIL import Image, ImageOps

from fastcap.data.readers import Example, load_dataset
from fastcap.evaluation.machine import git_commit, machine_facts, now

RESULT = Path(__file__).parent / "results" / "data_report.json"
SWAPPED = 0.02  # of captions
COPIES = 200
CROP = 0.05  # of each side of the picture
WORST = 0.05  # of captions, among which those swapped should be
SPLITS = {"train": "Flickr_8k.trainImages.txt", "val": "Flickr_8k.valImages.txt"}
MARKS = {
    "seconds": ("<=", 90.0),
    "memory_mb": ("<=", 1000.0),
    "page_mb": ("<=", 5.0),
    "swapped_in_worst": (">=", 0.80),
    "copies_found": (">=", 0.95),
    "leaks_not_planted": ("<=", 0.0),
}


def copy_of(path: Path, way: str, target: Path, rng: random.Random) -> None:
    """A picture changed in one of three ways."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    if way == "cropped":
        width, height = picture.size
        left, top = (round(side * CROP * rng.random()) for side in picture.size)
        box = (left, top, left + round(width * (1 - CROP)), top + round(height * (1 - CROP)))
        picture = picture.crop(box)
    elif way == "mirrored":
        picture = ImageOps.mirror(picture)
    picture.save(target, "JPEG", quality=rng.choice((50, 70, 90)))


def plant(root: Path, folder: Path, limit: int | None, seed: int) -> tuple[set[tuple[str, str]], dict[str, str]]:
    """Write the copy of the data set into an empty folder.

    Returns the pairs (picture, caption) that were swapped, and for each copied picture's name that of the original.
    """
    rng = random.Random(seed)
    (folder / "images").mkdir(parents=True)
    splits: dict[str, list[Example]] = {split: load_dataset("flickr8k", root, split)[:limit] for split in SPLITS}
    rows: dict[str, list[list[str]]] = {}
    for split, examples in splits.items():
        for example in examples:
            os.symlink(example.image, folder / "images" / example.image.name)
        rows[split] = [[example.image.name, caption] for example in examples for caption in example.captions]
    swapped = {pair for part in rows.values() for pair in swap(part, rng)}
    copies = {}
    for number, example in enumerate(rng.sample(splits["train"], min(COPIES, len(splits["train"]) // 4))):
        way = ("encoded", "cropped", "mirrored")[number % 3]
        name = f"{way}_{number:03}.jpg"
        copy_of(example.image, way, folder / "images" / name, rng)
        copies[name] = example.image.name
        rows["val"].append([name, rng.choice(example.captions)])
    with (folder / "captions.txt").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        writer.writerows(row for part in rows.values() for row in part)
    for split, name in SPLITS.items():
        names = dict.fromkeys(row[0] for row in rows[split])
        (folder / name).write_text("".join(f"{each}\n" for each in names), encoding="utf-8")
    return swapped, copies


def swap(rows: list[list[str]], rng: random.Random) -> list[tuple[str, str]]:
    """Exchange captions of different pictures, in place; returns the pairs that came of it."""
    chosen = rng.sample(range(len(rows)), 2 * round(len(rows) * SWAPPED / 2))
    pairs = []
    for a, b in zip(chosen[::2], chosen[1::2], strict=True):
        if rows[a][0] != rows[b][0]:
            rows[a][1], rows[b][1] = rows[b][1], rows[a][1]
            pairs += [(rows[a][0], rows[a][1]), (rows[b][0], rows[b][1])]
    return pairs


def report(folder: Path, out: Path, workers: int) -> tuple[float, float, float]:
    """Run the command; returns its seconds, the processors' seconds and the most memory of all its processes, in MB."""
    line = [
        sys.executable,
        "-m",
        "fastcap",
        "data",
        "report",
        str(folder),
        "--out",
        str(out),
        "--workers",
        str(workers),
    ]
    before, started, memory = cpu_seconds(), time.perf_counter(), 0.0
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as job:
        processes = psutil.Process(job.pid)
        while job.poll() is None:
            time.sleep(0.2)
            try:
                family = [processes, *processes.children(recursive=True)]
                memory = max(memory, sum(process.memory_info().rss for process in family) / 1e6)
            except psutil.NoSuchProcess:  # it ends
                continue
    if job.returncode:
        sys.exit(f"the report failed with status {job.returncode}")
    return time.perf_counter() - started, cpu_seconds() - before, memory


def cpu_seconds() -> float:
    """Of all child processes that have ended, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def measure(root: Path, limit: int | None, workers: int, seed: int) -> dict[str, Any]:
    """Plant, report, count."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary) / "planted", Path(temporary) / "out"
        swapped, copies = plant(root, folder, limit, seed)
        seconds, cpu, memory = report(folder, out, workers)
        ranked = table(out / "ranked_by_combined.csv")
        found = [{Path(row[key]).name for key in ("first", "second")} for row in table(out / "same_pictures.csv")
                 if row["leak"] == "1"]  # fmt: skip
        summary = json.loads((out / "quality_summary.json").read_text("utf-8"))
        page = (out / "report.html").stat().st_size / 1e6
    worst = [(Path(row["image"]).name, row["caption"]) for row in ranked[: round(WORST * len(ranked))]]
    planted = [{name, original} for name, original in copies.items()]
    measured = {
        "seconds": round(seconds, 1),
        "memory_mb": round(memory, 1),
        "page_mb": round(page, 2),
        "swapped_in_worst": round(sum(pair in swapped for pair in worst) / len(swapped), 4),
        "copies_found": round(sum(pair in found for pair in planted) / len(planted), 4),
        "leaks_not_planted": sum(pair not in planted for pair in found),
    }
    reached = {
        name: measured[name] >= limit_ if sign == ">=" else measured[name] <= limit_
        for name, (sign, limit_) in MARKS.items()
    }
    return {
        "format": 1,
        "kind": "data report",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "workers": workers,
        "seed": seed,
        "pictures": summary["pictures"]["count"],
        "captions": summary["language"]["captions"],
        **measured,
        "cpu_seconds": round(cpu, 1),
        "not_planted": [sorted(pair) for pair in found if pair not in planted],
        "ways_found": {way: share_found(way, found, copies) for way in ("encoded", "cropped", "mirrored")},
        "marks": {name: {"wanted": f"{sign} {at:g}", "reached": reached[name]} for name, (sign, at) in MARKS.items()},
    }


def share_found(way: str, found: list[set[str]], copies: dict[str, str]) -> float:
    """The share of copies of one kind that were found together with their originals."""
    planted = [{name, original} for name, original in copies.items() if name.startswith(way)]
    return round(sum(pair in found for pair in planted) / max(1, len(planted)), 4)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="folder of Flickr8k")
    parser.add_argument("--pictures", type=int, help="of each split (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="%(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of what is planted (%(default)s)")
    parser.add_argument("--json", default=str(RESULT), metavar="FILE", help="%(default)s; - prints only")
    args = parser.parse_args()
    text = json.dumps(measure(args.root, args.pictures, args.workers, args.seed), indent=1)
    print(text)
    if args.json != "-":
        Path(args.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
