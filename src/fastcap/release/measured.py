"""What was measured of a model, kept in a folder, so that a search that was interrupted goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastcap.files import written_aside
from fastcap.model import CaptionModel
from fastcap.quantization.pruning import importance, prune
from fastcap.quantization.scales import Layer
from fastcap.quantization.sensitivity import Batch, Change, loss_of, measure_sensitivity

__all__ = ["Measurements", "digest_of"]

FILE, UNITS = "measured.json", "importance.safetensors"


def digest_of(checkpoint: Path, pictures: np.ndarray) -> str:
    """What measurements depend on: the files of a checkpoint, and the pictures."""
    digest = hashlib.sha256(pictures.tobytes())
    for path in sorted(checkpoint.iterdir()):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


class Measurements:
    """Sensitivity to bits, importance of units, and what pruned shapes lose; each measured once.

    Args:
        folder: where they are kept; those of another model or other pictures are measured anew.
        digest: as `digest_of` gives it.
    """

    def __init__(self, folder: Path, digest: str, console: Console) -> None:
        self.folder, self.digest, self.console = folder, digest, console
        self.layers: dict[str, dict[int, Change]] = {}
        self.shapes: dict[str, Change] = {}
        self.units: dict[str, Tensor] | None = None
        self.whole: list[float] = []  # losses of the whole model, by batch
        folder.mkdir(parents=True, exist_ok=True)
        try:
            kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
            if kept["digest"] != digest:
                return
            self.layers = {
                name: {int(bits): Change(*values) for bits, values in changes.items()}
                for name, changes in kept["layers"].items()
            }
            self.shapes = {name: Change(*values) for name, values in kept["shapes"].items()}
            self.units = load_file(folder / UNITS) if kept["units"] else None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            self.layers, self.shapes, self.units = {}, {}, None  # nothing whole is there: measured anew

    def save(self) -> None:
        """Write what is known, whole or not at all."""
        content = {
            "format": 1,
            "kind": "measured",
            "digest": self.digest,
            "layers": {name: plain(changes) for name, changes in self.layers.items()},
            "shapes": plain(self.shapes),
            "units": self.units is not None,
        }
        with written_aside(self.folder / FILE) as path:
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def sensitivity(
        self, model: CaptionModel, layers: Mapping[str, Layer], batches: Sequence[Batch]
    ) -> dict[str, dict[int, Change]]:
        """The change of the loss for each layer and number of bits; see `measure_sensitivity`."""
        bar = iter(track(range(len(layers)), "measuring the sensitivity of layers", console=self.console))

        def on_layer(name: str, changes: dict[int, Change]) -> None:
            next(bar)
            if name not in self.layers:
                self.layers[name] = changes
                self.save()

        measure_sensitivity(model, layers, batches, on_layer, dict(self.layers))
        next(bar, None)
        return {name: self.layers[name] for name in layers}

    def importance(self, model: CaptionModel, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """How much each unit is worth; see `fastcap.quantization.pruning.importance`."""
        if self.units is None:
            with self.console.status("measuring what each channel, head and unit is worth"):
                losses: list[Callable[[], Tensor]] = []
                for seed, batch in enumerate(batches):
                    losses.append(lambda seed=seed, batch=batch: loss_of(model, batch, seed))  # type: ignore[misc]
                self.units = {name: value.float().contiguous() for name, value in importance(model, losses).items()}
            with written_aside(self.folder / UNITS) as path:
                save_file(self.units, path)
            self.save()
        return self.units

    def change(
        self, name: str, model: CaptionModel, kept: Mapping[str, Sequence[int]], batches: Sequence[Batch]
    ) -> Change:
        """How much the loss rises when a model keeps some units alone; `name`: of that shape."""
        if name not in self.shapes:
            self.whole = self.whole or losses_of(model, batches)
            rises = np.subtract(losses_of(prune(model, kept), batches), self.whole)
            self.shapes[name] = Change(float(np.mean(rises)), float(np.std(rises, ddof=1) / len(rises) ** 0.5))
            self.save()
        return self.shapes[name]


def plain(changes: Mapping[Any, Change]) -> dict[str, list[float]]:
    """Changes by name as plain data."""
    return {str(name): [change.mean, change.error] for name, change in changes.items()}


@torch.no_grad()
def losses_of(model: CaptionModel, batches: Sequence[Batch]) -> list[float]:
    """The loss of each batch."""
    return [float(loss_of(model, batch, seed)) for seed, batch in enumerate(batches)]
