"""What a model learns about choosing among its candidates: the words of captioned pictures, and a memory of these
pictures if asked for. The ranking by them is fitted to other pictures that people described.

Weights are measured on pictures that they were not fitted to: these are captioned in `FOLDS` parts, each with the
weights of the others. What ships is fitted to all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap.data.readers import Example, load_dataset
from fastcap.errors import ConfigError
from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.evaluate import Evaluation, evaluate_model
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.evaluation.ranking import FOLDS, USED, Judged, cross_fitted, fit_weights
from fastcap.release.words import fit_words
from fastcap.runtime.captioner import Caption, Captioner
from fastcap.runtime.contract import Calibration, Ranking, Weights, ranked_as
from fastcap.runtime.encoding import decode
from fastcap.runtime.engine import ENGINES, Encoded, Engine
from fastcap.runtime.images import load_image
from fastcap.runtime.memory import NEIGHBOURS, SHARPNESS, Memory
from fastcap.runtime.options import MAX_BEAMS, Options
from fastcap.runtime.ranking import Ranker, features
from fastcap.runtime.text import ends_early, sentence
from fastcap.runtime.words import PictureWords

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from fastcap.runtime.bundle import Bundle

__all__ = [
    "CrossFitted",
    "MemorySettings",
    "Remembered",
    "judge",
    "remember",
    "remembered_captions",
    "remembered_vectors",
]


@dataclass(frozen=True)
class MemorySettings:
    """What is kept of the pictures; the defaults are those of the bundled model, by measurement."""

    common: int = 8
    """Pictures that use a word, for it to be one of the words; see `fastcap.release.words`."""
    pictures: bool = False
    """Whether a memory of the pictures is kept as well: 0.9 MB for 8,265 of them, and beside the words no gain."""
    entries: int = 36
    """N-grams of each picture at most."""
    least: int = 5
    """Pictures that an n-gram has to be said of."""
    width: int = 32
    """Numbers of each picture's vector."""
    neighbours: int = NEIGHBOURS
    """Pictures whose captions a candidate is compared with."""
    sharpness: float = SHARPNESS
    """How much more the captions of the nearest ones count; see `Memory.similarity`."""


@dataclass(frozen=True)
class Remembered:
    """The words, the memory if one was asked for, the ranking by them, and what captions are worth with it:
    `evaluation`, crosswise."""

    words: PictureWords
    memory: Memory | None
    ranking: Ranking
    evaluation: Evaluation

    @property
    def cider(self) -> float:
        """CIDEr points (x 100)."""
        return self.evaluation.metrics["cider"]


class CrossFitted:
    """A captioner that captions each picture with weights that were not fitted to it; for `evaluate_model`."""

    def __init__(self, captioners: Sequence[Captioner], chosen: Mapping[Path, int]) -> None:
        self._captioners, self._chosen = captioners, chosen
        self.bundle = captioners[0].bundle

    def caption(self, image: Path, options: Options) -> Caption:
        return self._captioners[self._chosen[image]].caption(image, options)


def remember(
    bundle: Bundle,
    captions: Mapping[Path, Sequence[str]],
    examples: Sequence[Example],
    settings: MemorySettings | None = None,
    *,
    others: Sequence[Sequence[Example]] = (),
    threads: int = 1,
    facts: Mapping[str, Any] | None = None,
    on_picture: Callable[[], object] = lambda: None,
) -> Remembered:
    """Learn the words of pictures, remember these if asked to, and fit the ranking.

    Args:
        bundle: the model, which has an alignment; its confidences are measured as they are before calibration.
        captions: what is remembered, as `remembered_captions` gives it.
        examples: pictures with people's captions to fit the ranking to, and to measure it on.
        others: more sets to fit it to.
        facts: recorded in the evaluation.
        on_picture: called after each picture that is read.

    Raises:
        ConfigError: the model has no alignment.
        DataError: the model has one candidate for every picture.
    """
    if bundle.alignment is None:
        raise ConfigError(f"model {bundle.name!r} gives no vectors of pictures; needed for a ranking: an alignment")
    settings = settings or MemorySettings()
    bundle = replace(bundle, calibration=Calibration(), ranking=None)
    engine, tokenizer = ENGINES[bundle.kind](bundle, threads), bundle.tokenizer()
    vectors = remembered_vectors(bundle, engine, captions, on_picture)
    words, memory = fit_words(vectors, list(captions.values()), settings.common), Memory()
    used = (*USED, "similarity") if settings.pictures else USED
    if settings.pictures:
        memory.add(vectors, list(captions.values()))
        memory = memory.smaller(settings.entries, settings.least, settings.width)
    ranking = Ranking(settings.neighbours, settings.sharpness, {})
    weights: dict[str, Weights] = {}
    rotated: list[dict[str, Weights]] = [{} for _ in range(FOLDS)]
    for way in dict.fromkeys((bundle.decodes[0], "beam") if "beam" in bundle.decodes else bundle.decodes[:1]):
        options = Options(decode=way, beams=MAX_BEAMS if way == "beam" else 3)
        judged = [
            picture
            for part in (examples, *others)
            for picture in judge(bundle, engine, tokenizer, (memory, words), ranking, part, options, on_picture)
        ]
        weights[ranked_as(way)] = Weights(*fit_weights(judged, used).tolist())
        for place, values in cross_fitted(judged, used):
            rotated[place % FOLDS][ranked_as(way)] = Weights(*values.tolist())

    def captioner(fitted: Mapping[str, Weights]) -> Captioner:
        ranker = Ranker(memory, ranking._replace(weights=fitted), tokenizer, words)
        return Captioner(bundle, threads, engine, ranker=ranker)

    chosen = {example.image: place % FOLDS for place, example in enumerate(examples)}
    crosswise = CrossFitted([captioner(fitted) for fitted in rotated], chosen)
    evaluation = evaluate_model(crosswise, examples, facts=facts, on_caption=on_picture)
    return Remembered(words, memory if settings.pictures else None, ranking._replace(weights=weights), evaluation)


def remembered_captions(
    sources: Sequence[tuple[str, Path | str]], examples: Sequence[Example]
) -> dict[Path, list[str]]:
    """All that is said of each picture to remember, in whichever source.

    Args:
        sources: `NAME` or `NAME:SPLIT`, and folder, of each data set; the split is train by default.
        examples: the pictures that the model will be measured on.

    Raises:
        ConfigError: an example is among the sources.
        DataError: a data set is damaged.
    """
    captions: dict[Path, list[str]] = {}
    for source, root in sources:
        name, _, split = source.partition(":")
        for example in load_dataset(name, Path(root), split or "train"):
            captions.setdefault(example.image, []).extend(example.captions)
    if shared := captions.keys() & {example.image for example in examples}:
        raise ConfigError(
            f"{len(shared)} pictures are remembered and measured, among them {min(shared)}; allowed: other pictures"
        )
    return captions


def remembered_vectors(
    bundle: Bundle, engine: Engine, images: Iterable[Path], on_picture: Callable[[], object] = lambda: None
) -> np.ndarray:
    """The vectors (P, A) of pictures."""
    vectors = []
    for image in images:
        vectors.append(engine.vector(_encoded(bundle, engine, image))[0])
        on_picture()
    return np.stack(vectors)


def judge(
    bundle: Bundle,
    engine: Engine,
    tokenizer: Tokenizer,
    held: tuple[Memory, PictureWords | None],
    ranking: Ranking,
    examples: Sequence[Example],
    options: Options,
    on_picture: Callable[[], object] = lambda: None,
) -> list[Judged]:
    """The features of each picture's candidates, and their CIDEr-D x 100 against people."""
    metric = CiderD({str(place): [ptb_tokens(text) for text in e.captions] for place, e in enumerate(examples)})
    plan = options.plan(bundle)
    judged = []
    for place, example in enumerate(examples):
        encoded = _encoded(bundle, engine, example.image)
        candidates = engine.decode(encoded, plan)
        texts = [sentence(decode(tokenizer, candidate.token_ids)) for candidate in candidates]
        gains = np.array([100 * metric.score(ptb_tokens(text), str(place)) for text in texts])
        table = features(candidates, texts, engine.vector(encoded)[0], held[0], ranking, words=held[1])
        whole = np.array([not ends_early(text) for text in texts])  # others come after these, whatever the weights
        judged.append(Judged(table[whole], gains[whole]) if whole.any() else Judged(table, gains))
        on_picture()
    return judged


def _encoded(bundle: Bundle, engine: Engine, image: Path) -> Encoded:
    size = bundle.preprocessing
    return Encoded(load_image(image, (size.width, size.height))[None], engine)
