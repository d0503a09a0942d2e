"""The gate: graphs are compared with PyTorch, measured as users run them, and refused unless they are worth having."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from tokenizers import Tokenizer

from fastcap.config import ModelConfig
from fastcap.data.readers import Example
from fastcap.errors import FastcapError, counted
from fastcap.evaluation.evaluate import Evaluation, evaluate_model
from fastcap.evaluation.sample import margin, small_sample
from fastcap.evaluation.speed import Timing
from fastcap.evaluation.vqa import MODEL, VqaEvaluation
from fastcap.export.families import EXPORTS
from fastcap.export.writer import write_bundle
from fastcap.model import CaptionModel
from fastcap.release.answers import measure_answers
from fastcap.release.settings import ExportSettings
from fastcap.release.sizes import MANIFEST, directory_size
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.conversation import Conversation

__all__ = ["Measured", "check_equal", "check_gate", "compared", "measure", "network_milliseconds", "same_captions"]

MIN_EQUAL = {"fp32": 0.95, "fp16": 0.8}
"""Share of equal captions below which graphs are another model than PyTorch's: rounding may turn a tie."""


@dataclass(frozen=True)
class Measured:
    """A folder of graphs, a model directory made of them, and what that was measured at; `answers` of a model that
    answers."""

    graphs: Path
    directory: Path
    evaluation: Evaluation
    answers: VqaEvaluation | None = None

    @property
    def cider(self) -> float:
        """CIDEr points (x 100)."""
        return self.evaluation.metrics["cider"]

    @property
    def accuracy(self) -> float:
        """VQA accuracy in percent; 0 where nothing was asked."""
        return 100 * self.answers.accuracy() if self.answers else 0.0

    @property
    def graph_bytes(self) -> int:
        """Bytes of all graphs and their weights."""
        return sum(path.stat().st_size for path in self.graphs.iterdir() if path.is_file())


def check_equal(
    model: CaptionModel, graphs: Path, pictures: np.ndarray, console: Console, precision: str = "fp32"
) -> None:
    """Compare a folder of graphs that are not quantised with PyTorch on pictures (N, H, W, 3) uint8, in every way of
    decoding; on the CPU, where ONNX Runtime computes 16 bits in 32 and rounds what it passes on.

    Raises:
        FastcapError: too few captions are equal.
    """
    needed = MIN_EQUAL[precision]
    for agreement in EXPORTS[model.config.kind].compare(model, graphs, pictures):
        console.print(
            f"{precision} graphs against PyTorch, {agreement.decode} decoding of {agreement.images} pictures: "
            f"{agreement.equal_captions:.0%} equal, {agreement.quantity} within {agreement.difference:.1e}"
        )
        if agreement.equal_captions < needed:
            raise FastcapError(
                f"the exported graph gives the model's {agreement.decode} caption on {agreement.equal_captions:.0%} of "
                f"{agreement.images} pictures; needed: {needed:.0%}. Nothing was written"
            )


def measure(
    graphs: Path,
    tokenizer: Tokenizer,
    config: ModelConfig,
    examples: Sequence[Example],
    console: Console,
    questions: Sequence[Conversation] = (),
) -> Measured:
    """Evaluate a folder of graphs the way users run them: as a model directory in the runtime, its answers too if there
    are questions."""
    name, directory = graphs.name, graphs / "measured"
    write_bundle(directory, graphs, tokenizer, config, name=name)
    bar = iter(track(range(len(examples)), f"measuring {name}", console=console))
    captioner = Captioner.open(directory)
    evaluation = evaluate_model(captioner, examples, on_caption=lambda: next(bar))
    next(bar, None)
    answers = measure_answers(captioner, questions, name, console) if questions else None
    measured = Measured(graphs, directory, evaluation, answers)
    sample = small_sample([row.cider for row in evaluation.rows]) or counted(len(examples), "picture")
    console.print(f"{name}: CIDEr {measured.cider:.2f} ({sample})")
    return measured


def network_milliseconds(graphs: Path, config: ModelConfig, picture: np.ndarray, repeats: int = 30) -> float:
    """Median processor time of one picture (1, H, W, 3) uint8 through the network, on one thread: what else the machine
    does must not decide what is exported."""
    family = EXPORTS[config.kind]
    action = family.timed(graphs, picture, family.feeds(config))
    return Timing.of(action, repeats, clock=time.process_time).percentile(50)


def compared(fp32: Measured, int8: Measured, milliseconds: tuple[float, float] | None, precision: str = "int8") -> str:
    """What quantisation costs and brings, in one line; `milliseconds`: of the network, fp32 and int8."""
    loss = round(fp32.cider - int8.cider, 2)
    quality = f"{abs(loss):.2f} CIDEr points {'worse' if loss > 0 else 'better'}" if loss else "the same CIDEr"
    sample = differences(fp32, int8)
    if int8.answers:
        quality += f"{f' ({sample})' if sample else ''}, VQA accuracy {int8.accuracy - fp32.accuracy:+.2f} points"
        sample = ""
    size = _ratio(fp32.graph_bytes, int8.graph_bytes, "smaller", "larger")
    told = f"{precision} against fp32: {quality}{f' ({sample})' if sample else ''}, {size}"
    if milliseconds is None:
        return told
    speed = _ratio(*milliseconds, "faster", "slower")
    return f"{told}, {speed} ({milliseconds[0]:.1f} -> {milliseconds[1]:.1f} ms for the network)"


def differences(fp32: Measured, int8: Measured) -> str:
    """What to say of a difference in CIDEr on fewer than 200 pictures; else ""."""
    pairs = zip(fp32.evaluation.rows, int8.evaluation.rows, strict=True)
    return small_sample([ours.cider - theirs.cider for theirs, ours in pairs])


def answer_losses(fp32: Measured, int8: Measured) -> list[float]:
    """Points of VQA accuracy that int8 loses at each question; none where nothing was asked."""
    if fp32.answers is None or int8.answers is None:
        return []
    pairs = zip(fp32.answers.rows, int8.answers.rows, strict=True)
    return [100 * (before.accuracy[MODEL] - after.accuracy[MODEL]) for before, after in pairs]


def same_captions(before: Measured, after: Measured) -> float:
    """Share of the pictures that both caption with the very same words."""
    pairs = list(zip(before.evaluation.rows, after.evaluation.rows, strict=True))
    return sum(one.caption == other.caption for one, other in pairs) / len(pairs)


def _ratio(before: float, after: float, less: str, more: str) -> str:
    """ "2.00x smaller" or "1.25x larger": how many times the larger of two amounts is the smaller one."""
    return f"{max(before, after) / min(before, after):.2f}x {less if after <= before else more}"


def check_gate(
    fp32: Measured,
    int8: Measured,
    milliseconds: tuple[float, float] | None,
    settings: ExportSettings,
    console: Console,
) -> None:
    """Say what quantisation costs and brings; `milliseconds`: of the network, fp32 and int8; None where time here says
    nothing, as of fp16, which is for GPUs.

    Raises:
        FastcapError: int8 (or fp16) loses too much, or is not smaller and faster, or larger than asked for; the message
            says by how much.
    """
    loss, loss_of_answers = fp32.cider - int8.cider, fp32.accuracy - int8.accuracy
    console.print(compared(fp32, int8, milliseconds, settings.precision))
    problems, same = [], same_captions(fp32, int8)
    console.print(f"the very same caption on {same:.1%} of the pictures")
    if same < settings.min_same:
        problems.append(f"{same:.1%} of its captions stay as they are, needed: min_same={settings.min_same:g}")
    if loss > settings.max_loss:
        sample = differences(fp32, int8)
        note = f" ({sample})" if sample else ""
        problems.append(f"it loses {loss:.2f} CIDEr points, allowed: max_loss={settings.max_loss:g}{note}")
    if loss_of_answers > settings.max_loss:
        within = margin(answer_losses(fp32, int8))
        note = f" (known to within ±{within:.1f} points)" if within else ""
        problems.append(f"it answers {loss_of_answers:.2f} points worse, allowed: max_loss={settings.max_loss:g}{note}")
    if int8.graph_bytes >= fp32.graph_bytes:
        problems.append(f"it has {int8.graph_bytes} bytes, fp32 has {fp32.graph_bytes}")
    if milliseconds and milliseconds[1] >= milliseconds[0]:
        problems.append(f"it takes {milliseconds[1]:.1f} ms, fp32 takes {milliseconds[0]:.1f}")
    target, size = settings.target_bytes, directory_size(int8.directory) + MANIFEST
    if target and size > target:
        problems.append(f"the directory takes {size} bytes, allowed: target_size={target}")
    if problems:
        raise FastcapError(f"the {settings.precision} model is refused: {'; '.join(problems)}. Nothing was written")
