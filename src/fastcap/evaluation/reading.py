"""What a model that reads pictures costs beyond a caption: the first word, questions, and each operator of its graphs.

Times are processor time on one thread: what else the machine does should not decide how questions compare.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap.evaluation.speed import Timing
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import KINDS, PROJECTION
from fastcap.runtime.stepper import OnnxStepper

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["QUESTIONS", "measure_asking", "measure_decoding", "measure_operators", "what_is_read"]

QUESTIONS = (
    "is there a dog in the picture?", "what color is the car on the left?", "how many people are there?",
    "is it raining?", "what is the man holding in his hand?", "where is the cat?", "are the children playing?",
    "what sport is this?", "is the light red?", "what room is this?",
)  # fmt: skip
"""About as long as people's: four to nine words."""
WORDS = 12  # tokens of a caption of usual length
RUNS = 3  # of which a profile is the mean


def measure_asking(bundle: Bundle, photo: Path, repeats: int) -> dict[str, Any]:
    """Milliseconds of the first question about a photo, from its file; of a second about the same; and of ten at once,
    from the file and of a picture that is kept. `times_first`: these in first questions."""
    captioner = Captioner(bundle)
    kept = captioner.encode(photo)
    asked: dict[str, Callable[[], object]] = {
        "first": lambda: captioner.ask(photo, QUESTIONS[0]),
        "second": lambda: captioner.ask(kept, QUESTIONS[1]),
        "ten": lambda: captioner.ask(photo, list(QUESTIONS)),
        "ten_kept": lambda: captioner.ask(kept, list(QUESTIONS)),
    }
    times = {name: timed(action, repeats) for name, action in asked.items()}
    first = times["first"]["p50_ms"]
    shares = {name: round(each["p50_ms"] / first, 3) for name, each in times.items() if name != "first"}
    return {**times, "times_first": shares, "threads": 1}


def measure_decoding(bundle: Bundle, photo: Path, repeats: int) -> dict[str, Any]:
    """Time from pixels to the first word's probabilities, and words a second after it, one caption at a time."""
    stepper, captioner = OnnxStepper.open(bundle), Captioner(bundle)
    pixels, begin, alone = captioner.prepare(photo).pixels, np.array([bundle.vocabulary.bos_id]), np.array([0])

    def first() -> tuple[np.ndarray, Any]:
        return stepper.step(begin, stepper.start(stepper.encode(pixels), 1), alone)

    log_p, begun = first()

    def words() -> None:
        state, last = begun, log_p
        for _ in range(WORDS):
            last, state = stepper.step(last.argmax(axis=1), state, alone)

    each = timed(words, repeats)
    return {"first_token": timed(first, repeats), "tokens_per_second": round(1000 * WORDS / each["p50_ms"], 1)}


def timed(action: Callable[[], object], repeats: int) -> dict[str, float]:
    """Milliseconds of processor time."""
    return Timing.of(action, repeats, warm_up=1, clock=time.process_time).as_json()


def what_is_read(bundle: Bundle, photo: Path) -> dict[str, Any]:
    """How many tokens a language model reads of a picture, of how many; and at which exit this one leaves."""
    decoder = (bundle.architecture or {}).get("decoder", {})
    found: dict[str, Any] = {}
    if PROJECTION.file in bundle.files:
        n_tokens = bundle.open_graph(PROJECTION).get_inputs()[0].shape[1]
        found = {"tokens_kept": decoder.get("image_tokens"), "tokens": n_tokens}
    if bundle.exits:
        captioner = Captioner(bundle)
        captioner.encode(photo)
        found |= {"thresholds": list(bundle.exits.thresholds), "exits_taken": captioner.exits_taken}
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProfiledBundle(Bundle):
    """A model directory whose sessions note the time of each operator in files of the folder `notes`."""

    notes: Path
    opened: list[tuple[str, InferenceSession]] = dataclasses.field(default_factory=list)

    def session_options(self, threads: int) -> Any:
        options = super().session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(self.notes / f"session{len(self.opened)}")
        return options

    def open_file(self, name: str, threads: int = 1) -> InferenceSession:
        session = super().open_file(name, threads)
        self.opened.append((name, session))
        return session


def measure_operators(bundle: Bundle, photo: Path, notes: Path) -> list[dict[str, Any]]:
    """Milliseconds of each kind of operator in each graph for one photo: one question, where the model answers, else
    one caption; the most expensive first.

    Args:
        notes: an empty folder for what ONNX Runtime writes.
    """
    fields = {field.name: getattr(bundle, field.name) for field in dataclasses.fields(Bundle)}
    profiled = ProfiledBundle(**fields, notes=notes)
    captioner = Captioner(profiled)
    for _ in range(RUNS):
        if bundle.questions:
            captioner.ask(photo, QUESTIONS[0])
        else:
            captioner.caption(photo)
    spent: Counter[tuple[str, str]] = Counter()
    for name, session in profiled.opened:
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        for event in events:
            if event.get("cat") == "Node" and "op_name" in event.get("args", {}):
                spent[name, event["args"]["op_name"]] += event["dur"]
    whole = sum(spent.values())
    return [
        {
            "graph": name,
            "operator": operator,
            "ms": round(microseconds / 1000 / RUNS, 3),
            "share": round(microseconds / whole, 4),
        }
        for (name, operator), microseconds in spent.most_common()
    ]


def decodes_left_to_right(bundle: Bundle) -> bool:
    """Whether the kind of model has no other way."""
    return KINDS[bundle.kind].decodes[0] != "parallel"
