"""A verified model directory: what `fastcap.runtime.contract` says it is, opened. Nothing in it is executed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastcap.errors import ConfigError, ModelFileError, nearest
from fastcap.runtime.contract import (
    IMAGE_VECTORS,
    KINDS,
    MANIFEST,
    SCALED,
    STATE,
    TOKENIZER,
    VISION_ENCODER,
    Graph,
    Manifest,
    decodes,
)
from fastcap.runtime.manifest import first_line, not_a_folder, read_manifest
from fastcap.vocabulary import Marks

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions
    from tokenizers import Tokenizer

__all__ = ["ADAPTERS", "Bundle", "available_models", "check_threads", "find_model", "running"]

MAX_THREADS = 64

_PACKAGE = Path(__file__).resolve().parent.parent
_MODELS = _PACKAGE / "bundled"
ADAPTERS = _PACKAGE / "adapters"
"""A folder for each adapters that ship, which `fastcap build` makes models of; a wheel has none."""


@dataclass(frozen=True, kw_only=True)
class Bundle(Manifest):
    """A model directory, `folder`, whose files are as its manifest says."""

    folder: Path

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Bundle:
        """Read and verify a model directory.

        Raises ModelFileError that names every file at fault and what was expected of it.
        """
        return cls(**vars(read_manifest(Path(folder))), folder=Path(folder).absolute())

    @property
    def address(self) -> str:
        """What `find_model` finds it by in another process: the name if it is bundled, else the absolute path."""
        return self.folder.name if self.folder.parent == _MODELS else str(self.folder.absolute())

    @property
    def bytes(self) -> int:
        """Size of all files, the manifest left out."""
        return sum(file.bytes for file in self.files.values())

    @property
    def decodes(self) -> tuple[str, ...]:
        """How it can decode; the first is what it does where nobody asks for another."""
        return decodes(self.kind, self.files)

    def open_graph(self, graph: Graph, threads: int = 1) -> InferenceSession:
        """A graph of the directory, ready to run on the CPU with `threads` threads (1 to 64).

        Raises ConfigError for the number of threads, ModelFileError when the file is no valid graph, or its inputs and
        outputs are not those of the contract.
        """
        session = self.open_file(graph.file, threads)
        sizes = {"H": self.preprocessing.height, "W": self.preprocessing.width, "V": self.vocabulary.size}
        needs_vectors = self.alignment is not None and KINDS[self.kind].vectors == graph.file
        if self.exits and graph.file == VISION_ENCODER.file:
            graph = graph._replace(outputs=graph.outputs | SCALED)
        _check_signature(self.folder / graph.file, session, graph, sizes, needs_vectors)
        return session

    def open_file(self, name: str, threads: int = 1) -> InferenceSession:
        """As `open_graph`, whatever the inputs and outputs."""
        check_threads(threads)
        import onnxruntime

        options = self.session_options(threads)
        # Before 1.22 this optimiser named two new nodes alike where the old ones have no names, and loading failed.
        is_old = tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 22)
        path = self.folder / name
        try:
            session = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=["GatherSliceToSplitFusion"] if is_old else None,
                enable_fallback=0,  # falling back means to try the CPU again, and to print that on stdout
            )
            for node in (*session.get_inputs(), *session.get_outputs()):
                _ = node.name, node.shape  # fail where they are not Unicode
        except Exception as error:  # onnxruntime's exception types share no base of their own
            raise ModelFileError(f"{path}: not a valid ONNX model ({first_line(error)})") from error
        return session

    def session_options(self, threads: int) -> SessionOptions:
        """How ONNX Runtime runs a graph."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # ONNX Runtime's arena has one lock: threads that share a session wait for it at every node.
        options.enable_cpu_mem_arena = False
        # Idle threads that spin steal the core from whatever else the user runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # problems arrive as exceptions; do not print them as well
        return options

    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises ModelFileError when it disagrees with the vocabulary in `model.json`."""
        from tokenizers import Tokenizer

        path = self.folder / TOKENIZER
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelFileError(f"{path}: not a valid tokenizer ({first_line(error)})") from error
        size = tokenizer.get_vocab_size()
        if size != self.vocabulary.size:
            raise ModelFileError(f"{path}: {size} tokens; {MANIFEST} states {self.vocabulary.size}")
        if not KINDS[self.kind].own_marks:  # they bear any name
            special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
            if odd := set(self.vocabulary.barred) - special:
                raise ModelFileError(f"{path}: token {min(odd)} is text; {MANIFEST} states that it is a mark")
            return tokenizer
        for key in Marks.__dataclass_fields__:
            mark, expected = f"<{key.removesuffix('_id')}>", getattr(self.vocabulary, key)
            got = tokenizer.token_to_id(mark)
            if got != expected and expected is not None:
                raise ModelFileError(f"{path}: id of {mark} is {got}; {MANIFEST} states {expected}")
        return tokenizer


def check_threads(threads: int) -> None:
    """Raise ConfigError unless it is a number of threads that a model may have."""
    if type(threads) is not int or not 1 <= threads <= MAX_THREADS:
        raise ConfigError(f"threads is {threads!r}; allowed are whole numbers from 1 to {MAX_THREADS}")


def _check_signature(
    path: Path, session: InferenceSession, graph: Graph, sizes: Mapping[str, int], needs_vectors: bool
) -> None:
    """Raise ModelFileError where a session's inputs and outputs are not those of the contract.

    `sizes`: what the letters of shapes stand for; of other letters, and where the session itself names a size with a
    word, any number will do.
    """
    vectors = IMAGE_VECTORS if graph.gives_vectors else {}
    for role, nodes, required, optional, has_state in (
        ("inputs", session.get_inputs(), graph.inputs, {}, graph.reads_state),
        ("outputs", session.get_outputs(), graph.outputs, vectors, graph.gives_state),
    ):
        if needs_vectors:
            required, optional = required | optional, {}
        named = [node for node in nodes if not (has_state and node.name.startswith(STATE))]
        got = {node.name: node.type for node in named if node.name not in optional}
        expected = {name: tensor.type for name, tensor in required.items()}
        if got != expected:
            raise ModelFileError(f"{path}: {role} are {got}; expected {expected}")
        for node in named:
            shape = [sizes.get(str(size), size) for size in (required | optional)[node.name].shape]
            fits = len(node.shape) == len(shape) and not any(
                isinstance(got, int) and isinstance(size, int) and got != size
                for got, size in zip(node.shape, shape, strict=True)
            )
            if not fits:
                raise ModelFileError(f"{path}: the shape of {node.name} is {node.shape}; expected {shape}")


def available_models() -> list[str]:
    """Names of the models that are installed with the package, sorted."""
    return sorted(path.parent.name for path in _MODELS.glob(f"*/{MANIFEST}"))


def find_model(name_or_dir: str | os.PathLike[str]) -> Path:
    """The directory of a bundled model, or the directory given.

    A bundled name wins over a folder of that name, so that the working directory never changes which model
    runs; write `./name` for the folder.

    Raises ConfigError for a name that is neither, ModelFileError for a path that is no directory.
    """
    if not isinstance(name_or_dir, (str, os.PathLike)):
        raise ConfigError(f"model is {name_or_dir!r}; allowed: a name, or the path of a model directory")
    text = os.fspath(name_or_dir)
    known = available_models()
    if text in known:
        return _MODELS / text
    if os.path.isdir(text):
        return Path(text)
    if isinstance(name_or_dir, os.PathLike) or "/" in text or os.sep in text:
        raise ModelFileError(f"{not_a_folder(text)}; expected a model directory that holds {MANIFEST}")
    if not known:
        raise ConfigError(
            f"unknown model {text!r}; bundled are: none, as {_MODELS} is no folder (a package in an archive, or an "
            "application without its data?); allowed is the path of a model directory"
        )
    built = Path("models", text)
    there = ""
    if (built / MANIFEST).is_file():
        there = f"; {built} was built, and is given by its path"
    elif os.path.isfile(ADAPTERS / text / "config.json"):
        there = f"; 'fastcap build {text}' makes it, as {built}"
    raise ConfigError(f"unknown model {text!r}{nearest(text, known)}; bundled are: {', '.join(known)}{there}")


@contextlib.contextmanager
def running(path: Path) -> Iterator[None]:
    """Turn what a session raises into a ModelFileError about its file."""
    try:
        yield
    except Exception as error:  # onnxruntime's exception types share no base of their own
        raise ModelFileError(f"{path}: failed while running ({first_line(error)})") from error
