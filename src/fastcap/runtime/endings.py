"""JPEG files without their end mark, as interrupted copies and careless programs leave them.

Browsers and viewers show such a picture, and what is missing of it in grey. Here it is read if next to nothing is: at
most a thirty-second part, or one block of the smallest pictures. Everything else is cut short, and stays an error.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import cast

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

__all__ = ["with_end"]

_END = b"\xff\xd9"
_SCAN = re.compile(rb"\xff\xda\0[\x08-\x0e]([\1-\4])")  # a marker of which nothing else can be made after the headers
_ALLOWED = 32  # one block in so many may be missing
# Any bits but those of a marker: what a decoder makes of them shows which blocks it still waited for.
_FILLER = bytes(1 + (7 * place * place + place // 3) % 253 for place in range(4096))
_BLOCK = 8  # pixels


def with_end(image: Image.Image) -> Image.Image:
    """The same picture, not yet decoded, with an end mark if that is all that it lacks, or nearly; else as it is.

    Raises what the decoder raises.
    """
    data = cast(BytesIO, cast(JpegImageFile, image).fp).getvalue()
    if data.rfind(_END) >= 0:
        return image
    if data.endswith(bytes(16)):
        data = data.rstrip(b"\0")  # a file that was reserved in full and written in part
    data = data.removesuffix(b"\xff")
    return _opened(data) if _is_nearly_whole(data) else image


def _opened(data: bytes) -> JpegImageFile:
    return JpegImageFile(BytesIO(data + _END), "")


def _is_nearly_whole(data: bytes) -> bool:
    """Whether next to nothing of the pixels is missing: a decoder then makes the same of the file whatever follows."""
    scans = [_scan(data, match) for match in _SCAN.finditer(data)]
    image = _opened(data)
    layers: list[tuple[int, int, int, int]] = image.layer  # identity, sampling across, sampling down, table
    finished = {(part, place) for parts, first, last, bits in scans if not bits for part in parts
                for place in range(first, last + 1)}  # fmt: skip
    if any((layer[0], place) not in finished for layer in layers for place in range(64)):
        return False  # of a progressive file, whole scans
    is_grey = layers[0][0] in scans[-1][0]
    shrunk = len(scans) == 1  # to a pixel for each block, which is cheap; later scans may refine what that leaves out
    differs = _pixels(data, is_grey, shrunk) != _pixels(data + _FILLER, is_grey, shrunk)
    across, down = (max(layer[axis] for layer in layers) if len(layers) > 1 else 1 for axis in (1, 2))
    side = 1 if shrunk else _BLOCK
    missing = _after_the_first(differs, down * side, across * side)
    return missing.sum() <= max(1, missing.size // _ALLOWED) and missing.size > missing.sum()


def _scan(data: bytes, match: re.Match[bytes]) -> tuple[list[int], int, int, int]:
    """Which parts a scan holds, from which to which coefficient, and how many low bits it leaves to later scans."""
    count, at = match[1][0], match.end()
    first, last, bits = data[at + 2 * count : at + 2 * count + 3]
    return list(data[at : at + 2 * count : 2]), first, last, bits & 15


def _pixels(data: bytes, is_grey: bool, shrunk: bool) -> np.ndarray:
    """(H, W, C) uint8."""
    image = _opened(data)
    size = (image.width // _BLOCK, image.height // _BLOCK) if shrunk else image.size
    image.draft("L" if is_grey else None, size)
    pixels = np.array(image)
    return pixels.reshape(*pixels.shape[:2], -1)


def _after_the_first(differs: np.ndarray, down: int, across: int) -> np.ndarray:
    """For each block, in the order in which a file holds them, whether it or one before it differs. `differs`: (H, W,
    C) bool; `down`, `across`: pixels of a block."""
    height, width = differs.shape[:2]
    padded = np.pad(differs.any(2), ((0, -height % down), (0, -width % across)))
    blocks = padded.reshape(padded.shape[0] // down, down, -1, across).any((1, 3))
    return np.maximum.accumulate(blocks.ravel())
