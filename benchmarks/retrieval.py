"""How well a model directory's alignment finds the captions of a picture, and the picture of a caption.

    python benchmarks/retrieval.py --root data/flickr8k [--model fastcap-base] [--images 1000] [--json FILE]

Pictures and their captions, five each, are embedded one by one, as a user would have it; captions longer than the model
takes are left out and counted. Chance finds one of a picture's five captions among the first five of 5,000 for 0.5 % of
pictures.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from fastcap.alignment.cmfa import recall
from fastcap.data.readers import load_dataset
from fastcap.errors import ConfigError
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.runtime.captioner import Captioner


def main() -> None:
    """Embed, compare, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="folder of Flickr8k")
    parser.add_argument("--model", default="fastcap-base", help="bundled model or model directory (%(default)s)")
    parser.add_argument("--split", default="val", help="%(default)s")
    parser.add_argument("--images", type=int, default=1000, help="the first N pictures (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    if args.images < 1:
        parser.error(f"--images is {args.images}; allowed: 1 or more")
    captioner = Captioner.open(args.model)
    examples = load_dataset("flickr8k", args.root, args.split)[: args.images]
    images = captioner.embed_images([example.image for example in track(examples, "pictures")])
    vectors, owners, too_long = [], [], 0
    for owner, example in enumerate(track(examples, "captions")):
        for caption in example.captions:
            try:
                vectors.append(captioner.embed_texts([caption])[0])
                owners.append(owner)
            except ConfigError:
                too_long += 1
    found = recall(torch.from_numpy(images @ np.stack(vectors).T), torch.tensor(owners))
    result = {
        "format": 1,
        "kind": "retrieval",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "model": captioner.bundle.name,
        "data": f"flickr8k {args.split}",
        "images": len(examples),
        "captions": len(owners),
        "captions_too_long": too_long,
        "recall": {name: round(value, 4) for name, value in found.items()},
    }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
