"""The Android app on a JVM: its sources compile, and its captioner says what Python's says.

Debian has all that it takes: `apt-get install kotlin libandroid-json-java default-jre-headless`; elsewhere these tests
skip and say so. Android, androidx and ONNX Runtime are stubs of types here (`android_stubs.txt`), and the graphs that
the app's captioner asks for are run by this process.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime import InferenceSession
from tokenizers import Tokenizer, normalizers, pre_tokenizers

import fastcap
from fastcap.data.readers import load_dataset
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.encoding import encode
from fastcap.runtime.images import load_image

pytestmark = pytest.mark.slow  # compiling takes a minute

ROOT = Path(__file__).parents[2]
ANDROID, GOLDEN = ROOT / "mobile" / "android", ROOT / "mobile" / "golden"
# Android's own org.json, and the library of Kotlin, as Debian lays them
JARS = [Path("/usr/share/java/com.android.json.jar"), Path("/usr/share/java/kotlin-stdlib.jar")]


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a JVM that has the compiled app, to which a class and its arguments are added."""
    missing = [program for program in ("kotlinc", "java") if shutil.which(program) is None]
    missing += [str(jar) for jar in JARS if not jar.is_file()]
    if missing:
        pytest.skip(f"no {', '.join(missing)}; on Debian: apt-get install kotlin libandroid-json-java")
    folder = tmp_path_factory.mktemp("android")
    stubs = (Path(__file__).parent / "android_stubs.txt").read_text(encoding="utf-8")
    for name, source in re.findall(r"^// FILE: (\S+)\n(.*?)(?=^// FILE|\Z)", stubs, re.DOTALL | re.MULTILINE):
        (folder / "stubs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "stubs" / name).write_text(source, encoding="utf-8")
    sources = [folder / "stubs", ANDROID / "src", Path(__file__).parent / "Piped.kt"]
    done = subprocess.run(
        ["kotlinc", "-cp", str(JARS[0]), *map(str, sources), "-d", str(folder / "classes")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert ".kt:" not in done.stderr, done.stderr  # no warning either
    path = ":".join(map(str, [folder / "classes", *JARS]))
    return ["java", "-Djava.awt.headless=true", "-cp", path]


class Phone:
    """The app's captioner of a model directory; its graphs are run here."""

    def __init__(self, app: list[str], folder: Path) -> None:
        self._folder = folder
        self._sessions: dict[str, InferenceSession] = {}
        self.ran: list[str] = []
        self._process = subprocess.Popen(
            [*app, "fastcap.mobile.PipedKt", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.told = self._answer()

    def ask(self, pixels: np.ndarray | None = None, **request: Any) -> dict[str, Any]:
        """What the app answers to a request of Piped.kt, about the pixels given last."""
        if pixels is not None:
            self._send({"pixels": base64.b64encode(pixels.tobytes()).decode()})
            self._answer()
        self._send(request)
        return self._answer()

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        assert self._process.wait(60) == 0

    def _send(self, message: dict[str, Any]) -> None:
        print(json.dumps(message), file=self._process.stdin, flush=True)

    def _answer(self) -> dict[str, Any]:
        while True:
            message = json.loads(self._process.stdout.readline())  # type: ignore[union-attr]
            if "graph" not in message:
                return message
            name = message["graph"]
            if name not in self._sessions:
                self._sessions[name] = InferenceSession(str(self._folder / name), providers=["CPUExecutionProvider"])
            session = self._sessions[name]
            if "feeds" not in message:
                self._send({"inputs": [node.name for node in session.get_inputs()]})
                continue
            self.ran.append(name)
            names = [node.name for node in session.get_outputs()]
            outputs = session.run(names, {key: numbers(value) for key, value in message["feeds"].items()})
            self._send({key: sent(value) for key, value in zip(names, outputs, strict=True)})


def numbers(tensor: dict[str, Any]) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(tensor["data"]), tensor["type"])
    return data.reshape(tensor["shape"])


def sent(array: np.ndarray) -> dict[str, Any]:
    return {
        "shape": list(array.shape),
        "type": array.dtype.name,
        "data": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
    }


@pytest.fixture
def phone(app: list[str]) -> Iterator[Callable[[Path], Phone]]:
    opened: list[Phone] = []

    def open_model(folder: Path) -> Phone:
        opened.append(Phone(app, folder))
        return opened[-1]

    yield open_model
    for each in opened:
        each.close()


def test_the_app_says_what_the_golden_files_state(app: list[str]) -> None:
    done = subprocess.run([*app, "fastcap.mobile.GoldenKt", str(GOLDEN)], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("0 differences\n", 0), done.stderr


def test_the_app_notices_what_differs(app: list[str], tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "mobile" / "golden")
    (tmp_path / "src").symlink_to(ROOT / "src")
    file = tmp_path / "mobile" / "golden" / "golden.json"
    golden = json.loads(file.read_text(encoding="utf-8"))
    golden["pictures"][0]["sha256"] = "0" * 64
    golden["pictures"][1]["captions"]["short"]["token_ids"][0][0] += 1
    golden["questions"][0]["token_ids"].pop()
    golden["table"]["asked"][0]["answer"] = "no"
    file.write_text(json.dumps(golden), encoding="utf-8")
    done = subprocess.run([*app, "fastcap.mobile.GoldenKt", str(file.parent)], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.endswith("\n4 differences\n"), done.stdout + done.stderr


def test_captions_are_those_of_parallel_decoding(phone: Callable[[Path], Phone]) -> None:
    captioner = fastcap.load_model()
    app = phone(captioner.bundle.folder)
    assert app.told == {"name": captioner.bundle.name, "answers": False}
    for name in ("scene.png", "turned.png"):
        pixels = load_image(GOLDEN / name)
        for length in ("short", "normal", "long"):
            said = app.ask(pixels, length=length)
            [decoded, *_] = captioner._engine.decode(
                captioner.prepare(pixels), fastcap.Options(length=length, decode="parallel").plan(captioner.bundle)
            )
            assert said["ids"] == decoded.token_ids
            confidence = captioner.bundle.calibration.confidence(decoded.probability)
            assert said["confidence"] == pytest.approx(confidence, abs=1e-6)
        assert app.ask(length="normal")["said"] == captioner.caption(pixels).text
    assert "answers no questions" in app.ask(question="is it red?")["error"]


def test_a_damaged_directory_is_refused(phone: Callable[[Path], Phone], tmp_path: Path) -> None:
    shutil.copytree(fastcap.load_model().bundle.folder, tmp_path / "model")
    manifest = tmp_path / "model" / "model.json"
    values = json.loads(manifest.read_text())
    values["files"]["text.onnx"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(values))
    assert "text.onnx: missing, or not as model.json says" in phone(manifest.parent).told["error"]
    manifest.write_text(json.dumps(values | {"kind": "autoregressive"}))
    assert "allowed: 2, parallel or prefix" in phone(manifest.parent).told["error"]


TEXTS = ["a dog's 2 cats", "in 1987, red & blue (or so)!", "  two  spaces", "Café Ωmega ½", "don't we'll I'm", "x" * 40]


@pytest.mark.parametrize("kind", ["own", "prefixed", "digits"])
def test_texts_are_encoded_as_by_the_tokenizers_library(kind: str, phone: Callable[[Path], Phone], tmp_path) -> None:
    captioner = fastcap.load_model()
    tokenizer = Tokenizer.from_str(captioner._tokenizer.to_str())
    if kind == "prefixed":  # as tokenizers of language models are, once their vocabulary is cut down
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(" ")])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if kind == "digits":  # as that of SmolLM2
        tokenizer.normalizer = None
        parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    app = phone(captioner.bundle.folder)
    for text in TEXTS:
        found = app.ask(tokenizer=str(tmp_path / "tokenizer.json"), text=text)
        assert found["ids"] == encode(tokenizer, text), text


@pytest.fixture(scope="module")
def prefix_directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a prefix model that answers, at a tiny random size."""
    for package in ("torch", "transformers", "peft", "onnx"):
        pytest.importorskip(package, reason=f"needs {package}")
    from fastcap.export.families import EXPORTS
    from fastcap.export.writer import write_bundle
    from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

    def write(backbone: Callable[[Path], Any] | None = None, image_size: int = 64) -> Path:
        """`backbone`: settings of another vision part, whose weights it writes into a folder."""
        root = tmp_path_factory.mktemp("prefix")
        config = prefix_config(write_language_model(root / "llama"), write_tower(root / "eye"), question_tokens=60)
        config = dataclasses.replace(config, max_length=6, image_size=image_size)
        if backbone:
            config = dataclasses.replace(config, backbone=backbone(root / "trunk"))
        model, tokenizer = prefix_model(config)
        EXPORTS["prefix"].parts(model, root)
        EXPORTS["prefix"].assemble(root, root / "fp32", model.config)
        write_bundle(root / "tiny", root / "fp32", tokenizer, model.config, name="tiny", answering=(2.0, 0.5))
        return root / "tiny"

    return write


QUESTIONS = ["is there a red ball?", " A  dog.", "what runs over the blue grass in the dark?"]


def drawn(captioner: Captioner, seed: int) -> np.ndarray:
    """A picture of noise, at the model's size."""
    size = captioner.bundle.preprocessing
    return np.random.default_rng(seed).integers(0, 256, (size.height, size.width, 3), np.uint8)


def test_answers_are_those_of_python(prefix_directory, phone: Callable[[Path], Phone]) -> None:
    folder = prefix_directory()
    captioner, app = Captioner.open(folder), phone(folder)
    assert app.told["answers"]
    for seed in range(3):
        pixels = drawn(captioner, seed)
        said, plan = app.ask(pixels, length="normal"), fastcap.Options(decode="greedy").plan(captioner.bundle)
        [decoded] = captioner._engine.decode(captioner.prepare(pixels), plan)
        assert said["ids"] == decoded.token_ids
        confidence = captioner.bundle.calibration.confidence(decoded.probability)
        assert said["confidence"] == pytest.approx(confidence, abs=1e-4)
        for question in QUESTIONS:
            found, stated = app.ask(question=question), captioner.ask(pixels, question)
            assert found["said"] == stated.text
            assert found["confidence"] == pytest.approx(stated.confidence, abs=1e-4)
        assert app.ran.count("vision_encoder.onnx") == seed + 1  # once a picture
    assert "holds no words" in app.ask(question=" ?! ")["error"]
    assert "too long" in app.ask(question="why " * 80)["error"]


def test_scales_of_the_vision_part_run_until_one_is_sure(prefix_directory, phone, monkeypatch) -> None:
    from safetensors.torch import save_file

    from fastcap.backbone import convolutional
    from fastcap.config import TowersConfig

    small = convolutional.Trunk((4, 6, 8, 10, 12, 14, 16), (1,) * 7, (3,) * 7, stem_width=4, expansion=2, head_width=20)
    monkeypatch.setitem(convolutional.TRUNKS, "small", small)

    def scales(folder: Path) -> TowersConfig:
        tensors = {}
        for name, layer in convolutional.named_convolutions(convolutional.ConvolutionalTower("small")).items():
            tensors |= {f"{name}.weight": layer.weight.detach(), f"{name}.bias": layer.bias.detach()}
        (folder / "small").mkdir(parents=True)
        save_file(tensors, folder / "small" / "model.safetensors")
        return TowersConfig(names=(str(folder / "small"),), scales=("64/32", "128/16", "128/32"))

    folder = prefix_directory(scales, 128)
    captioner = Captioner.open(folder)
    pixels = [drawn(captioner, seed) for seed in range(4)]
    first = InferenceSession(str(folder / "vision_encoder.onnx"))
    sure = [float(first.run(["sure"], {"images": each[None]})[0][0]) for each in pixels]
    values = json.loads((folder / "model.json").read_text())
    values["exits"]["thresholds"] = [sorted(sure)[2], 0.0]  # the likelier half leaves there, all others at the next
    (folder / "model.json").write_text(json.dumps(values))
    captioner, app = Captioner.open(folder), phone(folder)
    for each, confidence in zip(pixels, sure, strict=True):
        app.ran.clear()
        assert app.ask(each, question=QUESTIONS[0])["said"] == captioner.ask(each, QUESTIONS[0]).text
        assert ("scale1.onnx" in app.ran) == (confidence < sorted(sure)[2])
        assert "scale2.onnx" not in app.ran


def test_captions_of_photos_are_those_of_python(phone: Callable[[Path], Phone], data_root: Path) -> None:
    """The app words captions by fewer rules, and ranks none. Other lengths are those of parallel
    decoding."""
    captioner = fastcap.load_model()
    app = phone(captioner.bundle.folder)
    photos = [example.image for example in load_dataset("flickr8k", data_root / "flickr8k", "val")[::10]]
    equal = dict.fromkeys(("short", "normal", "long"), 0)
    for photo in photos:
        pixels = load_image(photo)
        encoded = captioner.prepare(photo)
        for place, length in enumerate(equal):
            said = app.ask(None if place else pixels, length=length)["said"]
            equal[length] += said == captioner.caption(encoded, length=length, decode="parallel", no_memory=True).text
    print(f"equal of {len(photos)}: {equal}")
    assert equal["normal"] >= 0.99 * len(photos), equal
    assert min(equal.values()) >= 0.95 * len(photos), equal
