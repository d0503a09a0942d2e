"""What must work with every version that pyproject.toml allows. CI runs it with the lowest ones, in an environment that
holds fastcap's own requirements and pytest alone."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastcap
from fastcap.cli import main
from fastcap.errors import ConfigError, ImageError
from fastcap.runtime.images import load_image

needs_server = pytest.mark.skipif(importlib.util.find_spec("fastapi") is None, reason="needs the extra `serve`")


def photo() -> Image.Image:
    """A meadow below a sky; its four corners differ."""
    across, down = np.meshgrid(np.linspace(0, 80, 96), np.linspace(0, 99, 72))
    return Image.fromarray(
        np.stack([40 + across, 150 - down / 2 + across / 4, 220 - 2 * down], axis=2).astype(np.uint8)
    )


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def transparent(kind: str, mode: str) -> bytes:
    image = photo()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return encoded(image.convert(mode), kind)


def palette_with_a_clear_colour() -> bytes:
    return encoded(photo().quantize(16), "PNG", transparency=0)


@pytest.fixture(scope="module")
def captioner() -> fastcap.Captioner:
    return fastcap.load_model()


# Pictures

PICTURES = {
    "JPEG": lambda: encoded(photo(), "JPEG"),
    "JPEG, progressive": lambda: encoded(photo(), "JPEG", progressive=True),
    "JPEG, grey": lambda: encoded(photo().convert("L"), "JPEG"),
    "JPEG, CMYK": lambda: encoded(photo().convert("CMYK"), "JPEG"),
    "JPEG, large": lambda: encoded(photo().resize((1920, 1440)), "JPEG"),
    "PNG": lambda: encoded(photo(), "PNG"),
    "PNG, palette": lambda: encoded(photo().quantize(16), "PNG"),
    "PNG, palette and a clear colour": palette_with_a_clear_colour,
    "PNG, RGBA": lambda: transparent("PNG", "RGBA"),
    "PNG, LA": lambda: transparent("PNG", "LA"),
    "PNG, 1 bit": lambda: encoded(photo().convert("1"), "PNG"),
    "PNG, 16 bits": lambda: encoded(Image.fromarray(np.asarray(photo().convert("L"), np.uint16) * 256), "PNG"),
    "GIF": lambda: encoded(photo().quantize(16), "GIF"),
    "GIF, animated": lambda: encoded(photo().quantize(16), "GIF", save_all=True, append_images=[photo().quantize(16)]),
    "WebP": lambda: encoded(photo(), "WEBP"),
    "WebP, RGBA": lambda: transparent("WEBP", "RGBA"),
    "BMP": lambda: encoded(photo(), "BMP"),
    "TIFF": lambda: encoded(photo(), "TIFF"),
    "TIFF, compressed": lambda: encoded(photo(), "TIFF", compression="tiff_lzw"),
    "TIFF, CMYK": lambda: encoded(photo().convert("CMYK"), "TIFF"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_is_read(kind):
    pixels = load_image(PICTURES[kind](), (96, 72))
    assert (pixels.shape, pixels.dtype) == ((72, 96, 3), np.uint8)
    assert pixels.std() > 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_once_whoever_opens_it(kind, orientation):
    lying = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how an upright picture lies, as Image.Transpose has it
    image = photo() if orientation == 1 else photo().transpose(Image.Transpose(lying[orientation]))
    data = encoded(image, kind, exif=turned(orientation))
    for source in (data, Image.open(io.BytesIO(data))):
        assert np.abs(load_image(source, (96, 72)).astype(int) - np.asarray(photo())).mean() < 6


@pytest.mark.skipif(importlib.util.find_spec("PIL.AvifImagePlugin") is not None, reason="this Pillow reads AVIF")
def test_a_format_that_needs_a_newer_pillow_says_so():
    with pytest.raises(ImageError, match=r"AVIF, which needs Pillow 11\.3 or newer"):
        load_image(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(100))


# Captions


def test_every_graph_loads_and_every_way_of_decoding_writes_a_sentence(captioner):
    for decode in captioner.bundle.decodes:
        caption = captioner.caption(photo(), decode=decode)
        assert caption.text.endswith(".")
        assert 0 < caption.confidence < 1
    assert captioner.caption(photo(), length="long", candidates=3, neutral=True).candidates[0].tokens
    assert 0 < captioner.score(photo(), ["a green meadow"])[0] < 1
    vectors = captioner.embed_images([captioner.encode(photo())])
    assert float((vectors**2).sum()) == pytest.approx(1, abs=1e-4)


def test_threads_pickles_and_encoded_pictures_change_nothing(captioner):
    expected = captioner.caption(photo()).text
    assert captioner.caption(captioner.encode(photo())).text == expected
    assert pickle.loads(pickle.dumps(captioner)).caption(photo()).text == expected
    assert fastcap.load_model(threads=2).caption(photo()).text == expected
    with pytest.raises(ConfigError, match="allowed are"):
        captioner.caption(photo(), length="huge")


# The command line


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for kind in ("JPEG", "PNG", "WebP"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"a.{kind.lower()}").write_bytes(PICTURES[kind]())
    return tmp_path / "photos"


def test_a_folder_is_captioned_at_once_and_in_processes(photos, tmp_path, capsys):
    assert main(["caption", str(photos), "--json"]) == 0
    printed = [json.loads(line)["caption"] for line in capsys.readouterr().out.splitlines()]
    assert len(printed) == 3
    rows = tmp_path / "rows.jsonl"
    assert main(["caption", str(photos), "--out", str(rows), "--workers", "2"]) == 0
    assert sorted(json.loads(line)["caption"] for line in rows.read_text("utf-8").splitlines()) == sorted(printed)
    assert "3 captioned" in capsys.readouterr().err
    for line in (["models"], ["score", str(photos / "a.png"), "a meadow"], ["--version"], ["caption", "--help"]):
        try:
            assert main(line) == 0
        except SystemExit as stop:
            assert not stop.code
        assert capsys.readouterr().out


# The server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that ends well, and without a word on stderr."""
    line = [sys.executable, "-m", "fastcap", "serve", "--port", "0"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    url = process.stdout.readline().rpartition(" ")[2].strip()
    yield url
    process.send_signal(signal.SIGTERM)
    assert (process.communicate(timeout=30)[1], process.returncode) == ("", 0)


def form(**parts: bytes) -> tuple[bytes, str]:
    body = b""
    for name, value in parts.items():
        file = b'; filename="a.jpg"' if name == "image" else b""
        body += b'--B\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (name.encode(), file, value)
    return body + b"--B--\r\n", "multipart/form-data; boundary=B"


def ask(url: str, body: bytes | None = None, kind: str = "image/jpeg", method: str = "") -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method or None)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


JPEG = PICTURES["JPEG"]()


@needs_server
@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/v1/models", "/openapi.json"])
def test_facts_are_told(path, server):
    status, body = ask(server + path)
    assert (status, bool(body)) == (200, True)
    assert ask(server + path, method="HEAD") == (200, b"")


@needs_server
@pytest.mark.parametrize(
    ("query", "body", "kind", "status", "told"),
    [
        ("", JPEG, "image/jpeg", 200, '"caption":"'),
        ("", JPEG, "application/x-www-form-urlencoded", 200, '"caption":"'),
        ("", *form(image=JPEG), 200, '"image":"a.jpg","caption":"'),
        ("?length=short&candidates=2", JPEG, "image/jpeg", 200, '"candidates":[{"caption":"'),
        ("?length=9", JPEG, "image/jpeg", 200, '"caption":"'),
        ("?neutral=true&decode=beam&beams=2", JPEG, "image/jpeg", 200, '"caption":"'),
        ("?decode=sample&seed=1&temperature=0.5", JPEG, "image/jpeg", 200, '"caption":"'),
        ("?candidates=99", JPEG, "image/jpeg", 422, "candidates is '99'; allowed are whole numbers from 1 to"),
        ("?lenght=9", JPEG, "image/jpeg", 422, "unknown option 'lenght' (did you mean 'length'?)"),
        ("?url=http://x.org/a.jpg", None, "", 422, "allowed are none, as this server fetches nothing"),
        ("", b"hello", "image/jpeg", 422, "holds text, not an image"),
        ("", b'{"a": 1}', "application/json", 415, "'application/json'; allowed are multipart/form-data"),
        ("", b"nonsense", "multipart/form-data; boundary=B", 400, '"error":"'),
        ("", b"--B\r\n", "multipart/form-data", 400, "boundary"),
        ("", *form(text=b"x" * 2000), 400, "more than 1000 bytes"),
        ("", form(image=JPEG)[0][:-20], "multipart/form-data; boundary=B", 400, "cut short"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_request_is_answered(query, body, kind, status, told, server):
    got, answer = ask(f"{server}/v1/caption{query}", body, kind, "POST")
    assert (got, told in answer.decode()) == (status, True), answer


@needs_server
def test_texts_are_scored(server):
    status, answer = ask(f"{server}/v1/score", *form(image=JPEG, text=b"a green meadow"))
    assert status == 200
    assert 0 < json.loads(answer)["scores"][0]["score"] < 1
