"""Pictures that are no photos, made here, and the head of a model directory that tells them from photos.

python scripts/kinds.py make --data DIR --out cache/kinds
python scripts/kinds.py fit --model fastcap-base --pictures cache/kinds --data DIR --out DIR

`make` renders the pictures of all families and changes photos, each from its own seed; it needs matplotlib, Pygments,
Playwright and a Chromium. `fit` computes their vectors once and keeps them, fits the head to the families that are not
held out and to photos of the train splits, measures it on what is held out and on photos of the val splits, and writes
a copy of the model directory with it. DIR holds flickr8k and coco.
"""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).with_suffix("")), run_name="__main__")
