"""What may be handed in as a picture, and what is said about everything else."""

from __future__ import annotations

import io
import os
import struct
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from fastcap.errors import ImageError
from fastcap.runtime import images
from fastcap.runtime.images import MAX_BYTES, load_image
from fastcap.runtime.signatures import FORMATS

WRITTEN = [kind for kind in FORMATS if kind != "AVIF" or features.check("avif")]
"""The formats that are read, and that this Pillow writes for the tests."""


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width: int = 300, height: int = 200) -> Image.Image:
    """A smooth picture: red grows to the right, green grows downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], axis=2).astype(np.uint8))


def plain_twin(image: Image.Image) -> np.ndarray:
    """The slow way: decode in full, then resize."""
    return np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def message(source: object) -> str:
    with pytest.raises(ImageError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_image(source)
    text = str(caught.value)
    assert "\n" not in text
    return text


# What is accepted


@pytest.mark.parametrize("size", [(300, 500), (230, 1300), (500, 300), (1003, 1377), (30, 20)])
def test_pixels_are_the_same_by_every_version_of_pillow(size: tuple[int, int]) -> None:
    """Each step alone, which leaves no order to Pillow: means of whole pixels, then across, then down."""
    width, height = size
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    fx, fy = max(1, width // 448), max(1, height // 448)
    small = image.reduce((fx, fy))
    across = small.resize((224, small.height), Image.Resampling.BILINEAR, box=(0, 0, width / fx, small.height))
    down = across.resize((224, 224), Image.Resampling.BILINEAR, box=(0, 0, 224, height / fy))
    np.testing.assert_array_equal(load_image(image), np.asarray(down))
    clear = image.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(size))
    whole = Image.alpha_composite(Image.new("RGBA", size, "white"), clear)
    assert abs(load_image(clear).astype(int) - load_image(whole)).max() <= 2  # all that is left is rounding


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_allowed_format_gives_rgb_bytes_of_the_asked_size(kind):
    pixels = load_image(encode(photo(), kind), (160, 96))
    assert (pixels.shape, pixels.dtype) == ((96, 160, 3), np.uint8)
    assert difference(load_image(encode(photo(), kind)), plain_twin(photo())) < (4 if kind == "GIF" else 1.5)


def test_paths_bytes_files_images_and_arrays_are_the_same_picture(tmp_path):
    path = tmp_path / "photo.png"
    photo().save(path)
    expected = plain_twin(photo())
    with path.open("rb") as file:
        for source in (path, str(path), path.read_bytes(), file, photo(), np.asarray(photo())):
            np.testing.assert_array_equal(load_image(source), expected)


@pytest.mark.parametrize(
    "array",
    [
        np.full((5, 7), 128, np.uint8),
        np.full((5, 7, 1), 128, np.uint8),
        np.full((5, 7, 3), 128, np.uint8),
        np.full((5, 7, 3), 128 * 257, np.uint16),
        np.full((5, 7, 3), 128 / 255, np.float32),
        np.full((5, 7), 128 / 255, np.float64),
    ],
)
def test_arrays_of_every_allowed_kind_mean_the_same_grey(array):
    assert (load_image(array) == 128).all()


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F"]
)
def test_every_image_mode_keeps_its_brightness(mode):
    assert (
        abs(
            load_image(
                photo().convert("LA").convert(mode)
                if mode == "La"
                else photo().convert("L").convert("RGBA").convert(mode)
                if mode == "PA"
                else photo().convert(mode)
            ).mean()
            - np.asarray(photo().convert("L")).mean()
        )
        < 40
    )


def test_sixteen_bit_pictures_keep_their_brightness():
    deep = Image.fromarray(np.full((20, 30), 128 * 257, np.uint16))
    for kind in ("PNG", "TIFF"):
        assert (load_image(encode(deep, kind)) == 128).all()


def test_of_sixteen_bits_the_nearest_eight_are_kept():
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(deep / 257).astype(np.uint8)  # no sixteen bits lie between two
    for source in (deep, encode(Image.fromarray(deep), "PNG")):
        np.testing.assert_array_equal(load_image(source, (256, 256))[..., 0], expected)


def test_cmyk_jpeg_has_its_colours_back():
    red = encode(Image.new("RGB", (64, 64), (220, 20, 20)).convert("CMYK"), "JPEG")
    assert difference(load_image(red), np.full((224, 224, 3), (220, 20, 20))) < 6


@pytest.mark.parametrize("kind", ["PNG", "WebP", "GIF"])
def test_transparent_pixels_are_white(kind):
    picture = Image.new("RGBA", (60, 60), (255, 0, 0, 0))
    assert (load_image(encode(picture, kind)) >= 254).all()


def test_palette_with_a_transparent_entry_is_laid_on_white():
    picture = Image.new("P", (60, 60), 1)
    picture.putpalette([0, 0, 0, 200, 0, 0])
    assert (load_image(encode(picture, "PNG", transparency=1)) == 255).all()
    assert (load_image(encode(picture, "PNG", transparency=0)) == (200, 0, 0)).all()


def test_half_transparent_black_is_mid_grey():
    pixels = load_image(encode(Image.new("RGBA", (60, 60), (0, 0, 0, 128)), "PNG"))
    assert abs(int(pixels[100, 100, 0]) - 127) <= 1


@pytest.mark.parametrize("kind", ["GIF", "WebP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "lime", "blue")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    assert difference(load_image(data), np.full((224, 224, 3), (255, 0, 0))) < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(300, 200), (1200, 900)])
def test_exif_orientation_is_obeyed(orientation, size):
    upright = photo(*size)
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = upright if inverse is None else upright.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, "JPEG", exif=exif, quality=95)
    assert difference(load_image(data), plain_twin(upright)) < 2


def test_damaged_exif_does_not_lose_the_picture():
    data = encode(photo(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert difference(load_image(data), plain_twin(photo())) < 2


def test_shrinking_while_decoding_hardly_changes_the_pixels():
    rough = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    large = Image.fromarray(rough).resize((1600, 1200), Image.Resampling.BICUBIC)
    data = encode(large, "JPEG", quality=90)
    assert difference(load_image(data), plain_twin(Image.open(io.BytesIO(data)))) < 2.5


def test_the_callers_image_is_left_as_it_was(tmp_path):
    path = tmp_path / "photo.jpg"
    photo(1600, 1200).save(path)
    with Image.open(path) as image:
        load_image(image)
        assert image.size == (1600, 1200)


# What is refused, in one line that names the source


def test_an_empty_file_says_so(tmp_path):
    (tmp_path / "empty.jpg").touch()
    assert message(tmp_path / "empty.jpg") == f"{tmp_path}/empty.jpg: empty (0 bytes), not an image"


@pytest.mark.parametrize("text", ["hello", "BMW is a car, not a bitmap", "é" * 400, "<html></html>"])
def test_a_text_file_says_so(tmp_path, text):
    path = tmp_path / "notes.jpg"
    path.write_text(text, encoding="utf-8")
    assert message(path).startswith(f"{path}: holds text, not an image; allowed are JPEG, PNG")


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX", "PDF", "JPEG2000", "DDS", "ICNS"])
def test_other_formats_are_not_decoded_but_called_by_their_names(kind):
    told = kind.replace("JPEG2000", "JPEG 2000")
    expected = f"{told}, which is not read; allowed are JPEG, PNG, WebP, GIF, BMP"
    assert f": {expected}, " in message(encode(photo(), kind))


@pytest.mark.parametrize(
    ("absent", "told"),
    [
        ((), "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC"),
        (("pillow_heif",), "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"),
        (("PIL.AvifImagePlugin",), "JPEG, PNG, WebP, GIF, BMP, TIFF or HEIC"),
        (("pillow_heif", "PIL.AvifImagePlugin"), "JPEG, PNG, WebP, GIF, BMP or TIFF"),
    ],
)
def test_allowed_is_what_is_installed(monkeypatch, absent, told):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: module not in absent)
    assert message(b"hello").endswith(f"; allowed are {told}")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"II\xbc\x01\x20\0\0\0", "JPEG XR"),
        (b"8BPS\0\1", "PSD"),
        (b"qoif\0\0\0\1", "QOI"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\xef\xbb\xbf <svg/>", "SVG"),
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"II*\0\x10\0\0\0CR\2\0", "CR2 (a camera's raw format)"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "CR3 (a camera's raw format)"),
        (b"FUJIFILMCCD-RAW 0201FF\0", "RAF (a camera's raw format)"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x04CgBI", "Apple's own kind of PNG (CgBI)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS (`git lfs pull` fetches the file)"),
    ],
)
def test_a_picture_in_another_format_is_never_called_no_image(head, name):
    assert f": {name}, which is not read; allowed are JPEG" in message(head)


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_says_so(kind, share):
    data = encode(photo(), kind)
    assert f"damaged or cut short {kind.upper()}" in message(data[: int(len(data) * share)])


def test_a_folder_a_missing_file_and_a_nul_in_the_name_say_so(tmp_path):
    assert message(tmp_path) == f"{tmp_path}: a folder, not an image file"
    assert message(tmp_path / "none.jpg") == f"{tmp_path}/none.jpg: no such file"
    assert "cannot be read" in message("a\0b.jpg")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no endless device here")
def test_an_endless_file_is_read_no_further_than_the_cap(monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 2**20)
    assert "larger than 1 MiB" in message("/dev/zero")


def test_a_file_over_the_byte_cap_is_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 2**20)  # sparse: takes no space
    assert message(path) == f"{path}: 129 MiB; at most 128 MiB are allowed"


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def patched(data: bytes, at: int, layout: str, *values: int) -> bytes:
    field = struct.pack(layout, *values)
    return data[:at] + field + data[at + len(field) :]


@pytest.mark.parametrize(
    "bomb",
    [
        png_header(60_000, 60_000),
        png_header(2**31 - 1, 2**31 - 1),
        patched(encode(photo(), "GIF"), 6, "<HH", 65535, 65535),
        patched(encode(photo(), "BMP"), 18, "<ii", 100_000, 100_000),
        Image.new("1", (16_000, 16_000)),
    ],
    ids=["png", "largest png", "gif", "bmp", "PIL image"],
)
def test_a_decompression_bomb_is_refused_by_its_header(bomb):
    started = time.thread_time()
    assert "at most 128 megapixels are allowed" in message(bomb)
    assert time.thread_time() - started < 0.2


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((0, 5, 3), np.uint8), "shape (0, 5, 3); expected (H,W)"),
        (np.zeros((5, 5, 2), np.uint8), "shape (5, 5, 2); expected (H,W)"),
        (np.zeros((2, 5, 5, 3), np.uint8), "shape (2, 5, 5, 3); expected (H,W)"),
        (np.full((5, 5), np.nan), "floats from nan to nan; expected 0 to 1"),
        (np.full((5, 5), 255.0), "floats from 255 to 255; expected 0 to 1"),
        (np.zeros((5, 5), np.int64), "dtype int64; expected uint8, uint16 or floats"),
    ],
)
def test_arrays_that_are_no_pictures_say_why(array, reason):
    assert reason in message(array)


@pytest.mark.parametrize("source", [None, 7, {"path": "a.jpg"}])
def test_things_that_are_no_pictures_say_what_is(source):
    assert "expected a path, bytes, a binary file object, a PIL image or a numpy array" in message(source)


def test_a_file_opened_as_text_says_so():
    assert "open it in binary mode" in message(io.StringIO("text"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(WRITTEN),
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=20),
    keep=st.floats(0.05, 1),
)
def test_a_mutated_file_gives_a_picture_or_an_image_error(kind, edits, keep):
    data = bytearray(ENCODED[kind])
    for at, value in edits:
        # Half of the edits hit the header, where the lies are.
        data[at % (64 if at % 2 else len(data))] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = load_image(bytes(data[: max(1, int(len(data) * keep))]))
        except ImageError:
            return
    assert pixels.shape == (224, 224, 3)


ENCODED = {kind: encode(photo(64, 48), kind) for kind in WRITTEN}


def test_names_in_messages(tmp_path: Path):
    assert images.source_name(tmp_path / "a.jpg") == f"{tmp_path}/a.jpg"
    assert images.source_name(b"abc") == "<3 bytes>"
    assert images.source_name(np.zeros((2, 3), np.uint8)) == "<array uint8 (2, 3)>"
    assert images.source_name(Image.new("L", (3, 2))) == "<PIL image L (3, 2)>"
