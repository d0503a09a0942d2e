"""The one reader of model directories: `model.json`, `tokenizer.json`, and the graphs of the model's kind.

A parallel model is `model.onnx`, and more graphs if they are there; an autoregressive one is `encode.onnx` and
`step.onnx`. `text.onnx` is there for scores.

Nothing in a model directory is executed, and no file is used before its size and sha256 match the manifest. A graph
may keep weights in other files of its directory: it is refused where it names one that the manifest does not list, or
the manifest itself, so that all it says comes from bytes that were checked. Files that no graph names do no harm there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.errors import ConfigError, ModelFileError, nearest
from fastcap.runtime.contract import (
    FORMAT,
    IMAGE_VECTORS,
    KINDS,
    LEFT_TO_RIGHT,
    MANIFEST,
    MODEL,
    TEXT,
    TOKENIZER,
    Alignment,
    Calibration,
    Decoding,
    Preprocessing,
    decodes,
)
from fastcap.vocabulary import Vocabulary

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

__all__ = [
    "Bundle",
    "available_models",
    "find_model",
    "running",
]

MAX_MANIFEST_BYTES = 2**20
MAX_FILE_BYTES = 512 * 2**20
MAX_THREADS = 64

_MODELS = Path(__file__).resolve().parent.parent / "bundled"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(onnx|json)")
_LONGEST_NAME = 255  # bytes of a file's name, on every common file system
_SPECIAL_TOKENS = ("pad", "bos", "eos", "mask", "unk")


@dataclass(frozen=True)
class Bundle:
    """A verified model directory. `files` are the sizes in bytes of its files, `model.json` left out.

    `quality` and `speed` are the measured figures the directory states about itself, free in form.
    """

    folder: Path
    name: str
    kind: str
    description: str
    licence: str
    preprocessing: Preprocessing
    vocabulary: Vocabulary
    decoding: Decoding
    calibration: Calibration
    alignment: Alignment | None
    files: Mapping[str, int]
    quality: Mapping[str, Any]
    speed: Mapping[str, Any]

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Bundle:
        """Read and verify a model directory.

        Raises ModelFileError that names every file at fault and what was expected of it.
        """
        folder = Path(folder)
        fields = _Fields(folder / MANIFEST, "", _read_manifest(folder))
        version = fields.take("format")
        if type(version) is not int or version != FORMAT:
            fields.fail("format", version, f"{FORMAT}, the format this version of fastcap reads")
        kind = fields.choice("kind", tuple(KINDS))
        bundle = cls(
            folder=folder,
            kind=kind,
            name=fields.text("name"),
            description=fields.text("description", default=""),
            licence=fields.text("licence", default=""),
            preprocessing=_preprocessing(fields.section("preprocessing")),
            vocabulary=_vocabulary(fields.section("vocabulary")),
            decoding=_decoding(fields.section("decoding")),
            calibration=_calibration(fields.section("calibration")),
            alignment=_alignment(fields.section("alignment")) if "alignment" in fields.values else None,
            files=_verify_files(folder, fields.section("files"), KINDS[kind].graphs),
            quality=fields.table("quality"),
            speed=fields.table("speed"),
        )
        for key in ("architecture", "unheld"):  # what `fastcap checkpoint` needs, and nobody here
            fields.table(key)
        fields.done()
        if (bundle.alignment is None) != (TEXT.file not in bundle.files):
            fields.fail("alignment", fields.values.get("alignment"), f"both it and the file {TEXT.file}, or neither")
        return bundle

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(self.files.values())

    @property
    def decodes(self) -> tuple[str, ...]:
        """How it can decode; the first is what it does where nobody asks for another."""
        return decodes(self.kind, self.files)

    def session(self, threads: int = 1) -> InferenceSession:
        """The captioner's graph, ready to run on the CPU with `threads` threads (1 to 64).

        Raises ConfigError for the number of threads, ModelFileError when `model.onnx` is no valid graph or
        its inputs and outputs are not those of a captioner.
        """
        session = self.open_graph(MODEL.file, threads)
        self._check_graph(self.folder / MODEL.file, session)
        self.check_pictures(MODEL.file, session)
        return session

    def open_graph(self, name: str, threads: int = 1) -> InferenceSession:
        """Any graph of the directory, whatever its inputs and outputs; raises as `session`."""
        if type(threads) is not int or not 1 <= threads <= MAX_THREADS:
            raise ConfigError(f"threads is {threads!r}; allowed are whole numbers from 1 to {MAX_THREADS}")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # ONNX Runtime's arena has one lock: threads that share a session wait for it at every node.
        options.enable_cpu_mem_arena = False
        # Idle threads that spin steal the core from whatever else the user runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # problems arrive as exceptions; do not print them as well
        path = self.folder / name
        try:
            session = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # falling back means to try the CPU again, and to print that on stdout
            )
            for node in (*session.get_inputs(), *session.get_outputs()):
                _ = node.name, node.shape  # fail where they are not Unicode
        except Exception as error:  # onnxruntime's exception types share no base of their own
            raise ModelFileError(f"{path}: not a valid ONNX model ({_first_line(error)})") from error
        return session

    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises ModelFileError when it disagrees with the vocabulary in `model.json`."""
        from tokenizers import Tokenizer

        path = self.folder / TOKENIZER
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelFileError(f"{path}: not a valid tokenizer ({_first_line(error)})") from error
        size = tokenizer.get_vocab_size()
        if size != self.vocabulary.size:
            raise ModelFileError(f"{path}: {size} tokens; model.json states {self.vocabulary.size}")
        for token in _SPECIAL_TOKENS:
            found, expected = tokenizer.token_to_id(f"<{token}>"), getattr(self.vocabulary, f"{token}_id")
            if found != expected and expected is not None:
                raise ModelFileError(f"{path}: id of <{token}> is {found}; model.json states {expected}")
        return tokenizer

    def _check_graph(self, path: Path, session: InferenceSession) -> None:
        vectors = IMAGE_VECTORS if self.alignment else {}
        for role, nodes, tensors in (
            ("inputs", session.get_inputs(), MODEL.inputs),
            ("outputs", session.get_outputs(), MODEL.outputs | vectors),
        ):
            found = {node.name: node.type for node in nodes if self.alignment or node.name not in IMAGE_VECTORS}
            expected = {name: tensor.type for name, tensor in tensors.items()}
            if found != expected:
                raise ModelFileError(f"{path}: {role} are {found}; expected {expected}")

    def check_pictures(self, name: str, session: InferenceSession) -> None:
        """Raise ModelFileError where a graph of the directory reads pictures of another size than it should."""
        shape = next(node.shape for node in session.get_inputs() if node.name == "images")
        expected_shape = ["B", self.preprocessing.height, self.preprocessing.width, 3]
        if len(shape) != 4 or any(
            isinstance(found, int) and found != want for found, want in zip(shape[1:], expected_shape[1:], strict=True)
        ):
            raise ModelFileError(f"{self.folder / name}: images have shape {shape}; expected {expected_shape}")


def available_models() -> list[str]:
    """Names of the models that are installed with the package, sorted."""
    return sorted(path.parent.name for path in _MODELS.glob("*/model.json"))


def find_model(name_or_dir: str | os.PathLike[str]) -> Path:
    """The directory of a bundled model, or the directory given.

    A bundled name wins over a folder of that name, so that the working directory never changes which model
    runs; write `./name` for the folder.

    Raises ConfigError for a name that is neither, ModelFileError for a path that is no directory.
    """
    text = os.fspath(name_or_dir)
    known = available_models()
    if text in known:
        return _MODELS / text
    if os.path.isdir(text):
        return Path(text)
    if isinstance(name_or_dir, os.PathLike) or "/" in text or os.sep in text:
        raise ModelFileError(f"{_not_a_folder(text)}; expected a model directory that holds model.json")
    raise ConfigError(f"unknown model {text!r}{nearest(text, known)}; bundled are: {', '.join(known) or 'none'}")


@contextlib.contextmanager
def running(path: Path) -> Iterator[None]:
    """Turn what a session raises into a ModelFileError about its file."""
    try:
        yield
    except Exception as error:  # onnxruntime's exception types share no base of their own
        raise ModelFileError(f"{path}: failed while running ({_first_line(error)})") from error


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not os.path.isdir(folder):
        raise ModelFileError(_not_a_folder(folder))
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
        raise ModelFileError(f"{path}: not valid JSON ({_first_line(error)})") from None
    if not isinstance(values, dict):
        raise ModelFileError(f"{path}: holds {_shown(values)}; expected a JSON object")
    return values


def _not_a_folder(path: str | os.PathLike[str]) -> str:
    """What to say of it. Where a name is too long, the tests of os.path are False; Path's raise an OSError."""
    return f"{path}: {'not a folder' if os.path.exists(path) else 'no such folder'}"


def _preprocessing(fields: _Fields) -> Preprocessing:
    values = Preprocessing(
        width=fields.integer("width", 16, 1024),
        height=fields.integer("height", 16, 1024),
        resize=fields.choice("resize", ("squash",)),
        resample=fields.choice("resample", ("bilinear",)),
    )
    fields.done()
    return values


def _vocabulary(fields: _Fields) -> Vocabulary:
    size = fields.integer("size", len(_SPECIAL_TOKENS) + 1, 2**20)
    keys = [f"{token}_id" for token in _SPECIAL_TOKENS]
    absent = {key: fields.take(key) for key in ("mask_id", "unk_id") if fields.values.get(key, 0) is None}
    ids = {key: fields.integer(key, 0, size - 1) for key in keys if key not in absent}
    if len(set(ids.values())) < len(ids):
        fields.fail("*_id", sorted(ids.values()), "five different ids")
    fields.done()
    return Vocabulary(size=size, **ids, **absent)


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


def _alignment(fields: _Fields) -> Alignment:
    values = Alignment(fields.number("scale", 1e-3, 1000), fields.number("offset", -1000, 1000))
    fields.done()
    return values


def _calibration(fields: _Fields) -> Calibration:
    values = Calibration(fields.number("scale", 1e-3, 100), fields.number("offset", -100, 100))
    fields.done()
    return values


def _verify_files(folder: Path, fields: _Fields, graphs: tuple[str, ...]) -> dict[str, int]:
    """Compare every file with the manifest, of which `graphs` must be there; returns their sizes in bytes. All problems
    in one message.

    A graph reads another file by its name alone, which then stands in the graph's bytes as it is: what lies in the
    directory and is not listed must not be named there. That asks for no parser of graphs, which an attacker could
    lead to another reading than ONNX Runtime's, and leaves .DS_Store and README.md alone.
    """
    causal = LEFT_TO_RIGHT if any(name in fields.values for name in LEFT_TO_RIGHT) else ()
    for name in (*graphs, TOKENIZER, *causal, *fields.values):
        if not _FILE_NAME.fullmatch(name):
            fields.fail(name, name, "a plain file name that ends in .onnx or .json, without any folder")
        if name not in fields.values:
            fields.fail(name, None, "its bytes and sha256")
    try:
        unlisted = {*os.listdir(folder), MANIFEST} - fields.values.keys()
    except OSError as error:
        raise ModelFileError(f"{folder}: cannot be read: {error.strerror}") from None
    sizes, problems = {}, []
    for name in list(fields.values):
        entry = fields.section(name)
        size = entry.integer("bytes", 1, MAX_FILE_BYTES)
        digest = entry.text("sha256")
        entry.done()
        sizes[name] = size
        if problem := _file_problem(folder / name, size, digest, unlisted if name.endswith(".onnx") else ()):
            problems.append(f"{name}: {problem}")
    if problems:
        raise ModelFileError(f"model directory {folder} is damaged: {'; '.join(problems)}")
    return sizes


def _file_problem(path: Path, size: int, digest: str, unlisted: Iterable[str]) -> str | None:
    """What is wrong with a file, in which no name of `unlisted` may stand."""
    # Some file systems take small letters for capitals, and spell an accented letter in two ways: refuse either.
    names = {name: name.lower().encode() if name.isascii() else b"" for name in unlisted}
    named: set[str] = set()
    tail = b""
    try:
        if not path.is_file():
            return "not a file" if path.exists() else "missing"
        found = path.stat().st_size
        if found != size:
            return f"{found} bytes, expected {size}"
        sha256 = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(2**20):
                sha256.update(block)
                text = tail + block.lower()
                named.update(name for name, spelt in names.items() if spelt in text)
                tail = text[-_LONGEST_NAME:]
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if sha256.hexdigest() != digest:
        return f"its content has changed: sha256 {sha256.hexdigest()[:12]}…, expected {digest[:12]}…"
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
        found = "is missing" if value is None else f"is {_shown(value)}"
        raise ModelFileError(f"{self.path}: {self.prefix}{key} {found}; expected {expected}")

    def take(self, key: str) -> Any:
        self._read.add(key)
        return self.values.get(key)

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.take(key)
        if type(value) is not int or not low <= value <= high:
            self.fail(key, value, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        value = self.take(key)
        if type(value) not in (int, float) or not low <= value <= high:
            self.fail(key, value, f"a number from {low} to {high}")
        return float(value)

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

    def table(self, key: str) -> dict[str, Any]:
        value = self.take(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
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


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
