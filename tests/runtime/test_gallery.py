"""What a notebook shows: pictures with captions, every text escaped."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import pytest
from PIL import Image

import fastcap
from fastcap.runtime.gallery import Gallery


def parsed(gallery: Gallery) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub("(<img[^>]*)>", r"\1/>", gallery._repr_html_()))  # as XML


def test_pictures_stand_above_their_captions(captioner, photos):
    paths = [photos / "b_red.jpg", photos / "a_blue.PNG"]
    gallery = fastcap.show(paths, captioner.caption(paths))
    items = list(parsed(gallery))
    assert [item.find("div").text for item in items] == ["A red barn stands.", "A blue boat floats."]
    assert [item.find("img").get("alt") for item in items] == ["A red barn stands.", "A blue boat floats."]
    assert [item.find("div").get("title") for item in items] == ["confidence 0.92"] * 2
    assert repr(gallery) == "A red barn stands.\nA blue boat floats."


def test_one_picture_and_any_text_will_do(photos):
    [item] = parsed(fastcap.show(photos / "b_red.jpg", "mine"))
    assert item.find("div").text == "mine"
    assert item.find("div").get("title") is None


def test_no_text_can_become_html(photos):
    hostile = "\"><script>alert('1')</script>&"
    gallery = fastcap.show(photos / "b_red.jpg", hostile)
    assert "<script" not in gallery.html
    [item] = parsed(gallery)
    assert item.find("img").get("alt") == item.find("div").text == hostile
    assert not re.search(r'(src|href)="(?!data:image/jpeg;base64,)', gallery.html)


def test_thumbnails_are_small_upright_and_keep_their_aspect(tmp_path):
    image = Image.new("RGB", (1200, 300), "red")
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.resize((20, 5)).save(tmp_path / "small.png")
    for name, size in (("turned.jpg", (60, 240)), ("small.png", (20, 5))):
        [data] = re.findall('base64,([^"]+)', fastcap.show(tmp_path / name, "x").html)
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == size


def test_what_does_not_fit_is_refused(photos):
    with pytest.raises(fastcap.ConfigError, match="1 picture and 2 captions; allowed are as many of each"):
        fastcap.show(photos / "b_red.jpg", ["a", "b"])
    with pytest.raises(fastcap.ImageError, match="no such file"):
        fastcap.show(photos / "none.jpg", "a")
    assert fastcap.show([], []).captions == ()
