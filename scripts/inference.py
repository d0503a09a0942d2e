"""Caption pictures with a training checkpoint, in PyTorch: `scripts/inference.py --checkpoint DIR --image FILE ...`.

For an exported or bundled model use `fastcap caption`, which needs no PyTorch.
"""

import argparse
import sys
from pathlib import Path

from fastcap.errors import FastcapError


def main() -> int:
    """Print one caption a picture; 1 if a picture or the checkpoint cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="DIR", help="checkpoint directory")
    parser.add_argument("--image", required=True, nargs="+", metavar="FILE", help="one picture or several")
    args = parser.parse_args()

    import torch

    from fastcap.checkpoint import load_checkpoint
    from fastcap.runtime.images import load_image
    from fastcap.runtime.text import decode

    failed = False
    try:
        model, tokenizer = load_checkpoint(args.checkpoint)
    except FastcapError as error:
        print(f"inference: error: {error}", file=sys.stderr)
        return 1
    size, generation = model.config.image_size, model.config.generation
    limits = torch.tensor([generation.min_length, model.config.max_length])
    for path in args.image:
        try:
            pixels = torch.from_numpy(load_image(path, (size, size)))[None]
        except FastcapError as error:
            print(f"inference: error: {error}", file=sys.stderr)
            failed = True
            continue
        with torch.no_grad():
            found = model(pixels, limits, torch.tensor([generation.candidates]))
        ids = found.token_ids[0, 0, : found.lengths[0, 0]].tolist()
        text = decode(ids, tokenizer)
        print(text if len(args.image) == 1 else f"{path}\t{text}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
