"""Any picture a user may hold, as the uint8 RGB array that the graph reads.

The header is checked before a pixel is decoded, so a file that lies about its size costs nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import stat
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias, Union

import numpy as np
import PIL
from PIL import Image

from fastcap.errors import ConfigError, ImageError, needs
from fastcap.runtime.metadata import strip
from fastcap.runtime.signatures import (
    FORMATS,
    IMAGE_SUFFIXES,
    RAW_TIFF_SUFFIXES,
    READ_SUFFIXES,
    TAR_SUFFIXES,
    archive_of,
    format_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "DECODERS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "ImageSource",
    "load_image",
    "load_thumbnail",
    "missing_decoders",
    "read_file",
    "source_name",
]

ImageSource: TypeAlias = Union[str, "os.PathLike[str]", bytes, IO[bytes], Image.Image, np.ndarray]

MAX_BYTES = 128 * 2**20
"""Largest picture file read, in bytes; above any camera's JPEG, below what could exhaust a small server."""

MAX_PIXELS = 128_000_000
"""Most pixels a header may declare; a 102-megapixel camera fits, and 4 bytes a pixel stay near 0.5 GB."""

DECODERS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),  # of an MPO, the first picture
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "DIB": ("PIL.BmpImagePlugin", "DibImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIF": ("pillow_heif", "HeifImageFile"),
}
HEIF_PILLOW = (11, 1)
"""The oldest Pillow that pillow-heif works with, as the extra `heif` has it."""

_UNSUPPORTED = re.compile("unsupported|not supported|not yet|not installed|cannot handle|unknown (pixel|data)", re.I)
_ORIENTATION = 0x0112  # a tag of EXIF
_BITS, _PHOTOMETRIC, _SAMPLES = 258, 262, 339  # tags of TIFF
_FULL_SCALES = {"F": (1.0, 255.0, 65535.0), "I": (255.0, 65535.0)}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_REDUCING_GAP = 2.0  # box-shrink large pictures first, to twice the target: cheap, and hardly visible


def load_image(source: ImageSource, size: tuple[int, int] = (224, 224), max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read one picture and squash it to `size`, its aspect not kept.

    `source`: a path, the bytes of a file, a binary file object, a PIL image, or an array (H,W), (H,W,1),
    (H,W,3) RGB or (H,W,4) RGBA of uint8, uint16 or floats from 0 to 1.
    `size`: (width, height) in pixels; 224x224 is what the bundled models were trained at.
    `max_pixels`: most pixels that the header may declare.

    Returns uint8 RGB (height, width, 3), upright and in sRGB as the file states its orientation and its ICC profile of
    RGB. Transparency lies on white, an animation gives its first frame.

    Raises ImageError, naming the source, for anything that is not a whole picture in an allowed format, or that exceeds
    MAX_BYTES or `max_pixels`; ConfigError for a `size` that is no size.
    """
    if (
        not isinstance(size, (tuple, list))
        or len(size) != 2
        or not all(isinstance(side, (int, np.integer)) and side > 0 for side in size)
    ):
        raise ConfigError(f"size is {size!r}; allowed are two whole numbers, width and height, of at least 1")
    return _load(source, lambda _: size, max_pixels)


def load_thumbnail(source: ImageSource, side: int) -> np.ndarray:
    """Read one picture, as `load_image` does, but keep its aspect: uint8 RGB whose longer side has `side` pixels; a
    smaller picture stays as small. Raises ImageError."""

    def fit(size: tuple[int, int]) -> tuple[int, int]:
        scale = min(1.0, side / max(size))
        return max(1, round(scale * size[0])), max(1, round(scale * size[1]))

    return _load(source, fit, MAX_PIXELS)


def _load(source: ImageSource, fit: Callable[[tuple[int, int]], tuple[int, int]], max_pixels: int) -> np.ndarray:
    """The picture at the size that `fit` makes of its own; both are (width, height), upright."""
    name = source_name(source)
    try:
        if isinstance(source, np.ndarray):
            image, orientation, profile = _from_array(source, name), 1, b""
        elif isinstance(source, Image.Image):
            image = source
            _check_size(image, name, max_pixels)
            if image.format == "TIFF":
                with _decoding_errors(name, image.format):
                    image.load()  # Pillow may turn it meanwhile, and then no longer states a turn
            orientation, profile = _orientation(image), image.info.get("icc_profile") or b""
        else:
            image, orientation, profile = _open(read_file(source), name)
        _check_size(image, name, max_pixels)
        width, height = image.size
        if orientation in (5, 6, 7, 8):  # it lies on its side
            height, width = fit((height, width))
        else:
            width, height = fit((width, height))
        with _decoding_errors(name, image.format):
            if image is not source and image.format == "JPEG":
                from fastcap.runtime.endings import with_end  # loads the decoder, which not every picture needs

                image = with_end(image)
                # Its decoder can shrink by 2, 4 or 8: a 12-megapixel photo for the price of a small one.
                image.draft(None, (width, height))
            tile = getattr(image, "tile", None)
            box = tile[0][1] if tile and image.format == "GIF" else None  # what its first frame draws of the canvas
            image.load()
        image = _resized(_plain(image, box), width, height)
        if image.mode != "L" and (in_srgb := _to_srgb(profile, image.mode)):
            image = in_srgb(image)
        if image.mode == "RGBA":
            # Pillow resizes with premultiplied alpha, so laying the small picture on white is exact.
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if orientation in _TURNS:
            image = image.transpose(_TURNS[orientation])
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except MemoryError:
        raise ImageError(f"{name}: not enough memory to decode it") from None


def source_name(source: object) -> str:
    """How messages name a picture: its path where it has one, else what it is."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source) or "''"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"<{len(source)} bytes>"
    if isinstance(source, np.ndarray):
        return f"<array {source.dtype} {source.shape}>"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or f"<PIL image {source.mode} {source.size}>")
    return str(getattr(source, "name", None) or f"<{type(source).__name__}>")


def read_file(source: object) -> bytes:
    """The bytes of a picture that is a path, bytes or a binary file object, at most MAX_BYTES of them. Raises
    ImageError."""
    name = source_name(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        data = _read_path(os.fspath(source) or os.curdir, name)
    elif hasattr(source, "read"):
        data = source.read(MAX_BYTES + 1)
        if not isinstance(data, bytes):
            raise ImageError(f"{name}: a file opened as text; open it in binary mode ('rb')")
    else:
        raise ImageError(
            f"{name}: cannot be read as an image; expected a path, bytes, a binary file object, "
            "a PIL image or a numpy array"
        )
    if not data:
        raise ImageError(f"{name}: empty (0 bytes), not an image")
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name}: larger than {MAX_BYTES // 2**20} MiB, the largest image file allowed")
    return data


def _read_path(path: str, name: str) -> bytes:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name}: a folder, not an image file")
        if status.st_size > MAX_BYTES:
            raise ImageError(f"{name}: {status.st_size / 2**20:.0f} MiB; at most {MAX_BYTES // 2**20} MiB are allowed")
        # A pipe or a device reports size 0, and may never end.
        limit = status.st_size if stat.S_ISREG(status.st_mode) else MAX_BYTES
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _open(data: bytes, name: str) -> tuple[Image.Image, int, bytes]:
    """The header of a file, parsed by the one decoder its first bytes call for; its orientation and ICC profile."""
    kind = format_of(data)
    if not kind and (ending := Path(name).suffix.lower()) in IMAGE_SUFFIXES - READ_SUFFIXES:
        kind = f"{ending[1:].upper()} by its name"
    if not kind and (archive := archive_of(data)):
        raise ImageError(
            f"{name}: holds {archive}, not an image; allowed are {_allowed()}, and of archives those whose names end "
            f"in {', '.join(TAR_SUFFIXES)} or .parquet"
        )
    if kind in ("", "text"):
        raise ImageError(f"{name}: holds {kind or 'data of another kind'}, not an image; allowed are {_allowed()}")
    if kind not in DECODERS:
        raise ImageError(f"{name}: {kind}, which is not read; allowed are {_allowed()}")
    module, decoder = DECODERS[kind]
    try:
        # Not Image.open: it loads every plugin for WebP and TIFF (60 ms), and warns about size before we can refuse it.
        open_file = getattr(importlib.import_module(module), decoder)
    except ModuleNotFoundError:
        raise ImageError(f"{name}: {'HEIC' if kind == 'HEIF' else kind}, which {_needed_for(kind)}") from None
    bare, stated = strip(data, kind)
    with _decoding_errors(name, kind):
        image: Image.Image = open_file(BytesIO(bare), "")
    if kind == "PNG":
        _scale_transparency(image, bare[24])
    # AVIF and HEIF state both to their decoders; that of HEIF turns the picture itself.
    orientation = _orientation(image) if kind in ("AVIF", "HEIF") else stated.orientation
    return image, orientation, stated.profile or image.info.get("icc_profile") or b""


def _allowed() -> str:
    missing = missing_decoders()
    *names, last = [*(name for name in FORMATS if name.upper() not in missing), *["HEIC"] * ("HEIF" not in missing)]
    return f"{', '.join(names)} or {last}"


def missing_decoders() -> dict[str, str]:
    """What the formats need that nothing installed here decodes: Pillow's names of them, and words for a message."""
    return {kind: _needed_for(kind) for kind, (module, _) in DECODERS.items() if not importlib.util.find_spec(module)}


def _needed_for(kind: str) -> str:
    return needs("pillow-heif", "heif") if kind == "HEIF" else "needs Pillow 11.3 or newer"


def _orientation(image: Image.Image) -> int:
    """1 to 8 as Pillow knows it; 1 if that cannot be read."""
    if hasattr(image, "_tile_orientation"):
        return 1  # Pillow 10.0 turns a TIFF while it loads it, and states the turn all the same
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a dozen types on damaged metadata, none of which is the picture's fault
        return 1


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """What turns RGB or RGBA of an ICC profile into sRGB; None where there is nothing to do, or nothing can be done."""
    if profile[16:20] != b"RGB " or b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile:
        return None
    try:
        from PIL import ImageCms

        source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(source, target, mode, mode).apply
    except Exception:  # no littlecms, or a damaged profile; neither is the picture's fault
        return None


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width}x{height} pixels ({width * height / 1e6:.0f} megapixels); "
            f"at most {max_pixels / 1e6:g} megapixels are allowed"
        )
    if width == 0 or height == 0:
        raise ImageError(f"{name}: {width}x{height} pixels; an image has at least one")


@contextlib.contextmanager
def _decoding_errors(name: str, kind: str | None) -> Iterator[None]:
    """Whatever a decoder raises, as one line that names the file. Only calls of decoders belong in here."""
    kind = kind or "image"
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged data, SyntaxError included
        raise ImageError(f"{name}: {_fault(name, kind, error)}") from error


def _fault(name: str, kind: str, error: Exception) -> str:
    """What a decoder's error says of a file."""
    ending = Path(name).suffix.lower()
    if kind == "TIFF" and ending in RAW_TIFF_SUFFIXES:  # the decoder knows little of what cameras put into a TIFF
        return f"{ending[1:].upper()} (a camera's raw format), which is not read; allowed are {_allowed()}"
    if kind == "HEIF" and tuple(map(int, re.findall(r"\d+", PIL.__version__)[:2])) < HEIF_PILLOW:
        needed = ".".join(map(str, HEIF_PILLOW))
        return f"HEIC, for which pillow-heif needs Pillow {needed} or newer; installed is {PIL.__version__}"
    reason = str(error).partition("\n")[0] or type(error).__name__
    told = f"{kind} of a kind that is not read" if _UNSUPPORTED.search(reason) else f"damaged or cut short {kind}"
    return f"{told} ({reason})"


def _plain(image: Image.Image, box: tuple[int, int, int, int] | None = None) -> Image.Image:
    """The same picture as L, RGB or RGBA: the modes that resize well. `box`: the part that was drawn, if not all."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey, clear = Image.fromarray(_deep_to_bytes(image)), image.info.get("transparency")
        if clear is None:
            return grey
        grey.putalpha(Image.fromarray(np.where(np.array(image) == clear, 0, 255).astype(np.uint8)))
        return grey.convert("RGBA")
    if image.mode == "LAB":
        return _from_lab(image)
    if image.mode == "La":
        image = image.convert("LA")  # the one mode with transparency that has no way to RGBA
    if _has_transparency(image):
        return image.convert("RGBA")
    if box and box != (0, 0, *image.size):
        canvas = Image.new("RGBA", image.size)
        canvas.paste(image.crop(box), box)
        return canvas
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """What `resize` with `_REDUCING_GAP` gives, the same by every version of Pillow, in the web page and in the apps.

    Before Pillow 13, pictures with transparency were not shrunk first; since then, tall pictures are mixed down their
    columns before they are mixed across, which rounds otherwise.
    """
    mode = image.mode
    if mode == "RGBA":
        image = image.convert("RGBa")
    fx, fy = (int(old / new / _REDUCING_GAP) or 1 for old, new in zip(image.size, (width, height), strict=True))
    box_width, box_height = image.width / fx, image.height / fy
    small = image if fx == fy == 1 else image.reduce((fx, fy))  # a copy takes time
    across = small.resize((width, small.height), Image.Resampling.BILINEAR, box=(0, 0, box_width, small.height))
    resized = across.resize((width, height), Image.Resampling.BILINEAR, box=(0, 0, width, box_height))
    return resized if resized.mode == mode else resized.convert(mode)


def _has_transparency(image: Image.Image) -> bool:
    """What Pillow 10.1 and newer tell as `has_transparency_data`."""
    palette = image.palette.mode if image.mode == "P" and image.palette else ""
    return image.mode[-1] in "Aa" or palette[-1:] == "A" or "transparency" in image.info


def _deep_to_bytes(image: Image.Image) -> np.ndarray:
    """Grey pixels of 16 or 32 bits as uint8 (H,W). With 32 bits the file does not say which value is white, so the
    smallest usual full scale that holds them all does."""
    pixels, tags = np.array(image), getattr(image, "tag_v2", {})  # the tags of a TIFF
    if image.mode.startswith("I;16"):
        if tags.get(_BITS) == (12,):
            pixels = pixels.astype(np.uint32) * 65535 // 4095
        grey = _from_16_bits(pixels)
    else:
        if image.mode == "I" and tags.get(_BITS) == (32,) and tags.get(_SAMPLES, (1,)) == (1,):
            pixels = pixels.view(np.uint32)  # Pillow has no mode without a sign
        pixels = np.nan_to_num(pixels.astype(np.float32))
        top = float(pixels.max())
        scale = next((scale for scale in _FULL_SCALES[image.mode] if top <= scale), top)
        grey = np.clip(pixels / scale * 255 + 0.5, 0, 255).astype(np.uint8)
    return 255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey  # 0: black on white, which Pillow minds up to 8 bits


def _from_16_bits(pixels: np.ndarray) -> np.ndarray:
    """uint16 as the nearest uint8, with the arithmetic of libpng."""
    return ((pixels.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB").apply(image)


def _scale_transparency(image: Image.Image, bits: int) -> None:
    """The transparent colour of a PNG with `bits` a channel, on the scale of the pixels that Pillow makes of them."""
    clear = image.info.get("transparency")
    if bits == 16 and isinstance(clear, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    elif bits in (2, 4) and image.mode == "L" and clear is not None:
        image.info["transparency"] = clear * 255 // (2**bits - 1)


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise ImageError(f"{name}: shape {array.shape}; expected (H,W), (H,W,1), (H,W,3) or (H,W,4)")
    if array.dtype == np.uint16:
        array = _from_16_bits(array)
    elif array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):  # NaN fails both comparisons
            raise ImageError(f"{name}: floats from {low:g} to {high:g}; expected 0 to 1")
        array = np.round(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"{name}: dtype {array.dtype}; expected uint8, uint16 or floats from 0 to 1")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array))
