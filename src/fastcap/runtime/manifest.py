"""The strict reader of a model directory's manifest, and of its files before anything is made of them.

Every key must be known and every value in its range; every file must have the size and SHA-256 that the manifest
states. A graph may keep weights in other files of its directory: it is refused where it names one that the manifest
does not list, or the manifest itself, so that everything it reads was checked. Files that no graph names do no harm.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fastcap.errors import ModelFileError, nearest
from fastcap.runtime.contract import (
    ANSWERING,
    FORMAT,
    KINDS,
    LEFT_TO_RIGHT,
    MANIFEST,
    MEMORY,
    PHOTO,
    RANKED_AS,
    TEXT,
    TOKENIZER,
    WORDS,
    Alignment,
    Calibration,
    Decoding,
    Exits,
    File,
    Manifest,
    Preprocessing,
    Questions,
    Ranking,
    Weights,
    scale_file,
)
from fastcap.runtime.conversation import PLACE
from fastcap.vocabulary import Vocabulary

__all__ = ["MAX_FILE_BYTES", "first_line", "not_a_folder", "read_facts", "read_manifest"]

MAX_MANIFEST_BYTES = 2**20
MAX_QUESTION_TOKENS, MAX_EXITS = 2**16, 16
MAX_FILE_BYTES = 16 * 2**30  # of any file; how large one may be, the manifest states

_RANKED_BY = {MEMORY: ("similarity", "consensus"), WORDS: ("expected", "information")}
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(onnx|data|json|npz)")
_LONGEST_NAME = 255  # bytes of a file's name, on every common file system
_BLOCK = 2**20  # bytes read at a time


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a model directory whose files are as it says.

    Raises:
        ModelFileError: names every file or value at fault, and what was expected.
    """
    fields = _Fields(folder / MANIFEST, "", _read_json(folder))
    version = fields.take("format")
    if type(version) is not int or version != FORMAT:
        fields.fail("format", version, f"{FORMAT}, the format this version of fastcap reads")
    manifest = _manifest(fields, lambda kind: _verified_files(folder, fields.section("files"), KINDS[kind].graphs))
    fields.done()
    kind = manifest.kind
    for index in range(len(manifest.exits.thresholds) + 1 if manifest.exits else 0):
        if scale_file(index) not in manifest.files:
            fields.fail(f"files.{scale_file(index)}", None, "a graph for each exit and one more")
    if manifest.questions and kind not in ANSWERING:
        fields.fail("questions", fields.values["questions"], f"none in a model of kind {kind!r}, which writes captions")
    if (manifest.alignment is None) != (TEXT.file not in manifest.files):
        fields.fail("alignment", fields.values.get("alignment"), f"both it and the file {TEXT.file}, or neither")
    if (manifest.ranking is None) == bool(manifest.files.keys() & {MEMORY, WORDS}):
        fields.fail("ranking", fields.values.get("ranking"), f"both it and {WORDS} or {MEMORY}, or none of them")
    for way, weights in manifest.ranking.weights.items() if manifest.ranking else ():
        for file, names in _RANKED_BY.items():
            if file not in manifest.files and any(getattr(weights, name) for name in names):
                fields.fail(f"ranking.{way}", weights._asdict(), f"0 for {' and '.join(names)}, as there is no {file}")
    if manifest.ranking and manifest.alignment is None:
        fields.fail("alignment", None, "one, as there is a ranking, which compares pictures' vectors")
    if PHOTO in manifest.files and manifest.alignment is None:
        fields.fail("alignment", None, f"one, as there is a {PHOTO}, which reads pictures' vectors")
    return manifest


def read_facts(path: Path, values: Any, files: Mapping[str, File]) -> Manifest:
    """What the manifest of another folder says of a model, `values`, as strictly as `read_manifest`; its files are not
    among them. Raises ModelFileError that names `path`."""
    fields = _Fields(path, "model.", values)
    manifest = _manifest(fields, lambda _: dict(files))
    fields.done()
    return manifest


def _manifest(fields: _Fields, files: Callable[[str], dict[str, File]]) -> Manifest:
    """`files`: of a model of a kind."""
    kind = fields.choice("kind", tuple(KINDS))
    return Manifest(
        kind=kind,
        name=fields.text("name"),
        description=fields.text("description", default=""),
        licence=fields.text("licence", default=""),
        preprocessing=_preprocessing(fields.section("preprocessing")),
        vocabulary=_vocabulary(fields.section("vocabulary"), KINDS[kind].own_marks),
        decoding=_decoding(fields.section("decoding")),
        calibration=Calibration(*fields.section("calibration").numbers(scale=(1e-3, 100), offset=(-100, 100))),
        alignment=(
            Alignment(*fields.section("alignment").numbers(scale=(1e-3, 1000), offset=(-1000, 1000)))
            if "alignment" in fields.values
            else None
        ),
        ranking=_ranking(fields.section("ranking")) if "ranking" in fields.values else None,
        questions=_questions(fields.section("questions")) if "questions" in fields.values else None,
        exits=_exits(fields.section("exits")) if "exits" in fields.values else None,
        architecture=fields.table("architecture"),
        unheld=fields.table("unheld"),
        files=files(kind),
        quality=fields.table("quality") or {},
        speed=fields.table("speed") or {},
    )


def not_a_folder(path: str | os.PathLike[str]) -> str:
    """What to say of such a path. Where a name is too long, the tests of os.path are False; Path's raise an OSError."""
    return f"{path}: {'not a folder' if os.path.exists(path) else 'no such folder'}"


def first_line(error: BaseException) -> str:
    """The first line of what an exception of another library says, to stand within one of ours."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not os.path.isdir(folder):
        raise ModelFileError(not_a_folder(folder))
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise ModelFileError(
            f"{str(folder)!r}: not UTF-8; expected a path that is, or ONNX Runtime opens none"
        ) from None
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: missing; {folder} is not a model directory") from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise ModelFileError(f"{path}: larger than {MAX_MANIFEST_BYTES} bytes, the most allowed")
    try:
        values = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: not valid JSON ({first_line(error)})") from None
    if not isinstance(values, dict):
        raise ModelFileError(f"{path}: holds {_shown(values)}; expected a JSON object")
    return values


def _preprocessing(fields: _Fields) -> Preprocessing:
    values = Preprocessing(
        width=fields.integer("width", 16, 1024),
        height=fields.integer("height", 16, 1024),
        resize=fields.choice("resize", ("squash",)),
        resample=fields.choice("resample", ("bilinear",)),
    )
    fields.done()
    return values


def _vocabulary(fields: _Fields, own_marks: bool) -> Vocabulary:
    size = fields.integer("size", 6, 2**20)
    ids: dict[str, Any] = {key: fields.integer(key, 0, size - 1) for key in ("pad_id", "bos_id", "eos_id")}
    for key in ("mask_id", "unk_id"):  # null where the tokenizer has no such mark
        ids[key] = fields.take(key) if fields.values.get(key, 0) is None else fields.integer(key, 0, size - 1)
    marks = [mark for mark in ids.values() if mark is not None]
    if own_marks and len(set(marks)) < len(marks):
        fields.fail("*_id", sorted(marks), "different ids")
    fields.done()
    return Vocabulary(size=size, **ids)


def _decoding(fields: _Fields) -> Decoding:
    max_length = fields.integer("max_length", 1, 512)
    min_length = fields.integer("min_length", 1, max_length)
    max_candidates = fields.integer("max_candidates", 1, 64)
    lengths = fields.section("lengths")
    values = Decoding(
        passes=fields.integer("passes", 1, 64),
        min_length=min_length,
        max_length=max_length,
        max_candidates=max_candidates,
        default_candidates=fields.integer("default_candidates", 1, max_candidates),
        lengths={name: lengths.range(name, min_length, max_length) for name in ("short", "normal", "long")},
    )
    lengths.done()
    fields.done()
    return values


def _ranking(fields: _Fields) -> Ranking:
    neighbours = fields.integer("neighbours", 1, 1000)
    limits = dict.fromkeys(Weights._fields, (-1e4, 1e4))
    weights = {way: Weights(*fields.section(way).numbers(**limits)) for way in RANKED_AS if way in fields.values}
    (sharpness,) = fields.numbers(sharpness=(0, 1e4))
    return Ranking(neighbours, sharpness, weights)


def _exits(fields: _Fields) -> Exits:
    thresholds = fields.take("thresholds")
    if not (
        isinstance(thresholds, list)
        and 1 <= len(thresholds) <= MAX_EXITS
        and all(type(each) in (int, float) and 0 <= each <= 2 for each in thresholds)
    ):
        fields.fail("thresholds", thresholds, f"1 to {MAX_EXITS} numbers from 0 to 2")
    fields.done()
    return Exits(tuple(map(float, thresholds)))


def _questions(fields: _Fields) -> Questions:
    template, tokens = fields.text("template"), fields.integer("tokens", 1, MAX_QUESTION_TOKENS)
    if template.count(PLACE) != 1:
        fields.fail("template", template, f"a text with {PLACE} in it, once")
    return Questions(template, tokens, *fields.numbers(scale=(1e-3, 100), offset=(-100, 100)))


def _verified_files(folder: Path, fields: _Fields, graphs: tuple[str, ...]) -> dict[str, File]:
    """Compare every file with what the manifest says of it; `graphs` must be there. All problems in one message.

    A graph names another file by its name alone, which then stands in the graph's bytes as it is: a file of the
    directory that is not listed must not be named there. That asks for no parser of graphs, which an attacker could
    lead to another reading than ONNX Runtime's, and leaves .DS_Store and README.md alone.
    """
    left_to_right = LEFT_TO_RIGHT if any(name in fields.values for name in LEFT_TO_RIGHT) else ()
    for name in (*graphs, TOKENIZER, *left_to_right, *fields.values):
        if not _FILE_NAME.fullmatch(name):
            fields.fail(name, name, "a plain file name that ends in .onnx, .data, .json or .npz, without any folder")
        if name not in fields.values:
            fields.fail(name, None, "its bytes and sha256")
    try:
        unlisted = {*os.listdir(folder), MANIFEST} - fields.values.keys()
    except OSError as error:
        raise ModelFileError(f"{folder}: cannot be read: {error.strerror}") from None
    files, problems = {}, []
    for name in list(fields.values):
        entry = fields.section(name)
        files[name] = File(bytes=entry.integer("bytes", 1, MAX_FILE_BYTES), sha256=entry.text("sha256"))
        entry.done()
        if problem := _file_problem(folder / name, files[name], unlisted if name.endswith(".onnx") else ()):
            problems.append(f"{name}: {problem}")
    if problems:
        raise ModelFileError(f"model directory {folder} is damaged: {'; '.join(problems)}")
    return files


def _file_problem(path: Path, stated: File, unlisted: Iterable[str]) -> str | None:
    """What is wrong with a file, in which no name of `unlisted` may stand. Its size is compared before it is read."""
    # Some file systems take small letters for capitals, and spell an accented letter in two ways: refuse either.
    names = {name: name.lower().encode() if name.isascii() else b"" for name in unlisted}
    named: set[str] = set()
    tail = b""
    try:
        if not path.is_file():
            return "not a file" if path.exists() else "missing"
        size = path.stat().st_size
        if size != stated.bytes:
            return f"{size} bytes, expected {stated.bytes}"
        sha256 = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                sha256.update(block)
                text = tail + block.lower()
                named.update(name for name, spelt in names.items() if spelt in text)
                tail = text[-_LONGEST_NAME:]
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if sha256.hexdigest() != stated.sha256:
        return f"its content has changed: sha256 {sha256.hexdigest()[:12]}…, expected {stated.sha256[:12]}…"
    if named:
        return f"may read {min(named)!r}; allowed are the files that {MANIFEST} lists, so move that elsewhere"
    return None


class _Fields:
    """One JSON object of the manifest, read strictly: every key known, every value of its type and range."""

    def __init__(self, path: Path, prefix: str, values: Any) -> None:
        self.path, self.prefix = path, prefix
        if not isinstance(values, dict):
            raise ModelFileError(f"{path}: {prefix.rstrip('.')} is {_shown(values)}; expected an object")
        self.values: dict[str, Any] = values
        self._read: set[str] = set()

    def fail(self, key: str, value: Any, expected: str) -> None:
        got = "is missing" if value is None else f"is {_shown(value)}"
        raise ModelFileError(f"{self.path}: {self.prefix}{key} {got}; expected {expected}")

    def take(self, key: str) -> Any:
        self._read.add(key)
        return self.values.get(key)

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.take(key)
        if type(value) is not int or not low <= value <= high:
            self.fail(key, value, f"a whole number from {low} to {high}")
        return value

    def numbers(self, **ranges: tuple[float, float]) -> list[float]:
        """All numbers of a section, each in its range."""
        read = []
        for key, (low, high) in ranges.items():
            value = self.take(key)
            if type(value) not in (int, float) or not low <= value <= high:
                self.fail(key, value, f"a number from {low} to {high}")
            read.append(float(value))
        self.done()
        return read

    def text(self, key: str, default: str | None = None) -> str:
        value = self.take(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or (default is None and not value):
            self.fail(key, value, "a text")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.take(key)
        if not isinstance(value, str) or value not in allowed:
            self.fail(key, value, " or ".join(map(repr, allowed)))
        return value

    def range(self, key: str, low: int, high: int) -> tuple[int, int]:
        value = self.take(key)
        if not (
            isinstance(value, list)
            and len(value) == 2
            and all(type(end) is int for end in value)
            and low <= value[0] <= value[1] <= high
        ):
            self.fail(key, value, f"[smallest, largest] between {low} and {high}")
        return value[0], value[1]

    def table(self, key: str) -> dict[str, Any] | None:
        value = self.take(key)
        if value is not None and not isinstance(value, dict):
            self.fail(key, value, "an object")
        return value

    def section(self, key: str) -> _Fields:
        value = self.take(key)
        if value is None:
            self.fail(key, value, "an object")
        return _Fields(self.path, f"{self.prefix}{key}.", value)

    def done(self) -> None:
        """Refuse keys that nothing has read: a misspelt key must not be a silent default."""
        for key in self.values.keys() - self._read:
            raise ModelFileError(
                f"{self.path}: unknown key {self.prefix + key!r}{nearest(key, self._read)}; "
                f"allowed are {', '.join(sorted(self._read))}"
            )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
