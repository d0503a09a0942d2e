"""What a file states of its pixels is obeyed, in every format, once; all its other metadata costs no caption."""

from __future__ import annotations

import importlib.util
import io
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageCms, features

from fastcap.errors import ConfigError, ImageError, needs
from fastcap.runtime.images import HEIF_PILLOW, load_image, load_thumbnail
from fastcap.runtime.metadata import strip

PILLOW = int(PIL.__version__.partition(".")[0])
XMP = b"http://ns.adobe.com/xap/1.0/\0"
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
needs_heif = pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason=needs("pillow-heif", "heif"))
LYING = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
"""For each orientation, how an upright picture is turned to lie as it says; numbers of Image.Transpose."""


def corners(width: int = 64, height: int = 48) -> Image.Image:
    """A picture whose four quarters differ, so that no turn of it is another one."""
    pixels = np.zeros((height, width, 3), np.uint8)
    top, left = slice(0, height // 2), slice(0, width // 2)
    pixels[top, :], pixels[:, left] = (200, 0, 0), (0, 0, 200)
    pixels[top, left] = (0, 200, 0)
    return Image.fromarray(pixels)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def xmp(orientation: int) -> bytes:
    return b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(*segments: bytes, image: Image.Image | None = None) -> bytes:
    data = encode(image or corners(), "JPEG", quality=95)
    return data[:2] + b"".join(segments) + data[2:]


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


# Orientation

WRITERS = {
    "JPEG": lambda image, turn: encode(image, "JPEG", quality=95, exif=exif(turn)),
    "JPEG, by XMP": lambda image, turn: jpeg_with(segment(0xE1, XMP + xmp(turn)), image=image),
    "MPO": lambda image, turn: encode(image, "MPO", quality=95, exif=exif(turn), save_all=True, append_images=[image]),
    "PNG": lambda image, turn: encode(image, "PNG", exif=exif(turn)),
    "PNG, EXIF behind the pixels": lambda image, turn: moved_behind(encode(image, "PNG", exif=exif(turn)), b"eXIf"),
    "PNG, by ImageMagick's text": lambda image, turn: with_chunk(encode(image, "PNG"), b"zTXt", raw_profile(turn)),
    "PNG, by XMP": lambda image, turn: with_chunk(
        encode(image, "PNG"), b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(turn))
    ),
    "WebP": lambda image, turn: encode(image, "WebP", quality=95, exif=exif(turn)),
    "WebP, lossless": lambda image, turn: encode(image, "WebP", lossless=True, exif=exif(turn)),
    "WebP, by XMP": lambda image, turn: encode(image, "WebP", quality=95, xmp=xmp(turn)),
    **{
        f"TIFF, {compression}": lambda image, turn, compression=compression: encode(
            image, "TIFF", compression=compression, exif=exif(turn)
        )
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    },
    "BigTIFF": lambda image, turn: encode(image, "TIFF", big_tiff=True, exif=exif(turn)),
    "TIFF, more pages": lambda image, turn: encode(
        image, "TIFF", exif=exif(turn), save_all=True, append_images=[image]
    ),
    "AVIF": lambda image, turn: encode(image, "AVIF", quality=95, exif=exif(turn)),
    "HEIF": lambda image, turn: encode(image, "HEIF", quality=95, exif=exif(turn).tobytes()),
}
MARKS = {"AVIF": needs_avif, "HEIF": needs_heif}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=MARKS.get(kind, ())) for kind in WRITERS])
@pytest.mark.parametrize("orientation", LYING)
def test_every_format_comes_out_upright(kind, orientation):
    upright = corners()
    turn = LYING[orientation]
    lying = upright if turn is None else upright.transpose(Image.Transpose(turn))
    data = WRITERS[kind](lying, orientation)
    assert difference(load_image(data, upright.size), np.asarray(upright)) < 6
    assert load_thumbnail(data, 99).shape == (48, 64, 3)
    if kind != "HEIF" and ("XMP" not in kind or PILLOW >= 11):
        assert difference(load_image(Image.open(io.BytesIO(data)), upright.size), np.asarray(upright)) < 6


def test_exif_counts_where_xmp_says_otherwise():
    data = jpeg_with(
        segment(0xE1, XMP + xmp(6)), segment(0xE1, b"Exif\0\0" + exif(1).tobytes().removeprefix(b"Exif\0\0"))
    )
    assert load_thumbnail(data, 99).shape == (48, 64, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(orientation):
    assert load_thumbnail(encode(corners(), "PNG", exif=exif(orientation)), 99).shape == (48, 64, 3)


@needs_avif
def test_what_an_avif_says_in_its_exif_alone_is_no_orientation():
    """The format has properties for it, which Pillow writes; EXIF and XMP inside are for information."""
    data = encode(corners(), "AVIF", xmp=xmp(6))
    assert load_thumbnail(data, 99).shape == (48, 64, 3)


# Depth, alpha, colour


def tiff(pixels: bytes, width: int, height: int, bits: int, photometric: int = 1, **tags: int) -> bytes:
    values = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 200, 277: 1, 278: height}
    values |= {279: len(pixels), 339: tags.get("sample_format", 1)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(values)) + entries + bytes(4)).ljust(200, b"\0") + pixels


RAMP = np.linspace(0, 1, 64)


def packed_12_bits(values: np.ndarray) -> bytes:
    pairs = np.round(values * 4095).astype(int).reshape(-1, 2)
    return b"".join((first << 12 | second).to_bytes(3, "big") for first, second in pairs.tolist())


@pytest.mark.parametrize(
    "data",
    [
        tiff(np.round(RAMP * 255).astype("u1").tobytes(), 64, 1, 8),
        tiff(np.round(255 - RAMP * 255).astype("u1").tobytes(), 64, 1, 8, photometric=0),
        tiff(np.round(RAMP * 65535).astype("<u2").tobytes(), 64, 1, 16),
        tiff(np.round(65535 - RAMP * 65535).astype("<u2").tobytes(), 64, 1, 16, photometric=0),
        tiff(packed_12_bits(RAMP), 64, 1, 12),
        tiff(np.round(RAMP * 65535).astype("<u4").tobytes(), 64, 1, 32),
        tiff(np.round(RAMP * (2**32 - 1)).astype("<u4").tobytes(), 64, 1, 32),
        tiff(np.round(RAMP * 255).astype("<i4").tobytes(), 64, 1, 32, sample_format=2),
        tiff(RAMP.astype("<f4").tobytes(), 64, 1, 32, sample_format=3),
        tiff((1 - RAMP).astype("<f4").tobytes(), 64, 1, 32, photometric=0, sample_format=3),
        tiff((RAMP * 65535).astype("<f4").tobytes(), 64, 1, 32, sample_format=3),
    ],
    ids=["8", "-8", "16", "-16", "12", "32", "32 full", "signed", "float", "-float", "float to 65535"],
)
def test_a_grey_tiff_of_any_depth_is_the_same_ramp(data):
    expected = np.round(RAMP * 255)
    assert np.abs(load_image(data, (64, 1))[0, :, 1].astype(int) - expected).max() <= 1
    assert np.abs(load_image(Image.open(io.BytesIO(data)), (64, 1))[0, :, 1].astype(int) - expected).max() <= 1


def png(rows: list[bytes], width: int, bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    body = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in body)


def chunk(name: bytes, data: bytes, checksum: int | None = None) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum or zlib.crc32(name + data))


def with_chunk(data: bytes, name: bytes, body: bytes, checksum: int | None = None) -> bytes:
    return data[:33] + chunk(name, body, checksum) + data[33:]


def moved_behind(data: bytes, name: bytes) -> bytes:
    start = data.index(name) - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    return data[:start] + data[end:-12] + data[start:end] + data[-12:]


def raw_profile(orientation: int) -> bytes:
    data = exif(orientation).tobytes()
    text = f"\nexif\n{len(data):8}\n{data.hex()}\n".encode()
    return b"Raw profile type exif\0\0" + zlib.compress(text)


@pytest.mark.parametrize(
    ("bits", "colour", "row", "clear"),
    [
        (1, 0, b"\x55", b"\0\0"),
        (2, 0, b"\x1b\x1b", b"\0\1"),
        (4, 0, b"\x12\x34\x12\x34", b"\0\3"),
        (8, 0, bytes(range(1, 9)), b"\0\5"),
        (16, 0, bytes(range(1, 17)), b"\x05\x06"),
        (8, 2, bytes(range(1, 25)), b"\0\4\0\5\0\6"),
        (16, 2, bytes(range(101, 149)), bytes(range(107, 113))),
    ],
)
def test_the_transparent_colour_of_a_png_is_white_at_every_depth_and_nothing_else_is(bits, colour, row, clear):
    width = len(row) * 8 // bits // (3 if colour == 2 else 1)
    opaque = load_image(png([row] * width, width, bits, colour), (width, width))
    seen = load_image(png([row] * width, width, bits, colour, (b"tRNS", clear)), (width, width))
    changed = (opaque != seen).any(axis=2)
    assert changed.any()
    assert not changed.all()
    assert (seen[changed] == 255).all()


def gif(box: tuple[int, int, int, int], is_transparent: bool) -> bytes:
    """10x8 pixels, of which the first frame draws a blue box."""
    palette = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    left, top, right, bottom = box
    frame = Image.new("P", (right - left, bottom - top), 2)
    frame.putpalette(palette)
    data = encode(frame, "GIF", optimize=False)
    start = data.index(b",")
    local = 3 << ((data[start + 9] & 7) + 1) if data[start + 9] & 128 else 0
    control = b"\x21\xf9\x04\x01\0\0\x03\0" if is_transparent else b""
    place = struct.pack("<HHHH", left, top, right - left, bottom - top)
    head = b"GIF89a" + struct.pack("<HH", 10, 8) + bytes([0x81, 1, 0]) + palette
    return head + control + b"," + place + b"\0" + data[start + 10 + local :]


@pytest.mark.parametrize("is_transparent", [False, True])
@pytest.mark.parametrize("box", [(3, 2, 7, 5), (0, 0, 10, 4), (9, 7, 10, 8)])
def test_a_gif_is_white_where_its_first_frame_draws_nothing(box, is_transparent):
    data = gif(box, is_transparent)
    left, top, right, bottom = box
    expected = np.full((8, 10, 3), 255, np.uint8)
    expected[top:bottom, left:right] = (0, 0, 255)
    np.testing.assert_array_equal(load_image(data, (10, 8)), expected)
    np.testing.assert_array_equal(load_image(Image.open(io.BytesIO(data)), (10, 8)), expected)


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "F"]
MODES += ["I;16", "I;16L", "I;16B"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pillow_gives_a_picture(mode):
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    picture = Image.linear_gradient("L").resize((32, 32))
    if mode == "LAB":
        picture = ImageCms.profileToProfile(picture.convert("RGB"), srgb, lab, outputMode="LAB")
    elif mode.startswith("I;16"):
        picture = Image.frombytes(
            mode, (32, 32), (np.asarray(picture, np.uint16) * 257).astype(">u2" if mode[-1] == "B" else "<u2")
        )
    else:
        steps = {"La": ["LA", "La"], "PA": ["RGBA", "PA"], "RGBa": ["RGBA", "RGBa"]}.get(mode, ["RGB", mode])
        for step in steps:
            picture = picture.convert(step)
    pixels = load_image(picture, (32, 32))
    assert pixels[-1].mean() > pixels[0].mean() + 150


def profile_with_red_and_green_swapped() -> bytes:
    """sRGB's own, with two of its primaries in each other's place, and without its name."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data).replace("sRGB".encode("utf-16-be"), "odd!".encode("utf-16-be")).replace(b"sRGB", b"odd!")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "TIFF", pytest.param("AVIF", marks=needs_avif)])
def test_colours_are_those_of_the_profile(kind, mode):
    if kind == "JPEG" or (kind, mode) in (("WebP", "P"), ("AVIF", "P")):
        mode = "RGB"
    picture = Image.new("RGB", (16, 16), (255, 0, 0)).convert(mode)
    data = encode(picture, kind, icc_profile=profile_with_red_and_green_swapped())
    expected = np.full((16, 16, 3), (0, 255, 0))
    assert difference(load_image(data, (16, 16)), expected) < 6
    assert difference(load_image(Image.open(io.BytesIO(data)), (16, 16)), expected) < 6


@pytest.mark.parametrize(
    "profile", [b"", b"x", bytes(128), bytes(16) + b"RGB " + bytes(200), bytes(16) + b"GRAY" + bytes(99)]
)
def test_a_profile_that_is_no_good_is_as_none(profile):
    plain = load_image(encode(corners(), "PNG"))
    np.testing.assert_array_equal(load_image(encode(corners(), "PNG", icc_profile=profile)), plain)


def test_the_profile_of_srgb_changes_no_pixel():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    np.testing.assert_array_equal(
        load_image(encode(noise, "PNG", icc_profile=profile)), load_image(encode(noise, "PNG"))
    )


# All other metadata costs no caption

BOMB = zlib.compress(bytes(2**26))
JUNK = bytes(range(256)) * 4


def png_with(name: bytes, body: bytes, checksum: int | None = None) -> bytes:
    return with_chunk(encode(corners(), "PNG"), name, body, checksum)


def webp_with(name: bytes, body: bytes) -> bytes:
    data = encode(corners(), "WebP", lossless=True, exif=exif(1), xmp=xmp(1))
    start = data.index(name)
    end = start + 8 + (int.from_bytes(data[start + 4 : start + 8], "little") + 1) // 2 * 2
    data = data[:start] + name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2) + data[end:]
    return b"RIFF" + struct.pack("<I", len(data) - 8) + data[8:]


def gif_with(*blocks: bytes) -> bytes:
    data = encode(corners(), "GIF")
    start = 13 + (3 << ((data[10] & 7) + 1))
    return data[:start] + b"".join(blocks) + data[start:]


def tiff_with(**tags: object) -> bytes:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (kind, value) in tags.items():
            tag = int(name[1:])
            directory.tagtype[tag], directory[tag] = kind, value
        return encode(corners(), "TIFF", tiffinfo=directory)


def avif_with_exif(body: bytes) -> bytes:
    return encode(corners(), "AVIF", quality=95, exif=exif(1)).replace(b"II*\0", body[:4]).replace(b"MM\0*", body[:4])


HARMLESS = {
    "JPEG, EXIF that is none": jpeg_with(segment(0xE1, b"Exif\0\0" + JUNK)),
    "JPEG, EXIF of nothing": jpeg_with(segment(0xE1, b"Exif\0\0")),
    "JPEG, EXIF that points outside": jpeg_with(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f")),
    "JPEG, EXIF of 65535 entries": jpeg_with(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + JUNK)),
    "JPEG, short JFIF": jpeg_with(segment(0xE0, b"JFIF")),
    "JPEG, short Adobe": jpeg_with(segment(0xEE, b"Adobe")),
    "JPEG, short profile": jpeg_with(segment(0xE2, b"ICC_PROFILE\0")),
    "JPEG, profile without its beginning": jpeg_with(segment(0xE2, b"ICC_PROFILE\0\2\3" + JUNK)),
    "JPEG, short Photoshop": jpeg_with(segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed")),
    "JPEG, Photoshop without an end": jpeg_with(segment(0xED, b"Photoshop 3.0\x008BIM" + JUNK)),
    "JPEG, pictures that are none": jpeg_with(segment(0xE2, b"MPF\0" + JUNK)),
    "JPEG, 5 MB of segments": jpeg_with(*[segment(0xE4, bytes(65000))] * 80),
    "JPEG, 20,000 segments": jpeg_with(*[segment(0xFE, b"hello")] * 20_000),
    "JPEG, a segment that says it is longer": jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(20))[:-2]),
    "JPEG, junk between segments": jpeg_with(segment(0xFE, b"hello") + b"junk\xff\0junk"),
    "JPEG, padding before a marker": jpeg_with(b"\xff\xff\xff" + segment(0xFE, b"hello")[1:]),
    **{
        f"PNG, {name.decode()} that is none": png_with(name, JUNK)
        for name in (b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"acTL", b"fcTL")
    },
    **{
        f"PNG, {name.decode()} of nothing": png_with(name, b"")
        for name in (b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"acTL", b"fcTL")
    },
    **{
        f"PNG, {name.decode()} with a wrong checksum": png_with(name, body, 1)
        for name, body in ((b"tEXt", b"A\0b"), (b"eXIf", exif(6).tobytes()), (b"tIME", bytes(7)), (b"tRNS", bytes(6)))
    },
    "PNG, profile of 64 MiB": png_with(b"iCCP", b"p\0\0" + BOMB),
    "PNG, text of 64 MiB": png_with(b"zTXt", b"Comment\0\0" + BOMB),
    "PNG, XMP of 64 MiB": png_with(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
    "PNG, EXIF in a text of 64 MiB": png_with(b"zTXt", b"Raw profile type exif\0\0" + BOMB),
    "PNG, 20,000 texts": encode(corners(), "PNG")[:33]
    + chunk(b"tEXt", b"A\0b") * 20_000
    + encode(corners(), "PNG")[33:],
    "PNG, packed in an unknown way": png_with(b"zTXt", b"Comment\0\7abc"),
    "PNG, transparency of no colour": png_with(b"tRNS", b"\0"),
    "PNG, junk behind its end": encode(corners(), "PNG") + JUNK,
    "PNG, text behind its pixels that is cut short": encode(corners(), "PNG")[:-12] + chunk(b"tEXt", JUNK)[:-300],
    "WebP, EXIF that is none": webp_with(b"EXIF", JUNK),
    "WebP, EXIF of nothing": webp_with(b"EXIF", b""),
    "WebP, XMP that is none": webp_with(b"XMP ", JUNK),
    "GIF, comment of 4 MB": gif_with(b"\x21\xfe", (b"\xff" + bytes(255)) * 16_000, b"\0"),
    "GIF, 5,000 comments": gif_with(b"\x21\xfe\x02hi\0" * 5000),
    "GIF, program of nothing": gif_with(b"\x21\xff\0"),
    "GIF, unknown block": gif_with(b"\x21\x77\x03abc\0"),
    "TIFF, profile that is none": tiff_with(t34675=(7, JUNK)),
    "TIFF, XMP of numbers": tiff_with(t700=(3, (1, 2, 3))),
    "TIFF, EXIF that points outside": tiff_with(t34665=(4, 2**31)),
    "TIFF, odd resolution": tiff_with(t282=(5, (1.0, 2.0)), t283=(5, (0.0,))),
    "TIFF, long description": tiff_with(t270=(2, "x" * 3_000_000)),
    "TIFF, Photoshop": tiff_with(t34377=(7, b"8BIM" + JUNK)),
    **{
        f"{kind}, junk behind its end": encode(corners(), kind) + JUNK
        for kind in ("JPEG", "WebP", "GIF", "TIFF", "BMP")
    },
    **{f"{kind}, itself again": 2 * encode(corners(), kind) for kind in ("JPEG", "PNG", "WebP", "GIF", "BMP")},
    "PNG, no end": encode(corners(), "PNG")[:-12],
    "PNG, no checksum of its pixels and no end": encode(corners(), "PNG")[:-16],
    "GIF, no end": encode(corners(), "GIF")[:-1],
    **{
        f"WebP, said to have {size} bytes": b"RIFF" + struct.pack("<I", size) + encode(corners(), "WebP")[8:]
        for size in (0, 7, 13, 2**20 + 1, 2**32 - 1)
    },
    "WebP, EXIF that is cut short": encode(corners(), "WebP", lossless=True, exif=exif(1))[:-20],
    "WebP, the start of a chunk behind its end": encode(corners(), "WebP") + b"EXIF",
    "BMP, no padding of its last row": encode(corners(63), "BMP")[:-3],
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_metadata_of_any_kind_costs_no_caption(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nor a word
        pixels = load_image(HARMLESS[kind], (64, 48))
    assert difference(pixels, np.asarray(corners())) < 8


@needs_avif
@pytest.mark.parametrize("body", [b"\0\0\0\0", b"XX*\0", b"II*\1"])
def test_exif_of_an_avif_that_is_none_costs_no_caption(body):
    assert difference(load_image(avif_with_exif(body), (64, 48)), np.asarray(corners())) < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF", "TIFF", "BMP"])
def test_a_file_cut_anywhere_is_a_picture_or_an_image_error(kind):
    data = encode(corners(), kind, **({} if kind in ("GIF", "BMP") else {"exif": exif(6)}))
    for end in range(1, len(data), max(1, len(data) // 300)):
        strip(data[:end], kind.upper())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load_image(data[:end])
            except ImageError as error:
                assert (
                    "holds" in str(error)
                    or "damaged or cut short" in str(error)
                    or "of a kind that is not" in str(error)
                )


@pytest.mark.parametrize("order", [b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0", b"II*\0", b"MM\0*"])
def test_a_tiff_whose_first_directory_is_nowhere_is_an_image_error(order):
    for end in (b"", b"\xff" * 8, b"\xff" * 400, b"\x08\0\0\0\0\0\0\0" + b"\xff" * 400):
        with pytest.raises(ImageError, match="TIFF"):
            load_image(order + end)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF"])
def test_pixels_do_not_change_where_metadata_goes(kind):
    data = encode(corners(), kind, **({} if kind == "GIF" else {"exif": exif(6), "comment": "hello"}))
    bare, stated = strip(data, kind)
    assert stated.orientation == (1 if kind == "GIF" else 6)
    assert strip(bare, kind)[1].orientation == 1
    lying = np.asarray(Image.open(io.BytesIO(data if kind != "TIFF" else bare)).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(bare)).convert("RGB")), lying)


def test_what_pillow_cannot_read_is_not_called_damaged():
    for data, reason in (
        (tiff(bytes(64), 4, 4, 24), "TIFF of a kind that is not read"),
        (
            encode(corners(), "BMP").replace(struct.pack("<H", 24), struct.pack("<H", 23), 1),
            "BMP of a kind that is not",
        ),
    ):
        with pytest.raises(ImageError, match=reason):
            load_image(data)


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (5.0, 5), (5,), (5, 5, 5)])
def test_a_size_that_is_none_is_no_fault_of_the_picture(size):
    with pytest.raises(ConfigError, match="allowed are two whole numbers"):
        load_image(corners(), size)


@needs_heif
@pytest.mark.parametrize("version", ["10.0.0", "10.4.0", "11.0.0"])
def test_heic_says_which_pillow_its_decoder_needs_where_there_is_an_older_one(version, monkeypatch):
    """Its extra forbids that, but pip installs what it is told to, one package at a time."""
    import pillow_heif

    def fails(*_):
        raise AttributeError("module 'PIL.Image' has no attribute 'core'")

    heic = encode(corners(), "HEIF")
    monkeypatch.setattr(pillow_heif, "HeifImageFile", fails)
    with pytest.raises(ImageError, match="damaged or cut short HEIF"):
        load_image(heic)
    monkeypatch.setattr("PIL.__version__", version)
    with pytest.raises(
        ImageError, match=rf"HEIC, for which pillow-heif needs Pillow 11\.1 or newer; installed is {version}"
    ):
        load_image(heic)
    extra = re.search(r"^heif = .*$", (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert f'"pillow>={".".join(map(str, HEIF_PILLOW))}"' in extra[0]


def test_a_format_that_needs_a_package_says_so(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
    with pytest.raises(ImageError, match=r"HEIC, which needs pillow-heif: pip install .*\[heif\]"):
        load_image(heic)
    monkeypatch.setitem(sys.modules, "PIL.AvifImagePlugin", None)
    with pytest.raises(ImageError, match=r"AVIF, which needs Pillow 11\.3 or newer"):
        load_image(heic.replace(b"heic", b"avif"))
