"""Weights of adapters that ship: matrices in 8 bits with a step for each row or column, all else in 32; and with them
a language model that nobody can download.

| file | what it is |
| --- | --- |
| language_model.safetensors.gz | what the checkpoint lacks of the language model, packed likewise: its table of words |
| language_model.json | its `config.json` and `tokenizer_config.json` |
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastcap.errors import ModelFileError
from fastcap.parts import PARTS, local_part

__all__ = [
    "holds_language_model",
    "pack_language_model",
    "pack_tensors",
    "read_json",
    "read_packed",
    "read_tensors",
    "unpack_language_model",
    "unpack_tensors",
    "write_packed",
]

STEPS = ".steps"  # what follows the name of a matrix in that of its steps
LARGEST = 127
WEIGHTS, SETTINGS = "language_model.safetensors.gz", "language_model.json"
TOLD = ("config.json", "tokenizer_config.json")
TRAINED = "decoder.language_model."  # before a language model's own names in those of a checkpoint


def pack_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Matrices in 8 bits, with their steps, and all else in 32.

    A step spans the longer side of a matrix: a row of a projection, one of the ranks of an adapter.
    """
    packed: dict[str, np.ndarray] = {}
    for name, values in tensors.items():
        if values.ndim != 2:
            packed[name] = values.astype(np.float32)
            continue
        axis = 1 if values.shape[1] >= values.shape[0] else 0
        peak = np.abs(values).max(axis=axis, keepdims=True).astype(np.float32)
        steps = np.where(peak == 0, np.float32(1), peak / np.float32(LARGEST))
        packed[name] = np.rint(values / steps).astype(np.int8)
        packed[f"{name}{STEPS}"] = steps
    return packed


def unpack_tensors(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `pack_tensors` packed, in 32 bits, to half a step."""
    return {
        name: values if values.dtype != np.int8 else values.astype(np.float32) * packed[f"{name}{STEPS}"]
        for name, values in packed.items()
        if not name.endswith(STEPS)
    }


def write_packed(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Write tensors as `pack_tensors` packs them, through gzip, which takes another tenth away."""
    from safetensors.numpy import save

    path.write_bytes(gzip.compress(save(pack_tensors(tensors)), 9, mtime=0))


def read_packed(path: Path) -> dict[str, np.ndarray]:
    """What `write_packed` wrote, in 32 bits.

    Raises:
        ModelFileError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return unpack_tensors(load(gzip.decompress(path.read_bytes())))
    except (OSError, EOFError, zlib.error, SafetensorError, ValueError) as error:
        raise ModelFileError(f"{path} is not a whole file of packed tensors: {error}") from error


def pack_language_model(settings: dict[str, Any], trained: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write what a checkpoint lacks of its language model, where that is wholly its maker's: no part that can be
    downloaded, with all of its words, and all of whose layers the checkpoint has trained. Any other is left out.

    Args:
        settings: of the checkpoint, which will name this language model without a digest, since it is rounded.
        trained: the checkpoint's weights.

    Raises:
        ModelFileError: the language model is not here, or damaged.
    """
    decoder = settings["decoder"]
    name = str(decoder.get("language_model", ""))
    if not name or "@" in name or Path(name).name in PARTS or decoder.get("prune", True):
        return
    if not any(key.startswith(TRAINED) for key in trained):
        return
    part = local_part(name)
    found = [read_tensors(file) for file in sorted(part.glob("*.safetensors"))]
    whole = {key: values for tensors in found for key, values in tensors.items()}
    rest = {key: values for key, values in whole.items() if f"{TRAINED}{key}" not in trained}
    if any(".layers." in key or ".h." in key for key in rest):
        return
    write_packed(rest, folder / WEIGHTS)
    told = {file: read_json(part / file) for file in TOLD}
    (folder / SETTINGS).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    decoder |= {"language_model": part.name, "sha256": ""}


def holds_language_model(folder: Path) -> bool:
    """Whether adapters bring their language model along."""
    return (folder / SETTINGS).is_file()


def unpack_language_model(folder: Path, weights: Mapping[str, np.ndarray], tokenizer: bytes, part: Path) -> None:
    """Write the language model of adapters as a part's folder, its layers as the checkpoint has trained them.

    Args:
        weights: the checkpoint's, unpacked.
        tokenizer: its tokenizer.json.
        part: the folder to write.

    Raises:
        ModelFileError: a file is missing or damaged.
    """
    from safetensors.numpy import save_file

    told, tensors = read_json(folder / SETTINGS), read_packed(folder / WEIGHTS)
    tensors |= {key.removeprefix(TRAINED): values for key, values in weights.items() if key.startswith(TRAINED)}
    part.mkdir()
    save_file(tensors, part / "model.safetensors", {"format": "pt"})
    (part / "tokenizer.json").write_bytes(tokenizer)
    try:
        for file in TOLD:
            (part / file).write_text(json.dumps(told[file]), encoding="utf-8")
    except KeyError as error:
        raise ModelFileError(f"{folder / SETTINGS} lacks {error}") from error


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, by name."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelFileError(f"{path} is not a whole safetensors file: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ModelFileError(f"{path} holds {type(values).__name__}; expected a JSON object")
    return values
