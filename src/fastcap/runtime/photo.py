"""Whether a picture is a photo, and else what: a small head over the picture's vector and a few counts of its pixels.

A captioner that was taught with photos says of a chart what such colours are in photos. The head tells that it is a
chart. It is fitted by `scripts/kinds.py` to photos and to pictures that are made there.

Letters: H, W height and width of the model's pictures, A width of a picture's vector, S statistics, U hidden units,
K kinds of pictures.
"""

from __future__ import annotations

import json
import math
from bisect import bisect
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastcap.errors import ModelFileError
from fastcap.runtime.contract import PHOTO, PICTURES

if TYPE_CHECKING:
    from fastcap.runtime.bundle import Bundle

__all__ = ["STATISTICS", "PhotoHead", "Verdict", "statistics"]

_STEPS = [0, 1, 2, 4, 8, 16, 32, 64]  # differences of neighbours are counted between these
_MOST = 4.0  # standard deviations, beyond which an input says no more
_LEVELS = np.arange(256, dtype=np.int64)
_SQUARES = _LEVELS**2
_LINE, _FLAT = 24, 3  # differences of a line's rim, and within what has one colour
STATISTICS = 47
"""Numbers that `statistics` counts."""


class Verdict(NamedTuple):
    """`kind`: one of `PICTURES`. `photo`: the probability that it is a photo, 0 to 1; 0.5 and more for "photo"."""

    kind: str
    photo: float


class PhotoHead:
    """One hidden layer over standardised inputs: the vector, then the statistics. Threads may share it.

    Args:
        values: the content of `PHOTO`, a JSON object: `kinds` (K) of `PICTURES`; `centre` and `scale` (A + S) of the
            inputs; `hidden` (U, A + S) and `hidden_bias` (U); `output` (K, U) and `output_bias` (K).

    Raises:
        ValueError: a key or a shape is another one, or a number is none.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        keys = ("kinds", "centre", "scale", "hidden", "hidden_bias", "output", "output_bias")
        if sorted(values) != sorted(keys):
            raise ValueError(f"its keys are {', '.join(sorted(values))}; expected {', '.join(keys)}")
        if values["kinds"] != list(PICTURES):
            raise ValueError(f"kinds are {values['kinds']}; expected {list(PICTURES)}")
        arrays = {key: np.asarray(values[key], np.float64) for key in keys[1:]}
        inputs, units, kinds = len(arrays["centre"]), len(arrays["hidden_bias"]), len(PICTURES)
        expected = ((inputs,), (inputs,), (units, inputs), (units,), (kinds, units), (kinds,))
        for (key, array), shape in zip(arrays.items(), expected, strict=True):
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"{key} has the shape {array.shape}; expected {shape}, all of it finite")
        self.width = inputs - STATISTICS
        if self.width < 1 or (arrays["scale"] <= 0).any():
            raise ValueError(f"{inputs} inputs, of which {STATISTICS} are statistics, with scales above 0 expected")
        self._centre, self._scale, self._hidden, self._hidden_bias, self._output, self._output_bias = arrays.values()

    @classmethod
    def open(cls, bundle: Bundle) -> PhotoHead | None:
        """That of a model directory; None if it has none. Raises ModelFileError for a file that is none."""
        return cls.read(bundle.folder / PHOTO) if PHOTO in bundle.files else None

    @classmethod
    def read(cls, path: Path) -> PhotoHead:
        """That of a file. Raises ModelFileError."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError("no JSON object")
            return cls(values)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ModelFileError(f"{path}: no head that tells photos ({error})") from None

    def judge(self, pixels: np.ndarray, vector: np.ndarray) -> Verdict:
        """What a picture is.

        Args:
            pixels: (H, W, 3) uint8, as the model sees them.
            vector: of the same picture, (A,).

        Raises:
            ModelFileError: the head was fitted to another model's vectors.
        """
        if vector.shape != (self.width,):
            raise ModelFileError(f"{PHOTO}: fitted to vectors of {self.width} numbers; the model gives {vector.shape}")
        inputs = np.concatenate([vector, statistics(pixels)])
        inputs = np.minimum(np.maximum((inputs - self._centre) / self._scale, -_MOST), _MOST)
        logits = self._output @ np.maximum(self._hidden @ inputs + self._hidden_bias, 0) + self._output_bias
        shares = np.exp(logits - logits.max())
        photo = float(shares[0] / shares.sum())
        return Verdict(PICTURES[0] if photo >= 0.5 else PICTURES[1 + int(logits[1:].argmax())], photo)


def statistics(pixels: np.ndarray) -> np.ndarray:
    """Counts that tell what is made from what a lens saw, (S,), of pixels (H, W, 3) uint8: logarithms of shares.

    How much neighbours differ (screens and charts: hardly, or a lot), how few grey levels and colours have most of the
    pixels, whether rows and columns are of one colour or are lines, how much changes at a constant rate (gradients).
    Some rows and columns have to do. `statistics` of web/photo.js counts the same, pixel by pixel.

    After a run of the network nothing of this is in the processor's caches, so that calls of NumPy cost more than what
    they compute: rows and columns are counted together, as integers, and shares are made of the sums.
    """
    # (3, lines, pixels): every fourth row, every fourth column, every third of both
    parts = (
        pixels[::4].transpose(2, 0, 1),
        pixels[:, ::4].transpose(2, 1, 0),
        pixels[::3, ::3].transpose(2, 0, 1),
    )
    rows, columns = (part[0].size for part in parts[:2])
    planes = np.empty((3, rows + columns + parts[2][0].size), np.int16)
    starts = (0, rows, rows + columns, planes.shape[1])
    for part, start, end in zip(parts, starts, starts[1:], strict=False):
        planes[:, start:end].reshape(part.shape)[...] = part
    grey = planes[1] + planes[1]
    grey += planes[0]
    grey += planes[2]
    grey >>= 2
    if parts[0].shape == parts[1].shape:  # as in square pictures
        shares = _neighbours(grey[: rows + columns].reshape(2, *parts[0].shape[1:]))
    else:
        shares = _neighbours(grey[:rows].reshape(1, *parts[0].shape[1:]))
        shares += _neighbours(grey[rows : rows + columns].reshape(1, *parts[1].shape[1:]))
    shares += _colours(grey[rows + columns :], planes[:, rows + columns :])
    return np.log(np.array(shares) + 0.002)


def _neighbours(grey: np.ndarray) -> list[float]:
    """Shares of the differences along lines, 15 for each of the blocks of grey levels (blocks, lines, pixels)."""
    _, lines, width = grey.shape
    steps = grey[..., 1:] - grey[..., :-1]
    size = np.abs(steps)
    bend = np.abs(steps[..., 1:] - steps[..., :-1])
    sums, bent = (np.add.reduce(each, (1, 2), np.int32).tolist() for each in (size, bend))
    flat = np.maximum.reduce(size, 2) <= _FLAT
    gentle = bend <= 1
    size = size.astype(np.uint8)  # which is compared faster
    upto = [size <= step for step in _STEPS]
    # of each border, in how many lines it is one
    edges = np.sort(np.add.reduce((size > _LINE).view(np.uint8), 1, np.int16)).tolist()
    total, bends = lines * (width - 1), lines * (width - 2)
    shares: list[float] = []
    for block, borders in enumerate(edges):
        below = [np.count_nonzero(each[block]) / total for each in upto]
        shares += [high - low for low, high in zip((0.0, *below), (*below, 1.0), strict=True)]
        most = borders[-1:-7:-1]
        shares += [most[0] / lines, sum(each / lines for each in most) / len(most)]
        shares.append((len(borders) - bisect(borders, lines / 2)) / len(borders))
        shares.append(np.count_nonzero(flat[block]) / lines)
        shares.append(np.count_nonzero(gentle[block]) / bends)
        shares.append(bent[block] / bends / (sums[block] / total + 0.01) / 4)
    return shares


def _colours(grey: np.ndarray, planes: np.ndarray) -> list[float]:
    """Shares of the grey levels (N,) and the colours (3, N) of some pixels."""
    number = len(grey)
    red, green, blue = planes >> 4
    levels, cells = np.bincount(grey, minlength=256), np.bincount((red << 8) + (green << 4) + blue, minlength=4096)
    total, squares = int(levels @ _LEVELS), int(levels @ _SQUARES)
    tint = np.maximum.reduce(planes) - np.minimum.reduce(planes)
    used = np.count_nonzero(levels / number > 0.0005)
    dark, bright = sum(levels[:9].tolist()), sum(levels[247:].tolist())
    return [
        *_largest(levels, number),
        used / 256,
        dark / number,
        bright / number,
        total / number / 255,
        math.sqrt(number * squares - total * total) / number / 128,
        *_largest(cells, number),
        np.count_nonzero(cells) / 4096,
        int(np.add.reduce(tint, dtype=np.int32)) / number / 255,
        np.count_nonzero(tint <= 6) / number,
        np.count_nonzero(tint >= 128) / number,
    ]


def _largest(counts: np.ndarray, number: int) -> list[float]:
    """How much the 1, 2, 4 and 16 largest of some counts have together, as shares of a number."""
    sums = list(accumulate(np.sort(counts)[:-17:-1].tolist()))
    return [sums[few - 1] / number for few in (1, 2, 4, 16)]
