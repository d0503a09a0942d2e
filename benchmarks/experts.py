"""Which experts serve the pictures of a data set: the share of each in every layer, as JSON.

`python benchmarks/experts.py --checkpoint DIR --root data/flickr8k [--split val]`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from fastcap.checkpoint import load_checkpoint
from fastcap.data.readers import load_dataset
from fastcap.evaluation.machine import git_commit
from fastcap.runtime.images import load_image


@torch.no_grad()
def main() -> None:
    """Route every picture, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, help="checkpoint directory")
    parser.add_argument("--root", required=True, type=Path, help="folder of Flickr8k")
    parser.add_argument("--split", default="val", help="%(default)s")
    args = parser.parse_args()
    model, _ = load_checkpoint(args.checkpoint)
    examples = load_dataset("flickr8k", args.root, args.split)
    size = model.config.image_size
    counts: dict[int, np.ndarray] = {}  # by layer: pruned ones may have different numbers of experts
    for example in examples:
        pixels = torch.from_numpy(load_image(example.image, (size, size)))[None]
        for layer, routing in enumerate(model.decoder.prepare(model.encode(pixels)).routings):
            chosen = np.bincount(routing.chosen[0].numpy(), minlength=routing.probabilities.shape[-1])
            counts[layer] = counts.get(layer, 0) + chosen
    shares = [layer / layer.sum() for layer in counts.values()]
    result = {
        "format": 1,
        "kind": "experts",
        "commit": git_commit(),
        "images": len(examples),
        "shares": [layer.round(4).tolist() for layer in shares],
        "smallest_share": round(min(float(layer.min()) for layer in shares), 4),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
