"""Train a model by a recipe: `python scripts/train.py --config configs/model/fastcap_base.yaml [key=value ...]`."""

import sys

from fastcap.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
