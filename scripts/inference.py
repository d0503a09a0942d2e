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

    from fastcap.eager import checkpoint_captioner

    failed = False
    try:
        captioner = checkpoint_captioner(args.checkpoint)
    except FastcapError as error:
        print(f"inference: error: {error}", file=sys.stderr)
        return 1
    for path in args.image:
        try:
            text = captioner.caption(path).text
        except FastcapError as error:
            print(f"inference: error: {error}", file=sys.stderr)
            failed = True
            continue
        print(text if len(args.image) == 1 else f"{path}\t{text}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
