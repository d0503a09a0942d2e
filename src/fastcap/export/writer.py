"""The one writer of model directories, which `fastcap.runtime.bundle` reads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from fastcap.config import ModelConfig
from fastcap.runtime.contract import named_lengths

__all__ = ["write_bundle"]


def write_bundle(
    directory: Path,
    graphs: Path,
    tokenizer: Tokenizer,
    config: ModelConfig,
    *,
    name: str,
    description: str,
    calibration: tuple[float, float] = (1.0, 0.0),
    alignment: tuple[float, float] = (1.0, 0.0),
    quality: Mapping[str, Any],
    speed: Mapping[str, Any],
    unheld: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write the graphs, `tokenizer.json` and their manifest `model.json`, aside and then renamed.

    Args:
        graphs: folder whose ONNX files are taken: those of the model's kind, and more if it has them.
        calibration: scale and offset (`fastcap.evaluation.calibration.fit_calibration`); the default changes nothing.
        alignment: scale and offset (`fastcap.evaluation.calibration.fit_alignment`), noted if there is a `text.onnx`.
        quality, speed: measured figures, each with what is needed to measure them again.
        unheld: parameters that the graphs do not hold (`fastcap.export.weights.unheld`); without them, the directory
            cannot be turned back into a checkpoint.
    """
    aside = directory.with_name(f".{directory.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for graph in graphs.glob("*.onnx"):
        shutil.copyfile(graph, aside / graph.name)
    tokenizer.save(str(aside / "tokenizer.json"), pretty=False)
    low, high = config.generation.min_length, config.max_length
    files = {}
    for file in sorted(aside.iterdir()):
        content = file.read_bytes()
        files[file.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "format": 2,
        "kind": "parallel" if config.parallel else "autoregressive",
        "name": name,
        "description": description,
        "licence": "Apache-2.0",
        "preprocessing": {
            "width": config.image_size,
            "height": config.image_size,
            "resize": "squash",
            "resample": "bilinear",
        },
        "vocabulary": {"size": config.vocab_size, **vars(config.marks)},
        "decoding": {
            "passes": config.generation.passes,
            "min_length": 1,
            "max_length": high,
            "max_candidates": 8,
            "default_candidates": config.generation.candidates,
            "lengths": named_lengths(low, high),
        },
        "calibration": {"scale": calibration[0], "offset": calibration[1]},
        **({"alignment": {"scale": alignment[0], "offset": alignment[1]}} if "text.onnx" in files else {}),
        "architecture": dataclasses.asdict(config),
        **({"unheld": dict(unheld)} if unheld is not None else {}),
        "files": files,
        "quality": dict(quality),
        "speed": dict(speed),
    }
    (aside / "model.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    if directory.exists():
        old = directory.with_name(f".{directory.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(directory, old)
        os.rename(aside, directory)
        shutil.rmtree(old)
    else:
        os.rename(aside, directory)
