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
    size, n_experts = model.config.image_size, model.config.decoder.n_experts
    counts = np.zeros((model.config.decoder.n_layers, n_experts), dtype=np.int64)
    for example in examples:
        pixels = torch.from_numpy(load_image(example.image, (size, size)))[None]
        for layer, routing in enumerate(model.decoder.prepare(model.encode(pixels)).routings):
            counts[layer] += np.bincount(routing.chosen[0].numpy(), minlength=n_experts)
    shares = counts / counts.sum(axis=1, keepdims=True)
    result = {
        "format": 1,
        "kind": "experts",
        "commit": git_commit(),
        "images": len(examples),
        "shares": shares.round(4).tolist(),
        "smallest_share": round(float(shares.min()), 4),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
