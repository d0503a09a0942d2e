"""An unmodified transformers.js, in Node, loads what `fastcap convert --platform web` makes of a prefix model: its
captions and answers are ours.

`make test-web` fetches the package; without it, or without Node.js, these tests skip and say so.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastcap.runtime.conversation import ASSISTANT, USER, Turn

PACKAGES = Path(__file__).parent / "vendor" / "node_modules"
PACKAGE = PACKAGES / "@huggingface" / "transformers"
PAGE = Path(__file__).parents[2] / "docs" / "transformers_js.md"
SCRIPT = """
import { AutoModelForImageTextToText, AutoProcessor, RawImage, env, pipeline } from '@huggingface/transformers';
import { readFileSync } from 'node:fs';
const values = JSON.parse(readFileSync(0, 'utf8'));
env.allowRemoteModels = false;
env.localModelPath = values.models;
const opened = async (options) => ({
    processor: await AutoProcessor.from_pretrained(values.name),
    model: await AutoModelForImageTextToText.from_pretrained(values.name, options),
});
const answer = async () => { %s };
console.log(JSON.stringify(await answer().catch((error) => `${error.name}: ${error.message}`)));
"""
QUESTIONS = ["Is there a red ball?", "What runs over the blue grass in the dark?"]
SIZES = [(64, 64), (100, 75), (33, 129), (200, 150)]


def tiny_parts() -> Any:
    source = Path(__file__).parents[1] / "tiny_parts.py"
    spec = importlib.util.spec_from_file_location("tiny_parts_for_web", source)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(program: str):
    """Runs a function's body in Node, with the package at hand; gives what it returns, or "ErrorName: message"."""
    if not PACKAGE.is_dir():
        pytest.skip(f"no {PACKAGE}; run `make test-web`")

    def run(body: str, folder: Path, **values: Any) -> Any:
        done = subprocess.run(
            [program, "--input-type=module", "--eval", SCRIPT % body],
            input=json.dumps({"models": f"{folder.parent}/", "name": folder.name, **values}),
            capture_output=True,
            text=True,
            timeout=300,
            cwd=PACKAGES.parent,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny model that answers: in PyTorch, and in all precisions for transformers.js."""
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    pytest.importorskip("onnx")
    from fastcap.release.transformers_js import convert
    from fastcap.runtime.contract import Manifest

    tiny, root = tiny_parts(), tmp_path_factory.mktemp("web")
    words = tiny.write_language_model(root / "words", hidden_size=128, intermediate_size=192)
    config = tiny.prefix_config(words, tiny.write_tower(root / "eye"), question_tokens=90)
    model, tokenizer = tiny.prefix_model(dataclasses.replace(config, max_length=12))
    manifest = Manifest.of(model.config, name="tiny", files={})
    (folder := root / "tiny").mkdir()
    source = SimpleNamespace(folder=folder, model=model, tokenizer=tokenizer, manifest=manifest)
    convert(source, folder, "all")
    return SimpleNamespace(**vars(source), images=[save(root, size) for size in SIZES])


def save(root: Path, size: tuple[int, int]) -> Path:
    """A picture of that size, smooth and lossless."""
    coarse = np.random.default_rng(size[0]).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    path = root / "{}x{}.png".format(*size)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def searched(made: SimpleNamespace, image: Path, **settings: Any) -> list[int]:
    """Greedily, by the model in PyTorch, from the pixels that our runtime makes of the picture."""
    import torch

    from fastcap.runtime.images import load_image

    with torch.no_grad():
        state = made.model.encode(torch.from_numpy(load_image(image, (64, 64))[None]))
        return made.model.search(state, beams=1, **settings)[0][0].token_ids


CAPTIONS = """
    const { processor, model } = await opened(values.options);
    const texts = [];
    for (const image of values.images) {
        const inputs = await processor(await RawImage.read(image), '<image>');
        const ids = await model.generate(inputs);
        texts.push(processor.batch_decode(ids, { skip_special_tokens: true })[0].replace(/^ /, ''));
    }
    return texts;
"""


def test_captions_are_those_of_the_model_whatever_the_size_of_a_picture(run, made):
    from fastcap.runtime.encoding import decode

    found = run(CAPTIONS, made.folder, options={"dtype": "fp32"}, images=list(map(str, made.images)))
    assert found == [decode(made.tokenizer, searched(made, image)) for image in made.images]
    assert len(set(found)) > 1


@pytest.mark.parametrize("dtype", ["fp16", "q8", "q4", None])
def test_every_precision_loads_by_its_name_and_q4_without_one(dtype, run, made):
    """Random words lie close together, so that rounding may turn some; that a file is read as it is meant is seen
    beside the same graphs in Python."""
    from fastcap.export.llava import LlavaStepper
    from fastcap.generation.autoregressive import greedy_search
    from fastcap.release.transformers_js import DTYPES
    from fastcap.runtime.encoding import decode
    from fastcap.runtime.images import load_image

    found = run(CAPTIONS, made.folder, options={"dtype": dtype}, images=list(map(str, made.images)))
    suffix = next(each.suffix for each in DTYPES.values() if each.name == (dtype or "q4"))
    stepper, limits = LlavaStepper(made.folder / "onnx", suffix), made.model.limits()
    states = [stepper.encode(load_image(image, (64, 64))[None]) for image in made.images]
    best = [greedy_search(stepper, state, 1, **limits)[0] for state in states]
    expected = [decode(made.tokenizer, each.token_ids) for each in best]
    assert sum(one == other for one, other in zip(found, expected, strict=True)) >= len(found) / 2


def test_answers_are_those_of_the_model_and_so_are_the_tokens_of_questions(run, made):
    from fastcap.runtime.conversation import check_turns, encode_prompt
    from fastcap.runtime.encoding import decode

    body = """
        const { processor, model } = await opened({ dtype: 'fp32' });
        const image = await RawImage.read(values.image);
        const found = [];
        for (const turns of values.asked) {
            const content = [{ type: 'image' }, { type: 'text', text: turns[0] }];
            const role = (at) => (at % 2 ? 'assistant' : 'user');
            const messages = turns.map((text, at) => ({ role: role(at), content: at ? text : content }));
            const inputs = await processor(image, processor.apply_chat_template(messages));
            const ids = await model.generate({ ...inputs, min_new_tokens: 1 });
            const answer = ids.slice(null, [inputs.input_ids.dims[1], null]);
            found.push({
                prompt: inputs.input_ids.tolist()[0].map(Number),
                answer: processor.batch_decode(answer, { skip_special_tokens: true })[0].replace(/^ /, ''),
            });
        }
        return found;
    """
    asked = [[QUESTIONS[0]], [QUESTIONS[1]], ["is it dark?", "there is one box", QUESTIONS[0]]]
    found = run(body, made.folder, image=str(made.images[1]), asked=asked)
    template, vocabulary = made.manifest.questions.template, made.model.vocabulary
    for texts, each in zip(asked, found, strict=True):
        turns = [Turn((USER, ASSISTANT)[at % 2], text) for at, text in enumerate(texts)]
        prompt = encode_prompt(made.tokenizer, check_turns(turns, asks=True), template, vocabulary.eos_id)
        assert each["prompt"][-len(prompt) :] == prompt
        assert len(set(each["prompt"][: -len(prompt)])) == 1  # places of the picture, and nothing between
        answer = searched(made, made.images[1], prompt_ids=prompt, min_length=1, max_length=12)
        assert each["answer"] == decode(made.tokenizer, answer)


def test_a_model_that_was_not_trained_to_answer_says_so(run, made, tmp_path):
    from fastcap.export.llava_files import write_files

    (tmp_path / "plain" / "onnx").mkdir(parents=True)
    for file in (made.folder / "onnx").iterdir():
        (tmp_path / "plain" / "onnx" / file.name).symlink_to(file)
    manifest = dataclasses.replace(made.manifest, questions=None)
    write_files(tmp_path / "plain", made.model, made.tokenizer, manifest, "fp32")
    body = """const processor = await AutoProcessor.from_pretrained(values.name);
              const ask = (content) => processor.apply_chat_template([{ role: 'user', content }]);
              const [picture, text] = [{ type: 'image' }, { type: 'text', text: 'a dog?' }];
              try { ask([picture, text]) } catch (error) { return [ask([picture]), `${error}`] }"""
    alone, told = run(body, tmp_path / "plain")
    assert alone == "<image>" and "this model writes captions and was not trained to answer" in told


def test_two_pictures_at_once_are_an_error_of_the_runtime(run, made):
    body = """const { processor, model } = await opened({ dtype: 'fp32' });
              const image = await RawImage.read(values.image);
              return await model.generate(await processor([image, image], ['<image>', '<image>']))"""
    assert "pixel_values" in run(body, made.folder, image=str(made.images[0]))


def test_the_documented_lines_caption_as_the_model_does(run, made, tmp_path, program):
    """Those in JavaScript and those in Python, which need nothing of ours."""
    from fastcap.runtime.encoding import decode

    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "web").symlink_to(made.folder)
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    (tmp_path / "photo.jpg").symlink_to(made.images[1])  # a PNG: lossless
    blocks = re.findall(r"```(js|python)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    captions, questions, python, _ = (code.replace("'q4'", "'fp32'").replace("_q4.onnx", ".onnx") for _, code in blocks)
    (tmp_path / "page.mjs").write_text(captions + questions)
    expected = decode(made.tokenizer, searched(made, made.images[1])).strip()
    for line in ([program, "page.mjs"], [sys.executable, "-c", python]):
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.stdout.startswith(expected), done.stderr


def test_the_bundled_model_captions_in_the_pipeline_for_pictures(run, captioner, tmp_path):
    """Its integers round otherwise now and then from one release of ONNX Runtime to the next."""
    from fastcap.evaluation.speed import sample_photo
    from fastcap.export.converters import convert_all
    from fastcap.runtime.images import load_image
    from fastcap.runtime.text import sentence

    (folder,) = convert_all("fastcap-base", tmp_path, {"web": "transformers.js"})
    images = [tmp_path / f"{seed}.png" for seed in range(4)]
    for seed, path in enumerate(images):
        Image.fromarray(load_image(sample_photo(320, 240, seed=seed), (320, 240))).save(path)
    body = """const captioner = await pipeline('image-to-text', values.name);
              const texts = [];
              for (const image of values.images) texts.push((await captioner(image))[0].generated_text);
              return texts"""
    found = run(body, folder, images=list(map(str, images)))
    expected = [captioner.caption(image, decode="greedy", candidates=1).text for image in images]
    assert sum(sentence(one) == other for one, other in zip(found, expected, strict=True)) >= 3
