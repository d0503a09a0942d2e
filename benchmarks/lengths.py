"""How well the length predictor does against always saying the same length, as JSON.

All are compared with the references of each picture: `each` is the mean distance in tokens to a reference, `nearest` to
the nearest one. The constant is the median length of the training captions; of what is predicted, the median is what
the mean distance asks for, and the likeliest length is what decoding begins with.

`python benchmarks/lengths.py --checkpoint DIR --root data/flickr8k [--split val]`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from fastcap.checkpoint import load_checkpoint
from fastcap.data.readers import Examples, load_dataset
from fastcap.evaluation.machine import git_commit
from fastcap.runtime.encoding import clean_caption, encode
from fastcap.runtime.images import load_image


@torch.no_grad()
def main() -> None:
    """Predict the length of every picture's caption, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, help="checkpoint directory")
    parser.add_argument("--root", required=True, type=Path, help="folder of Flickr8k")
    parser.add_argument("--split", default="val", help="%(default)s")
    args = parser.parse_args()
    model, tokenizer = load_checkpoint(args.checkpoint)
    limit, size = model.config.max_length, model.config.image_size

    def lengths(examples: Examples) -> list[list[int]]:
        counted = [[len(encode(tokenizer, clean_caption(text))) for text in e.captions] for e in examples]
        return [[n for n in found if 1 <= n <= limit] or [limit] for found in counted]

    constant = float(np.median([n for found in lengths(load_dataset("flickr8k", args.root, "train")) for n in found]))
    examples = load_dataset("flickr8k", args.root, args.split)
    references = lengths(examples)
    likeliest, median = [], []
    for example in examples:
        pixels = torch.from_numpy(load_image(example.image, (size, size)))[None]
        probabilities = model.length_predictor(model.encode(pixels).pooled)[0].softmax(dim=-1)
        likeliest.append(float(probabilities.argmax()))
        median.append(float((probabilities.cumsum(dim=-1) < 0.5).sum()))

    def distances(guesses: list[float]) -> dict[str, float]:
        each = [float(np.mean([abs(g - n) for n in r])) for g, r in zip(guesses, references, strict=True)]
        nearest = [min(abs(g - n) for n in r) for g, r in zip(guesses, references, strict=True)]
        return {"each": round(float(np.mean(each)), 3), "nearest": round(float(np.mean(nearest)), 3)}

    result = {
        "format": 1,
        "kind": "lengths",
        "commit": git_commit(),
        "images": len(examples),
        "constant_length": constant,
        "predicted_median": distances(median),
        "predicted_likeliest": distances(likeliest),
        "constant": distances([constant] * len(examples)),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
