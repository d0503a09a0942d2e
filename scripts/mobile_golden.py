"""Write what the apps of `mobile/` are tested against, `mobile/golden/`: `python scripts/mobile_golden.py` after a
change of the bundled model or of how pictures are read. `tests/mobile/test_phone_golden.py` notices where that was
forgotten.

`golden.json` states what the Python runtime makes of the pictures beside it and of a few texts, and what a language
model that is a table would answer. The pictures are drawn here; `--pictures` draws them anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fastcap
from fastcap.runtime.answering import search_answers
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import MODEL, Questions
from fastcap.runtime.conversation import USER, Turn, clean_question, encode_prompt
from fastcap.runtime.encoding import decode, encode
from fastcap.runtime.engine import Encoded, ParallelEngine, answered
from fastcap.runtime.images import load_image
from fastcap.runtime.options import Options
from fastcap.runtime.text import sentence

GOLDEN = Path(__file__).resolve().parent.parent / "mobile" / "golden"
EXIF_ORIENTATION = 0x0112
# file: (width, height, orientation). Enlarged; shrunk with and without a box filter before; turned in two ways.
PICTURES = {
    "small.png": (30, 20, 1),
    "scene.png": (640, 427, 1),
    "turned.png": (300, 500, 6),
    "mirrored.png": (333, 250, 7),
    "wide.png": (1500, 200, 1),
    "large.png": (1003, 1377, 1),
    "clear.png": (500, 460, 1),
    "photo.jpg": (1210, 907, 8),
}
# Levels of 255, on average, where phones do otherwise than Pillow: it resizes before it lays a picture on white, and a
# JPEG's decoder shrinks by the means of other numbers.
TOLERANCES = {"clear.png": 0.25, "photo.jpg": 1.0}
LENGTHS = ("short", "normal", "long")
QUESTIONS = ["Is there a dog?", "  What’s on the table ?", "How many people, 2 or 12?", "Ist das ein Café.", "WHY"]
SENTENCES = [
    "a dog a dog runs",
    "a man in a hat , a hat",
    "two  dogs -",
    "is it a cat?",
    "",
    "'tis red red red",
    "the the",
]
TEMPLATE = "question: {question} answer:"


def draw(width: int, height: int) -> np.ndarray:
    """A hut on a hill below a sun: uint8 RGB (height, width, 3), in whole numbers, so that it is always the same."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    u, v = 1000 * x // width, 1000 * y // height
    hill = 620 + (u - 380) * (u - 380) // 1500
    picture = np.stack([90 + v // 10, 140 + v // 12, 235 - v // 20], axis=2)
    picture[(u - 780) ** 2 + (v - 200) ** 2 < 8000] = (250, 220, 90)
    ground = v > hill
    picture[ground] = np.stack([60 + v // 16, 120 + u // 20, 40 + (u // 25 + v // 25) % 2 * 30], axis=2)[ground]
    picture[(abs(u - 380) < 130) & (abs(v - 560) < 110)] = (150, 80, 50)
    picture[(abs(u - 380) < 30) & (abs(v - 600) < 70)] = (60, 40, 30)
    picture[(v > 330) & (v < 450) & (abs(u - 380) < (v - 330) * 3 // 2)] = (170, 40, 40)
    return picture.clip(0, 255).astype(np.uint8)


def write_pictures(folder: Path) -> None:
    """Draw `PICTURES`."""
    for name, (width, height, orientation) in PICTURES.items():
        image = Image.fromarray(draw(width, height))
        if name == "clear.png":
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        image.save(folder / name, quality=90, optimize=True, **({"exif": exif} if orientation > 1 else {}))


def recorded(captioner: Captioner, pixels: np.ndarray, length: str) -> dict[str, Any]:
    """What the graph gives for a picture and a length, and what is shown of it."""
    bundle, engine = captioner.bundle, captioner._engine
    assert isinstance(engine, ParallelEngine)
    plan = Options(length=length, decode="parallel").plan(bundle)
    outputs = engine._run(Encoded(pixels[None], engine), plan.low, plan.high, plan.decoded)
    by_name = dict(zip(MODEL.outputs, outputs, strict=False))
    lengths = by_name["lengths"][0].tolist()
    ids = by_name["token_ids"][0, 0, : lengths[0]].tolist()
    probabilities = [round(float(each), 6) for each in by_name["confidences"][0]]
    return {
        "length_range": [plan.low, plan.high],
        "token_ids": by_name["token_ids"][0].tolist(),
        "lengths": lengths,
        "confidences": probabilities,
        "caption": sentence(decode(captioner._tokenizer, ids)),
        "confidence": round(bundle.calibration.confidence(probabilities[0]), 5),
    }


class Table:
    """A language model whose next words are a table: a row of log-probabilities for each run, -30 where none stands.

    It records what it is asked to read, in `read_ids`.
    """

    def __init__(self, rows: Sequence[dict[int, float]], size: int) -> None:
        self._rows, self._size, self.read_ids = list(rows), size, []  # type: ignore[var-annotated]

    def read(self, image_state: Any, prompts: Sequence[Sequence[int]]) -> tuple[np.ndarray, Any]:
        return self._next(list(prompts[0])), None

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        return self._next(token_ids.tolist()), None

    def _next(self, ids: list[int]) -> np.ndarray:
        log_p = np.full((1, self._size), -30.0)
        row = self._rows[len(self.read_ids)]
        log_p[0, list(row)] = list(row.values())
        self.read_ids.append(ids)
        return log_p


def answers(captioner: Captioner) -> dict[str, Any]:
    """What a model that answers would say, were its language model a table: marks that are likeliest and barred, a word
    twice in a row, an end that comes too early, and one that never comes."""
    vocabulary, tokenizer = captioner.bundle.vocabulary, captioner._tokenizer
    eos, unk, bos = vocabulary.eos_id, vocabulary.unk_id, vocabulary.bos_id
    man, dog, runs = (encode(tokenizer, word)[0] for word in ("man", "dog", "runs"))
    tables = [
        [{eos: -0.1, unk: -0.2, man: -0.9, dog: -1.5}, {man: -0.2, bos: -0.1, eos: -0.7}],
        [{dog: -0.25}, {dog: -0.125, runs: -0.5}, {runs: -0.1, dog: -3.0, eos: -4.0}, {eos: -6.0, man: -0.5}],
    ]
    limits, longest = Questions(TEMPLATE, 24, 0.9, -0.25), 3
    rows = []
    for question, table in zip(QUESTIONS, tables, strict=False):
        model = Table(table, vocabulary.size)
        prompt = encode_prompt(tokenizer, [Turn(USER, clean_question(question))], TEMPLATE, eos)
        found = answered(search_answers(model, None, [[bos, *prompt]], vocabulary, longest, 1))[0]
        rows.append(
            {
                "question": question,
                "reads": model.read_ids,
                "log_p": [{str(token): value for token, value in row.items()} for row in table],
                "token_ids": found.token_ids,
                "answer": decode(tokenizer, found.token_ids),
                "confidence": round(limits.confidence(found.probability), 5),
            }
        )
    manifest = {
        "format": 2,
        "kind": "prefix",
        "name": "table",
        "preprocessing": captioner.bundle.preprocessing._asdict(),
        "vocabulary": vars(vocabulary),
        "decoding": {**captioner.bundle.decoding._asdict(), "max_length": longest},
        "calibration": captioner.bundle.calibration._asdict(),
        "questions": limits._asdict(),
        "files": {},
    }
    return {"manifest": manifest, "asked": rows}


def pixels_of(captioner: Captioner, name: str) -> np.ndarray:
    """A picture as the model reads it."""
    return load_image(GOLDEN / name, (captioner.bundle.preprocessing.width, captioner.bundle.preprocessing.height))


def expected(captioner: Captioner) -> dict[str, Any]:
    """The content of `golden.json`."""
    bundle, tokenizer = captioner.bundle, captioner._tokenizer
    pictures = []
    for name, (_, _, orientation) in PICTURES.items():
        pixels = pixels_of(captioner, name)
        row = {"file": name, "orientation": orientation, "tolerance": TOLERANCES.get(name, 0)}
        row |= {"sha256": hashlib.sha256(pixels.tobytes()).hexdigest()}
        pictures.append(row | {"captions": {length: recorded(captioner, pixels, length) for length in LENGTHS}})
    cleaned = {question: clean_question(question) for question in QUESTIONS}
    return {
        "model": {"name": bundle.name, "sha256": bundle.files[MODEL.file].sha256},
        "pictures": pictures,
        "questions": [
            {"question": question, "cleaned": text, "token_ids": encode(tokenizer, text)}
            for question, text in cleaned.items()
        ],
        "sentences": [{"text": text, "sentence": sentence(text)} for text in SENTENCES],
        "table": answers(captioner),
    }


def main() -> None:
    """Write `mobile/golden/`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", action="store_true", help="draw the pictures anew, too")
    captioner = fastcap.load_model()
    if parser.parse_args().pictures:
        GOLDEN.mkdir(parents=True, exist_ok=True)
        write_pictures(GOLDEN)
    for name in TOLERANCES:
        pixels = Image.fromarray(pixels_of(captioner, name))
        pixels.save((GOLDEN / name).with_suffix(".expected.png"), optimize=True)
    text = json.dumps(expected(captioner), ensure_ascii=False, separators=(",", ":"))
    (GOLDEN / "golden.json").write_text(text.replace('{"file"', '\n{"file"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
