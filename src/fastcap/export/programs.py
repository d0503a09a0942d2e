"""Parts as programs of `torch.export`, for converters that begin with one, and where in the model such a one failed."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from fastcap.errors import ModelFileError
from fastcap.export.portable import Part
from fastcap.runtime.manifest import first_line

__all__ = ["exported", "layer_of", "quiet", "refused"]


@torch.no_grad()
def exported(part: Part, replaced: Mapping[Any, Callable[..., Any]] | None = None) -> ExportedProgram:
    """A part as a program.

    Args:
        replaced: by operator, what is written in its place: a function that does the same with others.
    """
    program = torch.export.export(part.module, tuple(part.inputs.values()), strict=False)
    return program if replaced is None else program.run_decompositions(dict(replaced))


def refused(runtime: str, part: Part, program: ExportedProgram, error: Exception) -> ModelFileError:
    """What is raised where a converter failed: the operator that it was at, and the layer that asked for it.

    Errors of converters name the layer rarely, but the node that they are at stands in one of their variables, or its
    operator in their text.
    """
    nodes = {node.name: node for node in program.graph.nodes}
    called = [node for node in nodes.values() if node.op == "call_function"]
    at = next((node for node in called if any(name in str(error) for name in names_of(node.target))), None)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for variable in ("node", "n"):
            at = nodes.get(str(getattr(frame.f_locals.get(variable), "name", "")), at)
    where = f" at {at.target} of {layer_of(at)}" if at is not None else ""
    return ModelFileError(f"{runtime}'s converter refused the part {part.name!r}{where} ({first_line(error)})")


def names_of(operator: Any) -> list[str]:
    """What converters call an operator: `aten.add.Tensor`, `aten::add`."""
    schema = getattr(operator, "_schema", None)
    return [str(operator)] if schema is None else [str(operator), f"'{schema.name}'"]


def layer_of(node: Node) -> str:
    """The layer that asked for an operator, and the line that did."""
    paths = [str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path]
    lines = re.findall(r'File "[^"]*?([^"/]+)", line (\d+)', str(node.meta.get("stack_trace") or ""))
    where = f"layer {paths[-1]!r}" if paths else "the part itself"
    return f"{where} ({lines[-1][0]}, line {lines[-1][1]})" if lines else where


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what a converter prints of its progress from the user's terminal; what goes wrong is raised, too."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(before)
