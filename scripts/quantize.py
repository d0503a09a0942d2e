"""Quantise a checkpoint to a size: `python scripts/quantize.py --model DIR --out DIR --root DIR --target-size 9MB`.

The same as `fastcap export`, which has more options.
"""

import sys

from fastcap.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
