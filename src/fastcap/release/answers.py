"""Answers of a model that is released: measured beside its captions, their confidence fitted, some of them recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from fastcap.config import ModelConfig
from fastcap.data.conversations import load_conversations
from fastcap.errors import ConfigError, DataError, counted
from fastcap.evaluation.calibration import calibration_error, fit_calibration
from fastcap.evaluation.sample import spread
from fastcap.evaluation.vqa import VqaEvaluation, evaluate_answers
from fastcap.release.settings import MIN_MEASURED, ExportSettings
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import Calibration
from fastcap.runtime.conversation import Conversation

__all__ = ["answer_facts", "check_answers_asked", "fitted_error", "load_questions", "measure_answers"]


def load_questions(settings: ExportSettings) -> list[Conversation]:
    """The questions to measure on: of each file as many as `settings.question_limit`, spread evenly over it.

    Raises:
        DataError: a file cannot be read, or they are too few.
    """
    policy: Any = {"on_bad_data": settings.on_bad_data, "max_bad_share": settings.max_bad_share}
    found: list[Conversation] = []
    for file in settings.questions:
        read = load_conversations(Path(file), **policy)
        found += spread(read, settings.question_limit or len(read))
    if settings.questions and len(found) < MIN_MEASURED:
        raise DataError(f"the files of questions have {len(found)}; needed: {MIN_MEASURED} or more")
    return found


def check_answers_asked(config: ModelConfig, questions: Sequence[Conversation]) -> None:
    """Refuse to release a model that answers without having asked it, and to ask one that does not.

    Raises:
        ConfigError: which of the two, and what to do.
    """
    answers = bool(getattr(config.decoder, "question_tokens", 0))
    if answers and not questions:
        raise ConfigError(
            "questions is empty, and the model answers; needed: files of validation questions, to measure its answers "
            "and fit their confidence (--questions FILE)"
        )
    if questions and not answers:
        raise ConfigError("questions is given, and the model was not trained to answer; allowed: none")


def measure_answers(
    captioner: Captioner, questions: Sequence[Conversation], name: str, console: Console
) -> VqaEvaluation:
    """Ask a model directory each question once."""
    n_pictures = len({conversation.image for conversation in questions})
    bar = iter(track(range(n_pictures), f"asking {name}", console=console))
    asker: Any = captioner  # whose overloads a type checker does not match with a protocol
    evaluation = evaluate_answers(asker, questions, other_pictures=False, on_picture=lambda: next(bar))
    next(bar, None)
    accuracy = 100 * evaluation.accuracy()
    console.print(f"{name}: VQA accuracy {accuracy:.2f} % of {counted(len(questions), 'question')}")
    return evaluation


def answer_facts(chosen: VqaEvaluation, reference: VqaEvaluation) -> tuple[tuple[float, float], dict[str, Any]]:
    """Scale and offset of the confidence of answers, and what the manifest's quality says of them: accuracy in percent,
    that in fp32, and the calibration error, each half of the questions with a curve fitted to the other."""
    confidences, accuracies = chosen.calibration()
    errors = [fitted_error(confidences, accuracies, half, 1 - half) for half in (0, 1)]
    facts = {
        "vqa_accuracy": round(100 * chosen.accuracy(), 2),
        "vqa_accuracy_fp32": round(100 * reference.accuracy(), 2),
        "answer_calibration_error": round(sum(errors) / 2, 4),
        "questions": len(chosen.rows),
    }
    return fit_calibration(confidences, accuracies), facts


def fitted_error(confidences: list[float], supports: list[float], fit: int, test: int) -> float:
    """Calibration error on every second row, fitted to the others; `fit` and `test` are 0 or 1."""
    fitted = Calibration(*fit_calibration(confidences[fit::2], supports[fit::2]))
    return calibration_error([fitted.confidence(p) for p in confidences[test::2]], supports[test::2])
