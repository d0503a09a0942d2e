"""The models that version 0.1.0 wrote (`tests/golden/0.1.0/make.py`), and the pictures that it was asked about."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"
KINDS = ("parallel", "autoregressive")


def unpack(folder: Path) -> Path:
    """Write `KIND/model` and `KIND/checkpoint` of each kind."""
    for kind in KINDS:
        shutil.unpack_archive(GOLDEN / f"{kind}.zip", folder / kind)
    return folder


def pictures() -> list[np.ndarray]:
    """The three pictures of `make.py`, (64, 64, 3) uint8."""
    y, x = np.mgrid[:64, :64]
    planes = [[x * 4, y * 4, x + y], [x * y // 16, 255 - x * 2, y * 3], [x // 8 * 32, (x // 8 + y // 8) % 2 * 200, y]]
    return [np.stack(each, axis=2).astype(np.uint8) for each in planes]
