"""A JPEG without its end mark is read if next to nothing of its pixels is missing, and is cut short otherwise."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from fastcap.errors import ImageError
from fastcap.runtime.images import load_image


def photo(width: int = 320, height: int = 240) -> Image.Image:
    down, across = np.mgrid[:height, :width]
    colours = np.stack([across * 255 / width, down * 255 / height, (across + down) % 256], 2)
    noisy = colours + np.random.default_rng(0).normal(0, 12, colours.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or photo()).save(file, "JPEG", **options)
    return file.getvalue()


FILES = {
    "usual": jpeg(),
    "colours at full size": jpeg(subsampling=0),
    "colours at half width": jpeg(subsampling=1),
    "progressive": jpeg(progressive=True),
    "grey": jpeg(photo().convert("L")),
    "grey, progressive": jpeg(photo().convert("L"), progressive=True),
    "four inks": jpeg(photo().convert("CMYK")),
    "restart marks in each row": jpeg(restart_marker_rows=1),
    "restart marks after four blocks": jpeg(restart_marker_blocks=4),
    "its own tables": jpeg(optimize=True),
    "of one colour, that of what is missing": jpeg(Image.new("RGB", (320, 240), "gray")),
    "sides of no whole blocks": jpeg(photo(309, 203)),
    "small": jpeg(photo(40, 30)),
    "one block": jpeg(photo(8, 8)),
}
LARGE = [name for name in FILES if name not in ("small", "one block", "of one colour, that of what is missing")]


@pytest.mark.parametrize("behind", [b"", b"\xff", bytes(16), bytes(4096)], ids=["nothing", "half a mark", "0", "zeros"])
@pytest.mark.parametrize("name", FILES)
def test_without_its_end_mark_it_is_the_same_picture(name, behind):
    data = FILES[name]
    np.testing.assert_array_equal(load_image(data[:-2] + behind), load_image(data))


@pytest.mark.parametrize("cut", [3, 4, 8, 20, 40])
@pytest.mark.parametrize("name", LARGE)
def test_without_its_last_bytes_it_is_nearly_the_same_picture(name, cut):
    apart = np.abs(load_image(FILES[name][:-cut]).astype(int) - load_image(FILES[name]))
    assert apart.mean() < 1
    assert not apart[:200].any()  # of 224 rows


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.9])
@pytest.mark.parametrize("name", FILES)
def test_without_much_of_it_it_is_cut_short(name, share):
    data = FILES[name]
    rest = bytes(len(data) - int(len(data) * share))
    for cut in (data[: int(len(data) * share)], data[: int(len(data) * share)] + rest):
        with pytest.raises(ImageError, match="damaged or cut short JPEG"):
            load_image(cut)


def test_what_is_declared_larger_than_allowed_is_refused_before_any_of_this():
    data = bytearray(FILES["usual"][:-2])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError, match="at most 128 megapixels are allowed"):
        load_image(bytes(data))
