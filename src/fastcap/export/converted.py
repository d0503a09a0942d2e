"""A converted folder as a captioner, here: the engine and the search of a model directory, and another runtime that
runs its parts. PyTorch is not needed.

`Runner` is all that differs between runtimes. `OPENS` has one for each that can run on this kind of machine.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastcap.errors import ConfigError, ModelFileError, needs
from fastcap.export.targets import CONVERTERS
from fastcap.runtime.bundle import Bundle, check_threads
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import (
    FLOAT,
    IMAGE_VECTORS,
    INT64,
    KINDS,
    LANGUAGE_MODEL,
    MODEL,
    STATE,
    STEP,
    UINT8,
    File,
    Graph,
)
from fastcap.runtime.manifest import first_line, read_facts

__all__ = ["FORMAT", "MANIFEST", "Runner", "fact_of", "open_converted"]

FORMAT = 1
MANIFEST = "manifest.json"


class Runner(Protocol):
    """The parts of a converted folder, loaded by another runtime."""

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a part. Names, types and shapes of tensors are those of the manifest."""


def open_converted(folder: str | os.PathLike[str], threads: int = 1) -> Captioner:
    """A captioner of a folder of `fastcap convert`, for a runtime that runs on this machine.

    Raises:
        ConfigError: a number of threads out of range.
        ModelFileError: the folder is damaged, its runtime is not installed, or runs nowhere but on a phone or a Mac.
    """
    check_threads(threads)
    path = Path(folder).absolute() / MANIFEST
    values = read_json(path)
    files = {name: File(**fact) for name, fact in values["files"].items()}
    for name, stated in files.items():
        found = fact_of(path.parent / name) if (path.parent / name).is_file() else None
        if found != stated:
            raise ModelFileError(f"{path.parent / name}: {'missing' if found is None else 'its content has changed'}")
    model = read_facts(path, values["model"], files)
    converter = CONVERTERS[values["converter"]]
    try:
        runner = importlib.import_module(converter.module).Runner
    except AttributeError:
        raise ModelFileError(f"{path.parent}: nothing here runs what {values['converter']} makes") from None
    try:
        opened = runner(path.parent, values["parts"], threads)
    except ModuleNotFoundError as error:
        raise ModelFileError(f"{path.parent} {needs(str(error.name).partition('.')[0], converter.extra)}") from error
    kept = {**vars(model)}
    if model.kind == "parallel":  # it decodes as many captions as it was converted for, so more cannot be asked for
        most = values["parts"]["encode"]["outputs"]["lengths"]["shape"][1]
        kept |= {"decoding": model.decoding._replace(max_candidates=most)}
    bundle = ConvertedBundle(**kept, folder=path.parent, runner=opened, parts=values["parts"])
    return Captioner(bundle, threads, opener=open_converted)


def read_json(path: Path) -> dict[str, Any]:
    """The manifest of a converted folder. Raises ModelFileError."""
    if not path.is_file():
        raise ModelFileError(f"{path}: missing; {path.parent} is not a converted model")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kinds = {"converter": str, "precision": str, "parts": dict, "model": dict, "files": dict}
        if values.get("format") != FORMAT or not all(isinstance(values.get(key), kinds[key]) for key in kinds):
            raise ValueError(f"expected format {FORMAT} and the keys {', '.join(kinds)}")
        if values["converter"] not in CONVERTERS:
            raise ValueError(f"converter is {values['converter']!r}; allowed are {', '.join(CONVERTERS)}")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{path}: no manifest of a converted model ({first_line(error)})") from error
    return dict(values)


def fact_of(path: Path) -> File:
    """The size of a file and its SHA-256, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return File(path.stat().st_size, digest.hexdigest())


@dataclass(frozen=True, kw_only=True)
class ConvertedBundle(Bundle):
    """What an engine asks of a model directory, said of a converted folder, whose `parts` a `runner` runs."""

    runner: Runner = field(repr=False)
    parts: Mapping[str, Any]

    @property
    def decodes(self) -> tuple[str, ...]:
        """A parallel model is converted with its own way of decoding alone, the others with all of theirs."""
        return ("parallel",) if self.kind == "parallel" else KINDS[self.kind].decodes

    def open_graph(self, graph: Graph, threads: int = 1) -> Any:
        """What runs a graph of the contract, as an ONNX Runtime session would."""
        return session_of(self, graph.file)


class WholeSession:
    """`MODEL` of a parallel model, whose passes are run here."""

    CARRIED = ("token_ids", "probabilities", "scores", "masked")

    def __init__(self, bundle: ConvertedBundle) -> None:
        self._bundle, self._run = bundle, bundle.runner.run
        self._candidates = bundle.parts["encode"]["outputs"]["lengths"]["shape"][1]
        self._reads = {name: tuple(bundle.parts[name]["inputs"]) for name in ("refine", "rank")}

    def run(self, names: Sequence[str], feed: Mapping[str, Any], _: Any = None) -> list[np.ndarray]:
        """As `InferenceSession.run`.

        Raises:
            ConfigError: another number of candidates than the model was converted for.
        """
        low, high = map(int, feed["length_range"])
        if set(names) <= set(IMAGE_VECTORS):  # of the picture alone, whatever the length
            low, high = self._bundle.decoding.lengths["normal"]
        elif (count := int(feed["candidates"][0])) != self._candidates:
            raise ConfigError(f"candidates is {count}; this folder was converted for {self._candidates}")
        pictures = {"images": feed["images"], "length_range": np.array([low, high], np.int32)}
        values = self._run("encode", pictures) | {"penalties": feed["penalties"]}
        if set(names) <= set(IMAGE_VECTORS):
            return [values[name] for name in names]
        for done in range(1, self._bundle.decoding.passes + 1):
            values["done"] = np.array([done], np.int32)
            refined = self._run("refine", {name: values[name] for name in self._reads["refine"]})
            values |= {name: refined[f"new_{name}"] for name in self.CARRIED}
        values |= self._run("rank", {name: values[name] for name in self._reads["rank"]})
        return [values[name] for name in names]


class Node(NamedTuple):
    """An input or output of a session, as ONNX Runtime describes it."""

    name: str
    type: str
    shape: list[int | str]


TYPES = {"float32": FLOAT, "int32": INT64, "uint8": UINT8}
"""What the contract has where a converted part has the type on the left."""


class PartSession:
    """A graph of the contract that is a converted part, shape for shape."""

    def __init__(self, bundle: ConvertedBundle, file: str) -> None:
        self._name = Path(file).stem
        self._run, self._part = bundle.runner.run, bundle.parts[self._name]

    def get_inputs(self) -> list[Node]:
        """Pictures are told as the engine has them; a runner makes of them what its runtime takes."""
        types = {name: TYPES.get(fact["type"], "") for name, fact in self._part["inputs"].items()}
        types |= {"images": UINT8} if "images" in types else {}
        return [Node(name, types[name], fact["shape"]) for name, fact in self._part["inputs"].items()]

    def get_outputs(self) -> list[Node]:
        return [Node(name, TYPES.get(fact["type"], ""), fact["shape"]) for name, fact in self._part["outputs"].items()]

    def run(self, names: Sequence[str], feed: Mapping[str, Any]) -> list[np.ndarray]:
        """As `InferenceSession.run`."""
        made = self._run(self._name, {name: feed[name] for name in self._part["inputs"]})
        return [made[name] for name in names]


class StepSession(PartSession):
    """A graph of the contract that reads tokens: one token a run, a few rows at a time, and a cache of fixed length."""

    def get_inputs(self) -> list[Node]:
        """Those of the contract, beside the picture's state, as the part has it."""
        state = [node for node in super().get_inputs() if node.name.startswith(STATE)]
        layers, heads, _, _, width = self._part["inputs"]["cache"]["shape"]
        reads = LANGUAGE_MODEL if "padding" in self._part["inputs"] else STEP
        shapes: dict[str, list[int | str]] = {"cache": [layers, heads, "R", "T", width]}
        return [
            *(Node(name, tensor.type, shapes.get(name, [*tensor.shape])) for name, tensor in reads.inputs.items()),
            *state,
        ]

    def run(self, names: Sequence[str], feed: Mapping[str, Any]) -> list[np.ndarray]:
        """As `InferenceSession.run`: `log_p` and `new_cache`."""
        cache = feed["cache"][:, :, feed["parents"]]
        for ids in np.atleast_2d(feed["token_ids"].T):  # (U, R)
            log_p, new = self._step(ids, cache, feed)
            cache = np.concatenate([cache, new], axis=3)
        return [log_p, cache]

    def _step(self, ids: np.ndarray, cache: np.ndarray, feed: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """One more token of each row, and the keys and values of it."""
        layers, heads, count, longest, width = self._part["inputs"]["cache"]["shape"]
        rows, length = len(ids), cache.shape[3]
        if length >= longest:
            raise ConfigError(f"{length + 1} tokens; this folder was converted for {longest}")
        padding = feed.get("padding", np.zeros(rows))
        state = {name: feed[name] for name in self._part["inputs"] if name.startswith(STATE)}
        made = []
        for start in range(0, rows, count):
            here = slice(start, min(start + count, rows))
            size = here.stop - start
            held = np.zeros((layers, heads, count, longest, width), np.float32)
            held[:, :, :size, :length] = cache[:, :, here]
            given = {"length": np.array([length], np.int32), "cache": held, **state}
            for name, values in (("token_ids", ids), ("padding", padding)):
                given[name] = np.zeros(count, np.int32)
                given[name][:size] = values[here]
            part = self._run(self._name, {name: given[name] for name in self._part["inputs"]})
            made.append((part["log_p"][:size], part["new_cache"][:, :, :size]))
        log_p, new = zip(*made, strict=True)
        return np.concatenate(log_p), np.concatenate(new, axis=2)


def session_of(bundle: ConvertedBundle, file: str) -> Any:
    """What runs the graph of a file of a model directory."""
    if file == MODEL.file:
        return WholeSession(bundle)
    if Path(file).stem not in bundle.parts:
        raise ModelFileError(f"{bundle.folder} has no part {Path(file).stem!r}, which the model directory has")
    return (StepSession if file in (STEP.file, LANGUAGE_MODEL.file) else PartSession)(bundle, file)
