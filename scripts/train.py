"""Train a model by a recipe: `python scripts/train.py --config configs/model/fastcap_base.yaml [key=value ...]`.

With a data set in place of a recipe, distilvit: `python scripts/train.py --dataset flickr --lora-r 32`.
"""

import sys

from fastcap.cli import main

if __name__ == "__main__":
    given = {word.partition("=")[0] for word in sys.argv[1:]}
    default = ["--config", "distilvit"] if "--dataset" in given and not given & {"--config", "--list"} else []
    sys.exit(main(["train", *default, *sys.argv[1:]]))
