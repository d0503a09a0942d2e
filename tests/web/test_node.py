"""fastcap.js in Node: pixels in, captions out, over ONNX Runtime Web out of vendor/ and over onnxruntime-node.

`make test-web` fetches both; without them, or without Node.js, these tests skip and say so.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from visiting import OLDEST_NODE, WEB

import fastcap
from fastcap.evaluation.speed import sample_photo
from fastcap.runtime.images import load_image

PACKAGES = Path(__file__).parent / "vendor" / "node_modules"
MODEL = WEB.parent / "src" / "fastcap" / "bundled" / "fastcap-base"
SCRIPT = """
import { readFileSync } from 'node:fs';
import { load } from '%(module)s';
import { loadImage } from '%(images)s';
const ort = %(ort)s;
const { pictures, ...values } = JSON.parse(readFileSync(0, 'utf8'), (_, value) =>
    value?.base64 === undefined ? value : new Uint8Array(Buffer.from(value.base64, 'base64')));
const answer = async () => { %(body)s };
console.log(JSON.stringify(await answer().catch((error) => `${error.name}: ${error.message}`)));
"""


class Node:
    """Runs function bodies in a process of Node's, with `load`, `loadImage`, `ort`, `pictures` and `values` at hand."""

    def __init__(self, program: str, package: Path | None) -> None:
        self._program = program
        self.has_package = package is not None
        self._ort = f"await import('{(package / 'dist' / 'index.js').as_uri()}')" if package else "undefined"

    def run(self, body: str, pictures: Sequence[np.ndarray] = (), cwd: Path = MODEL.parent, **values: Any) -> Any:
        """What the body returns, or "ErrorName: message"; pictures are uint8 (H,W,4), there {data, width, height}."""
        sent = [
            {
                "data": {"base64": base64.b64encode(each.tobytes()).decode()},
                "width": each.shape[1],
                "height": each.shape[0],
            }
            for each in pictures
        ]
        names = {"module": (WEB / "fastcap.js").as_uri(), "images": (WEB / "images.js").as_uri()}
        done = subprocess.run(
            [self._program, "--input-type=module", "--eval", SCRIPT % {**names, "ort": self._ort, "body": body}],
            input=json.dumps({"pictures": sent, **values}),
            capture_output=True,
            text=True,
            timeout=300,
            cwd=cwd,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module", params=["vendor", "onnxruntime-node"])
def node(request: pytest.FixtureRequest, program: str) -> Node:
    package = PACKAGES / request.param if request.param == "onnxruntime-node" else None
    needed, command = (package, "make test-web") if package else (WEB / "vendor", "make web")
    if not needed.is_dir():
        pytest.skip(f"no {needed}; run `{command}`")
    return Node(program, package)


def photo(seed: int, size: tuple[int, int] = (640, 480)) -> np.ndarray:
    """A sample photo, decoded: uint8 RGBA (H,W,4)."""
    decoded = Image.fromarray(load_image(sample_photo(*size, seed=seed), size))
    return np.array(decoded.convert("RGBA"))


def test_the_oldest_node_is_the_one_that_the_package_states() -> None:
    assert json.loads((WEB / "package.json").read_text())["engines"] == {"node": ">={}.{}".format(*OLDEST_NODE)}


def test_pixels_are_those_of_python(program: str) -> None:
    pictures = [photo(1), photo(2, (1511, 1007)), photo(3, (2403, 300)), photo(4, (30, 20)), photo(6, (300, 500))]
    body = """const pixels = await Promise.all(pictures.map((picture) => loadImage(picture, 224, 224)));
              return pixels.map((each) => Buffer.from(each).toString('base64'))"""
    for found, picture in zip(Node(program, None).run(body, pictures), pictures, strict=True):
        decoded = np.frombuffer(base64.b64decode(found), np.uint8).reshape(224, 224, 3)
        np.testing.assert_array_equal(decoded, load_image(picture[..., :3]))


def test_transparency_lies_on_white(program: str) -> None:
    picture = photo(5)
    picture[..., 3] = np.linspace(0, 255, picture.shape[1]).astype(np.uint8)
    body = "return Buffer.from(await loadImage(pictures[0], 224, 224)).toString('base64')"
    found = np.frombuffer(base64.b64decode(Node(program, None).run(body, [picture])), np.uint8).reshape(224, 224, 3)
    assert abs(found.astype(int) - load_image(picture)).max() <= 2  # Python resizes first, and then lays it on white


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("{ data: new Uint8Array(12), width: 2, height: 2 }", "<Object>: 12 bytes for 2x2 pixels; expected 4 a pixel"),
        ("{ data: new Uint8Array(0), width: 2, height: 0 }", "<Object>: 0 bytes for 2x0 pixels; expected 4 a pixel"),
        ("{ data: new Uint8Array(8), width: 4, height: 0.5 }", "<Object>: 8 bytes for 4x0.5 pixels; expected 4"),
        ("new Blob(['GIF89a'])", "<Blob>: nothing here decodes pictures; give {data, width, height}"),
        ("Buffer.from('GIF89a')", "<Buffer>: nothing here decodes pictures; give {data, width, height}"),
    ],
)
def test_what_is_no_picture_says_what_is_one(picture: str, message: str, program: str) -> None:
    assert Node(program, None).run(f"return loadImage({picture}, 224, 224)").startswith(f"ImageError: {message}")


def test_captions_are_those_of_python(node: Node, tiny_bundle: Path) -> None:
    """The tiny model's weights are floats: nothing rounds otherwise here."""
    python = fastcap.load_model(tiny_bundle)
    colours = [np.full((30, 40, 4), (*colour, 255), np.uint8) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    asked = [{}, {"candidates": 4}, {"length": "short", "candidates": 8}, {"length": 7}, {"neutral": True}]
    body = """const captioner = await load('tiny', { ort });
              const found = [];
              for (const options of values.asked) found.push(await captioner.caption(pictures, options));
              return found"""
    found = node.run(body, colours, cwd=tiny_bundle.parent, asked=asked)
    for options, captions in zip(asked, found, strict=True):
        for caption, colour in zip(captions, colours, strict=True):
            expected = python.caption(colour, **options)
            assert [each["text"] for each in caption["candidates"]] == [each.text for each in expected.candidates]
            assert caption["confidence"] == pytest.approx(expected.confidence, abs=1e-5)


def test_the_bundled_model_captions_as_in_python_by_each_way_of_decoding(node: Node) -> None:
    """Its integers round otherwise in WebAssembly than in Python, and now and then otherwise between two releases."""
    python = fastcap.load_model()
    pictures = [photo(seed, (320, 240)) for seed in range(2)]
    body = """const captioner = await load('./fastcap-base', { ort });
              const texts = {};
              for (const decode of captioner.decodes) {
                  texts[decode] = (await captioner.caption(pictures, { decode })).map(({ text }) => text);
              }
              return texts"""
    found = node.run(body, pictures)
    assert list(found) == ["parallel", "greedy", "beam"]
    expected = {decode: [python.caption(picture, decode=decode).text for picture in pictures] for decode in found}
    assert sum(text == expected[decode][at] for decode, texts in found.items() for at, text in enumerate(texts)) >= 5


def test_the_documented_lines_caption_as_python_does(program: str, tiny_bundle: Path, tmp_path: Path) -> None:
    """The first example in docs/web.md under Node, with the packages that it names and the tiny model."""
    folders = {"fastcap": WEB, **{name: PACKAGES / name for name in ("onnxruntime-node", "pngjs")}}
    (tmp_path / "node_modules").mkdir()
    for name, folder in folders.items():
        if not folder.is_dir():
            pytest.skip(f"no {folder}; run `make test-web`")
        (tmp_path / "node_modules" / name).symlink_to(folder)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "fastcap-base").symlink_to(tiny_bundle)
    Image.new("RGB", (60, 40), "blue").save(tmp_path / "photo.png")
    section = (WEB.parent / "docs" / "web.md").read_text("utf-8").partition("## In Node\n")[2]
    code = section.partition("```js\n")[2].partition("```")[0]
    line = [program, "--input-type=module", "--eval", code]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == fastcap.load_model(tiny_bundle).caption(tmp_path / "photo.png").text, done.stderr


def test_threads_are_a_matter_of_the_runtime(node: Node, tiny_bundle: Path) -> None:
    body = """const captioner = await load('tiny', { ort, threads: 2 });
              return (await captioner.caption(pictures[0]))[0].text"""
    blue = np.full((30, 40, 4), (0, 0, 255, 255), np.uint8)
    found = node.run(body, [blue], cwd=tiny_bundle.parent)
    if node.has_package:
        assert found == fastcap.load_model(tiny_bundle).caption(blue).text
    else:
        assert found.startswith("ConfigError: threads is 2; more than 1 need a cross-origin isolated page, or onnx")


@pytest.mark.parametrize("folder", ["'nowhere'", "new URL('file:///nowhere/')"])
def test_a_model_that_is_not_there_is_named(folder: str, program: str, tmp_path: Path) -> None:
    told = Node(program, None).run(f"return load({folder}, {{ ort: {{}} }})", cwd=tmp_path)
    assert told.startswith("ModelFileError: file:///")
    assert "nowhere/model.json: ENOENT: no such file or directory" in told
