"""Whether a picture is a photo, and else what: a small head over the picture's vector and a few counts of its pixels.

A captioner that was taught with photos says of a chart what such colours are in photos. The head tells that it is a
chart. It is fitted by `scripts/kinds.py` to photos and to pictures that are made there.

Letters: H, W height and width of the model's pictures, A width of a picture's vector, S statistics, U hidden units,
K kinds of pictures.
"""

from __future__ import annotations

import json
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
        inputs = np.clip((inputs - self._centre) / self._scale, -_MOST, _MOST)
        logits = self._output @ np.maximum(self._hidden @ inputs + self._hidden_bias, 0) + self._output_bias
        shares = np.exp(logits - logits.max())
        photo = float(shares[0] / shares.sum())
        return Verdict(PICTURES[0] if photo >= 0.5 else PICTURES[1 + int(logits[1:].argmax())], photo)


def statistics(pixels: np.ndarray) -> np.ndarray:
    """Counts that tell what is made from what a lens saw, (S,), of pixels (H, W, 3) uint8: logarithms of shares.

    How much neighbours differ (screens and charts: hardly, or a lot), how few grey levels and colours have most of the
    pixels, whether rows and columns are of one colour or are lines, how much changes at a constant rate (gradients).
    Some rows and columns have to do. `statistics` of web/photo.js counts the same.
    """
    shares: list[float] = []
    for part, axis in ((pixels[::4], 1), (pixels[:, ::4], 0)):
        steps = np.diff(_grey(part), axis=axis)
        size = np.abs(steps)
        upto = np.cumsum(np.bincount(size.ravel(), minlength=256))[_STEPS] / size.size
        shares += [*np.diff(upto, prepend=0).tolist(), 1 - float(upto[-1])]
        lines = np.sort(np.count_nonzero(size > _LINE, axis=1 - axis))[::-1] / size.shape[1 - axis]  # of each border
        shares += [float(lines[0]), float(lines[:6].mean()), np.count_nonzero(lines > 0.5) / len(lines)]
        shares.append(np.count_nonzero(size.max(axis=axis) <= _FLAT) / size.shape[1 - axis])
        bend = np.abs(np.diff(steps, axis=axis))
        shares.append(np.count_nonzero(bend <= 1) / bend.size)
        shares.append(float(bend.mean()) / (float(size.mean()) + 0.01) / 4)
    few = pixels[::3, ::3]
    grey = _grey(few)
    levels = np.bincount(grey.ravel(), minlength=256) / grey.size
    shares += [*_largest(levels), np.count_nonzero(levels > 0.0005) / 256]
    shares += [float(levels[:9].sum()), float(levels[247:].sum()), float(grey.mean()) / 255, float(grey.std()) / 128]
    red, green, blue = (few[..., channel].astype(np.int16) for channel in range(3))
    cells = np.bincount(((red >> 4 << 8) + (green >> 4 << 4) + (blue >> 4)).ravel(), minlength=4096) / grey.size
    shares += [*_largest(cells), np.count_nonzero(cells) / 4096]
    tint = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    shares += [
        float(tint.mean()) / 255,
        np.count_nonzero(tint <= 6) / tint.size,
        np.count_nonzero(tint >= 128) / tint.size,
    ]
    return np.log(np.array(shares) + 0.002)


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Grey levels of pixels (..., 3), from 0 to 255."""
    red, green, blue = (pixels[..., channel].astype(np.int16) for channel in range(3))
    return (red + 2 * green + blue) >> 2


def _largest(shares: np.ndarray) -> list[float]:
    """How much the 1, 2, 4 and 16 largest shares have together."""
    few = np.concatenate([shares[shares > 0], np.zeros(16)])
    sums = np.cumsum(np.sort(few)[::-1])
    return sums[[0, 1, 3, 15]].tolist()
