"""How well a model directory answers questions, as one number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastcap.data.conversations import load_conversations
from fastcap.evaluation.vqa import evaluate_answers
from fastcap.runtime.captioner import Captioner

__all__ = ["answer_score"]


def answer_score(directory: Path, questions: Path) -> float:
    """Mean VQA accuracy x 100 of a model directory on a file of conversations.

    Raises:
        DataError: the file cannot be read, or holds no questions.
        ConfigError: the model answers none.
    """
    captioner: Any = Captioner.open(directory)
    evaluation = evaluate_answers(captioner, load_conversations(questions), other_pictures=False)
    return 100 * evaluation.accuracy()
