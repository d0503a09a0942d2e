"""Models with a language model of others in JavaScript: captions and answers are those of Python, and a picture is
encoded once for both. Tiny random ones; and, where `fastcap build` has put them into models/, those that ship.

`make test-web` fetches what runs them; without it, or without Node.js, these tests skip and say so.
"""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from test_node import Node, node, photo  # noqa: F401
from visiting import WEB, Demo, Visit

import fastcap
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.conversation import USER, Turn, check_turns
from fastcap.runtime.encoding import encode

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MODELS = WEB.parent / "models"
QUESTIONS = ["Is there a red ball?", "a dog?", "What runs over the blue grass in the dark?"]
SEARCHES: list[dict[str, Any]] = [
    {}, {"decode": "greedy"}, {"candidates": 3}, {"beams": 5, "neutral": True}, {"length": "short"}, {"length": 4},
]  # fmt: skip
ODD = [
    "Is  there\ta “red” ball ?",
    "What's the dog 's colour , or isn ' t it a dog?",
    "wo n't they ca n't 12 345 dogs?!",
    'the " red " ball ( big ) costs $ 5 100 %',
    "<image> parents ' house &amp; more &#233; &lt;3 ``quoted'' ...",
    "É Ünï ß İ ﬁ 写真 🙂",
    "</s> <s> <pad> {question}",
    "a\u00a0b\u2028c",
    "boys' and girls' 'toys' ' here '",
    "don't we'll I'm they've it'd you're",
    "x" * 300,
]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Writes the model directory of `config_of(root, tiny_parts)`, of random weights that have opinions and come to an
    end, so that what is said is not improbable, and no two kernels choose otherwise."""
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    pytest.importorskip("onnx")
    import torch

    import tiny_parts
    from fastcap.export.families import EXPORTS
    from fastcap.export.writer import write_bundle

    def write(config_of: Any) -> Path:
        root = tmp_path_factory.mktemp("prefix")
        model, tokenizer = tiny_parts.prefix_model(config_of(root, tiny_parts))
        with torch.no_grad():
            for name, parameter in model.decoder.language_model.named_parameters():
                if "ln_f" in name or "final_layernorm" in name:
                    parameter *= 8
                if name == "lm_head.bias":
                    parameter[model.config.vocabulary.eos_id] += 7
        (root / "parts").mkdir()
        EXPORTS["prefix"].parts(model, root / "parts")
        EXPORTS["prefix"].assemble(root / "parts", root / "fp32", model.config)
        answering = (0.5, 1.0) if model.config.decoder.question_tokens else None
        settings = {"name": "tiny", "calibration": (2.0, 0.5), "answering": answering}
        write_bundle(root / "tiny", root / "fp32", tokenizer, model.config, **settings)
        return root / "tiny"

    return write


def two_towers(root: Path, tiny: Any, family: str = "phi", **decoder: Any) -> Any:
    towers = [tiny.write_tower(root / "eye"), tiny.write_tower(root / "fine", seed=1, patch=8)]
    config = tiny.prefix_config(tiny.write_language_model(root / "words", family), *towers, **decoder)
    return dataclasses.replace(config, max_length=8)


@pytest.fixture(scope="module")
def answering(write: Any) -> Path:
    """A model of two towers that answers."""
    return write(lambda root, tiny: two_towers(root, tiny, question_tokens=90))


@pytest.fixture(scope="module")
def captioning(write: Any) -> Path:
    """One of another architecture, with a prompt, that was not taught to answer."""
    return write(lambda root, tiny: two_towers(root, tiny, "gpt2", prompt="a photo of"))


@pytest.mark.parametrize("name", ["answering", "captioning"])
def test_captions_are_those_of_python(name: str, node: Node, request: pytest.FixtureRequest) -> None:  # noqa: F811
    folder = request.getfixturevalue(name)
    python = fastcap.load_model(folder)
    pictures = [photo(1), photo(2, (91, 70)), photo(3, (64, 64))]
    body = """const captioner = await load('tiny', { ort });
              const found = [captioner.decodes];
              for (const options of values.asked) found.push(await captioner.caption(pictures, options));
              return found"""
    decodes, *found = node.run(body, pictures, cwd=folder.parent, asked=SEARCHES)
    assert decodes == ["beam", "greedy"]
    for options, captions in zip(SEARCHES, found, strict=True):
        for caption, picture in zip(captions, pictures, strict=True):
            expected = python.caption(picture, **options)
            assert [each["text"] for each in caption["candidates"]] == [each.text for each in expected.candidates]
            assert caption["confidence"] == pytest.approx(expected.confidence, abs=1e-4)
            assert [each["text"] for each in caption["tokens"]] == [each.text for each in expected.tokens]


def test_answers_are_those_of_python_alone_and_side_by_side(node: Node, answering: Path) -> None:  # noqa: F811
    """One question, more than have their beginning read by itself, and more than are read side by side."""
    python = fastcap.load_model(answering)
    picture, asked = photo(1), [[QUESTIONS[0]], QUESTIONS[1:], QUESTIONS * 2, QUESTIONS * 6]
    body = """const captioner = await load('tiny', { ort });
              const [before, later] = [await captioner.encode(pictures[0]), await captioner.encode(pictures[0])];
              const found = [await captioner.ask(pictures[0], values.asked[0][0])];
              for (const beams of [1, 3]) {
                  for (const each of values.asked) found.push(await captioner.ask(before, each, { beams }));
                  for (const each of values.asked.toReversed()) found.push(await captioner.ask(later, each, { beams }));
              }
              return found"""
    alone, *found = node.run(body, [picture], cwd=answering.parent, asked=asked)
    assert alone["text"] == python.ask(picture, QUESTIONS[0]).text and alone["question"] == QUESTIONS[0]
    rows = [(beams, each) for beams in (1, 3) for each in (*asked, *reversed(asked))]
    for (beams, questions), answers in zip(rows, found, strict=True):
        expected = python.ask(picture, questions, beams=beams)
        assert [(each["question"], each["text"]) for each in answers] == [
            (each.question, each.text) for each in expected
        ]
        confidences = [each.confidence for each in expected]
        assert [each["confidence"] for each in answers] == pytest.approx(confidences, abs=1e-4)
        assert len({each["milliseconds"] for each in answers}) == 1 and answers[0]["milliseconds"] > 0
    assert len({answer["text"] for answer in found[3]}) > 1  # it tells questions apart
    assert len({round(answer["confidence"], 3) for answer in found[3]}) > 1


def test_a_picture_is_encoded_once_for_captions_and_questions(node: Node, answering: Path) -> None:  # noqa: F811
    if not node.has_package:
        pytest.skip("runs are counted in onnxruntime-node alone")
    body = """const runs = [];
              const create = async (...model) => {
                  const session = await ort.InferenceSession.create(...model);
                  const run = session.run.bind(session);
                  session.run = (...feeds) => (runs.push(session.inputNames.join()), run(...feeds));
                  return session;
              };
              const captioner = await load('tiny', { ort: { Tensor: ort.Tensor, InferenceSession: { create } } });
              const picture = await captioner.encode(pictures[0]);
              await captioner.caption([picture, picture]);
              await captioner.caption(picture, { length: 3 });
              await captioner.ask(picture, ['a dog?', 'a ball?']);
              return ['images', 'image_tokens', 'prefix'].map((name) => runs.filter((each) => each === name).length)"""
    assert node.run(body, [photo(1)], cwd=answering.parent) == [1, 1, 1]


@pytest.mark.parametrize("source", ["answering", "captioning", "bundled"])
def test_questions_have_the_tokens_of_python(source: str, program: str, request: pytest.FixtureRequest) -> None:
    bundle = fastcap.load_model().bundle if source == "bundled" else Bundle.open(request.getfixturevalue(source))
    body = """const [{ Tokenizer }, { cleanQuestion }] = [await import(values.tokenizer), await import(values.asking)];
              const tokenizer = new Tokenizer(JSON.parse(readFileSync(`${values.folder}/tokenizer.json`)));
              return values.texts.map((text) => [cleanQuestion(text), tokenizer.encode(text)])"""
    modules = {name: (WEB / f"{name}.js").as_uri() for name in ("tokenizer", "asking")}
    found = Node(program, None).run(body, texts=ODD, folder=str(bundle.folder), **modules)
    tokenizer = bundle.tokenizer()
    cleaned = [check_turns([Turn(USER, text)], asks=True)[0].text for text in ODD]
    assert found == [[clean, encode(tokenizer, text)] for clean, text in zip(cleaned, ODD, strict=True)]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("picture, ' ?! '", "ConfigError: the question holds no words; needed: a text of 1 to 1000 characters"),
        ("picture, 'x'.repeat(1001)", "ConfigError: the question has 1001 characters; allowed: 1 to 1000"),
        ("picture, 'why '.repeat(99)", "tokens; model 'tiny' reads at most 90"),
        ("picture, []", "ConfigError: got 0 questions; allowed are 1 to 1000"),
        ("picture, 7", "ConfigError: the question is a number; needed: a text"),
        ("picture, '<image> a <image>?'", "ConfigError: <image> stands twice"),
        ("picture, 'a dog?', { beams: 9 }", "ConfigError: beams is 9; allowed are whole numbers from 1 to 8"),
        ("picture, 'a dog?', { length: 3 }", "ConfigError: unknown option length; allowed is beams"),
        ("{ data: new Uint8Array(3), width: 1, height: 1 }, 'a dog?'", "ImageError: <Object>: 3 bytes"),
        (
            "await (await load('tiny', { ort })).encode(picture), 'a?'",
            "ConfigError: got a picture that another captioner",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: str, told: str, node: Node, answering: Path) -> None:  # noqa: F811
    body = f"const captioner = await load('tiny', {{ ort }}); const [picture] = pictures; return captioner.ask({asked})"
    assert told in node.run(body, [photo(1, (64, 64))], cwd=answering.parent)


def test_a_model_that_only_captions_says_so(node: Node, captioning: Path) -> None:  # noqa: F811
    body = """const captioner = await load('tiny', { ort });
              return captioner.manifest.questions ?? captioner.ask(pictures[0], 'a dog?')"""
    told = "ConfigError: model 'tiny' writes captions and answers no questions"
    assert node.run(body, [photo(1)], cwd=captioning.parent) == told


def test_scales_of_the_vision_part_run_until_one_is_sure(node: Node, write: Any, monkeypatch: Any) -> None:  # noqa: F811
    from safetensors.torch import save_file

    from fastcap.backbone import convolutional
    from fastcap.config import TowersConfig

    small = convolutional.Trunk((4, 6, 8, 10, 12, 14, 16), (1,) * 7, (3,) * 7, stem_width=4, expansion=2, head_width=20)
    monkeypatch.setitem(convolutional.TRUNKS, "small", small)

    def config_of(root: Path, tiny: Any) -> Any:
        tensors = {}
        for name, layer in convolutional.named_convolutions(convolutional.ConvolutionalTower("small")).items():
            tensors |= {f"{name}.weight": layer.weight.detach(), f"{name}.bias": layer.bias.detach()}
        (root / "small").mkdir()
        save_file(tensors, root / "small" / "model.safetensors")
        config = tiny.prefix_config(
            tiny.write_language_model(root / "words", "phi"), root / "small", question_tokens=90
        )
        eyes = TowersConfig(names=(str(root / "small"),), scales=("64/32", "128/16", "128/32"))
        return dataclasses.replace(config, image_size=128, backbone=eyes)

    folder = write(config_of)
    pictures = [photo(seed, (160, 120)) for seed in range(5)]
    first = Bundle.open(folder).open_file("vision_encoder.onnx")
    python = fastcap.load_model(folder)
    sure = [float(first.run(["sure"], {"images": python.prepare(each).pixels})[0][0]) for each in pictures]
    manifest = json.loads((folder / "model.json").read_text())
    manifest["exits"]["thresholds"] = [sorted(sure)[3], 0.0]  # two leave there, all others at the next
    (folder / "model.json").write_text(json.dumps(manifest))
    python = fastcap.load_model(folder)
    body = """const captioner = await load('tiny', { ort });
              return Promise.all(pictures.map((each) => captioner.ask(each, 'a dog?')))"""
    found = node.run(body, pictures, cwd=folder.parent)
    expected = [python.ask(each, "a dog?") for each in pictures]
    assert python.exits_taken == [2, 3, 0]
    assert [each["text"] for each in found] == [each.text for each in expected]
    confidences = [each.confidence for each in expected]
    assert [each["confidence"] for each in found] == pytest.approx(confidences, abs=1e-4)
    assert len({round(each, 3) for each in confidences}) == 5


@pytest.mark.slow
def test_the_page_answers_what_is_typed_below_a_picture(browser: Browser, answering: Path) -> None:
    (WEB / "vendor").is_dir() or pytest.skip(f"no ONNX Runtime Web in {WEB / 'vendor'}; run `make web`")
    python, demo = fastcap.load_model(answering), Demo("--model", str(answering))
    visit = Visit(browser, demo.url, service_workers="block")
    visit.page.locator("#files").set_input_files(dict(name="a.png", mimeType="image/png", buffer=png(photo(1))))
    assert visit.captions(1) == [python.caption(photo(1)).text]
    field = visit.page.get_by_label("Question about a.png")
    for place, question in enumerate(QUESTIONS[:2]):
        field.fill(question)
        field.press("Enter")
        answer = visit.page.locator(".answers b").nth(place)
        assert answer.text_content() == python.ask(photo(1), question).text
    assert visit.page.locator(".answers li").first.inner_text().startswith(QUESTIONS[0]) and field.input_value() == ""
    assert visit.faults == []
    visit.context.close()
    assert demo.stop() == ""


@pytest.mark.slow
def test_the_page_has_no_box_for_questions_where_the_model_answers_none(visit: Visit) -> None:
    visit.add("a.jpg")
    assert not visit.page.locator(".ask").is_visible()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["distilvit", "fastvlm-base", "fastvlm-tiny"])
def test_a_built_model_captions_and_answers_as_in_python(name: str, node: Node) -> None:  # noqa: F811
    """Its integers round otherwise in WebAssembly, so it is run by the kernels that Python has."""
    if not (MODELS / name).is_dir() or not node.has_package:
        pytest.skip(f"needs {MODELS / name}, which `fastcap build {name}` makes, and onnxruntime-node")
    python = fastcap.load_model(MODELS / name)
    pictures = [photo(seed, (320, 240)) for seed in range(3)]
    body = """const captioner = await load(values.name, { ort });
              const found = [];
              for (const each of pictures) {
                  const picture = await captioner.encode(each);
                  const [{ text }] = await captioner.caption(picture);
                  const answers = captioner.manifest.questions ? await captioner.ask(picture, values.questions) : [];
                  found.push([text, ...answers.map((answer) => answer.text)]);
              }
              return found"""
    found = node.run(body, pictures, cwd=MODELS, name=name, questions=QUESTIONS)
    for said, picture in zip(found, pictures, strict=True):
        answers = python.ask(picture, QUESTIONS) if python.bundle.questions else []
        assert said == [python.caption(picture).text, *(answer.text for answer in answers)]
