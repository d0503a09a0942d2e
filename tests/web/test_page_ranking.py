"""The page ranks candidates as Python does, by the words that people would use of a picture. Needs Node.js alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_node import Node, node  # noqa: F401
from visiting import WEB

import fastcap
from fastcap.data.readers import load_dataset
from fastcap.runtime.contract import MANIFEST, RANKED_AS, WORDS
from fastcap.runtime.encoding import decode
from fastcap.runtime.images import load_image
from fastcap.runtime.options import Options
from fastcap.runtime.ranking import Ranker
from fastcap.runtime.words import PictureWords

MODULES = "".join(
    f"const {name} = await import('{(WEB / f'{file}.js').as_uri()}');"
    for name, file in (("ranking", "ranking"), ("words", "text"), ("tokens", "tokenizer"))
)
READ = "const read = (name) => new Uint8Array(readFileSync(name));"


@pytest.fixture(scope="module")
def run(program: str) -> Any:
    return lambda body, **values: Node(program, None).run(MODULES + READ + body, **values)


@pytest.fixture(scope="module")
def pictures(data_root: Path) -> list[np.ndarray]:
    """Photos of val, at the model's size."""
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[::100]
    return [load_image(example.image) for example in examples]


TEXTS = ["A dog's ball , a dog", "zwei Straßen 5 é", "", "... !", "A man-made dog , zebra zebra"]


def test_the_file_of_words_is_read_and_scored_as_in_python(run: Any, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    names = ["a", "dog's", "dog", "ball", "man-made", "5", "é", "zebra"]
    weights = drawn.normal(size=(len(names), 6))
    words = PictureWords(names, weights, drawn.normal(size=len(names)), drawn.uniform(0, 6, len(names)))
    words.save(tmp_path / WORDS)
    vectors = drawn.normal(size=(3, 6)).astype(np.float32)
    body = """const held = await ranking.PictureWords.read(read(values.file));
              return values.vectors.map((vector) =>
                  values.texts.map((text) => held.score(Float32Array.from(vector), text)))"""
    found = run(body, file=str(tmp_path / WORDS), vectors=vectors.tolist(), texts=TEXTS)
    np.testing.assert_allclose(found, [words.score(vector, TEXTS) for vector in vectors], rtol=1e-5, atol=1e-6)


def test_the_words_of_a_text_are_those_of_python(run: Any) -> None:
    from fastcap.runtime.text import caption_words

    texts = [text for text in TEXTS if "ß" not in text]  # Python also folds what has no capital of one letter
    assert run("return values.texts.map(words.captionWords)", texts=texts) == [caption_words(text) for text in texts]


@pytest.mark.parametrize("kind", RANKED_AS)
def test_scores_of_real_pictures_are_those_of_python(kind: str, run: Any, pictures: list[np.ndarray]) -> None:
    """Of the candidates that Python decodes: so no rounding of a network comes in between."""
    captioner = fastcap.load_model()
    bundle, engine, tokenizer = captioner.bundle, captioner._engine, captioner.bundle.tokenizer()
    ranker = Ranker.open(bundle, tokenizer)
    assert ranker is not None
    way = {"parallel": "parallel", "search": "beam"}[kind]
    plan = Options(decode=way, beams=8 if way == "beam" else 3).plan(bundle)
    sent, expected = [], []
    for pixels in pictures:
        encoded = captioner.encode(pixels)
        found, vector = engine.decode(encoded, plan), engine.vector(encoded)[0]
        candidates = [
            {"ids": list(each.token_ids), "probability": each.probability, "each": list(each.token_probabilities)}
            for each in found
        ]
        sent.append({"candidates": candidates, "vector": vector.tolist()})
        ordered = [decode(tokenizer, each.token_ids) for each in ranker.order(found, vector, way)]
        expected.append((ranker.scores(found, vector, way), ordered))
    body = """const { Tokenizer } = tokens;
              const tokenizer = new Tokenizer(JSON.parse(readFileSync(`${values.folder}/tokenizer.json`)));
              const held = await ranking.PictureWords.read(read(`${values.folder}/words.npz`));
              const ranker = new ranking.Ranker(values.ranking, held, tokenizer);
              return values.sent.map(({ candidates, vector }) => {
                  const seen = Float32Array.from(vector);
                  const ordered = ranker.order(candidates, seen, values.way);
                  return [ranker.scores(candidates, seen, values.way), ordered.map(({ ids }) => tokenizer.decode(ids))];
              })"""
    section = bundle.ranking.as_json() if bundle.ranking else {}
    for (scores, ordered), (others, texts) in zip(
        run(body, folder=str(bundle.folder), ranking=section, sent=sent, way=way), expected, strict=True
    ):
        np.testing.assert_allclose(scores, others, rtol=0, atol=1e-4)
        assert [text.removeprefix(" ") for text in ordered] == texts
    assert any(np.argmax(scores) != 0 for scores, _ in expected)  # it does choose


def rgba(pixels: np.ndarray) -> np.ndarray:
    return np.array(Image.fromarray(pixels).convert("RGBA"))


def test_captions_of_real_pictures_are_those_of_python(node: Node, pictures: list[np.ndarray]) -> None:  # noqa: F811
    """Integers round otherwise in WebAssembly, and now and then otherwise between two releases: one may differ."""
    captioner = fastcap.load_model()
    body = """const captioner = await load('./fastcap-base', { ort });
              const texts = [];
              for (const options of values.asked) {
                  texts.push((await captioner.caption(pictures, options)).map(({ text }) => text));
              }
              return texts"""
    asked = [{}, {"decode": "beam", "beams": 8}, {"noMemory": True}]
    found = node.run(body, [rgba(each) for each in pictures], asked=asked)
    for options, texts in zip(asked, found, strict=True):
        options = {"no_memory" if name == "noMemory" else name: value for name, value in options.items()}
        expected = [caption.text for caption in captioner.caption(pictures, **options)]
        assert sum(one == other for one, other in zip(texts, expected, strict=True)) >= len(expected) - 1, texts
    assert found[0] != found[2]  # ranked, and not


@pytest.mark.parametrize("weighed", ["similarity", "consensus"])
def test_candidates_that_a_memory_ranks_stay_as_the_network_orders_them(weighed: str, run: Any) -> None:
    body = """const ranker = new ranking.Ranker(values.section, null, null);
              return [ranker.weights('parallel'), ranker.weights('beam'), ranker.weights('greedy')]"""
    section = {"neighbours": 30, "sharpness": 40.0, "parallel": {"log_p": 1.0, weighed: 2.0}, "search": {"log_p": 0.0}}
    assert run(body, section=section) == [None, None, None]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"x" * len(data), lambda data: b""])
def test_words_that_are_damaged_are_refused_by_name(damage: Any, program: str, tmp_path: Path) -> None:
    """Also where a manifest states the damaged file's size and hash."""
    import hashlib

    bundle = fastcap.load_model().bundle
    shutil.copytree(bundle.folder, tmp_path / "damaged")
    data = damage((bundle.folder / WORDS).read_bytes())
    (tmp_path / "damaged" / WORDS).write_bytes(data)
    manifest = json.loads((tmp_path / "damaged" / MANIFEST).read_text("utf-8"))
    manifest["files"][WORDS] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (tmp_path / "damaged" / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    ort = "{ InferenceSession: { create: async () => ({}) } }"
    told = Node(program, None).run(f"return await load('damaged', {{ ort: {ort} }})", cwd=tmp_path)
    assert told.startswith("ModelFileError: words.npz: not the words of pictures ("), told
