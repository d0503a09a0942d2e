"""Checkpoint directories: `config.json`, `model.safetensors`, `tokenizer.json`, and training state beside them.

`model.safetensors` holds what was trained; frozen parts, where a model has such, are named in `config.json`.

A directory is written aside, flushed to disk and renamed, so that at any moment it is there whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from fastcap.config import ModelConfig, from_mapping
from fastcap.errors import ConfigError, ModelFileError
from fastcap.files import folder_written_aside
from fastcap.model import CaptionModel, build_model, load_frozen
from fastcap.vocabulary import Marks

__all__ = ["load_checkpoint", "load_tensors", "read_settings", "save_checkpoint"]

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"


def save_checkpoint(
    directory: Path,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    *,
    tensors: Mapping[str, Mapping[str, Tensor]] | None = None,
    documents: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint directory; one that stands there already is replaced.

    Args:
        weights: the model's state dict.
        tensors: further files of tensors, by file name.
        documents: further JSON files, by file name.
    """
    with folder_written_aside(directory) as folder:
        for name, content in {WEIGHTS: weights, **(tensors or {})}.items():
            save_file({key: value.detach().cpu().contiguous() for key, value in content.items()}, folder / name)
        for name, document in {CONFIG: dataclasses.asdict(config), **(documents or {})}.items():
            (folder / name).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        tokenizer.save(str(folder / TOKENIZER))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises:
        ModelFileError: the file is missing or damaged.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} is missing")
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(f"{path} is not a whole safetensors file: {error}") from error


def read_settings(directory: Path) -> tuple[ModelConfig, Tokenizer]:
    """The settings and the tokenizer of a checkpoint directory, without its weights.

    Raises:
        ModelFileError: no such directory, a file is missing or damaged, or the two disagree.
    """
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (directory / name).is_file():
            raise ModelFileError(f"{directory} is not a checkpoint directory: {name} is missing")
    try:
        settings = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        config = from_mapping(ModelConfig, settings)
    except (ConfigError, ValueError, TypeError, ArithmeticError, RecursionError) as error:  # a list as a name, 1e999
        raise ModelFileError(f"{directory / CONFIG} cannot be read: {error}") from error
    try:
        tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelFileError(f"{directory / TOKENIZER} cannot be read: {error}") from error
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise ModelFileError(
            f"{directory / TOKENIZER} holds {tokenizer.get_vocab_size()} tokens, {CONFIG} allows {config.vocab_size}"
        )
    try:
        if "marks" not in settings:  # written by fastcap 0.1.0, whose tokenizers name their marks
            config = dataclasses.replace(config, marks=Marks.of(tokenizer))
        config.vocabulary  # noqa: B018 (checks the ids)
    except ConfigError as error:
        raise ModelFileError(f"{directory / TOKENIZER} does not fit {CONFIG}: {error}") from error
    return config, tokenizer


def load_checkpoint(directory: Path | str) -> tuple[CaptionModel, Tokenizer]:
    """The model of a checkpoint directory, in evaluation mode, and its tokenizer; strict in every key and shape.

    Raises:
        ModelFileError: no such directory, a file is missing or damaged, weights and config disagree, or a frozen part
            is not here.
    """
    directory = Path(directory)
    config, tokenizer = read_settings(directory)
    weights = load_tensors(directory / WEIGHTS)
    if (layers := config.backbone.layers + config.decoder.n_layers) > len(weights):
        raise ModelFileError(
            f"{directory / WEIGHTS} does not fit {CONFIG}: {len(weights)} tensors; expected at least one for each of "
            f"the {layers} layers"
        )
    try:
        frozen = load_frozen(config)
        if frozen is not None:
            config = frozen.fit(config, tokenizer)
        else:
            with torch.device(
                "meta"
            ):  # shapes alone: what a config asks for takes memory once the weights are as large
                build_model(config).load_state_dict(weights, assign=True)
        model = build_model(config, frozen)
        model.load_state_dict(weights)
    except ConfigError as error:
        raise ModelFileError(f"{directory} does not fit its frozen parts: {error}") from error
    except (RuntimeError, TypeError, ValueError, IndexError) as error:  # what PyTorch says of sizes that cannot be
        raise ModelFileError(f"{directory / WEIGHTS} does not fit {CONFIG}: {' '.join(str(error).split())}") from error
    return model.eval(), tokenizer
