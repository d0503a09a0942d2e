"""Core ML: an ML program (`.mlpackage`) of each part, for iOS 17 and macOS 14 or later.

It is written on any system, and runs on Apple's alone. Pictures go in as numbers from 0 to 255 in float32: Core ML has
no inputs of 8 bits. int8 and fp16: weights by coremltools, of int8 with one step for each channel; what is computed is
float16, but for scans, scores, and the choice of tokens by them.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap.errors import ModelFileError

if TYPE_CHECKING:
    from torch import Tensor

    from fastcap.export.converters import Source
    from fastcap.export.portable import Part

__all__ = ["Runner", "convert"]


def convert(source: Source, folder: Path, precision: str) -> dict[str, Any]:
    """Write each part; returns them as the manifest has them. See `fastcap.export.targets.Converter`."""
    from fastcap.export.portable import described, parts_of
    from fastcap.export.programs import quiet

    facts = {}
    for part in parts_of(source.model):
        part = part._replace(inputs={name: as_taken(tensor) for name, tensor in part.inputs.items()})
        file = f"{part.name}.mlpackage"
        with quiet():
            package(part, precision).save(str(folder / file))
        facts[part.name] = described(part, file, outputs=output_names(part))
    return {"parts": facts}


def as_taken(tensor: Tensor) -> Tensor:
    """An input as Core ML takes it: without whole numbers of 8 bits, and contiguous."""
    return (tensor.float() if str(tensor.dtype) == "torch.uint8" else tensor).contiguous()


def output_names(part: Part) -> list[str]:
    """What the program calls its outputs: no name may be an input's as well."""
    return [f"new_{name}" if name in part.inputs else name for name in part.outputs]


def package(part: Part, precision: str) -> Any:
    """A part as Core ML's model."""
    import coremltools
    from coremltools.optimize import coreml as optimize

    from fastcap.export.programs import exported, refused

    program = exported(part, replacements())
    values = program.module()(*part.inputs.values())
    values = values if isinstance(values, (tuple, list)) else [values]
    half = coremltools.transform.FP16ComputePrecision(op_selector=is_half)
    try:
        model = coremltools.convert(
            program,
            inputs=[tensor_type(name, value, tuple(value.shape)) for name, value in part.inputs.items()],
            outputs=[tensor_type(*each) for each in zip(output_names(part), values, strict=True)],
            convert_to="mlprogram",
            minimum_deployment_target=coremltools.target.iOS17,
            compute_precision=coremltools.precision.FLOAT32 if precision == "fp32" else half,
            skip_model_load=True,
        )
    except Exception as error:  # its errors share no base
        raise refused("Core ML", part, program, error) from error
    if precision == "int8":
        how = optimize.OpLinearQuantizerConfig(mode="linear_symmetric")
        model = optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=how))
    return model


def tensor_type(name: str, value: Tensor, shape: Sequence[int] | None = None) -> Any:
    import coremltools

    return coremltools.TensorType(name, shape, value.numpy().dtype.type)


def replacements() -> dict[Any, Any]:
    """Operators that coremltools lacks, or translates to what rounds: by operator, others that do the same."""
    import torch

    aten: Any = torch.ops.aten
    return {
        aten.__or__.Tensor: aten.logical_or.default,
        aten.__and__.Tensor: aten.logical_and.default,
        aten.alias.default: lambda tensor: tensor,
        # it takes the logarithm of the probability, which underflows
        aten.log_softmax.int: lambda logits, axis, dtype=None: logits - logits.logsumexp(axis, keepdim=True),
        aten.pad.default: joined,
    }


def joined(tensor: Tensor, sizes: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """`F.pad` of whole numbers at the end of the last axis; NotImplemented for any other leaves it as it is. Core ML
    pads floats alone, and float16 has no 2,049."""
    import torch

    if tensor.is_floating_point() or mode != "constant" or len(sizes) != 2 or sizes[0]:
        return NotImplemented
    return torch.cat([tensor, torch.full_like(tensor[..., : sizes[1]], int(value or 0))], dim=-1)


PRODUCTS = ("conv", "linear", "matmul")
FLOAT32 = ("portable.py", "spatial_mamba.py")
"""Files of modules in which nothing but products is computed in float16: sums of logarithms need more digits."""


def is_half(operation: Any) -> bool:
    """Whether an operation is computed in float16 where the model is."""
    from coremltools.converters.mil.mil.scope import ScopeSource

    if operation.op_type in PRODUCTS:
        return True
    traces = operation.scopes.get(ScopeSource.EXIR_STACK_TRACE) or [""]
    _, _, last = str(traces[-1]).rpartition('File "')
    return not last.partition('"')[0].endswith(FLOAT32)


class Runner:
    """A `fastcap.export.converted.Runner` of a folder of `convert`, by Core ML, on a Mac. `threads` is not heeded: the
    system decides where and how a model is run."""

    def __init__(self, folder: Path, parts: Mapping[str, Any], threads: int) -> None:
        if platform.system() != "Darwin":
            raise ModelFileError(f"{folder}: Core ML runs on Apple's systems alone")
        import coremltools

        self._parts = parts
        self._models = {name: coremltools.models.MLModel(str(folder / part["file"])) for name, part in parts.items()}

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        part = self._parts[name]
        given = {key: np.asarray(value, part["inputs"][key]["type"]) for key, value in inputs.items()}
        made = self._models[name].predict(given)
        return {key: np.asarray(made[facts["as"]]) for key, facts in part["outputs"].items()}
