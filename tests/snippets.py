"""A folder in which the commands of the documentation find what they name, and the words that run them."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw
from pyarrow import parquet

from fastcap.runtime.bundle import find_model

CAPTIONS = ("A dog runs through the grass.", "Two men sit on a bench.", "An old sailor strokes his black dog.")
SAID = (
    ("A brown dog runs through the grass.", "A brown dog is running on the grass."),
    ("Two men sit on a bench.", "Two men are sitting on a wooden bench."),
    ("A woman rides a red bicycle.", "A woman on a red bicycle."),
)
"""Captions of the made data set's pictures, in turn."""
PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
    '<rdf:li xml:lang="x-default">Rex by the sea</rdf:li></rdf:Alt></dc:description></rdf:Description>'
    "</rdf:RDF></x:xmpmeta>"
)


def picture(number: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A scene of its own for each number: sky, ground, and somebody in it."""
    chance = np.random.default_rng(number)
    image = Image.new("RGB", size, tuple(chance.integers(120, 255, 3).tolist()))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, size[1] // 2, *size), fill=tuple(chance.integers(0, 140, 3).tolist()))
    for _ in range(4):
        x, y = chance.integers(0, size[0] - 40), chance.integers(0, size[1] - 40)
        draw.ellipse((x, y, x + 40, y + 60), fill=tuple(chance.integers(0, 255, 3).tolist()))
    return image


def jpeg(number: int) -> bytes:
    data = io.BytesIO()
    picture(number).save(data, "JPEG", quality=90)
    return data.getvalue()


def fill(folder: Path) -> None:
    """Make the pictures, tables, documents and models that the documentation names."""
    places = ("photos/2024", "photos/captioned", "images", "album", "new", "docs", "site", "shards", "quality_reports")
    for place in (*places, "models", "drawn", "data/flickr8k/images", "runs", "train", "path/to"):
        (folder / place).mkdir(parents=True)
    names = ["photo.jpg", "path/to/photo.jpg", "new/sofa.jpg", "docs/dog.jpg", "site/dog.jpg"]
    names += [f"photos/{n}.jpg" for n in "ab"] + ["photos/2024/c.jpg"] + [f"album/p{n}.jpg" for n in range(3)]
    names += [f"drawn/{n}.jpg" for n in "ab"] + [f"photos/captioned/{n}.jpg" for n in "ab"]
    for number, name in enumerate(names):
        (folder / name).write_bytes(jpeg(number))
    (folder / "new/sofa.jpg").write_bytes((folder / "album/p0.jpg").read_bytes())
    (folder / "album/p0.txt").write_text("Rex on the sofa.\n", encoding="utf-8")
    (folder / "album/p1.jpg.xmp").write_text(PACKET, encoding="utf-8")
    picture(99).save(folder / "chart.png")
    (folder / "notes.txt").write_text("Not a picture.\n", encoding="utf-8")
    (folder / "cut.jpg").write_bytes(jpeg(0)[:2000])
    (folder / "README.md").write_text("# A dog\n\n![A dog runs through the grass.](photo.jpg)\n", encoding="utf-8")
    (folder / "docs/page.md").write_text("# A page\n\n![](dog.jpg)\n", encoding="utf-8")
    (folder / "site/index.html").write_text('<p><img src="dog.jpg"></p>\n', encoding="utf-8")
    with zipfile.ZipFile(folder / "book.epub", "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        container = '<container><rootfiles><rootfile full-path="a.opf"/></rootfiles></container>'
        book.writestr("META-INF/container.xml", container)
        item = '<item href="a.xhtml" media-type="application/xhtml+xml"/>'
        book.writestr("a.opf", f"<package><manifest>{item}</manifest></package>")
        book.writestr("a.xhtml", '<html xmlns="http://www.w3.org/1999/xhtml"><body><img src="dog.jpg"/></body></html>')
        book.write(folder / "photo.jpg", "dog.jpg")
    _tables(folder)
    parquet.write_table(pa.table({"photo": [jpeg(0)]}), folder / "train/0.parquet")
    with tarfile.open(folder / "shards/0.tar", "w") as shard:
        shard.add(folder / "photo.jpg", "000001.jpg")
    for name in ("mine", "resnet-vit"):  # what a reader would have trained
        shutil.copytree(find_model("fastcap-base"), folder / "models" / name)
    shutil.copytree(find_model("fastcap-base"), folder / "models/damaged")
    (folder / "models/damaged/model.onnx").write_bytes(b"cut")


def _tables(folder: Path) -> None:
    pair = ["a.jpg", "b.jpg"]
    tables = {"captions.csv": ["photo.jpg", "photos/a.jpg", "photos/b.jpg"], "photos/captioned/train.csv": pair}
    for name, pictures in tables.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("image", "caption"), *zip(pictures, CAPTIONS, strict=False)])
    photos = (folder / "photos").resolve()  # whole paths: a page moves the rows to another folder
    rows = [
        json.dumps({"image": f"{photos}/{n}.jpg", "caption": text}) for n, text in zip("ab", CAPTIONS, strict=False)
    ]
    (folder / "captions.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    drawn = [json.dumps({"image": f"{n}.jpg", "caption": text}) for n, text in zip("ab", CAPTIONS, strict=False)]
    (folder / "drawn/synthetic_prompts.jsonl").write_text("\n".join(drawn) + "\n", encoding="utf-8")
    (folder / "bad.csv").write_text("image,caption\nphoto.jpg,\nphotos/a.jpg,A dog.\n", encoding="utf-8")
    lines = ["image,caption"]
    for number in range(24):
        (folder / f"data/flickr8k/images/{number}.jpg").write_bytes(jpeg(100 + number))
        lines += [f"{number}.jpg,{text}" for text in SAID[number % 3]]
    (folder / "data/flickr8k/captions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, numbers in (("train", range(18)), ("dev", range(18, 21)), ("test", range(21, 24))):
        listed = "".join(f"{n}.jpg\n" for n in numbers)
        (folder / f"data/flickr8k/Flickr_8k.{name}Images.txt").write_text(listed, encoding="utf-8")
    (folder / "quality_reports/object_counts.csv").write_text("object,pictures\nzebra,7\ndog,900\n", encoding="utf-8")
