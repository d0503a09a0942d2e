"""A picture as it comes back from another program: resized, with noise, compressed as JPEG.

People see no difference, so a captioner should say the same. It has to be told: the bundled model of 0.1.0 said
something else of every second picture of 224 pixels that was saved as JPEG of quality 75.
"""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastcap.config.data import ResaveConfig
from fastcap.errors import DataError
from fastcap.runtime.images import load_image

__all__ = ["as_jpeg", "resave"]


def resave(image: NDArray[np.uint8], rng: np.random.Generator, settings: ResaveConfig) -> NDArray[np.uint8]:
    """A random re-saved version of a picture.

    It is resized, gets noise, is compressed as JPEG, and is read as a user's file is. All random numbers but the noise
    itself are drawn whatever the picture's size.

    Args:
        image: `(H, W, 3)` uint8 RGB; not changed.
        rng: decides what is done.
        settings: how strongly.

    Returns:
        A new `(H, W, 3)` uint8 array of the same size.

    Raises:
        DataError: the picture has another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"resave got a picture {image.dtype} {image.shape}; needed: uint8 (H, W, 3)")
    height, width = image.shape[:2]
    scale = math.exp(rng.uniform(math.log(settings.scale[0]), math.log(settings.scale[1])))
    if rng.random() >= settings.resized:
        scale = 1.0
    quality = int(rng.integers(settings.quality[0], settings.quality[1] + 1))
    spread = max(0.0, rng.uniform(-settings.noise, settings.noise))  # every second picture has none
    seed = int(rng.integers(2**32))
    picture = Image.fromarray(image)
    if scale != 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    if spread:
        pixels = np.asarray(picture, np.float32)
        pixels = pixels + spread * np.random.default_rng(seed).standard_normal(pixels.shape, np.float32)
        picture = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return load_image(as_jpeg(picture, quality), (width, height))


def as_jpeg(picture: Image.Image, quality: int) -> bytes:
    """The bytes of a JPEG file, its colours at half the resolution as is usual (4:2:0)."""
    file = BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()
