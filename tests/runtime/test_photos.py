"""Captions within photos: the text is where programs look for it, and nothing else has changed."""

# ruff: noqa: E501

from __future__ import annotations

import errno
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image, PngImagePlugin

from fastcap.cli import main
from fastcap.errors import DataError
from fastcap.runtime.bulk.photos import has_text, write_text
from fastcap.runtime.bulk.pool import caption_files
from fastcap.runtime.embedding import EMBEDS, held, with_metadata
from fastcap.runtime.signatures import format_of
from fastcap.runtime.xmp import Texts, texts, with_texts

TEXT = "A red barn & a “dog” <stand>."
MAKER = "made by tiny 1a2b3c4d"
needs_exiftool = pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")


def exif() -> Image.Exif:
    data = Image.Exif()
    data[0x010F], data[0x0112], data[0x010E] = "Maker", 6, "OLYMPUS DIGITAL CAMERA"
    return data


def picture(kind: str, **options) -> bytes:
    """A picture of noise with metadata of other kinds."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 4 if options.pop("alpha", False) else 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


def png_text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "of a person")
    info.add_itxt("Title", "ä")
    return info


PICTURES = {
    "jpeg": picture("JPEG"),
    "jpeg with exif": picture("JPEG", exif=exif(), comment=b"of a person", icc_profile=b"x" * 200),
    "jpeg with xmp": picture("JPEG", exif=exif(), xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="uuid:1" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/></rdf:RDF></x:xmpmeta>'),
    "progressive jpeg": picture("JPEG", progressive=True),
    "png": picture("PNG", pnginfo=png_text(), exif=exif()),
    "png with alpha": picture("PNG", alpha=True),
    "webp": picture("WEBP"),
    "lossless webp with alpha": picture("WEBP", lossless=True, alpha=True),
    "webp with exif": picture("WEBP", exif=exif(), icc_profile=b"x" * 201),
    "tiff": picture("TIFF", tiffinfo={0x010F: "Maker"}),
    "packed tiff": picture("TIFF", compression="tiff_lzw"),
    "tiff with xmp": picture("TIFF", tiffinfo={700: b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></r:RDF>'}),
}  # fmt: skip
ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif"}


def pixels(data: bytes) -> tuple[bytes, dict]:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image.tobytes(), dict(image.getexif())


def packet(data: bytes) -> Texts:
    return texts(held(data, format_of(data)).xmp)


def file_of(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / f"photo.{ENDINGS[format_of(data)]}"
    path.write_bytes(data)
    return path


def described(path: Path, *options: str) -> dict:
    """What exiftool reads."""
    done = subprocess.run(
        ["exiftool", "-j", "-G1", "-struct", *options, path], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)[0]


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("kind", ["xmp", "iptc"])
def test_a_caption_is_read_back_and_pixels_and_other_metadata_stay(data, kind, tmp_path):
    path = file_of(tmp_path, data)
    path.chmod(0o640)
    os.utime(path, (1e9, 1e9))
    assert not has_text(str(path), kind)
    write_text(str(path), TEXT, kind, MAKER, False)
    after = path.read_bytes()
    assert packet(after) == Texts(TEXT, TEXT, MAKER, MAKER)
    before, now = pixels(data), pixels(after)
    assert now[0] == before[0]
    assert {tag: value for tag, value in now[1].items() if tag not in (700, 33723)} == {
        tag: value for tag, value in before[1].items() if tag != 700
    }
    assert (path.stat().st_mode & 0o777, path.stat().st_mtime) == (0o640, 1e9)
    assert has_text(str(path), kind)
    write_text(str(path), "Another.", kind, MAKER, False)
    assert path.read_bytes() == after
    write_text(str(path), "Another.", kind, MAKER, True)
    assert packet(path.read_bytes()) == Texts("Another.", "Another.", MAKER, MAKER)
    assert pixels(path.read_bytes())[0] == before[0]
    found = held(path.read_bytes(), format_of(data)).xmp
    assert found.count(b"urn:fastcap:xmp:1.0/") == 1  # nothing piles up


def frames(data: bytes) -> list[bytes]:
    image = Image.open(io.BytesIO(data))
    shown = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        shown.append(image.tobytes())
    return shown


SEVERAL = {
    "two pictures in a JPEG": "MPO",
    "pages of a TIFF": "TIFF",
    "an animated PNG": "PNG",
    "an animated WebP": "WEBP",
}


@pytest.mark.parametrize("kind", SEVERAL.values(), ids=SEVERAL)
@pytest.mark.parametrize("options", [{}, {"exif": exif()}, {"big_tiff": True}], ids=["plain", "exif", "big"])
def test_every_frame_and_page_stays(kind, options, tmp_path):
    if "big_tiff" in options and kind != "TIFF":
        return
    noise = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), np.uint8)
    first, *rest = map(Image.fromarray, noise)
    file = io.BytesIO()
    first.save(file, kind, save_all=True, append_images=rest, **options)
    data = file.getvalue()
    assert len(frames(data)) == 3
    path = file_of(tmp_path, data)
    for text in (TEXT, "Another, which is longer than the first was. " * 3):
        write_text(str(path), text, "iptc", MAKER, True)
        assert packet(path.read_bytes()).alt == text.strip()
        assert frames(path.read_bytes()) == frames(data)


def bare(data: bytes) -> bytes:
    """A file without what we wrote; so all else can be compared byte for byte."""
    kind = format_of(data)
    if kind == "JPEG":
        data = re.sub(
            rb"\xff\xe1..http://ns.adobe.com/xap/1.0/\0.*?</x:xmpmeta>(?:\n<\?xpacket end=\"w\"\?>)?",
            b"",
            data,
            flags=re.S,
        )
    if kind == "PNG":
        data = re.sub(rb"....iTXtXML:com.adobe.xmp.*?<\?xpacket end=\"w\"\?>....", b"", data, flags=re.S)
    return data


@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg with exif", "jpeg with xmp", "progressive jpeg", "png", "png with alpha"]
)
def test_every_other_byte_is_the_old_one(name):
    data = PICTURES[name]
    kind = format_of(data)
    xmp = with_texts(held(data, kind).xmp or None, TEXT, MAKER, True)
    assert bare(with_metadata(data, kind, xmp)) == bare(data)


@needs_exiftool
@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES)
def test_exiftool_reads_it_and_finds_no_fault(data, tmp_path):
    path = file_of(tmp_path, data)
    before = described(path)
    write_text(str(path), TEXT, "iptc", MAKER, False)
    after = described(path)
    assert after["XMP-iptcCore:AltTextAccessibility"] == TEXT
    assert after["XMP-dc:Description"] == TEXT
    assert after["XMP-photoshop:CaptionWriter"] == MAKER
    assert after["XMP-fastcap:MadeBy"] == MAKER
    if format_of(data) in ("JPEG", "TIFF"):
        assert after["IPTC:Caption-Abstract"].startswith("A red barn & a ")
        assert after["IPTC:Writer-Editor"] == MAKER
    assert not {"ExifTool:Warning", "ExifTool:Error"} & set(after) - set(before)
    same = {key: value for key, value in before.items() if not key.startswith(("System:", "ExifTool:", "XMP-x"))}
    for key in ("File:FileType", "RIFF:WebP_Flags"):  # which say that there is XMP
        same.pop(key, None)
    assert {key: after.get(key) for key in same if "Offset" not in key} == {
        key: value for key, value in same.items() if "Offset" not in key
    }
    done = subprocess.run(["exiftool", "-validate", "-warning", "-error", "-a", path], capture_output=True, text=True)
    assert "Error" not in done.stdout


@needs_exiftool
@pytest.mark.parametrize("name", ["jpeg with exif", "png", "webp", "tiff"])
def test_what_a_person_wrote_with_another_program_stays(name, tmp_path):
    path = file_of(tmp_path, PICTURES[name])
    line = ["exiftool", "-q", "-overwrite_original", "-XMP-iptcCore:AltTextAccessibility=Mine", "-XMP-dc:Rights=Me"]
    subprocess.run([*line, "-XMP-dc:Description=Our barn", "-XMP-photoshop:CaptionWriter=Ann", path], check=True)
    before = path.read_bytes()
    assert has_text(str(path), "xmp")
    write_text(str(path), TEXT, "xmp", MAKER, False)
    assert path.read_bytes() == before
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-XMP-iptcCore:AltTextAccessibility=", path], check=True)
    assert not has_text(str(path), "xmp")
    write_text(str(path), TEXT, "iptc", MAKER, False)  # there was no alternative text; the description stays
    assert packet(path.read_bytes()) == Texts(TEXT, "Our barn", "Ann", MAKER)
    after = described(path)
    assert after["XMP-dc:Rights"] == "Me"
    assert "IPTC:Caption-Abstract" not in after
    write_text(str(path), "New.", "xmp", MAKER, True)
    assert packet(path.read_bytes()) == Texts("New.", "New.", MAKER, MAKER)
    assert described(path)["XMP-dc:Rights"] == "Me"


@needs_exiftool
def test_the_older_block_keeps_its_keywords_and_a_caption_in_it_counts(tmp_path):
    path = file_of(tmp_path, PICTURES["jpeg"])
    subprocess.run(
        ["exiftool", "-q", "-overwrite_original", "-IPTC:Keywords=barn", "-IPTC:Keywords=red", path], check=True
    )
    write_text(str(path), TEXT, "iptc", MAKER, False)
    assert described(path)["IPTC:Keywords"] == ["barn", "red"]
    other = tmp_path / "other.jpg"
    other.write_bytes(PICTURES["jpeg"])
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-IPTC:Caption-Abstract=Our barn", other], check=True)
    write_text(str(other), TEXT, "iptc", MAKER, False)
    after = described(other)
    assert (after["IPTC:Caption-Abstract"], after["XMP-iptcCore:AltTextAccessibility"]) == ("Our barn", TEXT)
    assert "XMP-dc:Description" not in after


def test_no_sidecar_outshines_what_a_person_wrote_into_the_photo(tmp_path):
    path, beside = file_of(tmp_path, PICTURES["jpeg"]), tmp_path / "photo.jpg.xmp"
    write_text(str(path), "Our barn in May.", "xmp", "", False)  # nobody is recorded as its maker
    assert has_text(str(path), "sidecar")
    write_text(str(path), TEXT, "sidecar", MAKER, False)
    assert not beside.exists()
    write_text(str(path), TEXT, "xmp", MAKER, True)
    assert not has_text(str(path), "sidecar")  # now it is ours
    write_text(str(path), TEXT, "sidecar", MAKER, False)
    assert texts(beside.read_bytes()).alt == TEXT


def test_a_sidecar_keeps_what_other_programs_hold_there(tmp_path):
    path = file_of(tmp_path, PICTURES["jpeg"])
    write_text(str(path), TEXT, "sidecar", MAKER, False)
    beside = tmp_path / "photo.jpg.xmp"
    assert texts(beside.read_bytes()) == Texts(TEXT, TEXT, MAKER, MAKER)
    assert path.read_bytes() == PICTURES["jpeg"]
    beside.unlink()
    theirs = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\r\n'
        '<!-- theirs --><rdf:Description rdf:about="" xmlns:d="http://darktable.sf.net/" d:history="> 1"/></rdf:RDF></x:xmpmeta>'
    )
    lightroom = tmp_path / "photo.xmp"
    lightroom.write_bytes(theirs.encode())
    write_text(str(path), TEXT, "sidecar", MAKER, False)
    assert not beside.exists()
    start, _, end = theirs.partition("</rdf:RDF>")
    written = lightroom.read_bytes().decode()
    assert written.startswith(start)
    assert written.endswith("</rdf:RDF>" + end)
    assert has_text(str(path), "sidecar")


DAMAGED = {
    "no rdf": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>",
    "no xml": b"hello",
    "cut short": b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>",
    "latin-1": "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>é</rdf:RDF>".encode("latin-1"),
    "entities": b"<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'>]><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'/>",
    "enormous": b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>" + b" " * 65_000 + b"</rdf:RDF>",
}


@pytest.mark.parametrize("xmp", DAMAGED.values(), ids=DAMAGED)
def test_metadata_that_are_damaged_or_enormous_stay_and_are_told(xmp, tmp_path):
    path = file_of(tmp_path, picture("JPEG", xmp=xmp))
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"damaged|document type|has room for"):
        write_text(str(path), TEXT, "xmp", MAKER, False)
    assert path.read_bytes() == before


def test_thousands_of_mutated_files_are_written_or_refused(tmp_path):
    rng = random.Random(0)
    for number in range(3000):
        data = bytearray(rng.choice([*PICTURES.values()]))
        kind = format_of(bytes(data))
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(min(len(data), 800))] = rng.randrange(256)
        del data[rng.randint(50, len(data)) :]
        try:
            found = held(bytes(data), kind)
            new = with_metadata(bytes(data), kind, with_texts(found.xmp or None, TEXT, MAKER, True), TEXT, MAKER)
            assert texts(held(new, kind).xmp).alt == TEXT, number
        except DataError:
            pass


# The command


@pytest.fixture
def caption(tiny_bundle, capsys):
    def run(*arguments: object) -> tuple[int, list[str]]:
        status = main(["caption", *map(str, arguments), "--workers", "1", "--model", str(tiny_bundle)])
        return status, capsys.readouterr().err.splitlines()

    return run


def red(path: Path, kind: str | None = None) -> None:
    Image.new("RGB", (64, 48), "red").save(path, kind)


def test_a_folder_is_written_and_a_second_run_has_nothing_to_do(caption, tmp_path):
    for ending in ("jpg", "png", "webp", "tif"):
        red(tmp_path / f"a.{ending}")
    status, err = caption(tmp_path, "--write", "xmp")
    assert (status, err[-1].partition(" (")[0]) == (0, "4 pictures: 4 captioned")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert {packet(data).alt for data in before.values()} == {"A red barn stands."}
    assert all(re.fullmatch("made by tiny [0-9a-f]{8}", packet(data).made_by) for data in before.values())
    assert caption(tmp_path, "--write", "xmp") == (0, ["4 pictures: 0 captioned, 4 have a text"])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert caption(tmp_path, "--write", "xmp", "--overwrite", "--length", "8")[0] == 0
    assert all(packet(path.read_bytes()).alt != "A red barn stands." for path in before)


def test_what_has_no_place_or_may_not_change_is_an_error_row(caption, tmp_path):
    red(tmp_path / "a.gif")
    red(tmp_path / "b.jpg")
    red(tmp_path / "c.dng", "TIFF")
    red(tmp_path / "d.jpg")
    (tmp_path / "b.jpg").chmod(0o444)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    status, _ = caption(*sorted(before), "--write", "xmp", "--out", tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    errors = {Path(row["image"]).name: row.get("error", "").partition(": ")[2] for row in rows}
    assert status == 1
    assert errors["a.gif"] == "no place for a text in GIF; --write sidecar writes an .xmp beside it"
    assert errors["b.jpg"] == "read-only; left as it is"
    assert errors["c.dng"].startswith("no place for a text in TIFF")
    assert errors["d.jpg"] == ""
    changed = {path.name for path in before if path.read_bytes() != before[path]}
    assert changed == {"d.jpg"}
    assert caption(tmp_path / "a.gif", "--write", "sidecar")[0] == 0
    assert texts((tmp_path / "a.gif.xmp").read_bytes()).alt == "A red barn stands."


@pytest.mark.parametrize("write", ["xmp", "iptc", "sidecar"])
@pytest.mark.parametrize("lacking", ["chmod", "utime"])
def test_a_file_system_without_modes_or_times_takes_captions(caption, tmp_path, monkeypatch, write, lacking):
    red(tmp_path / "a.jpg")

    def refused(path, *_, **__):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    monkeypatch.setattr(os, lacking, refused)
    assert caption(tmp_path, "--write", write)[0] == 0
    assert caption(tmp_path, "--write", write, "--overwrite")[0] == 0
    assert len(list(tmp_path.iterdir())) == 1 + (write == "sidecar")


@pytest.mark.parametrize("write", ["xmp", "iptc"])
@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO], ids=errno.errorcode.get)
def test_a_photo_that_cannot_be_replaced_is_named_and_no_hidden_file(caption, tmp_path, monkeypatch, write, number):
    red(tmp_path / "a.jpg")

    def refused(source, target):
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    monkeypatch.setattr(os, "replace", refused)
    status, err = caption(tmp_path, "--write", write)
    assert status == 1
    (line,) = [line for line in err if os.strerror(number) in line]
    assert line.startswith(f"fastcap: error: {tmp_path / 'a.jpg'}: ")
    assert os.listdir(tmp_path) == ["a.jpg"]


def test_wrong_usage(wrong_usage, tmp_path):
    red(tmp_path / "a.jpg")
    assert "allowed are xmp, iptc, sidecar" in wrong_usage("caption", tmp_path, "--write", "exif")
    assert "exclude each other" in wrong_usage("caption", tmp_path, "--write", "xmp", "--sidecar", "xmp")


@pytest.mark.slow
def test_kills_lose_no_photo_and_each_is_written_once(tmp_path, tiny_bundle):
    names = [tmp_path / f"{number:03}.jpg" for number in range(150)]
    for number, path in enumerate(names):
        Image.new("RGB", (64 + number, 48), "red").save(path, exif=exif())
    before = {path: pixels(path.read_bytes()) for path in names}
    line = [sys.executable, "-m", "fastcap", "caption", str(tmp_path), "--write", "xmp", "--workers", "1"]
    line += ["--model", str(tiny_bundle)]
    kills, done = 0, 0
    while done < len(names):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        goal = min(done + 31, len(names))
        started = time.monotonic()
        while process.poll() is None and done < goal and time.monotonic() - started < 60:
            done = sum(has_text(str(path), "xmp") for path in names)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in names:
            assert pixels(path.read_bytes()) == before[path]
    assert {packet(path.read_bytes()).alt for path in names} == {"A red barn stands."}
    assert kills >= 3


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_photos(tmp_path, tiny_bundle):
    first = tmp_path / "00000.jpg"
    Image.new("RGB", (640, 480), "red").save(first)
    names = [str(first)] + [str(tmp_path / f"{number:05}.jpg") for number in range(1, 10_000)]
    for name in names[1:]:
        os.link(first, name)
    resident = {}
    for count, row in enumerate(caption_files(names, model=tiny_bundle, workers=1), 1):
        write_text(row["image"], row["caption"], "xmp", MAKER, False)
        if count in (1_000, 9_990):  # at the very end the worker has gone
            processes = psutil.Process(), *psutil.Process().children()
            resident[count] = sum(process.memory_info().rss for process in processes)
    assert resident[9_990] - resident[1_000] < 20e6
    assert all(has_text(name, "xmp") for name in names)


def test_every_format_that_embeds_can_be_read():
    assert set(EMBEDS) == set(ENDINGS)
