"""The settings of an export and their defaults; `fastcap export` has an option for each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastcap.errors import MAX_BAD_SHARE, ConfigError

__all__ = ["ExportSettings", "parse_size"]

PRECISIONS = ("int8", "fp16", "fp32")
MIN_MEASURED = 4  # pictures: the confidence is fitted to one half of them and tested on the other
MAX_CALIBRATION = 5000
UNITS = {"": 1, "kb": 10**3, "mb": 10**6}


@dataclass(frozen=True)
class ExportSettings:
    """How a checkpoint is exported.

    Raises:
        ConfigError: a setting is out of range, or two exclude each other.
    """

    name: str | None = None
    """The model's name; unset: that of the directory."""
    description: str = ""
    """One line about the model."""
    dataset: str = "flickr8k"
    """Data set to calibrate and measure on, a key of `fastcap.data.formats.READERS`."""
    split: str = "val"
    """Split to measure on; the confidences are fitted to it, so it is never the test split."""
    calibration_split: str = "train"
    """Split to calibrate on."""
    on_bad_data: Literal["raise", "skip"] = "raise"
    """Rows and pictures that cannot be used: raise stops at the first, skip leaves them out."""
    max_bad_share: float = MAX_BAD_SHARE
    """Share of a split's rows that may be left out; a data set with more is refused."""
    calibration: int = 200
    """Pictures to calibrate on, spread over their split; as many as for the bundled model."""
    limit: int | None = None
    """Measure on the first pictures only, 4 or more; unset: on all."""
    precision: str = "int8"
    """int8, or fp16 for graphs that a GPU runs, whose sums of squares stay in 32 bits, or fp32 for graphs that are not
    rounded."""
    max_loss: float = 1.0
    """Most CIDEr points (x 100) that int8 may lose against fp32, and most points of VQA accuracy."""
    questions: Sequence[Path | str] = ()
    """Files of validation questions (`fastcap.data.conversations`), for a model that answers: its answers are measured,
    and their confidence is fitted to them."""
    question_limit: int = 1000
    """Ask as many questions of each file, spread evenly over it; 0 for all. On 1,000, accuracy is known to 3 points,
    and the difference of two precisions much better, since both answer the same questions."""
    min_same: float = 0.0
    """Smallest share of pictures, 0 to 1, whose caption quantisation leaves as it is, word by word; 0 for any."""
    target_size: int | str | None = None
    """Most bytes that the model directory may take, or a text such as "9MB". Layers then get 4, 8 or 16 bits as their
    sensitivity asks for; which and why is written beside the directory: `DIR.bits.json`, `DIR.report.json` and
    `DIR.report.png`. Unset: 8 bits for every layer; in a language model 4 for matrices that read the hidden states."""
    bits: Path | str | None = None
    """A file with the bits of layers, in place of a target size; layers that it leaves out have what they would have
    without it."""
    memory: Sequence[tuple[str, Path | str]] = ()
    """Data sets of whose captions the model learns which words people use of a picture, to rank candidates by them
    (`fastcap.release.memory`): `NAME` or `NAME:SPLIT`, train by default, and its folder. None of the pictures that are
    measured may be among them. The ranking is fitted to some of theirs, too."""

    def __post_init__(self) -> None:
        if not 1 <= self.calibration <= MAX_CALIBRATION:
            raise ConfigError(f"calibration is {self.calibration}; allowed: 1 to {MAX_CALIBRATION}")
        if self.limit is not None and self.limit < MIN_MEASURED:
            raise ConfigError(f"limit is {self.limit}; allowed: {MIN_MEASURED} or more")
        if self.question_limit < 0:
            raise ConfigError(f"question_limit is {self.question_limit}; allowed: 0 (all) or more")
        if not 0 <= self.min_same <= 1:
            raise ConfigError(f"min_same is {self.min_same:g}; allowed: 0 to 1")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}; allowed: {', '.join(PRECISIONS)}")
        if self.bits is not None and self.target_size is not None:
            raise ConfigError("target size and bits are both given; allowed: one of them")
        if self.memory and self.target_size is not None:
            raise ConfigError("memory and target size are both given; allowed: a memory with the bits of layers")
        if self.precision != "int8" and (self.target_size or self.bits):
            raise ConfigError(f"precision is {self.precision}; allowed with a target size or bits: int8")
        if self.target_size is not None:
            parse_size(self.target_size)

    @property
    def target_bytes(self) -> int | None:
        """The target size in bytes."""
        return None if self.target_size is None else parse_size(self.target_size)


def parse_size(size: int | str) -> int:
    """Bytes of a size such as 9MB, 9.5 MB, 900kB or 9000000; MB are 10^6 bytes.

    Raises:
        ConfigError: it is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|kb|mb)", str(size).strip().lower())
    if match is None or not float(match[1]):
        raise ConfigError(f"{size!r} is no size; allowed: a number above 0 with kB or MB, such as 9MB")
    return int(float(match[1]) * UNITS[match[2]])
