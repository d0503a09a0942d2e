"""Which of several candidates for a picture is the best: a linear score, whose weights a model directory states.

A network finds better sentences than those that it prefers. Which words people would use of the picture tells them
apart (`fastcap.runtime.words`), and what they said of similar ones (`fastcap.runtime.memory`).

Letters: K candidates, A width of a picture's vector.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap.errors import ModelFileError
from fastcap.runtime.contract import MEMORY, WORDS, Ranking, Weights, ranked_as
from fastcap.runtime.encoding import Decoder, decode
from fastcap.runtime.engine import Decoded, Encoded, Engine
from fastcap.runtime.memory import Memory
from fastcap.runtime.text import caption_words, names_twice
from fastcap.runtime.words import PictureWords

if TYPE_CHECKING:
    from fastcap.runtime.bundle import Bundle
    from fastcap.runtime.options import Plan

__all__ = ["Ranker", "features", "ranked"]

_SMALLEST = 1e-9  # probability, so that every logarithm is finite


class Ranker:
    """Orders candidates by the weights of a model directory, its memory and its words."""

    def __init__(self, memory: Memory, ranking: Ranking, tokenizer: Decoder, words: PictureWords | None = None) -> None:
        self.memory, self.ranking, self.words, self._tokenizer = memory, ranking, words, tokenizer

    @classmethod
    def open(cls, bundle: Bundle, tokenizer: Decoder) -> Ranker | None:
        """That of a model directory; None if it has none. Raises ModelFileError for files that are damaged."""
        if bundle.ranking is None:
            return None
        memory = Memory.open(bundle.folder / MEMORY) if MEMORY in bundle.files else Memory()
        words = PictureWords.open(bundle.folder / WORDS) if WORDS in bundle.files else None
        return cls(memory, bundle.ranking, tokenizer, words)

    def weights(self, kind: str, vector: np.ndarray) -> Weights | None:
        """Those of candidates of a kind of `RANKED_AS`, for a picture; None if they stay as they are."""
        return self.ranking.weights.get(kind)

    def order(self, candidates: Sequence[Decoded], vector: np.ndarray, way: str) -> list[Decoded]:
        """The candidates, best first; equal ones in the order given. The first does not name a thing twice if another
        one does not, since people hardly ever do (`fastcap.runtime.text.names_twice`).

        Args:
            vector: of the picture, (A,).
            way: how they were decoded, one of `fastcap.runtime.contract.DECODES`.

        Raises:
            ModelFileError: the memory or the words were made with vectors of another model.
        """
        scores = (-self.scores(candidates, vector, way)).tolist()
        ordered = [candidates[place] for place in sorted(range(len(candidates)), key=scores.__getitem__)]
        if any(scores):
            texts = (decode(self._tokenizer, candidate.token_ids) for candidate in ordered)
            ordered.insert(
                0, ordered.pop(next((place for place, text in enumerate(texts) if not names_twice(text)), 0))
            )
        return ordered

    def scores(self, candidates: Sequence[Decoded], vector: np.ndarray, way: str) -> np.ndarray:
        """What `order` orders by, (K,); 0 for all where candidates of this way stay as they are."""
        weights = self.weights(ranked_as(way), vector)
        if weights is None or not any(weights):
            return np.zeros(len(candidates))
        for file, held in ((MEMORY, self.memory), (WORDS, self.words)):
            if held and vector.shape != (held.width,):
                raise ModelFileError(
                    f"{file}: its pictures have vectors of {held.width} numbers; the model gives {vector.shape}"
                )
        texts = [decode(self._tokenizer, candidate.token_ids) for candidate in candidates]
        used = {name: weight for name, weight in weights._asdict().items() if weight}  # the others cost time
        table = features(candidates, texts, vector, self.memory, self.ranking, [*used], self.words)
        return table @ np.array([*used.values()])


def ranked(engine: Engine, ranker: Ranker | None, picture: Encoded, plan: Plan) -> list[Decoded]:
    """What an engine decodes of a picture, best first: by the ranker if there is one and the plan asks for it. Captions
    of every length keep their order, since weights are fitted to those of the usual ones."""
    candidates = engine.decode(picture, plan)
    if ranker is None or plan.no_memory or plan.every_length or len(candidates) < 2:
        return candidates
    return ranker.order(candidates, engine.vector(picture)[0], plan.decode)


def features(
    candidates: Sequence[Decoded],
    texts: Sequence[str],
    vector: np.ndarray,
    memory: Memory,
    ranking: Ranking,
    names: Sequence[str] = Weights._fields,
    words: PictureWords | None = None,
) -> np.ndarray:
    """What candidates are ranked by, (K, number of names): fields of `Weights`, where each is explained.

    Without `words` nothing is expected, and there is no information.
    """
    told = functools.cache(lambda: (words.score(vector, texts) if words else np.zeros((len(texts), 2))).T.tolist())
    compute: dict[str, Callable[[], Any]] = {
        "log_p": lambda: [math.log(max(candidate.probability, _SMALLEST)) for candidate in candidates],
        "token_log_p": lambda: [_mean_log(candidate.token_probabilities) for candidate in candidates],
        "similarity": lambda: memory.similarity(vector, texts, ranking.neighbours, ranking.sharpness),
        "consensus": lambda: memory.consensus(texts),
        "words": lambda: [len(caption_words(text)) for text in texts],
        "expected": lambda: told()[0],
        "information": lambda: told()[1],
    }
    return np.array([compute[name]() for name in names], np.float64).reshape(len(names), len(candidates)).T


def _mean_log(probabilities: Sequence[float]) -> float:
    return float(np.log(np.maximum(probabilities, _SMALLEST)).mean()) if probabilities else 0.0
