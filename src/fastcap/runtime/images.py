"""Any picture a user may hold, as the uint8 RGB array that the graph reads.

The header is checked before a pixel is decoded, so a file that lies about its size costs nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias, Union

import numpy as np
from PIL import Image

from fastcap.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "MAX_BYTES",
    "MAX_PIXELS",
    "ImageSource",
    "load_image",
    "load_thumbnail",
    "source_name",
]

ImageSource: TypeAlias = Union[str, "os.PathLike[str]", bytes, IO[bytes], Image.Image, np.ndarray]

MAX_BYTES = 128 * 2**20
"""Largest picture file read, in bytes; above any camera's JPEG, below what could exhaust a small server."""

MAX_PIXELS = 128_000_000
"""Most pixels a header may declare; a 102-megapixel camera fits, and 4 bytes a pixel stay near 0.5 GB."""

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF")
"""The formats that are read; every other decoder Pillow has stays out of reach."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""File name endings, lower-case, that count as pictures when a folder is listed."""

_ALLOWED = ", ".join(FORMATS[:-1]) + " or " + FORMATS[-1]
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_PLUGINS = {"JPEG": "Jpeg", "PNG": "Png", "WEBP": "WebP", "GIF": "Gif", "BMP": "Bmp", "TIFF": "Tiff"}
_ORIENTATION = 0x0112  # the EXIF tag
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

    Returns uint8 RGB (height, width, 3). EXIF orientation is obeyed, transparency lies on white, an
    animation gives its first frame.

    Raises ImageError, naming the source, for anything that is not a whole picture in an allowed format,
    or that exceeds MAX_BYTES or `max_pixels`.
    """
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
    if isinstance(source, np.ndarray):
        image = _from_array(source, name)
    elif isinstance(source, Image.Image):
        image = source
    else:
        image = _open(_read(source, name), name)
    _check_size(image, name, max_pixels)
    with _decoding_errors(name, image.format):
        orientation = image.getexif().get(_ORIENTATION, 1)
        width, height = image.size
        if orientation in (5, 6, 7, 8):  # it lies on its side
            height, width = fit((height, width))
        else:
            width, height = fit((width, height))
        target = (width, height)
        if image is not source:
            # A JPEG decoder can shrink by 2, 4 or 8 while it decodes: a 12-megapixel photo for the price of
            # a small one. It changes the image, so never on an image that belongs to the caller.
            image.draft(None, target)
        image = _plain(image).resize(target, Image.Resampling.BILINEAR, reducing_gap=_REDUCING_GAP)
        if image.mode == "RGBA":
            # Pillow resizes with premultiplied alpha, so laying the small picture on white is exact.
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if orientation in _TURNS:
            image = image.transpose(_TURNS[orientation])
        return np.array(image.convert("RGB"))


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


def _read(source: object, name: str) -> bytes:
    """The bytes of a file, at most MAX_BYTES of them."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        data = _read_path(Path(source), name)
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


def _read_path(path: Path, name: str) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name}: a folder, not an image file")
        if status.st_size > MAX_BYTES:
            raise ImageError(f"{name}: {status.st_size / 2**20:.0f} MiB; at most {MAX_BYTES // 2**20} MiB are allowed")
        # A pipe or a device reports size 0, and may never end.
        limit = status.st_size if stat.S_ISREG(status.st_mode) else MAX_BYTES
        with path.open("rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _open(data: bytes, name: str) -> Image.Image:
    """Parse the header of a file with the one decoder its first bytes call for."""
    kind = _format(data)
    if kind is None:
        found = "text" if _looks_like_text(data) else "data of another kind"
        raise ImageError(f"{name}: holds {found}, not an image; allowed are {_ALLOWED}")
    with _decoding_errors(name, kind):
        # Not Image.open: it loads every plugin for WebP and TIFF (60 ms), and warns about size before we can
        # refuse it.
        importlib.import_module(f"PIL.{_PLUGINS[kind]}ImagePlugin")
        factory, _ = Image.OPEN[kind]
        return factory(BytesIO(data), "")


def _format(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if _looks_like_text(data):  # "BMW ..." is no bitmap
        return None
    return next((kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), None)


def _looks_like_text(data: bytes) -> bool:
    head = data[:512]
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a character cut at the end of the window is still text
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text) and all(letter.isprintable() or letter in "\t\n\r\f" for letter in text)


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
    """Whatever a decoder raises on a damaged file, as one line that names it."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"{name}: not enough memory to decode it") from None
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged data, SyntaxError included
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ImageError(f"{name}: damaged or cut short {kind or 'image'} ({reason})") from error


def _plain(image: Image.Image) -> Image.Image:
    """The same picture as L, RGB or RGBA: the modes that resize well."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(_from_16_bits(np.array(image)))
    if image.mode in ("I", "F"):
        return Image.fromarray(_deep_to_bytes(np.array(image)))
    if image.mode == "La":
        image = image.convert("LA")  # the one mode with transparency that has no way to RGBA
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _from_16_bits(pixels: np.ndarray) -> np.ndarray:
    """uint16 as the nearest uint8, with the arithmetic of libpng, so that browsers see the same."""
    return ((pixels.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)


def _deep_to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Grey int32 or float32 pixels (H,W) as uint8; the file does not say which value is white, so the
    smallest usual full scale that holds them all does."""
    scales = (1.0, 255.0, 65535.0) if pixels.dtype.kind == "f" else (255.0, 65535.0)
    pixels = np.nan_to_num(pixels.astype(np.float32))
    top = float(pixels.max())
    scale = next((scale for scale in scales if top <= scale), top)
    return np.clip(pixels / scale * 255 + 0.5, 0, 255).astype(np.uint8)


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
