"""LiteRT (formerly TFLite): one `model.tflite` with a signature for each part, which share their weights.

int8: weights of products and convolutions by `ai_edge_quantizer`, one step for each channel; their inputs are rounded
while the model runs, each by its own range ("dynamic range"), so no pictures are needed to convert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap.errors import ModelFileError
from fastcap.runtime.manifest import first_line

if TYPE_CHECKING:
    from fastcap.export.converters import Source
    from fastcap.export.portable import Part

__all__ = ["FILE", "Runner", "convert"]

FILE = "model.tflite"


def convert(source: Source, folder: Path, precision: str) -> dict[str, Any]:
    """Write `model.tflite`; returns the parts, as the manifest has them. See `fastcap.export.targets.Converter`."""
    from fastcap.export.portable import described, parts_of
    from fastcap.export.programs import quiet

    parts = parts_of(source.model, precision)
    with quiet():
        written(parts).export(str(folder / FILE))
    if precision == "int8":
        quantise(folder / FILE)
    return {
        "parts": {
            part.name: described(part, FILE, [f"args_{n}" for n in range(99)], [f"output_{n}" for n in range(99)])
            for part in parts
        }
    }


def written(parts: Sequence[Part]) -> Any:
    """Parts as LiteRT's model.

    Raises:
        ModelFileError: the converter failed. As its error does not say at which part, parts are converted one by one.
    """
    import litert_torch

    from fastcap.export.programs import exported, refused

    converter: Any = litert_torch
    for part in parts:
        converter = converter.signature(part.name, part.module, tuple(part.inputs.values()))
    try:
        return converter.convert(strict_export=False)
    except Exception as error:  # its errors share no base
        if len(parts) == 1:
            raise refused("LiteRT", parts[0], exported(parts[0], {}), error) from error
        for part in parts:
            written([part])
        raise ModelFileError(f"LiteRT's converter refused the model ({first_line(error)})") from error


def quantise(path: Path) -> None:
    """Round the weights of a file's products and convolutions."""
    from ai_edge_quantizer import quantizer, recipe

    from fastcap.export.programs import quiet

    with quiet():
        worker = quantizer.Quantizer(str(path), recipe.dynamic_wi8_afp32())
        content = worker.quantize().quantized_model
    path.write_bytes(content)


class Runner:
    """A `fastcap.export.converted.Runner` of a file of `convert`, by LiteRT's interpreter on the CPU (XNNPACK)."""

    def __init__(self, folder: Path, parts: Mapping[str, Any], threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._parts = parts
        self._interpreter = Interpreter(model_path=str(folder / FILE), num_threads=threads)
        self._runners = {name: self._interpreter.get_signature_runner(name) for name in parts}

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        part = self._parts[name]
        given = {part["inputs"][key]["as"]: value for key, value in inputs.items()}
        made = self._runners[name](**given)
        return {key: made[facts["as"]] for key, facts in part["outputs"].items()}
