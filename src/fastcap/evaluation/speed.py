"""The time from photo to text, stage by stage, and the cost of the process around it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastcap.errors import FastcapError
from fastcap.files import machine_lines

if TYPE_CHECKING:
    from PIL import Image

    from fastcap.runtime.bundle import Bundle
    from fastcap.runtime.contract import Graph

__all__ = [
    "STAGES",
    "Timing",
    "decode_photo",
    "measure_process",
    "measure_stages",
    "peak_memory_mb",
    "run_python",
    "sample_photo",
]


@dataclass(frozen=True)
class Timing:
    """Times of one repeated action, in milliseconds, by the clock on the wall unless said."""

    milliseconds: tuple[float, ...]

    @classmethod
    def of(
        cls,
        action: Callable[[], object],
        repeats: int,
        warm_up: int = 3,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Timing:
        """Call `action` `warm_up` times unmeasured, then `repeats` times measured by `clock`, in seconds."""
        for _ in range(warm_up):
            action()
        spent = []
        for _ in range(repeats):
            started = clock()
            action()
            spent.append((clock() - started) * 1e3)
        return cls(tuple(spent))

    def percentile(self, share: float) -> float:
        """The time that `share` percent of the calls did not exceed, linearly interpolated."""
        return float(np.percentile(self.milliseconds, share))

    def as_json(self) -> dict[str, float]:
        return {
            "p50_ms": round(self.percentile(50), 3),
            "p95_ms": round(self.percentile(95), 3),
            "repeats": len(self.milliseconds),
        }


def sample_photo(width: int, height: int, seed: int = 0) -> bytes:
    """A JPEG that takes as long to decode as a photo: smooth content at seven scales, sensor noise, quality 85.

    About 90 kB at 640x480 and 3 MB at 4032x3024, as everyday photos have: decoding time depends on the number of bytes
    as much as on that of pixels.
    """
    from PIL import Image

    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (width, height), (128, 128, 128))
    for octave in range(1, 7):
        cells = rng.integers(0, 256, (6 * 2**octave, 8 * 2**octave, 3), dtype=np.uint8)
        layer = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
        picture = Image.blend(picture, layer, 0.5 / octave)
    noise = rng.standard_normal((height, width, 1), dtype=np.float32) * 6.5
    pixels = np.clip(np.asarray(picture, dtype=np.float32) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


STAGES = ("decode", "resize", "network", "text", "photo to text")
"""Read and decode the file; squash it to the model's size; run the graphs; turn ids into a sentence, which includes the
search if a model decodes from left to right; and all of it in one `caption` call."""


class _Clocked:
    """A bundle whose graphs are timed, so that the stages network and text are parts of the same call."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self.milliseconds = bundle, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bundle, name)

    def open_graph(self, graph: Graph, threads: int) -> _ClockedSession:
        return _ClockedSession(self._bundle.open_graph(graph, threads), self)

    def open_file(self, name: str, threads: int) -> _ClockedSession:
        return _ClockedSession(self._bundle.open_file(name, threads), self)


class _ClockedSession:
    """Adds the time of its runs to `clock.milliseconds`."""

    def __init__(self, session: Any, clock: _Clocked) -> None:
        self._session, self._clock = session, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> Any:
        started = time.perf_counter()
        outputs = self._session.run(names, feed)
        self._clock.milliseconds += (time.perf_counter() - started) * 1e3
        return outputs


def decode_photo(photo: Path, size: tuple[int, int]) -> Image.Image:
    """The first half of `load_image`: read the file and decode it; a JPEG is scaled down while it is decoded."""
    from PIL import Image

    image = Image.open(photo)
    image.draft(None, size)
    image.load()
    return image


def measure_stages(model: str, photo: Path, threads: int, repeats: int) -> dict[str, dict[str, float]]:
    """Time `STAGES` for one photo file, batch 1, default length and candidates.

    Every repeat runs all stages, so that a busy moment of the machine does not affect one stage alone.
    """
    from fastcap.runtime.bundle import Bundle, find_model
    from fastcap.runtime.captioner import Captioner
    from fastcap.runtime.images import load_image

    clocked = _Clocked(Bundle.open(find_model(model)))
    captioner = Captioner(cast("Bundle", clocked), threads)
    size = (clocked.preprocessing.width, clocked.preprocessing.height)

    def once() -> tuple[float, ...]:
        marks = [time.perf_counter()]
        image = decode_photo(photo, size)
        marks.append(time.perf_counter())
        pixels = load_image(image, size)
        clocked.milliseconds = 0.0
        marks.append(time.perf_counter())
        captioner.caption_pixels(pixels[None])
        marks.append(time.perf_counter())
        network = clocked.milliseconds
        captioner.caption(photo)
        marks.append(time.perf_counter())
        decode, resize, caption, whole = np.diff(marks) * 1e3
        return decode, resize, network, caption - network, whole

    for _ in range(3):
        once()
    columns = zip(*(once() for _ in range(repeats)), strict=True)
    return {stage: Timing(column).as_json() for stage, column in zip(STAGES, columns, strict=True)}


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far, in MB of 10^6 bytes; None on Windows."""
    # ru_maxrss survives exec, so a child started by a large parent would report the parent's memory.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in machine_lines(status) if line.startswith("VmHWM"))
        return round(int(line.split()[1]) * 1024 / 1e6, 1)
    if sys.platform == "win32":
        return None
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)  # macOS counts bytes


def run_python(*arguments: str) -> str:
    """The output of a fresh Python process with one thread, which downloads no model.

    Raises FastcapError with the last line that a failed process wrote to stderr.
    """
    if getattr(sys, "frozen", False):
        raise FastcapError(
            "measuring starts fresh Python processes, which an application does not hold; use a pip install"
        )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise FastcapError(f"a measured process failed: {lines[-1]}")
    return done.stdout.strip()


IMPORT = """
import time
started = time.perf_counter()
import fastcap
print((time.perf_counter() - started) * 1e3)
"""

ONE_CAPTION = """
import sys, fastcap
fastcap.load_model(sys.argv[1]).caption(sys.argv[2])
from fastcap.evaluation.speed import peak_memory_mb
print(peak_memory_mb())
"""


def measure_process(model: str, photo: Path, repeats: int = 5) -> dict[str, Any]:
    """The cost of a fresh process with warm file caches: peak memory to caption one photo, which includes the measuring
    code; time of `import fastcap` and of `fastcap caption`."""
    memory = run_python("-c", ONE_CAPTION, model, str(photo))
    imports = [float(run_python("-c", IMPORT)) for _ in range(repeats)]
    whole = Timing.of(lambda: run_python("-m", "fastcap", "caption", str(photo), "--model", model), repeats, warm_up=1)
    return {
        "peak_memory_mb": None if memory == "None" else float(memory),
        "import_ms": round(float(np.median(imports)), 1),
        "caption_command_ms": round(whole.percentile(50), 1),
        "repeats": repeats,
    }
