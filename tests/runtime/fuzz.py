"""Hostile input, made and tried in a process of its own: `python fuzz.py images|models|checkpoints COUNT SEED FOLDER`.

The process may take MEMORY_CAP bytes of address space, and opening a socket ends it. It prints how many inputs were
accepted and how many were refused by a FastcapError; anything else ends it, after it has named the input on stderr.
"""

from __future__ import annotations

import faulthandler
import hashlib
import io
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, features

from fastcap.errors import FastcapError
from fastcap.runtime.captioner import Captioner

MEMORY_CAP = 3 * 2**30  # a picture of MAX_PIXELS, its copy as RGBA and ONNX Runtime's reservations fit
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def pictures() -> list[bytes]:
    """Small files of every allowed format, with as many of its variants as Pillow writes."""
    x, y = np.meshgrid(np.linspace(0, 255, 40), np.linspace(0, 255, 30))
    rgb = Image.fromarray(np.stack([x, y, np.full_like(x, 90)], axis=2).astype(np.uint8))
    grey, deep = rgb.convert("L"), Image.fromarray((x * 257).astype(np.uint16))
    alpha, palette, mono = rgb.convert("RGBA"), rgb.convert("P"), rgb.convert("1")
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    variants = [
        *[(picture, "JPEG", {}) for picture in (rgb, grey, rgb.convert("CMYK"))],
        *[(rgb, "JPEG", options) for options in ({"progressive": True}, {"exif": exif}, {"restart_marker_rows": 1})],
        *[(picture, "PNG", {}) for picture in (rgb, grey, deep, alpha, mono, grey.convert("LA"))],
        (palette, "PNG", {"transparency": 3}),
        *[(rgb, kind, frames) for kind in ("PNG", "GIF", "WebP", "TIFF")],
        *[(alpha, "WebP", options) for options in ({}, {"lossless": True}, {"exif": exif})],
        *[(picture, "GIF", {}) for picture in (rgb, grey)],
        *[(picture, "BMP", {}) for picture in (rgb, grey, palette, mono)],
        *[(picture, "TIFF", {}) for picture in (rgb, alpha, palette, deep, grey.convert("F"))],
        *[(rgb, "TIFF", {"compression": f"tiff_{name}"}) for name in ("lzw", "deflate", "adobe_deflate", "jpeg")],
        (rgb, "TIFF", {"compression": "packbits"}),
        *[(mono, "TIFF", {"compression": name}) for name in ("group3", "group4")],
        (rgb, "TIFF", {"big_tiff": True}),
        *[(picture, "AVIF", {"exif": exif}) for picture in (rgb, alpha) if features.check("avif")],
    ]
    files = []
    for picture, kind, options in variants:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        files.append(file.getvalue())
    return files


def mutated(data: bytes, others: list[bytes], chance: random.Random, head: int = 96) -> bytes:
    """One to four changes of the kinds that break parsers."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        # Half of the changes hit the first `head` bytes, where sizes and offsets are.
        at = chance.randrange(min(len(changed), head) if chance.random() < 0.5 else len(changed)) if changed else 0
        size = chance.choice((1, 2, 4, 16, 64))
        match chance.randrange(7):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1 if changed:
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                layout = chance.choice("<>") + "I"
                width = chance.choice((2, 4))
                number = struct.pack(layout, chance.choice(EXTREMES))
                changed[at : at + width] = number[:width] if layout[0] == "<" else number[-width:]
            case 3:
                del changed[at : at + size]
            case 4:
                changed[at:at] = changed[at : at + size] * chance.choice((1, 2, 50))
            case 5:
                del changed[at:]
            case 6:
                changed[at:] = chance.choice(others)[at:]
    return bytes(changed)


def hostile_pictures(model: Path, count: int, chance: random.Random) -> Iterator[bool]:
    captioner, files = Captioner.open(model), pictures()
    for number in range(count):
        data = mutated(files[number % len(files)], files, chance)
        try:
            caption = captioner.caption(data)
        except FastcapError as error:
            assert "\n" not in str(error)
            yield False
        else:
            assert caption.text.endswith("."), caption
            yield True


def hostile_value(chance: random.Random) -> object:
    return chance.choice(
        [
            None,
            True,
            "",
            "x",
            "../model.onnx",
            "/dev/zero",
            [],
            {},
            [1, 2],
            -1,
            0,
            3,
            2**31,
            2**70,
            1e308,
            0.5,
            "∞" * 99,
        ]
    )


def sign(folder: Path, values: dict) -> None:
    """Write `model.json` with the sizes and hashes of the files as they are now."""
    for name in values["files"]:
        data = (folder / name).read_bytes()
        values["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "model.json").write_text(json.dumps(values))


def every_answer(folder: Path) -> None:
    """All that a model directory can be asked, so that each of its graphs is read; the first error is raised last."""
    picture = np.full((8, 8, 3), 200, np.uint8)
    captioner = Captioner.open(folder)
    errors: list[FastcapError] = []
    for decode in (*captioner.bundle.decodes, "score"):
        try:
            if decode != "score":
                caption = captioner.caption(picture, decode=decode)
                assert 0 <= caption.confidence <= 1, caption
            elif captioner.bundle.alignment is not None:
                (score,) = captioner.score(picture, ["a red ball"])
                assert 0 <= score <= 1, score
        except FastcapError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def hostile_folders(
    source: Path, manifest: str, use: Callable[[Path], object], count: int, chance: random.Random
) -> Iterator[bool]:
    """Files changed, and signed anew where the manifest has hashes, so that only their readers stand in the way;
    manifests; folders."""
    original = {path.name: path.read_bytes() for path in sorted(source.iterdir())}
    signed = "files" in json.loads(original[manifest])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        for _ in range(count):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name, data in original.items():
                (folder / name).write_bytes(data)
            values = json.loads(original[manifest])
            name = chance.choice([*original])
            path = folder / name
            # Nodes and names of a graph, and the header of safetensors, come before the weights.
            head = chance.choice((96, 2**13))
            match chance.randrange(6):
                case 0 | 1 if name != manifest:
                    path.write_bytes(mutated(original[name], list(original.values()), chance, head))
                    if signed:
                        sign(folder, values)
                case 0 | 1 | 2:
                    table = values
                    while True:
                        key = chance.choice(sorted(table))
                        if not isinstance(table[key], dict) or not table[key] or chance.random() < 0.2:
                            break
                        table = table[key]
                    table[chance.choice((key, "extra"))] = hostile_value(chance)
                    (folder / manifest).write_text(json.dumps(values))
                case 3:
                    path.write_bytes(mutated(original[name], list(original.values()), chance, head))
                case 4:
                    path.unlink()
                    chance.choice((path.mkdir, lambda path=path: path.symlink_to("/dev/zero"), lambda: None))()
                case 5:
                    path.write_bytes(chance.choice([b"", b"{}", b"[]", b"\0" * 5000, *original.values()]))
                    if signed and name != manifest:
                        sign(folder, values)
            try:
                use(folder)
            except FastcapError as error:
                assert "\n" not in str(error)
                yield False
            else:
                yield True


def hostile_models(model: Path, count: int, chance: random.Random) -> Iterator[bool]:
    return hostile_folders(model, "model.json", every_answer, count, chance)


def hostile_checkpoints(checkpoint: Path, count: int, chance: random.Random) -> Iterator[bool]:
    from fastcap.checkpoint import load_checkpoint

    return hostile_folders(checkpoint, "config.json", load_checkpoint, count, chance)


def refuse_sockets(event: str, arguments: tuple) -> None:
    if event.startswith("socket."):
        os.write(2, f"opened a socket: {event} {arguments}\n".encode())
        os._exit(3)


def main() -> None:
    what, count, seed, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    faulthandler.enable()
    warnings.simplefilter("ignore")
    sys.addaudithook(refuse_sockets)
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_CAP, MEMORY_CAP))
    kinds = {"images": hostile_pictures, "models": hostile_models, "checkpoints": hostile_checkpoints}
    outcomes = kinds[what](folder, count, random.Random(seed))
    accepted = done = 0
    try:
        for good in outcomes:
            accepted += good
            done += 1
            os.pwrite(1, f"{done:9}\n".encode(), 0)  # which input was tried last, should the process die
    except BaseException:
        print(f"input {done} of {what}, seed {seed}", file=sys.stderr)
        raise
    os.pwrite(1, json.dumps({"accepted": accepted, "refused": done - accepted}).encode(), 0)


if __name__ == "__main__":
    main()
