"""What each setting of decoding is worth to one checkpoint: refinement passes, lengths decoded together, what ranks
them, and the size of the picture, in CIDEr on Flickr8k, fp32, as JSON.

    python benchmarks/settings.py --checkpoint DIR --root data/flickr8k [--split val] [--save]

One setting is changed at a time; the others are the checkpoint's. No weight is changed, so another size of picture is
one that the network was not trained for.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from fastcap.checkpoint import load_checkpoint
from fastcap.config import GenerationConfig
from fastcap.data.readers import load_dataset
from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.machine import git_commit, machine_facts
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.layers import ImageTokens
from fastcap.runtime.encoding import decode
from fastcap.runtime.images import load_image

RESULT = Path(__file__).resolve().parent / "results/settings.json"
CHUNK = 50  # pictures
SIZES = (192, 224, 256)
CHANGES: dict[str, list[dict[str, float]]] = {
    "passes": [{"passes": n} for n in (1, 2, 3, 4)],
    "lengths": [{"candidates": n} for n in (1, 2, 3, 4, 5)],
    "ranking": [
        {"causal_weight": 0.0, "alignment_weight": 0.0},
        {"causal_weight": 0.0, "alignment_weight": 3.0},
        {"causal_weight": 1.0, "alignment_weight": 0.0},
        *({"causal_weight": 1.0, "alignment_weight": w} for w in (1.0, 2.0, 3.0, 4.0, 6.0)),
        {"causal_weight": 2.0, "alignment_weight": 3.0},
    ],
}


@torch.no_grad()
def main() -> None:
    """Encode once a size, decode once a setting, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, help="checkpoint directory")
    parser.add_argument("--root", required=True, type=Path, help="folder of Flickr8k")
    parser.add_argument("--split", default="val", help="%(default)s")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.name} as well")
    args = parser.parse_args()
    model, tokenizer = load_checkpoint(args.checkpoint)
    examples = load_dataset("flickr8k", args.root, args.split)
    scorer = CiderD({str(i): [ptb_tokens(text) for text in e.captions] for i, e in enumerate(examples)})
    usual = model.config.generation
    limits = torch.tensor([usual.min_length, model.config.max_length])

    def encoded(size: int) -> list[ImageTokens]:
        found = []
        for start in range(0, len(examples), CHUNK):
            pixels = [load_image(e.image, (size, size)) for e in examples[start : start + CHUNK]]
            found.append(model.encode(torch.from_numpy(np.stack(pixels))))
        return found

    def cider(images: list[ImageTokens], generation: GenerationConfig) -> float:
        model.config = dataclasses.replace(model.config, generation=generation)
        model.refiner.passes = generation.passes
        captions: dict[str, list[str]] = {}
        for image in images:
            for token_ids in model.caption(image, limits, torch.tensor([generation.candidates])).best():
                captions[str(len(captions))] = ptb_tokens(decode(tokenizer, token_ids))
        return round(100 * scorer.corpus(captions)[0], 2)

    rows = []
    for size in SIZES:
        images = encoded(size)
        rows.append({"changed": "size", "to": {"image_size": size}, "cider": cider(images, usual)})
        print(json.dumps(rows[-1]), flush=True)
        if size == model.config.image_size:
            trained = images
    for name, changes in CHANGES.items():
        for change in changes:
            row = {"changed": name, "to": change, "cider": cider(trained, dataclasses.replace(usual, **change))}
            rows.append(row)
            print(json.dumps(row), flush=True)
    result = {
        "format": 1,
        "kind": "settings",
        "commit": git_commit(),
        "machine": machine_facts(),
        "checkpoint": args.checkpoint.name,
        "images": len(examples),
        "usual": dataclasses.asdict(usual),
        "rows": rows,
    }
    if args.save:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
