"""Augmentation that keeps captions true, on uint8 pictures `(H, W, 3)` with NumPy and Pillow.

A picture is not mirrored where a caption says "on the left" or speaks of something that can be read. Hue is never
changed, since captions name colours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from fastcap.errors import ConfigError, DataError, each, listed

__all__ = [
    "CROP_WORDS",
    "MIRROR_WORDS",
    "AugmentSettings",
    "Window",
    "augment",
    "draw_window",
    "is_crop_safe",
    "is_mirror_safe",
]

Window = tuple[float, float, float, float]  # left, top, right, bottom
WHOLE: Window = (0.0, 0.0, 1.0, 1.0)

# Directions, and what can be read: writing, numbers and clocks are wrong in a mirror.
MIRROR_WORDS = tuple(
    """
    left right leftmost rightmost clockwise counterclockwise anticlockwise east west eastern western arrow
    arrows text texts sign signs signpost letter letters lettering number numbers numbered numeral numerals
    digit digits word words wording written writing writes reads reading read says saying spell spells
    spelled spelling logo logos label labels labeled labelled labeling poster posters billboard billboards
    banner banners caption captioned title titled name names named graffiti inscription initials slogan
    plate plates clock clocks scoreboard newspaper newspapers menu map maps chalkboard blackboard whiteboard
    keyboard advertisement advertisements advertising advertises ad ads
    """.split()  # noqa: SIM905 (a word a line buries the file)
)
# What is at the rim of the picture may be cropped.
CROP_WORDS = ("corner", "corners", "edge", "edges", "border", "borders", "background", "distance", "far")


@dataclass(frozen=True)
class AugmentSettings:
    """How strongly pictures are changed; 0 (or `crop_scale=1`) turns a part off.

    Attributes:
        flip: probability of a mirror image, for mirror-safe captions (default 0.5).
        crop_scale: smallest share of the picture's area in a random resized crop, in (0, 1]; the share is drawn
            uniformly from `[crop_scale, 1]` (default 0.7: what a caption names should stay in view).
        crop_ratio: largest change of the ratio of width to height by the crop, at least 1 (default 4/3, as in Szegedy
            et al. 2015).
        brightness, contrast, saturation: factors are drawn from `[1 - x, 1 + x]`, x in [0, 1) (default 0.2: mild, so
            that "dark" and "bright" stay true).
        mirror_words, crop_words: lower-case words that forbid the mirror image and the crop. The defaults are English;
            for another language give its words, or set `flip` to 0.

    Raises:
        ConfigError: a value is out of its range.
    """

    flip: float = 0.5
    crop_scale: float = 0.7
    crop_ratio: float = 4 / 3
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    mirror_words: tuple[str, ...] = MIRROR_WORDS
    crop_words: tuple[str, ...] = CROP_WORDS

    def __post_init__(self) -> None:
        allowed = {
            "flip": (0 <= self.flip <= 1, "0 to 1"),
            "crop_scale": (0 < self.crop_scale <= 1, "above 0, at most 1"),
            "crop_ratio": (1 <= self.crop_ratio < math.inf, "at least 1"),
            "brightness": (0 <= self.brightness < 1, "at least 0, below 1"),
            "contrast": (0 <= self.contrast < 1, "at least 0, below 1"),
            "saturation": (0 <= self.saturation < 1, "at least 0, below 1"),
        }
        for name, (is_allowed, span) in allowed.items():
            if not is_allowed:
                raise ConfigError(f"augmentation {name} is {getattr(self, name)}; allowed: {span}")


def is_mirror_safe(captions: Sequence[str], words: Collection[str] = MIRROR_WORDS) -> bool:
    """Whether every caption stays true of the mirror image: none has a direction, something readable or a digit."""
    return not any(
        re.search(r'["“”\d]', text) or _mentions(text, words) for text in each(captions, "texts", error=DataError)
    )


def is_crop_safe(captions: Sequence[str], words: Collection[str] = CROP_WORDS) -> bool:
    """Whether every caption stays true of a crop: none speaks of corners, edges or the distance."""
    return not any(_mentions(text, words) for text in each(captions, "texts", error=DataError))


def augment(
    image: NDArray[np.uint8],
    captions: Sequence[str],
    rng: np.random.Generator,
    settings: AugmentSettings | None = None,
) -> NDArray[np.uint8]:
    """A random variant of a picture of which its captions are still true.

    Args:
        image: `(H, W, 3)` uint8 RGB; not changed.
        captions: ALL captions that the picture may be trained with.
        rng: seed it with `(seed, epoch, index)`, so that a resumed run repeats the same pictures.
        settings: strengths (default `AugmentSettings()`).

    Returns:
        A new `(H, W, 3)` uint8 array of the same size.

    Raises:
        DataError: the picture has another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"augment got a picture {image.dtype} {image.shape}; needed: uint8 (H, W, 3)")
    settings = settings or AugmentSettings()
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    captions = listed(captions, "texts", error=DataError)
    window, mirrored = draw_window(captions, rng, settings)
    if window != WHOLE:
        left, top, right, bottom = window
        box = (left * width, top * height, right * width, bottom * height)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR, box=box)
    if mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if settings.saturation:
        picture = ImageEnhance.Color(picture).enhance(_factor(rng, settings.saturation))
    if settings.brightness or settings.contrast:
        brightness, contrast = _factor(rng, settings.brightness), _factor(rng, settings.contrast)
        picture = picture.point(_tone_curve(picture, brightness, contrast) * 3)
    return np.array(picture)


def draw_window(captions: Sequence[str], rng: np.random.Generator, settings: AugmentSettings) -> tuple[Window, bool]:
    """The crop of a random variant, as shares of the picture's sides, and whether it is mirrored; see `augment`."""
    crops = settings.crop_scale < 1 and is_crop_safe(captions, settings.crop_words)
    window = _crop_window(rng, settings) if crops else WHOLE
    return window, rng.random() < settings.flip and is_mirror_safe(captions, settings.mirror_words)


def _crop_window(rng: np.random.Generator, settings: AugmentSettings) -> Window:
    share = rng.uniform(settings.crop_scale, 1)
    stretch = math.exp(rng.uniform(-1, 1) * math.log(settings.crop_ratio))
    # the crop must fit into the picture: both sides are at most 1, so a large share allows little stretch
    across = min(1, math.sqrt(share * stretch))
    down = min(1, share / across)
    across = min(1, share / down)
    left, top = rng.uniform(0, 1 - across), rng.uniform(0, 1 - down)
    return left, top, left + across, top + down


def _tone_curve(picture: Image.Image, brightness: float, contrast: float) -> list[int]:
    """256 output values: contrast about the picture's mean grey, then brightness."""
    histogram = picture.convert("L").histogram()
    mean = float(np.dot(histogram, np.arange(256)) / sum(histogram))
    curve = brightness * (mean + contrast * (np.arange(256) - mean))
    return np.clip(np.rint(curve), 0, 255).astype(int).tolist()


def _factor(rng: np.random.Generator, strength: float) -> float:
    return rng.uniform(1 - strength, 1 + strength)


def _mentions(text: str, words: Collection[str]) -> bool:
    return not set(words).isdisjoint(re.findall(r"\w+", text.lower()))
