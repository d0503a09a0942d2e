"""Make a model fit a size: `python scripts/optimize_model.py --model_path DIR --optimization quantization pruning
--target_size 100`, in MB.

The same as `fastcap compress`, whose other options may follow.
"""

import sys
from pathlib import Path

from fastcap.cli import main

NAMES = {"--model_path": "--model", "--target_size": "--target-size", "--output_dir": "--out", "--data": "--root"}
DEFAULTS = {"--out": "models/optimized", "--root": "data/flickr8k"}


def translated(words: list[str]) -> list[str]:
    """The words of this script as those of `fastcap compress`: other names, a size in MB, and a model by its weights'
    file or by its folder."""
    given: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        given += [NAMES.get(name, name), *([value] if equals else [])] if name.startswith("--") else [word]
    for place, flag in enumerate(given[:-1]):
        value = given[place + 1]
        if flag == "--target-size" and value.replace(".", "", 1).isdigit():
            given[place + 1] = f"{value}MB"
        if flag == "--model" and Path(value).is_file():
            given[place + 1] = str(Path(value).parent)
    return [*given, *(word for flag, value in DEFAULTS.items() if flag not in given for word in (flag, value))]


if __name__ == "__main__":
    sys.exit(main(["compress", *translated(sys.argv[1:])]))
