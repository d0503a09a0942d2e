"""A converter that needs nothing but PyTorch: programs of `torch.export`, which every converter but one begins with."""

from __future__ import annotations

import numpy as np
import torch

from fastcap.export.portable import described, parts_of


def convert(source, folder, precision):
    parts = parts_of(source.model, precision)
    for part in parts:
        program = torch.export.export(part.module, tuple(part.inputs.values()), strict=False)
        torch.export.save(program, folder / f"{part.name}.pt2")
    return {"parts": {part.name: described(part, f"{part.name}.pt2") for part in parts}}


class Runner:
    def __init__(self, folder, parts, threads):
        self.parts = parts
        self.programs = {name: torch.export.load(folder / part["file"]).module() for name, part in parts.items()}

    @torch.no_grad()
    def run(self, name, inputs):
        given = [torch.from_numpy(np.ascontiguousarray(inputs[key])) for key in self.parts[name]["inputs"]]
        made = self.programs[name](*given)
        made = made if isinstance(made, (tuple, list)) else [made]
        return {key: value.numpy() for key, value in zip(self.parts[name]["outputs"], made, strict=True)}
