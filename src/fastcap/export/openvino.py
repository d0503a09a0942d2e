"""OpenVINO: an intermediate representation (`.xml` and `.bin`) of each part, read from ONNX.

int8 and int4: weights by NNCF, which needs no pictures; in int8, one step for each channel. In int4, matrices have one
for each block of 32 numbers, as in our own graphs; tables of words, convolutions, the last layer, and matrices whose
width is no multiple of 32 stay in 8 bits.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastcap.export.converters import Source
    from fastcap.export.portable import Part

__all__ = ["Runner", "convert"]

BLOCK = 32
"""Numbers of a row that share a step in 4 bits, as in `fastcap.quantization.scales.block_size`."""

OPTIONS = {
    "INFERENCE_PRECISION_HINT": "f32",  # not bfloat16, where a processor has it
    "SNIPPETS_MODE": "DISABLE",  # while it joins small operators, 2026.4.1 dies of a segmentation fault at `encode`
}
"""Of the CPU plugin. Without snippets, operators run one by one."""


def imported(name: str) -> Any:
    """OpenVINO or NNCF, without the package by which both tell their makers over the network that they are used: where
    it is absent, they tell nobody.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if it were not installed
    return importlib.import_module(name)


def convert(source: Source, folder: Path, precision: str) -> dict[str, Any]:
    """Write each part; returns them as the manifest has them. See `fastcap.export.targets.Converter`."""
    from fastcap.export.portable import described, parts_of
    from fastcap.export.programs import quiet

    openvino = imported("openvino")

    facts = {}
    for part in parts_of(source.model):
        with quiet():
            model = rounded(read(part), precision)
            openvino.save_model(model, str(folder / f"{part.name}.xml"), compress_to_fp16=False)
        told = described(part, f"{part.name}.xml")
        facts[part.name] = told | {"inputs": {name: told["inputs"][name] for name in read_by(model, part)}}
    return {"parts": facts}


def read(part: Part) -> Any:
    """A part as OpenVINO's model. Raises ModelFileError: it, or the exporter to ONNX before it, lacks an operator."""
    from fastcap.export.programs import exported, refused
    from fastcap.export.trace import trace

    openvino = imported("openvino")
    with tempfile.TemporaryDirectory() as aside:
        path = Path(aside) / "part.onnx"
        try:
            trace(part.module, tuple(part.inputs.values()), path, part.inputs, part.outputs, {})
            return openvino.convert_model(str(path))
        except Exception as error:  # its errors share no base
            raise refused("OpenVINO", part, exported(part), error) from error


def read_by(model: Any, part: Part) -> list[str]:
    """The inputs of a part that its file has, in its order: ONNX leaves out what nothing reads, and adds a number to a
    name that an output has, too."""
    names = [{name.partition(".")[0] for name in tensor.get_names()} for tensor in model.inputs]
    return [next(name for name in part.inputs if name in found) for found in names]


def rounded(model: Any, precision: str) -> Any:
    """A model whose weights are stored in a precision."""
    if precision == "fp32":
        return model
    nncf = imported("nncf")
    kept: dict[str, Any] = {"ignored_scope": nncf.IgnoredScope(names=strided_points(model))}
    if precision == "int4":
        uneven = nncf.AdvancedCompressionParameters(group_size_fallback_mode=nncf.GroupSizeFallbackMode.IGNORE)
        how = {"group_size": BLOCK, "ratio": 1.0, "advanced_parameters": uneven, **kept}
        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_SYM, **how)
    # in int4: those of another width, which the first pass leaves in floats
    return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM, **kept)


def strided_points(model: Any) -> list[str]:
    """Convolutions of 1 x 1 that skip positions, by name: with rounded weights, the CPU plugin of 2026.4.1 makes
    products of them, at all positions."""
    return [
        node.get_friendly_name()
        for node in model.get_ops()
        if node.get_type_name() == "Convolution"
        and max(node.get_attributes()["strides"]) > 1
        and max(node.input_value(1).get_shape()[2:]) == 1
    ]


class Runner:
    """A `fastcap.export.converted.Runner` of a folder of `convert`, on the CPU."""

    def __init__(self, folder: Path, parts: Mapping[str, Any], threads: int) -> None:
        core, how = imported("openvino").Core(), {"INFERENCE_NUM_THREADS": threads, **OPTIONS}
        self._parts, files = parts, {name: str(folder / part["file"]) for name, part in parts.items()}
        self._compiled = {name: core.compile_model(file, "CPU", how) for name, file in files.items()}

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        part = self._parts[name]  # by place: where an input and an output share a name, ONNX has another one
        made = self._compiled[name]([inputs[key] for key in part["inputs"]], share_inputs=True)
        return {key: np.array(made[place]) for place, key in enumerate(part["outputs"])}
