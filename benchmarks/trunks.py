"""What frozen trunks know of pictures before anything is trained on captions: the words that people will use.

    python benchmarks/trunks.py --parts parts --trunks mobilenetv2 efficientnet-lite0 \\
        --train flickr8k DIR --val flickr8k:val DIR --json trunks.json

Each trunk's last map, pooled over the picture, predicts the words of people's captions by logistic regression
(`fastcap.release.words.fit_words`), the same for all. Measured on val: the mean average precision of the words that
people use of ten pictures or more, a word used by any of a picture's people being right; and, of one picture on one
thread, milliseconds of processor time in PyTorch.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fastcap.backbone.convolutional import TRUNKS, ConvolutionalTower, load_trunk
from fastcap.data.cache import build_array
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.sample import spread
from fastcap.evaluation.speed import Timing
from fastcap.release.words import fit_words
from fastcap.runtime.images import load_image
from fastcap.runtime.memory import caption_words
from fastcap.runtime.words import PictureWords
from fastcap.training.neighbours import described

RARELY = 10  # a word of fewer val pictures is not measured


def pooled(tower: ConvolutionalTower, images: list[Path], cache: Path) -> NDArray[np.float32]:
    """The mean of a trunk's tokens of each picture, cached: (P, d_tokens)."""

    @torch.inference_mode()
    def rows(part: range) -> NDArray[np.float32]:
        pixels = np.stack([load_image(images[place]) for place in part])
        return tower(torch.from_numpy(pixels).permute(0, 3, 1, 2)).mean(dim=1).numpy()

    if not cache.is_file():
        build_array(cache, (len(images), tower.d_tokens), np.float32, rows, chunk=16, title=cache.stem)
    return np.load(cache)


def average_precision(
    words: PictureWords, vectors: NDArray[np.float32], captions: list[list[str]]
) -> tuple[float, int]:
    """The mean average precision over words of `RARELY` pictures or more, in percent, and the number of these words."""
    used = [{word for text in texts for word in caption_words(text)} for texts in captions]
    likely = np.stack([words.probabilities(vector) for vector in vectors])
    found = []
    for number, word in enumerate(words.words):
        right = np.array([word in each for each in used])
        if right.sum() >= RARELY:
            hits = right[np.argsort(-likely[:, number], kind="stable")]
            found.append(float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean()))
    return 100 * float(np.mean(found)), len(found)


def main() -> None:
    """Encode, fit, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pair = {"nargs": 2, "action": "append", "metavar": ("NAME[:SPLIT]", "DIR"), "required": True}
    parser.add_argument("--parts", type=Path, default=Path("parts"), help="folder of the trunks' weights (%(default)s)")
    parser.add_argument("--trunks", nargs="+", default=["mobilenetv2", "efficientnet-lite0"], choices=list(TRUNKS))
    parser.add_argument("--train", help="captioned pictures to learn words from; may be repeated", **pair)
    parser.add_argument("--val", help="captioned pictures to measure on; may be repeated", **pair)
    parser.add_argument("--limit", type=int, default=3000, help="pictures of train, spread evenly (%(default)s)")
    parser.add_argument("--cache", type=Path, default=Path("cache/trunks"), help="folder of features (%(default)s)")
    parser.add_argument("--json", type=Path, help="also write the result there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    known, seen = described(args.train), described(args.val)
    train, val = spread(list(known), args.limit), list(seen)
    result = {
        "format": 1,
        "kind": "trunks",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "threads": 1,
        "pictures": {"train": len(train), "val": len(val)},
        "trunks": {},
    }
    for name in args.trunks:
        tower = ConvolutionalTower(name)
        load_trunk(tower, args.parts / name / "model.safetensors")
        tower.requires_grad_(False).eval()
        picture = torch.from_numpy(load_image(val[0])).permute(2, 0, 1)[None]
        with torch.inference_mode():
            timing = Timing.of(lambda tower=tower, picture=picture: tower(picture), 20, clock=time.process_time)
        words = fit_words(
            pooled(tower, train, args.cache / f"{name}-train-{len(train)}.npy"), [known[image] for image in train]
        )
        precision, measured = average_precision(
            words, pooled(tower, val, args.cache / f"{name}-val-{len(val)}.npy"), [seen[image] for image in val]
        )
        result["trunks"][name] = {
            "words_average_precision": round(precision, 2),
            "words": measured,
            "ms": round(timing.percentile(50), 2),
            "parameters": sum(each.numel() for each in tower.parameters()),
        }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
