"""Adapters that ship: what was trained of a prefix model in a few megabytes, from which `fastcap.release.build` makes a
whole model directory.

| file | what it is |
| --- | --- |
| config.json | the settings, which name the frozen parts and their digests, as in a checkpoint |
| adapters.safetensors.gz | matrices in 8 bits, with a step for each row or column; all else in 32 |
| tokenizer.json.gz | the tokenizer, packed |
| record.json | what was measured, the bits of layers, and captions of pictures that anybody can draw again |
| words.npz | optional: which words people use of a picture, by which captions are ranked |
| language_model.* | optional: a language model of its maker's own (`fastcap.release.packed`) |
| README.md | the card |
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastcap.errors import ConfigError, ModelFileError, nearest
from fastcap.files import folder_written_aside, written_aside
from fastcap.parts import PARTS
from fastcap.release.drawn import drawn
from fastcap.release.packed import (
    holds_language_model,
    pack_language_model,
    read_json,
    read_packed,
    read_tensors,
    unpack_language_model,
    write_packed,
)
from fastcap.runtime.answering import Prompts, search_answers
from fastcap.runtime.bundle import ADAPTERS, Bundle
from fastcap.runtime.contract import WORDS
from fastcap.runtime.encoding import decode
from fastcap.runtime.engine import Decoded, answered, search
from fastcap.runtime.fitted import Ranking, Weights
from fastcap.runtime.options import Options
from fastcap.runtime.stepper import OnnxStepper
from fastcap.runtime.text import sentence
from fastcap.runtime.words import PictureWords

__all__ = [
    "CARD",
    "CONFIG",
    "RECORD",
    "Reader",
    "Record",
    "Said",
    "available_adapters",
    "find_adapters",
    "frozen_names",
    "pack",
    "part_names",
    "read_record",
    "renew_facts",
    "unpack",
    "unpacked",
    "write_card",
    "write_record",
]

CONFIG, WEIGHTS, TOKENIZER, RECORD = "config.json", "adapters.safetensors.gz", "tokenizer.json.gz", "record.json"
CARD = "README.md"
DRAWN, RECORDED = 24, 8  # pictures that are drawn, and that are recorded: those on which the model is surest
SAID = ("captions", "answers")  # what is recorded
ASKED = ("is there a ball in the picture?", "what color is it?", "how many are there?")
"""What a model that answers is asked of drawn pictures, in turn."""


def available_adapters() -> list[str]:
    """Names of the adapters that are installed with the package, sorted."""
    return sorted(path.parent.name for path in ADAPTERS.glob(f"*/{CONFIG}"))


def find_adapters(name_or_folder: str | os.PathLike[str]) -> Path:
    """The folder of installed adapters, or the folder given.

    Raises:
        ConfigError: it is neither.
    """
    name, known = os.fspath(name_or_folder), available_adapters()
    if name in known:
        return ADAPTERS / name
    if (Path(name) / CONFIG).is_file():
        return Path(name)
    allowed = ", ".join(known) or "none (a clone has ours, a wheel leaves them out)"
    raise ConfigError(
        f"unknown adapters {name!r}{nearest(name, known)}; installed are: {allowed}; allowed, too, is a folder that "
        "'fastcap adapters' wrote"
    )


def unpacked(name_or_folder: str | os.PathLike[str], checkpoint: Path) -> Path | None:
    """The checkpoint directory that is made of adapters, whole or not at all; None where none are named. Raises as
    `unpack`."""
    folder = Path(name_or_folder)
    if os.fspath(name_or_folder) in available_adapters():
        folder = find_adapters(name_or_folder)
    elif not (folder / RECORD).is_file() or (folder / "model.safetensors").is_file():
        return None
    with folder_written_aside(checkpoint) as aside:
        unpack(folder, aside, home=checkpoint)
    return checkpoint


# --- weights ------------------------------------------------------------------------------------------------


def pack(checkpoint: Path, folder: Path) -> None:
    """Write the settings, weights and tokenizer of a checkpoint directory into a folder, matrices in 8 bits; and the
    language model, where it is its maker's own.

    Raises:
        ModelFileError: it is no checkpoint of a prefix model, or damaged, or its own language model is not here.
    """
    settings = read_json(checkpoint / CONFIG)
    if settings.get("decoder", {}).get("kind") != "prefix_lm":
        raise ModelFileError(f"{checkpoint} is no checkpoint of a prefix model, the only one that has adapters")
    weights = read_tensors(checkpoint / "model.safetensors")
    pack_language_model(settings, weights, folder)
    write_packed(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    (folder / TOKENIZER).write_bytes(gzip.compress((checkpoint / "tokenizer.json").read_bytes(), 9, mtime=0))


def unpack(
    folder: Path, checkpoint: Path, places: Mapping[str, Path] | None = None, *, home: Path | None = None
) -> None:
    """Write packed adapters into a folder as a checkpoint directory, which `fastcap.checkpoint` reads.

    Args:
        places: folders of frozen parts, by the names that the settings give them; the others are looked for by name.
        home: where the checkpoint directory will be, if it moves: a language model that the adapters bring along is
            a folder in it, which its settings name.

    Raises:
        ModelFileError: a file is missing or damaged.
    """
    from safetensors.numpy import save_file

    settings, places = read_json(folder / CONFIG), dict(places or {})
    weights = read_packed(folder / WEIGHTS)
    try:
        tokenizer = gzip.decompress((folder / TOKENIZER).read_bytes())
    except (OSError, EOFError) as error:
        raise ModelFileError(f"{folder / TOKENIZER} cannot be read: {error}") from error
    names, language_model = part_names(settings)
    checkpoint.mkdir(exist_ok=True)
    if holds_language_model(folder):
        unpack_language_model(folder, weights, tokenizer, checkpoint / language_model)
        places[language_model] = (home or checkpoint).resolve() / language_model
    settings["backbone"]["names"] = [str(places.get(name, name)) for name in names]
    settings["decoder"]["language_model"] = str(places.get(language_model, language_model))
    save_file(weights, checkpoint / "model.safetensors")
    (checkpoint / CONFIG).write_text(json.dumps(settings), encoding="utf-8")
    (checkpoint / "tokenizer.json").write_bytes(tokenizer)


def frozen_names(folder: Path) -> list[str]:
    """The parts that adapters need beside what they hold.

    Raises:
        ModelFileError: their settings name none, or cannot be read.
    """
    names, language_model = part_names(read_json(folder / CONFIG))
    return names if holds_language_model(folder) else [*names, language_model]


def part_names(settings: Mapping[str, Any]) -> tuple[list[str], str]:
    """The frozen parts that settings name: towers, and the language model.

    Raises:
        ModelFileError: they name none.
    """
    try:
        return list(settings["backbone"]["names"]), str(settings["decoder"]["language_model"])
    except (KeyError, TypeError) as error:
        raise ModelFileError(f"{CONFIG} of adapters names no frozen parts ({error} is missing)") from error


# --- what was measured, and what has to come out again --------------------------------------------------------


class Said(NamedTuple):
    """A caption of a drawn picture, or an answer to a question: its text, its tokens, and the mean log-probability of
    these and the end mark."""

    text: str
    token_ids: list[int]
    log_p: float
    question: str = ""


class Record(NamedTuple):
    """What adapters say of the model that is built from them.

    Attributes:
        facts: keywords of `fastcap.export.writer.write_bundle`: name, description, calibration, alignment, quality,
            speed; answering of a model that answers, words and ranking of one that ranks by them.
        captions: by the seed of a drawn picture.
        answers: likewise, of a model that answers.
        bits: of layers by name, as `fastcap.quantization.scales.tensor_bits` reads them.
    """

    facts: dict[str, Any]
    captions: dict[int, Said]
    answers: dict[int, Said]
    bits: dict[str, int]


class Reader:
    """A model directory that captions drawn pictures and answers questions about them, and says how likely it finds
    given captions and answers."""

    def __init__(self, directory: Path) -> None:
        self.bundle = Bundle.open(directory)
        self.stepper, self.tokenizer = OnnxStepper.open(self.bundle), self.bundle.tokenizer()

    def captions(self, seed: int) -> list[Decoded]:
        """Of a drawn picture, best first."""
        return search(self.stepper, self.encoded(seed), Options().plan(self.bundle), self.bundle.vocabulary)

    def answer(self, seed: int, question: str) -> Decoded:
        """The best answer to a question about a drawn picture."""
        prompt, longest = self.prompt(question), self.bundle.decoding.max_length
        encoded, marks = self.encoded(seed), self.bundle.vocabulary
        return answered(search_answers(self.stepper, encoded, [prompt], marks, longest, beams=1))[0]

    def text(self, said: Decoded, question: str = "") -> str:
        """What tokens say: a caption's sentence, or an answer."""
        text = decode(self.tokenizer, said.token_ids)
        return text if question else sentence(text)

    def prompt(self, question: str) -> list[int]:
        """The tokens behind which a caption stands, or the answer to a question."""
        if not question:
            return [self.bundle.vocabulary.bos_id]
        return Prompts(self.bundle, self.tokenizer, question).ids[0]

    def log_p(self, seed: int, said: Said) -> float:
        """Mean log-probability of these tokens and an end mark as a caption of a drawn picture, or as an answer."""
        log_p, state = self.stepper.read(self.encoded(seed), [self.prompt(said.question)])
        total, alone = 0.0, np.array([0])
        for place, token in enumerate((*said.token_ids, self.bundle.vocabulary.eos_id)):
            total += float(log_p[0, token])
            if place < len(said.token_ids):
                log_p, state = self.stepper.step(np.array([token]), state, alone)
        return total / (len(said.token_ids) + 1)

    def encoded(self, seed: int) -> dict[str, np.ndarray]:
        """A drawn picture's state."""
        return self.stepper.encode(drawn(seed, self.bundle.preprocessing.width)[None])


def record_captions(reader: Reader) -> dict[int, Said]:
    """What a model directory says of the drawn pictures on which its best caption is furthest ahead of the second."""
    found = {}
    for seed in range(DRAWN):
        best, *others = reader.captions(seed)
        ahead = best.probability - max((other.probability for other in others), default=0.0)
        found[seed] = ahead, recorded(reader, seed, best)
    return surest(found)


def record_answers(reader: Reader) -> dict[int, Said]:
    """What a model directory answers about the drawn pictures of which it is surest; nothing if it answers nothing."""
    if reader.bundle.questions is None:
        return {}
    found = {}
    for seed in range(DRAWN):
        question = ASKED[seed % len(ASKED)]
        answer = reader.answer(seed, question)
        found[seed] = answer.probability, recorded(reader, seed, answer, question)
    return surest(found)


def recorded(reader: Reader, seed: int, said: Decoded, question: str = "") -> Said:
    """What was said, with the log-probability that is compared later."""
    unmeasured = Said(reader.text(said, question), said.token_ids, 0.0, question)
    return unmeasured._replace(log_p=round(reader.log_p(seed, unmeasured), 4))


def surest(found: Mapping[int, tuple[float, Said]]) -> dict[int, Said]:
    """The `RECORDED` of which the model is surest, by seed."""
    seeds = sorted(found, key=lambda seed: -found[seed][0])[:RECORDED]
    return {seed: found[seed][1] for seed in sorted(seeds)}


def write_record(folder: Path, directory: Path, bits: Mapping[str, int]) -> None:
    """Note in a folder of adapters what the model directory that was made of them states, what it says, and the bits of
    its layers."""
    reader = Reader(directory)
    said = dict(zip(SAID, (record_captions(reader), record_answers(reader)), strict=True))
    told = {part: {str(seed): each._asdict() for seed, each in found.items()} for part, found in said.items()}
    save_record(folder, {"facts": taken_facts(folder, directory), "bits": dict(bits), **told})


def renew_facts(folder: Path, directory: Path) -> None:
    """Note in a folder of adapters what a model directory states that was built of them and has changed since, such as
    its ranking; what it says of drawn pictures stays as recorded, since nothing ranks there.

    Raises:
        ModelFileError: one of the two is damaged.
    """
    record = read_json(folder / RECORD)
    description = str(record.get("facts", {}).get("description", ""))
    save_record(folder, {**record, "facts": taken_facts(folder, directory, description)})


def taken_facts(folder: Path, directory: Path, description: str = "") -> dict[str, Any]:
    """What a model directory states, for a record; the words by which it ranks are copied beside it."""
    manifest = read_json(directory / "model.json")
    facts = {key: manifest.get(key) for key in ("name", "description", "calibration", "alignment", "quality", "speed")}
    if manifest.get("questions"):
        facts["answering"] = {key: manifest["questions"][key] for key in ("scale", "offset")}
    if manifest.get("ranking"):
        shutil.copyfile(directory / WORDS, folder / WORDS)
        facts["ranking"] = manifest["ranking"]
    return facts


def save_record(folder: Path, values: Mapping[str, Any]) -> None:
    """Write the record, whole or not at all."""
    text = json.dumps(values, indent=1, ensure_ascii=False)
    with written_aside(folder / RECORD) as path:
        path.write_text(text + "\n", encoding="utf-8")


def said_of(values: Mapping[str, Any]) -> Said:
    """A caption or an answer as the record has it."""
    token_ids = [*map(int, values["token_ids"])]
    return Said(str(values["text"]), token_ids, float(values["log_p"]), str(values.get("question", "")))


def read_record(folder: Path) -> Record:
    """The record of adapters.

    Raises:
        ModelFileError: it is missing or damaged.
    """
    values = read_json(folder / RECORD)
    try:
        facts = dict(values["facts"])
        for name in ("calibration", "alignment", *(["answering"] if "answering" in facts else [])):
            facts[name] = (float(facts[name]["scale"]), float(facts[name]["offset"]))
        if "ranking" in facts:
            facts |= {"ranking": ranking_of(facts["ranking"]), "words": PictureWords.open(folder / WORDS)}
        captions, answers = ({int(seed): said_of(said) for seed, said in values.get(part, {}).items()} for part in SAID)
        bits = {str(name): int(chosen) for name, chosen in values.get("bits", {}).items()}
        return Record(facts, captions, answers, bits)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{folder / RECORD} cannot be read: {type(error).__name__} {error}") from error


def ranking_of(values: Mapping[str, Any]) -> Ranking:
    """A ranking as the record has it."""
    ways = {way: Weights(**each) for way, each in values.items() if way not in ("neighbours", "sharpness")}
    return Ranking(int(values["neighbours"]), float(values["sharpness"]), ways)


def write_card(folder: Path) -> None:
    """Write the card of a folder of adapters, from its settings and its record; one that is there stays."""
    if (folder / CARD).exists():
        return
    settings, facts = read_json(folder / CONFIG), read_record(folder).facts
    decoder, quality, speed = settings["decoder"], facts["quality"], facts["speed"]
    rows = []
    for name in frozen_names(folder):
        part = PARTS.get(name)
        what, licence = (part.what, part.licence) if part else ("a folder of its maker", "see there")
        rows.append(f"| {name} | {what} | {licence} |")
    table = "\n".join(rows)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    learnt = f'adapters (LoRA) of rank {decoder["rank"]} in the layers "{decoder["adapted"]}"'
    if holds_language_model(folder):
        learnt = f"a language model of its own, {decoder['language_model']}"
    figures = ", ".join(f"{name} {value}" for name, value in quality.items() if isinstance(value, float))
    text = f"""# {facts["name"]}

{facts["description"] or "Adapters of a captioner whose towers and language model others have trained."}

`fastcap build {facts["name"]} --out models/{facts["name"]}` downloads the frozen parts and makes a captioner of them.

| frozen part | what | licence |
|---|---|---|
{table}

Trained, and in this folder ({size:.1f} MB, matrices in 8 bits): a {decoder["projection"]} projection to
{decoder["image_tokens"]} image tokens, {learnt},
and an alignment for scores. Licence: Apache-2.0.

Measured on {quality.get("data", "")}: {figures}; from file to text p50 {speed.get("p50_ms")} ms on one thread of
{speed.get("machine")}, by `{quality.get("command", "")}` (commit {quality.get("commit")}, {quality.get("date")}).

It repeats the biases of its captions, miscounts, and guesses about what everyday photos do not show (docs/prefix.md).
"""
    (folder / CARD).write_text(text, encoding="utf-8")
