"""What a run tells: lines and a progress bar on the terminal, figures to its trackers, how fast it is."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.tensorboard import SummaryWriter

from fastcap.errors import ConfigError, needs
from fastcap.training.activations import ActivationMonitor
from fastcap.training.curves import draw_curves

__all__ = ["TRACKERS", "RunLog", "Throughput", "Tracker", "console", "count_flops"]

console = Console(stderr=True)
TRAINING = 3  # a forward and a backward pass cost three forward passes: two matrix products backward for each forward


class Tracker(Protocol):
    """Takes the figures of a run: of a stage by name, a step counted over all stages."""

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """log.jsonl in the run's folder, a line a call; curves.png is drawn from it."""

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        self.file = (output / "log.jsonl").open("a", encoding="utf-8")

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        row = {"stage": stage, "step": step, "time": round(time.time(), 1)}
        self.file.write(json.dumps(row | {key: round(value, 6) for key, value in values.items()}) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


class TensorBoard:
    """Event files in the run's folder, below tensorboard/."""

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        self.writer = SummaryWriter(str(output / "tensorboard"))

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run of the project "fastcap" with the recipe as its configuration; files below wandb/ in the run's folder.

    The package decides where figures are sent: with WANDB_MODE=offline nothing leaves the machine.

    Raises:
        ConfigError: the package is not installed.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise ConfigError(f"the tracker wandb {needs('wandb', 'wandb')}") from error
        self.run = wandb.init(project="fastcap", name=settings["name"], config=dict(settings), dir=str(output))

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.run.log({"stage": stage, **values}, step=step)

    def close(self) -> None:
        self.run.finish()


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "jsonl": JsonLines,
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


class RunLog:
    """A run's terminal, trackers and files of figures; on all processes but the main one it does nothing.

    Args:
        output: the run's folder.
    """

    def __init__(self, output: Path, *, is_main: bool) -> None:
        self.output, self.is_main = output, is_main
        self.trackers: list[Tracker] = []

    def open(self, trackers: Sequence[str], settings: Mapping[str, Any]) -> None:
        """Open trackers by name; `settings`: the recipe as plain data."""
        self.output.mkdir(parents=True, exist_ok=True)
        if self.is_main:
            for name in trackers:
                self.trackers.append(TRACKERS[name](self.output, settings))

    def close(self) -> None:
        """Close the trackers, and draw the curves."""
        for tracker in self.trackers:
            tracker.close()
        if self.is_main:
            draw_curves(self.output / "log.jsonl", self.output / "curves.png")

    def say(self, text: str) -> None:
        """Print a line."""
        if self.is_main:
            console.print(text)

    def progress(self) -> Progress:
        """The progress bar of a stage."""
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        status = TextColumn("{task.fields[status]}"), TimeRemainingColumn()
        return Progress(*columns, *status, console=console, disable=not self.is_main)

    def figures(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Send figures to the trackers; `step` counts over all stages."""
        for tracker in self.trackers:
            tracker.log(stage, step, values)

    def activations(self, stage: str, step: int, monitor: ActivationMonitor) -> None:
        """Append a line to activations.jsonl: what the monitor noted in the last step, of this stage's number."""
        if self.is_main:
            row = {"stage": stage, "step": step, "layers": monitor.rows}
            with (self.output / "activations.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            console.print(f"{stage} {step}: {monitor.summary()}")


class Throughput:
    """How fast a stage trains; time between steps (validation, checkpoints) does not count.

    Args:
        flops: of the forward pass for one image, see `count_flops`.
        processes: among which the images of a step are shared out.
    """

    def __init__(self, flops: float, device: torch.device, processes: int) -> None:
        self.flops, self.device, self.processes = flops, device, processes
        self.peak = product_rate(device)
        self.images, self.seconds = 0, 0.0

    def add(self, images: int, seconds: float) -> None:
        """Count a step."""
        self.images, self.seconds = self.images + images, self.seconds + seconds

    def figures(self) -> dict[str, float]:
        """Since the last call: `images_per_second` of all processes together; `mfu`, estimated model FLOPs utilisation:
        the network's operations a second as a share of what the devices reach in one large matrix product; and
        `memory_mb`, the main process's peak memory on its device so far."""
        rate = self.images / self.seconds
        self.images, self.seconds = 0, 0.0
        return {
            "images_per_second": rate,
            "mfu": TRAINING * self.flops * rate / (self.peak * self.processes),
            "memory_mb": peak_memory(self.device) / 2**20,
        }


def count_flops(forward: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions of a forward pass, which changes no state."""
    with torch.random.fork_rng(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward()
    return counter.get_total_flops()


def product_rate(device: torch.device) -> float:
    """Operations a second of a large float32 matrix product on a device, the best of three.

    Measured, not looked up, so that it holds for any device, and for the number of threads that training has.
    """
    size = 512 if device.type == "cpu" else 8192
    a = torch.ones(size, size, device=device)
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def peak_memory(device: torch.device) -> int:
    """Bytes: peak allocation on a CUDA device, else the process's peak resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
