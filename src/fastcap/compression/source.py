"""The checkpoint behind whatever a user names as a model: a checkpoint, adapters, or a model directory."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from fastcap.checkpoint import save_checkpoint
from fastcap.errors import ModelFileError
from fastcap.export.weights import restore
from fastcap.release.adapters import unpacked
from fastcap.runtime.bundle import Bundle, find_model

__all__ = ["as_checkpoint"]

WEIGHTS, MANIFEST = "model.safetensors", "model.json"


def as_checkpoint(model: Path, folder: Path, console: Console) -> Path:
    """A checkpoint directory: `model` itself, or one that is made of it in `folder`; adapters and bundled models may be
    named.

    Raises:
        ModelFileError: it is nothing that a checkpoint can be made of; the message says what it is.
    """
    if (model / WEIGHTS).is_file():
        return model
    made = folder / "checkpoint"
    if unpacked(model, made):
        return made
    if model.is_dir() and not (model / MANIFEST).is_file():
        raise ModelFileError(
            f"{model} is no model; allowed: a checkpoint directory, a folder of adapters, or a model directory"
        )
    bundle = Bundle.open(find_model(str(model)))
    console.print(f"{bundle.name} is a model directory: its weights are taken as they were rounded")
    restored = restore(bundle.folder)
    save_checkpoint(made, restored.config, restored.state_dict(), bundle.tokenizer())
    return made
