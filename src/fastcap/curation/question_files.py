"""Questions from captions as a file to train on, and what a reader of the questions alone knows of their answers."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastcap.curation.pictures import Question
from fastcap.evaluation.answers import normalised
from fastcap.evaluation.readers import BagOfWords, Majority
from fastcap.files import written_aside

__all__ = ["guessed", "write_questions"]


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    """Write questions as a JSON list of conversations, one a line, pictures by their paths from the file's folder."""
    folder = os.path.abspath(path.parent)
    lines = []
    for question in questions:
        record = question.record(Path(os.path.relpath(question.image, folder)).as_posix())
        lines.append(json.dumps(record, ensure_ascii=False))
    with written_aside(path) as file:
        file.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def guessed(questions: Sequence[Question], seed: int = 0) -> dict[str, dict[str, float]]:
    """How often the question alone gives the answer, by kind: `majority`, the most frequent answer of the kind, and
    `question`, a bag-of-words reader trained on the questions about one half of the pictures, both measured on the
    other half; and the `number` of questions that they are measured on.
    """
    images = list(dict.fromkeys(question.image for question in questions))
    order = np.random.default_rng(seed).permutation(len(images))
    first = {images[place] for place in order[: len(images) // 2]}
    learnt = [question for question in questions if question.image in first]
    asked = [question for question in questions if question.image not in first]
    if not learnt or not asked:
        return {}
    reader = BagOfWords([q.text for q in learnt], [q.answer for q in learnt], seed)
    told = reader.answers([q.text for q in asked])
    figures = {}
    for kind in dict.fromkeys(q.kind for q in questions):
        known = [q.answer for q in learnt if q.kind == kind]
        places = [place for place, q in enumerate(asked) if q.kind == kind]
        if known and places:
            most = Majority(known).answer
            right = Counter[str]()
            for place in places:
                answer = normalised(asked[place].answer)
                right["majority"] += answer == most
                right["question"] += answer == told[place]
            shares = {name: right[name] / len(places) for name in ("majority", "question")}
            figures[kind] = {**shares, "number": len(places)}
    return figures
