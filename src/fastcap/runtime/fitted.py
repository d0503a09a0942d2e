"""Sections of a manifest that are fitted to a trained model: how probabilities and cosines become confidences, how
candidates are ranked, where the vision part may stop, how questions are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Alignment", "Calibration", "Exits", "Questions", "Ranking", "Weights"]


class Calibration(NamedTuple):
    """How a caption's probability becomes its confidence: `sigmoid(scale * logit(p) + offset)`, fitted so that the
    confidence is the share of the caption's content words that people use too. The defaults change nothing."""

    scale: float = 1.0
    offset: float = 0.0

    def confidence(self, probability: float) -> float:
        """From 0 to 1, in the order of the probabilities."""
        p = min(max(probability, 1e-6), 1 - 1e-6)
        return _sigmoid(self.scale * math.log(p / (1 - p)) + self.offset)


class Alignment(NamedTuple):
    """How the cosine of a picture and a text becomes a score: `sigmoid(scale * cosine + offset)`, fitted so that the
    score is the probability that the text was written of this picture rather than of another one."""

    scale: float = 1.0
    offset: float = 0.0

    def score(self, cosine: float) -> float:
        """From 0 to 1, in the order of the cosines."""
        return _sigmoid(self.scale * cosine + self.offset)


class Weights(NamedTuple):
    """Weights of the linear score by which candidates are ranked, a field for each thing that they weigh.

    Attributes:
        log_p: the logarithm of a candidate's probability, `Decoded.probability`.
        token_log_p: the mean logarithm of its tokens' probabilities.
        similarity: `Memory.similarity` with the captions of the nearest pictures.
        consensus: `Memory.consensus` with the other candidates.
        words: how many words it has.
        expected, information: the two of `PictureWords.score`: how far its words are those that people would use of
            the picture, and how much they say of whatever picture.
    """

    log_p: float
    token_log_p: float
    similarity: float
    consensus: float
    words: float
    expected: float = 0.0
    information: float = 0.0


class Ranking(NamedTuple):
    """How candidates are ranked by a directory's `WORDS` and `MEMORY`: `neighbours` and `sharpness` of
    `Memory.similarity`, and the weights of each of `RANKED_AS`; where they are missing, candidates stay as they are."""

    neighbours: int
    sharpness: float
    weights: Mapping[str, Weights]

    def as_json(self) -> dict[str, Any]:
        """The section of the manifest."""
        weights = {way: weights._asdict() for way, weights in self.weights.items()}
        return {"neighbours": self.neighbours, "sharpness": self.sharpness, **weights}


class Exits(NamedTuple):
    """For each exit of the vision part but the last, the confidence from which no later scale is computed; above 1, it
    never stops there."""

    thresholds: tuple[float, ...]


class Questions(NamedTuple):
    """How a model answers questions about a picture.

    Attributes:
        template: how a question stands before its answer; see `fastcap.runtime.conversation`.
        tokens: most tokens of a question with the turns before it.
        scale, offset: a `Calibration` of an answer's probability: its confidence is the share of such that are right.
    """

    template: str
    tokens: int
    scale: float = 1.0
    offset: float = 0.0

    def confidence(self, probability: float) -> float:
        """From 0 to 1, in the order of the probabilities."""
        return Calibration(self.scale, self.offset).confidence(probability)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-min(max(x, -30), 30)))
