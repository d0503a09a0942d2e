"""How well a model answers questions about pictures, beside readers that see less.

| reader | what it sees |
| --- | --- |
| `majority` | nothing: it says the most frequent answer of the training questions |
| `question` | the question: a bag of words, learnt from the training questions |
| `other_picture` | the question and somebody else's picture: the model itself |

What a model is worth is what it knows beyond the last two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fastcap.errors import DataError, many
from fastcap.evaluation.answers import normalised, vqa_accuracy
from fastcap.evaluation.calibration import calibration_error
from fastcap.evaluation.readers import BagOfWords, Majority
from fastcap.evaluation.sample import margin
from fastcap.runtime.conversation import Conversation

__all__ = ["MODEL", "Asker", "VqaEvaluation", "VqaRow", "evaluate_answers", "kind_of"]

MODEL, OTHER_PICTURE = "model", "other_picture"


class Asker(Protocol):
    """Anything that answers questions about a picture: `fastcap.Captioner` does. An answer is a text, or has one as
    `str(answer)`; `history` are turns before the questions."""

    def ask(self, image: Any, questions: Sequence[str], **how: Any) -> Sequence[Any]: ...


@dataclass(frozen=True)
class VqaRow:
    """A question, what people answered, and each reader's answer with its accuracy, 0..1; `confidence` of the model's
    answer, None from one that gives none."""

    image: Path
    question: str
    kind: str
    people: tuple[str, ...]
    told: Mapping[str, str]
    accuracy: Mapping[str, float]
    confidence: float | None = None


@dataclass(frozen=True)
class VqaEvaluation:
    """The rows, in the order of the questions, and facts about model, data and machine."""

    rows: tuple[VqaRow, ...]
    facts: Mapping[str, Any]

    @property
    def readers(self) -> list[str]:
        """The model, then those that see less."""
        return list(self.rows[0].told)

    def kinds(self) -> dict[str, list[VqaRow]]:
        """The rows of each kind, most frequent first."""
        by_kind: dict[str, list[VqaRow]] = {}
        for row in self.rows:
            by_kind.setdefault(row.kind, []).append(row)
        return dict(sorted(by_kind.items(), key=lambda item: (-len(item[1]), item[0])))

    def accuracy(self, reader: str = MODEL, rows: Sequence[VqaRow] | None = None) -> float:
        """VQA accuracy of a reader, 0..1, of some rows or all."""
        rows = self.rows if rows is None else rows
        return sum(row.accuracy[reader] for row in rows) / len(rows)

    def calibration(self) -> tuple[list[float], list[float]]:
        """Confidence and accuracy of each of the model's answers, 0..1; empty for a model without confidences."""
        told = [(row.confidence, row.accuracy[MODEL]) for row in self.rows if row.confidence is not None]
        return [confidence for confidence, _ in told], [accuracy for _, accuracy in told]

    def as_json(self) -> dict[str, Any]:
        """Fit for `json.dumps`: `accuracy` in percent by reader, `kinds` the same by kind, `margin`, within which the
        model's lies in 19 of 20 draws of as many questions, and how far confidences are from accuracies."""
        scores = [100 * row.accuracy[MODEL] for row in self.rows]
        confidences, accuracies = self.calibration()
        error = {"calibration_error": calibration_error(confidences, accuracies)} if confidences else {}
        return {
            "format": 1,
            "kind": "vqa",
            "questions": len(self.rows),
            "pictures": len({row.image for row in self.rows}),
            "accuracy": {reader: 100 * self.accuracy(reader) for reader in self.readers},
            "margin": margin(scores),
            "kinds": {
                kind: {"questions": len(rows), **{reader: 100 * self.accuracy(reader, rows) for reader in self.readers}}
                for kind, rows in self.kinds().items()
            },
            **error,
            **self.facts,
        }


def kind_of(conversation: Conversation) -> str:
    """What sort of question it is: as the file says, else by the answer: yes/no, number or other."""
    if conversation.kind:
        return conversation.kind
    answer = normalised(conversation.turns[-1].text)
    return "yes/no" if answer in ("yes", "no") else "number" if answer.isdecimal() else "other"


def evaluate_answers(
    asker: Asker,
    conversations: Sequence[Conversation],
    *,
    train: Sequence[Conversation] = (),
    other_pictures: bool = True,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    on_picture: Callable[[], object] = lambda: None,
) -> VqaEvaluation:
    """Ask the last question of every conversation, with the turns before it, and measure the answers.

    Args:
        asker: questions about one picture are asked together.
        train: conversations that the readers without pictures learn from; without any these are left out.
        other_pictures: whether to ask all once more with shuffled pictures, which takes as long again.
        seed: of the shuffling, and of the reader of questions.
        on_picture: called for each picture that was asked, shuffled ones too.

    Raises:
        DataError: there are no conversations.
        FastcapError: whatever `asker` raises.
    """
    conversations = list(many(conversations, "conversations"))
    if not conversations:
        raise DataError("there are no questions to ask; needed: at least one")
    images = list(dict.fromkeys(conversation.image for conversation in conversations))
    answers = asked(asker, conversations, {image: image for image in images}, on_picture)
    told = {MODEL: list(map(str, answers))}
    if train:
        questions, theirs = [c.question for c in train], [c.turns[-1].text for c in train]
        mine = [conversation.question for conversation in conversations]
        told["majority"] = Majority(theirs).answers(mine)
        told["question"] = BagOfWords(questions, theirs, seed).answers(mine)
    if other_pictures and len(images) > 1:
        order = np.random.default_rng(seed).permutation(len(images))
        shown = {images[at]: images[other] for at, other in zip(order, np.roll(order, 1), strict=True)}
        told[OTHER_PICTURE] = list(map(str, asked(asker, conversations, shown, on_picture)))
    rows = []
    for place, conversation in enumerate(conversations):
        people = conversation.answers or (conversation.turns[-1].text,)
        each = {reader: texts[place] for reader, texts in told.items()}
        right = {reader: vqa_accuracy(text, people) for reader, text in each.items()}
        sure = getattr(answers[place], "confidence", None)
        asks = conversation.image, conversation.question, kind_of(conversation)
        rows.append(VqaRow(*asks, tuple(people), each, right, sure))
    return VqaEvaluation(tuple(rows), dict(facts or {}))


def asked(
    asker: Asker,
    conversations: Sequence[Conversation],
    shown: Mapping[Any, Any],
    on_picture: Callable[[], object],
) -> list[Any]:
    """Answers to the last questions, each about the picture that is `shown` in place of its own."""
    answers: list[Any] = [None] * len(conversations)
    groups: dict[tuple[Any, Any], list[int]] = {}
    for place, conversation in enumerate(conversations):
        groups.setdefault((conversation.image, conversation.turns[:-2]), []).append(place)
    seen: set[Any] = set()
    for (image, history), places in groups.items():
        how = {"history": history} if history else {}
        found = asker.ask(shown[image], [conversations[place].question for place in places], **how)
        for place, answer in zip(places, found, strict=True):
            answers[place] = answer
        if image not in seen:
            seen.add(image)
            on_picture()
    return answers
