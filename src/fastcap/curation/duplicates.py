"""Pictures that are the same: equal files, and copies that were encoded again, cropped a little or mirrored.

Two steps. A fingerprint of 63 numbers is compared with those of all other pictures, as they are, cropped and mirrored:
a product of matrices, so 10,000 pictures take seconds and the time grows with the square of their number. What comes
close is looked at again: both pictures are read, laid over one another as well as a crop can, and correlated.

The fingerprint is a perceptual hash: the lowest frequencies of a discrete cosine transform, weighted so that natural
pictures, whose power falls with the frequency, do not all look alike. It keeps its numbers where the hash of that name
(Zauner 2010) keeps their signs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from fastcap.errors import ImageError
from fastcap.runtime.images import load_image

__all__ = ["Match", "find_matches", "grouped", "look", "pairs_across"]

Window = tuple[float, float, float, float]  # left, top, right, bottom, as shares of the sides

_FREQUENCIES = 8  # in each direction
_CLOSE = 0.85  # cosine of two fingerprints from which a pair is looked at
_SAME = 0.94  # correlation of two pictures, laid over one another, from which they are the same
_DETAILS = 0.5  # the same of their details: two views of the open sea are alike in all else
_FINE = 2.0  # pixels; what a blur of this radius takes away are details
_TILE = 16  # pixels: details are compared tile by tile, as one horizon would outweigh all else
_FAINT = 1.5  # grey levels: below, the details of a tile are what an encoder left of them
_FLAT = 2.0  # grey levels: a picture that varies less has nothing to compare
_LOOKED_AT = 96  # pixels, the side at which two pictures are correlated
_CELLS = 10_000_000  # of one product: 40 MB, however many pictures there are
_STEPS = (0.02, 0.01, 0.005)  # of the edges of a crop, in shares of a side
_SMALLEST = 0.8  # side of a crop that is still called a copy


def _windows() -> tuple[Window, ...]:
    """The whole, and crops of two sizes in the middle and in the corners."""
    found = [(0.0, 0.0, 1.0, 1.0)]
    for size in (0.95, 0.9):
        free = 1 - size
        places = [(free / 2, free / 2), (0.0, 0.0), (0.0, free), (free, 0.0), (free, free)]
        found += [(left, top, left + size, top + size) for left, top in places]
    return tuple(found)


WINDOWS = _windows()


class Match(NamedTuple):
    """Two pictures, by number with `first` < `second`, that are the same. `kind`: "file" where the files are equal,
    "copy" or "mirrored". `score`: how well they correlate, 1 for equal files."""

    first: int
    second: int
    kind: str
    score: float


def find_matches(
    paths: Sequence[Path],
    small: Sequence[np.ndarray | None],
    digests: Sequence[str],
    on_look: Callable[[], object] = lambda: None,
) -> list[Match]:
    """All pairs of pictures that are the same, in order.

    Args:
        paths: of N pictures.
        small: each in grey, squashed to a square of uint8, all of one size; None for one that cannot be read.
        digests: of the files; equal ones tell equal files.
        on_look: called for each pair that is looked at.
    """
    equal: dict[str, int] = {}
    matches, standing = [], []
    for at, (picture, digest) in enumerate(zip(small, digests, strict=True)):
        if picture is None:
            continue
        if digest in equal:
            matches.append(Match(equal[digest], at, "file", 1.0))  # the others are found by way of the first
        else:
            equal[digest] = at
            if float(picture.std()) >= _FLAT:
                standing.append(at)
    if standing:
        pictures = np.stack([picture for at in standing if (picture := small[at]) is not None])
        view = lru_cache(maxsize=2)(_grey)
        for a, b, mirrored in _close_pairs(pictures):
            first, second = standing[a], standing[b]
            on_look()
            try:
                score, details = look(view(paths[first]), view(paths[second]), mirrored)
            except ImageError:  # it has gone meanwhile
                continue
            if score >= _SAME and details >= _DETAILS:
                matches.append(Match(first, second, "mirrored" if mirrored else "copy", round(score, 4)))
    return sorted(matches)


def grouped(matches: Iterable[Match]) -> list[list[int]]:
    """Numbers of pictures that are the same, also by way of others; sorted, each group too."""
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        while parent.setdefault(number, number) != number:
            parent[number] = number = parent[parent[number]]
        return number

    for match in matches:
        a, b = sorted((root(match.first), root(match.second)))
        parent[b] = a
    groups: dict[int, list[int]] = {}
    for number in sorted(parent):
        groups.setdefault(root(number), []).append(number)
    return list(groups.values())


# --- the first step: fingerprints --------------------------------------------------------------------------


def _close_pairs(small: np.ndarray) -> list[tuple[int, int, bool]]:
    """Pairs of pictures (N, S, S) whose fingerprints are close, and whether they are so in the mirror."""
    plain = _fingerprints(small, WINDOWS[0], False)
    best: dict[tuple[int, int], tuple[float, bool]] = {}
    for mirrored in (False, True):
        for window in WINDOWS:
            changed = _fingerprints(small, window, mirrored)
            for first, second, score in _above(plain, changed, symmetric=window == WINDOWS[0]):
                pair = min(first, second), max(first, second)
                if score > best.get(pair, (0.0, False))[0]:
                    best[pair] = score, mirrored
    return [(*pair, mirrored) for pair, (_, mirrored) in sorted(best.items())]


def _above(plain: np.ndarray, changed: np.ndarray, symmetric: bool) -> Iterator[tuple[int, int, float]]:
    rows = max(1, _CELLS // len(changed))
    for start in range(0, len(plain), rows):
        products = plain[start : start + rows] @ changed.T
        for row, column in np.argwhere(products > _CLOSE).tolist():
            first = start + row
            if first < column or (first != column and not symmetric):
                yield first, column, float(products[row, column])


def _fingerprints(small: np.ndarray, window: Window, mirrored: bool) -> np.ndarray:
    """(N, S, S) uint8 -> (N, F) unit vectors of float32, of that part of each picture, perhaps mirrored."""
    pixels = small[:, :, ::-1] if mirrored else small
    side = small.shape[1]
    down, across = _transform(side, window[1], window[3]), _transform(side, window[0], window[2])
    found = down @ pixels.astype(np.float32) @ across.T
    places = np.arange(_FREQUENCIES)
    found = (found * np.hypot(*np.meshgrid(places, places))).reshape(len(small), -1)[:, 1:]  # power falls as 1 / f
    return (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)).astype(np.float32)


@lru_cache(maxsize=64)
def _transform(side: int, low: float, high: float) -> np.ndarray:
    """(_FREQUENCIES, side): the cosine transform of a part of a line of pixels, stretched to the whole line."""
    at = np.clip((low + (np.arange(side) + 0.5) / side * (high - low)) * side - 0.5, 0, side - 1)
    left = np.minimum(at.astype(int), side - 2)
    stretch = np.zeros((side, side))
    stretch[np.arange(side), left] = 1 - (at - left)
    stretch[np.arange(side), left + 1] += at - left
    waves = np.cos(math.pi * np.outer(np.arange(_FREQUENCIES), np.arange(side) + 0.5) / side)
    return (waves @ stretch).astype(np.float32)


# --- the second step: a look -------------------------------------------------------------------------------


def look(first: Image.Image, second: Image.Image, mirrored: bool) -> tuple[float, float]:
    """How two grey pictures correlate, from -1 to 1, where one is laid over the best crop of the other: as they are,
    and the details of the median tile."""
    if mirrored:
        second = second.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return max(_laid_over(first, second), _laid_over(second, first))


def _laid_over(whole: Image.Image, part: Image.Image) -> tuple[float, float]:
    target = _standard(part)

    def score(window: Window) -> float:
        left, top, right, bottom = window
        if left < 0 or top < 0 or right > 1 or bottom > 1 or min(right - left, bottom - top) < _SMALLEST:
            return -1.0
        return float(_standard(_cut(whole, window)) @ target)

    best, window = max((score(window), window) for window in WINDOWS)
    for step in _STEPS:
        improved = True
        while improved and best < 0.999:
            improved = False
            for edge in range(4):
                for change in (-step, step):
                    moved = list(window)
                    moved[edge] += change
                    candidate: Window = (moved[0], moved[1], moved[2], moved[3])
                    if (value := score(candidate)) > best + 1e-4:
                        best, window, improved = value, candidate, True
    return best, _detail_correlation(_cut(whole, window), part)


def _cut(picture: Image.Image, window: Window) -> Image.Image:
    """A part of a picture, as large as the picture."""
    width, height = picture.size
    left, top, right, bottom = window
    box = (left * width, top * height, right * width, bottom * height)
    return picture.resize(picture.size, Image.Resampling.BILINEAR, box=box)


def _detail_correlation(first: Image.Image, second: Image.Image) -> float:
    tiles = [_tiles(picture) for picture in (first, second)]
    strength = np.minimum(*(tile.std(axis=1) for tile in tiles))
    shown = strength >= min(_FAINT, float(np.sort(strength)[-4]))  # four at least
    a, b = (tile[shown] - tile[shown].mean(axis=1, keepdims=True) for tile in tiles)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.median((a * b).sum(axis=1) / np.maximum(norms, 1e-6)))


def _tiles(picture: Image.Image) -> np.ndarray:
    """The details of a picture, (tiles, pixels) float32."""
    blurred = picture.filter(ImageFilter.GaussianBlur(_FINE))
    details = np.asarray(picture, np.float32) - np.asarray(blurred, np.float32)
    rows, columns = (side // _TILE for side in details.shape)
    grid = details[: rows * _TILE, : columns * _TILE].reshape(rows, _TILE, columns, _TILE)
    return grid.swapaxes(1, 2).reshape(rows * columns, -1)


def _standard(picture: Image.Image) -> np.ndarray:
    """A vector of mean 0 and length 1."""
    pixels = np.asarray(picture, np.float32).ravel()
    pixels = pixels - pixels.mean()
    return pixels / max(float(np.linalg.norm(pixels)), 1e-6)


def _grey(path: Path) -> Image.Image:
    return Image.fromarray(load_image(path, (_LOOKED_AT, _LOOKED_AT))).convert("L")


def pairs_across(matches: Iterable[Match], splits: Mapping[int, str]) -> list[Match]:
    """Those of the matches whose pictures stand in different splits; `splits`: by number."""
    return [match for match in matches if splits[match.first] != splits[match.second]]
