"""Where pictures come from: what a path stands for, and that each picture can be read again by its name."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from fastcap.cli import main
from fastcap.errors import ConfigError, FastcapError, ImageError
from fastcap.runtime.bulk.pool import caption_files
from fastcap.runtime.images import load_image
from fastcap.runtime.signatures import PRIVATE, TAR_SUFFIXES
from fastcap.runtime.sources import PictureReader, find_pictures, inside_shard

COLOURS = {"red": "A red barn stands.", "lime": "A green hummingb.", "blue": "A blue boat floats."}


def jpeg(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "JPEG")
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def packed(pictures: dict[str, bytes] | list[tuple[str, bytes]], **settings: object) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **settings) as tar:
        for name, data in pictures.items() if isinstance(pictures, dict) else pictures:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def write_table(path: Path, pictures: list, column: str = "image", **settings: int) -> Path:
    parquet.write_table(pa.table({"id": list(range(len(pictures))), column: pictures}), path, **settings)
    return path


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """As WebDataset has it: pictures and what is known of them, under one name each."""
    members = {f"{number:03}.{kind}": data for number, colour in enumerate(COLOURS) for kind, data in
               (("jpg", jpeg(colour)), ("json", b"{}"), ("txt", b"mine"))}  # fmt: skip
    return write_tar(tmp_path / "00.tar", members)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """As Hugging Face's datasets write it, in groups of two rows."""
    pictures = [{"bytes": jpeg(colour), "path": f"{colour}.jpg"} for colour in COLOURS]
    return write_table(tmp_path / "00.parquet", pictures, row_group_size=2)


def names(path: object, **settings: object) -> list[str]:
    found = list(find_pictures(str(path), **settings))
    assert not any(problem for _, problem in found)
    return [name for name, _ in found]


def problem(path: object, **settings: object) -> str:
    [(name, error)] = find_pictures(str(path), **settings)
    assert name == str(path)
    return str(error)


def test_a_shard_stands_for_its_pictures_by_their_members(shard, tmp_path):
    expected = [f"{shard}#{number:03}.jpg" for number in range(3)]
    assert names(shard) == expected
    assert names(tmp_path / "*.tar") == expected
    assert inside_shard(expected[1]) == (str(shard), "001.jpg")


def test_a_table_stands_for_its_rows(table):
    assert names(table) == [f"{table}#{row}" for row in range(3)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 1, 0)])
def test_pictures_are_read_in_any_order(captioner, shard, table, order):
    captions = list(COLOURS.values())
    for path in (shard, table):
        found = names(path)
        with PictureReader() as reader:
            for number in order:
                assert captioner.caption(reader.read(found[number])).text == captions[number]


def test_shards_give_the_captions_of_their_pictures_with_any_number_of_workers(tiny_bundle, shard, table):
    images = [*names(shard), *names(table)]
    for workers in (1, 2):
        rows = {row["image"]: row["caption"] for row in caption_files(images, model=tiny_bundle, workers=workers)}
        assert list(rows) == images or workers == 2
        assert [rows[image][:8] for image in images] == [text[:8] for text in COLOURS.values()] * 2


def test_the_command_takes_shards_for_one_picture_or_many(tiny_bundle, shard, table, tmp_path, capsys):
    line = ["caption", str(shard), str(table), "--model", str(tiny_bundle)]
    assert main([*line, "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    out = tmp_path / "captions.jsonl"
    assert main([*line, "--out", str(out), "--workers", "1"]) == 0
    written = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["image"] for row in printed] == [row["image"] for row in written] == [*names(shard), *names(table)]
    assert [row["caption"] for row in printed] == [row["caption"] for row in written]
    assert main(["caption", f"{shard}#001.jpg", "--model", str(tiny_bundle)]) == 0
    assert capsys.readouterr().out.startswith("A green")


def test_what_lies_in_no_folder_has_no_sidecar(tiny_bundle, shard, wrong_usage):
    said = wrong_usage("caption", shard, "--sidecar", "txt", "--model", tiny_bundle)
    assert f"--sidecar: {shard}#000.jpg does not lie in a folder" in said
    assert sorted(path.name for path in shard.parent.iterdir()) == ["00.tar"]


def test_members_of_one_name_are_pictures_of_their_own_and_hidden_ones_are_none(captioner, tmp_path):
    path = tmp_path / "twice.tar"
    colours = ["red", "lime", "blue", "red"]
    members = ["a.jpg", "a.jpg#2", "a.jpg", "./a.jpg"]  # the second has the name that the third would get
    path.write_bytes(packed([("._a.jpg", b"fork"), *zip(members, map(jpeg, colours), strict=True)]))
    found = names(path)
    assert found == [f"{path}#a.jpg", f"{path}#a.jpg#2", f"{path}#a.jpg#3", f"{path}#./a.jpg#4"]
    with PictureReader() as reader:
        for name, colour in zip(reversed(found), reversed(colours), strict=True):
            assert captioner.caption(reader.read(name)).text == COLOURS[colour]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_every_version_of_a_picture_has_its_row(tiny_bundle, tmp_path, ending):
    path, out = tmp_path / f"x{ending}", tmp_path / "rows.jsonl"
    path.write_bytes(packed({"a.jpg": jpeg("red"), "b.jpg": jpeg("blue")}) + packed({"a.jpg": jpeg("lime")}))
    assert main(["caption", str(path), "--model", str(tiny_bundle), "--out", str(out), "--workers", "1"]) == 0
    rows = {row["image"].rpartition(ending)[2]: row["caption"] for row in map(json.loads, out.open())}
    assert rows == {"#a.jpg": COLOURS["red"], "#b.jpg": COLOURS["blue"], "#a.jpg#2": COLOURS["lime"]}


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar here")
def test_a_file_that_tar_was_given_twice_is_one_picture(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg("red"))
    subprocess.run(["tar", "-cf", "x.tar", "a.jpg", "a.jpg"], cwd=tmp_path, check=True)
    assert names(tmp_path / "x.tar") == [f"{tmp_path / 'x.tar'}#a.jpg"]


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_links_in_a_tar_are_the_pictures_that_they_lead_to(captioner, tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(link("early.jpg", "deep/red.jpg"))  # a symbolic link may come before what it leads to
        for name, colour in (("deep/red.jpg", "red"), ("./blue.jpg", "blue")):
            member = tarfile.TarInfo(name)
            member.size = len(jpeg(colour))
            tar.addfile(member, io.BytesIO(jpeg(colour)))
        tar.addfile(link("hard.jpg", "deep/red.jpg", tarfile.LNKTYPE))
        tar.addfile(link("deep/up.jpg", "../blue.jpg"))
        tar.addfile(link("twice.jpg", "hard.jpg"))
        tar.addfile(link("outside.jpg", "/etc/hostname"))
        tar.addfile(link("gone.jpg", "nowhere.jpg", tarfile.LNKTYPE))
        tar.addfile(link("round.jpg", "about.jpg"))
        tar.addfile(link("about.jpg", "round.jpg"))
    red, blue, reasons = COLOURS["red"], COLOURS["blue"], ["is not in the archive"] * 2 + ["Too many levels"] * 2
    expected = {"early": red, "deep/red": red, "./blue": blue, "hard": red, "deep/up": blue, "twice": red}
    found = names(path)
    assert [name.removeprefix(f"{path}#") for name in found[:6]] == [f"{name}.jpg" for name in expected]
    with PictureReader() as reader:
        assert [captioner.caption(reader.read(name)).text for name in found[:6]] == list(expected.values())
        for name, reason in zip(found[6:], reasons, strict=True):
            with pytest.raises(ImageError, match=reason):
                reader.read(name)


LONG = "/".join(["folder" * 10] * 5) + "/" + "ä" * 60 + ".jpg"
SHARDS = {
    "GNU's long names": (packed({LONG: jpeg("red"), "b.jpg": b"x"}, format=tarfile.GNU_FORMAT), [LONG, "b.jpg"]),
    "pax's long names": (packed({LONG: jpeg("red"), "b.jpg": b"x"}, format=tarfile.PAX_FORMAT), [LONG, "b.jpg"]),
    "bytes that are no text": (packed({"caf\udce9.jpg": jpeg("red")}, errors="surrogateescape"), ["caf\udce9.jpg"]),
    "two archives": (packed({"a.jpg": jpeg("red")}) + packed({"b.jpg": jpeg("blue")}), ["a.jpg", "b.jpg"]),
    "three, of which one is empty": (
        packed({"a.jpg": jpeg("red")}) + packed({}) + packed({"b.jpg": jpeg("blue")}), ["a.jpg", "b.jpg"]
    ),
    "without its end": (packed({"a.jpg": jpeg("red")})[: 512 + -len(jpeg("red")) // 512 * -512], ["a.jpg"]),
    "a megabyte of zeros behind it": (packed({"a.jpg": jpeg("red")}) + bytes(2**20), ["a.jpg"]),
    "gzipped": (gzip.compress(packed({"a.jpg": jpeg("red"), "b.JPG": jpeg("blue")})), ["a.jpg", "b.JPG"]),
    "two gzipped archives": (
        gzip.compress(packed({"a.jpg": jpeg("red")})) + gzip.compress(packed({"b.jpg": b"x"})), ["a.jpg", "b.jpg"]
    ),
    "packed by bzip2": (bz2.compress(packed({"a.jpg": jpeg("red"), "b.JPG": jpeg("blue")})), ["a.jpg", "b.JPG"]),
    "packed by xz": (lzma.compress(packed({"a.jpg": jpeg("red"), "b.JPG": jpeg("blue")})), ["a.jpg", "b.JPG"]),
    "two packed archives": (
        bz2.compress(packed({"a.jpg": jpeg("red")})) + bz2.compress(packed({"b.jpg": b"x"})), ["a.jpg", "b.jpg"]
    ),
    "hidden folders": (
        packed({"./.thumbnails/a.jpg": b"", "@eaDir/a.jpg": b"", "./a.jpg": jpeg("red"), "__MACOSX/b.jpg": b""}),
        ["./a.jpg"],
    ),
    "formats that are not read": (packed({"a.HEIC": b"x", "b.jxl": b"x", "c.txt": b"x"}), ["a.HEIC", "b.jxl"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", SHARDS)
@pytest.mark.parametrize("ending", [".tar", ".tgz", ".TAR.GZ", ".tar.bz2", ".txz"])
def test_no_picture_of_a_tar_is_lost_whoever_wrote_it(tmp_path, kind, ending):
    data, inner = SHARDS[kind]
    path = tmp_path / f"shard{ending}"
    path.write_bytes(data)
    found = names(path)
    assert found == [f"{path}#{name}" for name in inner]
    with PictureReader() as reader:
        for name in reversed(found):
            assert len(reader.read(name).read()) in (1, len(jpeg("red")), len(jpeg("blue")))


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar here")
@pytest.mark.parametrize("form", ["gnu", "pax", "oldgnu"])
def test_sparse_files_and_hard_links_of_gnu_tar_are_read(captioner, tmp_path, form):
    bmp = io.BytesIO()
    Image.new("RGB", (300, 300)).save(bmp, "BMP")
    with open(tmp_path / "black.bmp", "wb") as file:
        file.write(bmp.getvalue()[:54])
        file.truncate(len(bmp.getvalue()))
    (tmp_path / "a.jpg").write_bytes(jpeg("red"))
    os.link(tmp_path / "a.jpg", tmp_path / "b.jpg")
    line = ["tar", "--sparse", f"--format={form}", "-cf", "x.tar", "black.bmp", "a.jpg", "b.jpg"]
    subprocess.run(line, cwd=tmp_path, check=True)
    found = names(tmp_path / "x.tar")
    assert [name.rpartition("#")[2] for name in found] == ["black.bmp", "a.jpg", "b.jpg"]
    with PictureReader() as reader:
        assert not load_image(reader.read(found[0])).any()
        assert captioner.caption(reader.read(found[2])).text == "A red barn stands."


def test_junk_behind_an_archive_is_told(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(packed({"a.jpg": jpeg("red")}) + b"junk" * 1000)
    *found, (last, error) = find_pictures(str(path))
    assert [name for name, _ in found] == [f"{path}#a.jpg"]
    assert "cannot be read" in str(error)
    assert last == str(path)


def saved(kind: str, **settings: object) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():  # Pillow means to drop IM
        warnings.simplefilter("ignore", DeprecationWarning)
        Image.new("RGB", (64, 48), "red").save(file, kind, **settings)
    return file.getvalue()


NAMED = {  # what lies in a folder or an archive: what it holds, and what reading it says; nothing if it is read
    "a.sgi": (saved("SGI"), "SGI, which is not read"),
    "a.im": (saved("IM"), "IM, which is not read"),
    "a.eps": (saved("EPS"), "PostScript, which is not read"),
    "dos.eps": (b"\xc5\xd0\xd3\xc6" + bytes(28), "EPS, which is not read"),
    "a.wmf": (b"\xd7\xcd\xc6\x9a" + bytes(60), "WMF, which is not read"),
    "a.emf": (b"\1\0\0\0\x6c\0\0\0" + bytes(60), "EMF, which is not read"),
    "a.ppm": (saved("PPM"), "PPM, which is not read"),
    "a.pgm": (b"P5 2 2 255\n....", "PPM, which is not read"),
    "a.jp2": (saved("JPEG2000"), "JPEG 2000, which is not read"),
    "a.tga": (saved("TGA"), "TGA, which is not read"),
    "a.psd": (b"8BPS\0\1" + bytes(40), "PSD, which is not read"),
    "a.raw": (bytes(range(64)), "RAW by its name, which is not read"),
    "a.cr2": (b"II*\0\x10\0\0\0CR\2\0", "CR2 (a camera's raw format), which is not read"),
    "a.arw": (bytes(range(64)), "ARW by its name, which is not read"),
    "a.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG, which is not read"),
    "a.ico": (saved("ICO"), "ICO, which is not read"),
    "a.pcx": (saved("PCX"), "PCX, which is not read"),
    "a.dds": (saved("DDS"), "DDS, which is not read"),
    "a.kra": (b"PK\3\4" + bytes(40), "KRA by its name, which is not read"),
    "a.dcm": (bytes(128) + b"DICM" + bytes(300), "DICOM, which is not read"),
    "scan": (b"\1" * 128 + b"DICM\2\0\0\0UL", "DICOM, which is not read"),
    "b.dcm": (bytes(64), "DCM by its name, which is not read"),
    "a.djvu": (b"AT&TFORM\0\0\1\0DJVUINFO", "DjVu, which is not read"),
    "book": (b"AT&TFORM\0\0\1\0DJVMDIRM", "DjVu, which is not read"),
    "a.jls": (b"\xff\xd8\xff\xf7\0\x0b\x08\0\1\0\1\1\1\x11\0", "JPEG-LS, which is not read"),
    "b.jpg": (b"\xff\xd8\xff\xf7\0\x0b\x08\0\1\0\1\1\1\x11\0", "JPEG-LS, which is not read"),
    "lossless": (b"\xff\xd8\xff\xf7\0\x0b\x08\0\1\0\1\1\1\x11\0", "JPEG-LS, which is not read"),
    **{
        f"cut.{ending}": (start + b"\0\0\0\x20" * 20, f"{ending.upper()} (a camera's raw format), which is not read")
        for ending, start in [
            *[("nef", b"MM\0*"), ("arw", b"II*\0"), ("dng", b"II*\0"), ("pef", b"MM\0*"), ("srw", b"II*\0")],
            *[("3fr", b"MM\0*"), ("iiq", b"II*\0"), ("nrw", b"II*\0"), ("dcr", b"MM\0*"), ("erf", b"II*\0")],
        ]
    },
    "read.dng": (saved("TIFF"), ""),
    "a.jps": (jpeg("red"), ""),
    "a.pns": (saved("PNG"), ""),
    "a.jpg_large": (jpeg("red"), ""),
    "a.jpg~": (jpeg("red"), ""),
    "a.jpg.download": (jpeg("red"), ""),
    "a.JPE": (jpeg("red"), ""),
    "a.jfif": (jpeg("red"), ""),
    "photo": (jpeg("red"), ""),
    "animation": (saved("GIF"), ""),
    "bitmap": (saved("BMP"), ""),
    "f2a9.0": (saved("WEBP"), ""),
    "plate.lsm": (saved("TIFF"), ""),
    "unnamed ppm": (saved("PPM"), "PPM, which is not read"),
    "unnamed psd": (b"8BPS\0\1" + bytes(40), "PSD, which is not read"),
}
OTHERS = {
    "notes.txt": b"text", "a.json": b"{}", "model.bin": bytes(64), "README": b"BMW, P6 and GIF are names", "a.py": b"#",
    "video": b"\0\0\0\x18ftypmp42" + bytes(40), "program": b"\x7fELF" + bytes(60), "page": b"<svg/>",
    "paper.pdf": b"%PDF-", "paper": b"%PDF-1.7", "drawing.ai": b"%PDF-1.5", "page.ps": b"%!PS-Adobe-3.0",
    "a.rar": b"Rar!",
}  # fmt: skip


@pytest.mark.parametrize("place", ["folder", "tar", "tgz"])
def test_every_picture_is_read_or_called_by_its_name_whatever_its_own_is(tmp_path, place):
    files = {name: data for name, (data, _) in NAMED.items()} | OTHERS
    if place == "folder":
        path, between = tmp_path / "d", "/"
        path.mkdir()
        for name, data in files.items():
            (path / name).write_bytes(data)
    else:
        path, between = tmp_path / f"d.{place}", "#"
        data = packed(files)
        path.write_bytes(gzip.compress(data) if place == "tgz" else data)
    assert sorted(names(path)) == sorted(f"{path}{between}{name}" for name in NAMED)
    with PictureReader() as reader:
        for name, (_, reason) in NAMED.items():
            try:
                load_image(reader.read(f"{path}{between}{name}"))
                told = ""
            except ImageError as error:
                told = str(error).removeprefix(f"{path}{between}{name}: ").partition(";")[0]
            assert told == reason


@pytest.mark.parametrize("name", PRIVATE)
def test_every_folder_that_is_left_out_is_listed_in_the_documentation(name, tmp_path):
    for spelling in (name, name.lower(), name.upper()):
        (tmp_path / spelling).mkdir(exist_ok=True)
        (tmp_path / spelling / "a.jpg").write_bytes(jpeg("red"))
    (tmp_path / "b.jpg").write_bytes(jpeg("red"))
    assert names(tmp_path, recursive=True) == [str(tmp_path / "b.jpg")]
    assert f"`{name}`" in (Path(__file__).parents[2] / "docs" / "bulk.md").read_text("utf-8")


PACKED = {  # what a file holds whose name does not say that it is a tar
    "g.tar.zst": (b"\x28\xb5\x2f\xfd" + bytes(60), "data packed by Zstandard"),
    "z.zip": (b"PK\3\4" + bytes(60), "a ZIP archive"),
    "empty.zip": (b"PK\5\6" + bytes(18), "a ZIP archive"),
    "x.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(60), "a 7z archive"),
    "x.rar": (b"Rar!\x1a\7\1\0" + bytes(60), "a RAR archive"),
    "a.gz": (gzip.compress(b"x"), "data packed by gzip"),
    "a.bz2": (bz2.compress(b"x"), "data packed by bzip2"),
    "a.xz": (lzma.compress(b"x"), "data packed by xz"),
    "a.tar.1": (packed({"a.jpg": jpeg("red")}), "a tar archive"),
    "photo.jpg": (b"PK\3\4" + bytes(60), "a ZIP archive"),
}


@pytest.mark.parametrize("name", PACKED)
def test_an_archive_that_is_not_looked_into_is_named_and_so_are_those_that_are(name, tmp_path):
    data, told = PACKED[name]
    (tmp_path / name).write_bytes(data)
    assert names(tmp_path / name) == [str(tmp_path / name)]
    with pytest.raises(ImageError) as caught:
        load_image(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: holds {told}, not an image; allowed are JPEG")
    assert all(f" {ending}" in str(caught.value) for ending in (*TAR_SUFFIXES, ".parquet"))


@pytest.mark.parametrize("junk", [b"junk" * 1000, b"\xff" * 512])
@pytest.mark.parametrize("target", ["/etc/hostname", "../outside.jpg", "nowhere.jpg"])
def test_a_link_out_of_an_archive_is_called_one_before_garbage_too(target, junk, tmp_path):
    path, file = tmp_path / "x.tar", io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(link("out.jpg", target))
    path.write_bytes(file.getvalue() + junk)
    (name, _), (_, error) = find_pictures(str(path))
    assert "cannot be read" in str(error)
    with PictureReader() as reader, pytest.raises(ImageError) as caught:
        reader.read(name)
    assert str(caught.value).startswith(
        f"{path}#out.jpg: a link to {target}, which is not in the archive up to where it"
    )


def test_a_folder_names_every_picture_whatever_its_ending_and_nothing_of_the_systems(tmp_path):
    kept = ["a.JPG", "b.mpo", "c.APNG", "d.dib", "e.HEIC", "f.avif", "g.jxl", "h.jp2", "i.CR2", "j.svg", "unnamed"]
    for name in [*kept, ".hidden.jpg", "._a.JPG", "notes.txt", "unnamed text", "Thumbs.db"]:
        (tmp_path / name).write_bytes(b"text" if "t" in name else jpeg("red"))
    for folder in (".thumbnails", "@eaDir", "__MACOSX", ".git", "$RECYCLE.BIN", "lost+found", "deeper/.Trash-1000"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.jpg").write_bytes(jpeg("red"))
    (tmp_path / "deeper" / "k.jpg").write_bytes(jpeg("red"))
    assert [os.path.relpath(name, tmp_path) for name in names(tmp_path, recursive=True)] == [
        *kept[:4], "deeper/k.jpg", *kept[4:]
    ]  # fmt: skip
    for folder in (".git", "@eaDir"):
        for path in (tmp_path / folder, tmp_path / folder / "*.jpg"):
            assert [os.path.relpath(name, tmp_path) for name in names(path)] == [f"{folder}/a.jpg"]
    found = names(tmp_path / "**" / "*.jpg")
    assert [os.path.relpath(name, tmp_path) for name in found] == ["deeper/k.jpg"]


def test_every_folder_is_looked_into_once_linked_or_not(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside / "own", outside / "deeper", tmp_path / "beside"):
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(jpeg("red"))
    for link, target in {
        "again": inside / "own",  # has a place of its own
        "another": outside,
        "deeper": outside / "deeper",  # is below another
        "round": inside,  # a loop
        "own/up": tmp_path,  # as long as this is followed, everything is found again
        "own/self": inside / "own" / "self",
    }.items():
        (inside / link).symlink_to(target)
    (outside / "back").symlink_to(inside)
    expected = ["another/deeper/a.jpg", "own/a.jpg", "own/self"]
    found = [os.path.relpath(name, inside) for name, _ in find_pictures(str(inside), recursive=True)]
    assert found == [name for name in expected if name != "own/self"]
    [(_, error)] = find_pictures(str(inside))
    assert str(error) == f"{inside}: a folder without images; --recursive looks deeper"
    assert [os.path.relpath(name, inside) for name in names(inside / "another" / "deeper")] == ["another/deeper/a.jpg"]


def test_bytes_alone_are_pictures_too_and_a_bad_one_is_an_error_of_its_own(captioner, tmp_path):
    path = write_table(tmp_path / "t.parquet", [jpeg("red"), None, b"", b"hello", jpeg("blue")], "photo")
    found = names(path, image_column="photo")
    with PictureReader("photo") as reader:
        assert captioner.caption(reader.read(found[4])).text == "A blue boat floats."
        for row, reason in ((1, "empty (0 bytes)"), (2, "empty (0 bytes)"), (3, "holds text, not an image")):
            with pytest.raises(ImageError) as caught:
                captioner.caption(reader.read(found[row]))
            assert str(caught.value).startswith(f"{path}#{row}: {reason}")


def test_a_wrong_column_says_which_there_are(tiny_bundle, table, tmp_path, wrong_usage):
    with pytest.raises(ConfigError, match=r"no column 'imag'; did you mean 'image'\?; its columns are id, image|imag"):
        names(table, image_column="imag")
    with pytest.raises(ConfigError, match="column 'id' holds int64; allowed are the bytes of pictures"):
        names(table, image_column="id")
    out = tmp_path / "captions.csv"
    line = ["caption", table, "--image-column", "x", "--out", out, "--model", tiny_bundle]
    assert "no column 'x'" in wrong_usage(*line)
    assert not list(tmp_path.glob("captions*"))


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_shard_that_is_missing_empty_or_something_else_is_one_error(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    assert problem(path) == f"{path}: no such file"
    path.touch()
    assert problem(path).startswith(f"{path}: cannot be read: ")
    path.write_bytes(b"hello" * 1000)
    assert problem(path).startswith(f"{path}: cannot be read: ")
    path.unlink()
    path = write_tar(path, {"a.txt": b"a"}) if kind == "tar" else write_table(path, pa.array([], pa.binary()))
    assert problem(path) == f"{path}: a shard without images"


def test_a_shard_that_was_cut_short_gives_what_it_has_and_says_so(shard):
    data = shard.read_bytes()
    for end in (3000, 6200, 6144 + 100):  # in a picture, in a header
        shard.write_bytes(data[:end])
        *found, (last, error) = find_pictures(str(shard))
        assert [name for name, problem in found if not problem]
        assert last == str(shard)
        assert "cannot be read" in str(error)


def test_a_shard_that_vanished_is_an_error_of_each_picture(shard, table):
    with PictureReader() as reader:
        for path, inner in ((shard, "9.jpg"), (table, "3"), (table, "x"), (table, "-1")):
            with pytest.raises(ImageError, match="has no such picture"):
                reader.read(f"{path}#{inner}")
        found = names(shard)
        shard.unlink()
        table.unlink()
        with pytest.raises(ImageError, match=f"{found[0]}: no such file {shard}"):
            reader.read(found[0])


def test_a_file_that_is_named_like_a_picture_in_a_shard_is_that_file(captioner, tmp_path):
    path = tmp_path / "a.tar#b.jpg"
    path.write_bytes(jpeg("red"))
    assert inside_shard(str(path)) is None
    with PictureReader() as reader:
        assert captioner.caption(reader.read(str(path))).text == "A red barn stands."


def test_urls_of_fsspec_stand_for_folders_patterns_shards_and_files(captioner, photos, shard, table):
    pytest.importorskip("fsspec", reason="URLs need the extra ray")
    root = f"file://{photos}"
    assert [os.path.basename(name) for name in names(root)] == ["a_blue.PNG", "b_red.jpg"]
    assert [os.path.basename(name) for name in names(root, recursive=True)][-1] == "green.webp"
    assert names(f"{root}/*.jpg") == [f"{root}/b_red.jpg"]
    assert names(f"file://{shard}") == [f"file://{name}" for name in names(shard)]
    with PictureReader(urls=True) as reader:
        for name in (f"{root}/b_red.jpg", f"file://{shard}#000.jpg", f"file://{table}#0"):
            assert captioner.caption(reader.read(name)).text == "A red barn stands."
        with pytest.raises(ImageError, match=r"none\.jpg: no such file"):
            reader.read(f"{root}/none.jpg")
    with pytest.raises(ConfigError, match="nothing://"):
        names("nothing://x")


def test_a_missing_package_is_one_line(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FastcapError, match=r'needs fsspec: pip install -e ".*\[ray\]"'):
        names("file:///tmp")
    with pytest.raises(FastcapError, match=r'needs pyarrow: pip install -e ".*\[bulk\]"'):
        names(table)


@pytest.mark.parametrize("place", ["", "#000.jpg"])
def test_this_machine_alone_opens_no_url(tiny_bundle, shard, tmp_path, capsys, place):
    url = f"file://{shard}{place}"
    assert main(["caption", url, "--model", str(tiny_bundle)]) == 1
    told = f"{url}: a URL; those are opened with --engine ray alone"
    assert capsys.readouterr().err == f"fastcap: error: {told}\n"
    assert [row["error"] for row in caption_files([url], model=tiny_bundle, workers=1)] == [told]


def test_what_cannot_be_looked_into_is_told_and_the_rest_is_found(photos, monkeypatch):
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    (photos / "loop.jpg").symlink_to(photos / "loop.jpg")
    os.mkfifo(photos / "pipe.jpg")
    (photos / "locked").mkdir()
    list_folder = os.scandir

    def refuse(folder: str) -> object:
        if os.path.basename(folder) == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = dict(find_pictures(str(photos), recursive=True))
    locked = found.pop(str(photos / "locked"))
    assert str(locked) == f"{photos / 'locked'}: cannot be listed: Permission denied"
    relative = [os.path.relpath(name, photos) for name in found]
    assert relative == ["a_blue.PNG", "b_red.jpg", "deeper/green.webp", "gone.jpg", "loop.jpg"]
    for name, reason in (("gone.jpg", "no such file"), ("loop.jpg", "Too many levels of symbolic links")):
        with pytest.raises(ImageError, match=reason):
            load_image(str(photos / name))
