"""ExecuTorch: a program (`.pte`) of each part, whose products and convolutions XNNPACK runs, and the rest ExecuTorch's
own kernels.

int8: weights by XNNPACK's quantiser of PT2E, one step for each channel; their inputs are rounded while the model runs,
each by its own range, so no pictures are needed to convert.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from fastcap.export.converters import Source
    from fastcap.export.portable import Part

__all__ = ["Runner", "convert"]


def convert(source: Source, folder: Path, precision: str) -> dict[str, Any]:
    """Write each part; returns them as the manifest has them. See `fastcap.export.targets.Converter`."""
    from fastcap.export.portable import described, parts_of
    from fastcap.export.programs import quiet

    facts = {}
    for part in parts_of(source.model, precision):
        file = f"{part.name}.pte"
        with quiet():
            (folder / file).write_bytes(program(part, precision))
        facts[part.name] = described(part, file)
    return {"parts": facts}


def program(part: Part, precision: str) -> bytes:
    """A part as an ExecuTorch program."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackDynamicallyQuantizedPartitioner,
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower

    from fastcap.export.programs import exported, refused

    # a program takes tensors in the order of axes in memory of its examples, and is given contiguous ones
    part = part._replace(inputs={name: tensor.contiguous() for name, tensor in part.inputs.items()})
    given = exported(part)
    partitioners = [XnnpackPartitioner()]
    try:
        if precision == "int8":
            inputs = tuple(part.inputs.values())
            with torch.no_grad():
                given = torch.export.export(quantised(given.module(), inputs), inputs, strict=False)
            # each product by itself: merged with its neighbours, some wait for each other in a circle
            partitioners.insert(0, XnnpackDynamicallyQuantizedPartitioner(per_op_mode=True))
        edge = to_edge_transform_and_lower(given, partitioner=partitioners)
        lowered = edge.to_executorch()
        given = lowered.exported_program()
        check_kernels(given)
        return bytes(lowered.buffer)
    except Exception as error:  # its errors share no base
        raise refused("ExecuTorch", part, given, error) from error


def quantised(module: Any, inputs: tuple[Any, ...]) -> Any:
    """An exported module whose products and convolutions have int8 weights."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantiser = XNNPACKQuantizer()
    quantiser.set_global(get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True))
    prepared = prepare_pt2e(module, quantiser)
    prepared(*inputs)
    return convert_pt2e(prepared)


def check_kernels(program: ExportedProgram) -> None:
    """Refuse an operator that ExecuTorch's runtime has no kernel for: it would say so no earlier than on a phone.

    Raises:
        NotImplementedError: the first such operator.
    """
    from executorch.runtime import Runtime
    from torch._ops import OpOverload

    known = Runtime.get().operator_registry.operator_names
    for node in program.graph.nodes:  # `refused` looks for a variable of this name
        if isinstance(node.target, OpOverload) and node.target.name() not in known:
            raise NotImplementedError(f"its runtime has no kernel for {node.target.name()}")


class Runner:
    """A `fastcap.export.converted.Runner` of a folder of `convert`, by ExecuTorch's runtime.

    XNNPACK's pool of threads belongs to the process: a folder that is opened later changes `threads` of all of them.
    """

    def __init__(self, folder: Path, parts: Mapping[str, Any], threads: int) -> None:
        from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
        from executorch.runtime import Runtime

        _unsafe_reset_threadpool(threads)
        self._parts = parts
        runtime = Runtime.get()
        self._programs = {name: runtime.load_program(str(folder / part["file"])) for name, part in parts.items()}
        self._methods = {name: program.load_method("forward") for name, program in self._programs.items()}

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import torch

        part = self._parts[name]
        given = [torch.from_numpy(np.ascontiguousarray(inputs[key])) for key in part["inputs"]]
        made = self._methods[name].execute(given)
        return {key: value.numpy().copy() for key, value in zip(part["outputs"], made, strict=True)}
