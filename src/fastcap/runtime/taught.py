"""A user's own memory: what people said of their pictures, word for word, for similar pictures to come.

`fastcap learn` makes one, without training. Candidates for a picture are ranked by it as far as it holds pictures like
that one, and what was said of these is shown beside the caption.

Letters: P pictures, A width of their vectors.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastcap.errors import ConfigError, ModelFileError
from fastcap.runtime.contract import MEMORY, PHOTO, TOKENIZER, WORDS, Ranking, Weights, ranked_as
from fastcap.runtime.encoding import decode
from fastcap.runtime.memory import Memory
from fastcap.runtime.options import MAX_BEAMS, Options
from fastcap.runtime.ranking import Ranker

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from fastcap.runtime.bundle import Bundle
    from fastcap.runtime.engine import Decoded, Encoded, Engine
    from fastcap.runtime.options import Plan

__all__ = [
    "NEAR",
    "RANKING",
    "Neighbour",
    "Taught",
    "TaughtRanker",
    "nearness",
    "neighbours",
    "plan_of",
    "taught_ranker",
    "vectors_of",
]

# Chosen on val pictures of Flickr8k and COCO with memories that fit them and memories that do not, and measured
# crosswise: python benchmarks/taught.py. The few candidates of parallel decoding stay as they are: ranked, they were
# better by 0.3 CIDEr at the most, and worse by 0.7 with a memory that does not fit.
RANKING = Ranking(10, 40.0, {"search": Weights(1.0, 0.0, 0.3, 0.0, 0.0)})
NEAR = (0.6, 0.9)
"""Cosines of the nearest picture: below the first a memory says nothing, from the second on all that it has to say."""
SHOWN = 3  # neighbours beside a caption

_ABOUT, _EXAMPLES = "about.json", "examples.jsonl"
_FORMAT = 1


class Neighbour(NamedTuple):
    """What was said of a similar picture: its first caption, the cosine of both pictures, and the picture's name."""

    caption: str
    similarity: float
    source: str


def nearness(cosine: float, near: tuple[float, float] = NEAR) -> float:
    """How far a memory is asked, 0 to 1, whose nearest picture has this cosine."""
    low, high = near
    return min(max((cosine - low) / (high - low), 0.0), 1.0)


def vectors_of(bundle: Bundle) -> str:
    """Which model gives the vectors: its name, and eight digits of its graphs' and weights' SHA-256.

    Raises ConfigError for a model that gives none.
    """
    if bundle.alignment is None:
        raise ConfigError(f"model {bundle.name!r} gives no vectors of pictures; needed for a memory: an alignment")
    others = (MEMORY, WORDS, PHOTO, TOKENIZER)
    files = {name: file.sha256 for name, file in bundle.files.items() if name not in others}
    return f"{bundle.name} {hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Taught:
    """A memory, the captions of each of its pictures, and these pictures' names; `made_with` as `vectors_of` says."""

    memory: Memory
    examples: Mapping[str, Sequence[str]]
    made_with: str

    @classmethod
    def of(cls, bundle: Bundle, vectors: np.ndarray, examples: Mapping[str, Sequence[str]]) -> Taught:
        """A new one of unit vectors (P, A), in the order of `examples`, the captions of each picture by its name.

        Raises ConfigError where they do not fit one another, or a picture has no caption.
        """
        memory = Memory()
        memory.add(vectors, list(examples.values()))
        return cls(memory, dict(examples), vectors_of(bundle))

    @classmethod
    def open(cls, path: str | os.PathLike[str], bundle: Bundle) -> Taught:
        """Read what `save` wrote.

        Raises ModelFileError for a file that is missing, damaged or made with another model.
        """
        memory, (about, lines) = Memory.open_with(path, (_ABOUT, _EXAMPLES))
        try:
            stated = json.loads(about)
            made_with, number = stated["made_with"], stated["format"]
            rows = [json.loads(line) for line in lines.splitlines()]
            examples = {row["image"]: tuple(map(str, row["captions"])) for row in rows}
            if number != _FORMAT or len(examples) != len(memory) or not all(examples.values()):
                raise ValueError(f"format {number}, {len(examples)} captioned of {len(memory)} pictures")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ModelFileError(f"{path}: not a memory of a user's pictures ({error!r})"[:300]) from None
        if made_with != vectors_of(bundle):
            raise ModelFileError(
                f"{path}: made with {made_with}, whose vectors differ from those of {vectors_of(bundle)}; "
                f"make it again with 'fastcap learn' and this model"
            )
        return cls(memory, examples, made_with)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it: whole or not at all, the same bytes for the same content."""
        lines = (json.dumps({"image": name, "captions": list(texts)}) for name, texts in self.examples.items())
        about = json.dumps({"format": _FORMAT, "made_with": self.made_with})
        self.memory.save(path, {_ABOUT: about, _EXAMPLES: "".join(f"{line}\n" for line in lines)})

    def neighbours(self, vector: np.ndarray, count: int = SHOWN) -> tuple[Neighbour, ...]:
        """What was said of the pictures nearest to a vector (A,), the nearest first; none whose cosine is too low."""
        names = list(self.examples)
        near = [(row, cosine) for row, cosine in self.memory.closest(vector, count) if cosine > NEAR[0]]
        return tuple(Neighbour(self.examples[names[row]][0], min(cosine, 1.0), names[row]) for row, cosine in near)


class TaughtRanker(Ranker):
    """Orders candidates by a user's memory, beside what the model directory ranks them by."""

    def __init__(
        self, taught: Taught, tokenizer: Tokenizer, own: Ranker | None = None, ranking: Ranking = RANKING
    ) -> None:
        super().__init__(taught.memory, ranking, tokenizer)
        self.taught, self._own = taught, own

    def weights(self, kind: str, vector: np.ndarray) -> Weights | None:
        """The similarity counts as far as the nearest picture is near; where it is far, candidates stay as they are."""
        weights = super().weights(kind, vector)
        closest = self.memory.closest(vector, 1)
        share = nearness(closest[0][1]) if closest else 0.0
        return weights._replace(similarity=weights.similarity * share) if weights and share else None

    def scores(self, candidates: Sequence[Decoded], vector: np.ndarray, way: str) -> np.ndarray:
        """The directory's own scores, in units of its weight of a logarithm of probability, take the place of that
        logarithm."""
        kind = ranked_as(way)
        given = self._own.weights(kind, vector) if self._own else None
        if self._own is None or given is None or given.log_p <= 0:
            return super().scores(candidates, vector, way)
        own = self._own.scores(candidates, vector, way) / given.log_p
        weights = self.weights(kind, vector)
        if weights is None:
            return own
        texts = [decode(self._tokenizer, candidate.token_ids) for candidate in candidates]
        near = self.memory.similarity(vector, texts, self.ranking.neighbours, self.ranking.sharpness)
        return own + weights.similarity * near


def taught_ranker(path: str | os.PathLike[str], bundle: Bundle) -> TaughtRanker:
    """The ranker of a user's memory, beside that of a model directory. Raises ModelFileError, ConfigError."""
    tokenizer = bundle.tokenizer()
    return TaughtRanker(Taught.open(path, bundle), tokenizer, Ranker.open(bundle, tokenizer))


def plan_of(options: Options, ranker: Ranker | None, bundle: Bundle) -> Plan:
    """The plan of options. Where no way of decoding is asked for, a user's memory chooses among the candidates of a
    beam of eight. Raises ConfigError."""
    is_usual = options.decode is None and options.length == "normal" and not options.no_memory
    if isinstance(ranker, TaughtRanker) and is_usual and "beam" in bundle.decodes:
        options = replace(options, decode="beam", beams=MAX_BEAMS)
    return options.plan(bundle)


def neighbours(engine: Engine, ranker: Ranker | None, picture: Encoded, plan: Plan) -> tuple[Neighbour, ...]:
    """What a user's memory shows beside the caption of a picture; nothing without one."""
    if plan.no_memory or not isinstance(ranker, TaughtRanker):
        return ()
    return ranker.taught.neighbours(engine.vector(picture)[0])
