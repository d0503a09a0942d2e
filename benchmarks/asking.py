"""What a question costs: the first about a picture, the second, ten at once; processor time on one thread.

python benchmarks/asking.py --model models/fastvlm-base --images data/flickr8k/images --pictures 8
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from fastcap.evaluation.machine import machine_facts
from fastcap.runtime.captioner import Captioner

QUESTIONS = [
    "is there a dog in the picture?", "what color is the car on the left?", "how many people are there?",
    "is it raining?", "what is the man holding in his hand?", "where is the cat?", "are the children playing?",
    "what sport is this?", "is the light red?", "what room is this?",
]  # fmt: skip


def milliseconds(action: Callable[[], object]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    action()
    return 1000 * (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="model directory that answers")
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--pictures", type=int, default=8)
    args = parser.parse_args()
    captioner = Captioner.open(args.model)
    found: dict[str, list[float]] = {"first": [], "second": [], "ten": [], "ten_kept": []}
    for index, path in enumerate(sorted(args.images.iterdir())[: args.pictures + 1]):
        kept = captioner.encode(path)
        times = {
            "first": milliseconds(lambda path=path: captioner.ask(path, QUESTIONS[0])),
            "second": milliseconds(lambda kept=kept: captioner.ask(kept, QUESTIONS[1])),
            "ten": milliseconds(lambda path=path: captioner.ask(path, QUESTIONS)),
            "ten_kept": milliseconds(lambda kept=kept: captioner.ask(kept, QUESTIONS)),
        }
        for name, value in times.items() if index else ():  # the first picture warms up
            found[name].append(value)
    medians = {name: round(statistics.median(values), 1) for name, values in found.items()}
    facts = {"pictures": args.pictures, "threads": 1, "machine": machine_facts()}
    print(json.dumps({"milliseconds": medians, **facts}, indent=1))


if __name__ == "__main__":
    main()
