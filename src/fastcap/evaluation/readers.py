"""Readers of questions that never see the picture: what they get right is no merit of a model that does.

`Majority` says the most frequent answer, `BagOfWords` learns which words of a question go with which answers.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fastcap.errors import ConfigError, listed
from fastcap.evaluation.answers import normalised

__all__ = ["BagOfWords", "Majority"]

_WORD = re.compile(r"\w+")
_LEAST = 2  # questions that have to have a word for it to count
_ANSWERS = 1000  # the most frequent ones; rarer ones are never said
_EPOCHS, _BATCH, _RATE, _DECAY = 12, 64, 0.1, 1e-3  # usual values, not tuned


class Majority:
    """Says the most frequent answer of the questions that it was made of, whatever it is asked."""

    def __init__(self, answers: Sequence[str]) -> None:
        counts = Counter(map(normalised, listed(answers, "answers")))
        if not counts:
            raise ConfigError("there are no answers to learn from; needed: at least one")
        self.answer = min(counts, key=lambda answer: (-counts[answer], answer))

    def answers(self, questions: Sequence[str]) -> list[str]:
        """The same for every question."""
        return [self.answer] * len(questions)


class BagOfWords:
    """Softmax regression on a question's words, pairs of neighbours, and beginning; learnt by AdaGrad.

    Args:
        questions, answers: of the training file, side by side.
        seed: of the order in which they are read; the same seed gives the same reader.
    """

    def __init__(self, questions: Sequence[str], answers: Sequence[str], seed: int = 0) -> None:
        known = Counter(map(normalised, listed(answers, "answers")))
        if not known or len(questions) != len(answers):
            raise ConfigError(f"got {len(questions)} questions and {len(answers)} answers; needed: as many, at least 1")
        self.known = [answer for answer, _ in sorted(known.items(), key=lambda item: (-item[1], item[0]))][:_ANSWERS]
        place = {answer: index for index, answer in enumerate(self.known)}
        rows = [features(question) for question in listed(questions, "questions")]
        counts = Counter(name for row in rows for name in row)
        self.columns = {name: index for index, name in enumerate(sorted(n for n, c in counts.items() if c >= _LEAST))}
        pairs = [
            (self.encoded(row), place[answer])
            for row, answer in zip(rows, map(normalised, answers), strict=True)
            if answer in place
        ]
        self.weights = np.zeros((len(self.columns) + 1, len(self.known)), np.float32)  # the last row: no word at all
        squares = np.full_like(self.weights, 1e-6)
        rng = np.random.default_rng(seed)
        for _ in range(_EPOCHS):
            order = rng.permutation(len(pairs))
            for start in range(0, len(order), _BATCH):
                batch = [pairs[at] for at in order[start : start + _BATCH]]
                lengths = [len(ids) for ids, _ in batch]
                ids = np.concatenate([ids for ids, _ in batch])
                owner = np.repeat(np.arange(len(batch)), lengths)
                logits = np.add.reduceat(self.weights[ids], np.cumsum([0, *lengths[:-1]]), axis=0)
                wrong = softmax(logits)
                wrong[np.arange(len(batch)), [target for _, target in batch]] -= 1
                used, row = np.unique(ids, return_inverse=True)
                gradient = np.zeros((len(used), len(self.known)), np.float32)
                np.add.at(gradient, row, wrong[owner] / len(batch))
                gradient += _DECAY / len(pairs) * self.weights[used]
                squares[used] += gradient**2
                self.weights[used] -= _RATE * gradient / np.sqrt(squares[used])

    def encoded(self, names: Sequence[str]) -> np.ndarray:
        """The columns of a question's features, and that of none."""
        return np.array([*(self.columns[name] for name in names if name in self.columns), len(self.columns)])

    def answers(self, questions: Sequence[str]) -> list[str]:
        """The likeliest answer to each question."""
        return [self.known[int(self.weights[self.encoded(features(q))].sum(axis=0).argmax())] for q in questions]


def features(question: str) -> list[str]:
    """What is read of a question: its words, pairs of neighbours, and how it begins."""
    words = _WORD.findall(question.casefold())
    pairs = [f"{first} {second}" for first, second in itertools.pairwise(words)]
    return sorted({*words, *pairs, f"^{' '.join(words[:2])}", f"^{' '.join(words[:3])}"})


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of each row."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)
