"""What a model learns about choosing among its candidates: the words of captioned pictures, a memory of these pictures
if asked for, and a ranking by them. Nothing is learnt of the pictures that it is measured on.

The ranking is fitted to some of the same pictures, each with the words and the memory of the others: in `FOLDS` parts,
in turn. The network has seen them all in training, and is surer of what it says of them than of what it says of new
ones; still such weights choose as well as weights that were fitted to val, crosswise (docs/log.md).
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
from fastcap.evaluation.ranking import FOLDS, USED, Judged, fit_weights, worth
from fastcap.release.words import fit_words
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import Calibration, Ranking, Weights, ranked_as
from fastcap.runtime.encoding import decode
from fastcap.runtime.engine import ENGINES, Encoded, Engine
from fastcap.runtime.images import load_image
from fastcap.runtime.memory import NEIGHBOURS, SHARPNESS, Memory
from fastcap.runtime.options import MAX_BEAMS, Options
from fastcap.runtime.ranking import Ranker, features
from fastcap.runtime.text import ends_early, names_twice, sentence
from fastcap.runtime.words import PictureWords

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from fastcap.runtime.bundle import Bundle

__all__ = [
    "MemorySettings",
    "Remembered",
    "judge",
    "remember",
    "remembered_captions",
    "remembered_vectors",
    "ways",
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
    fitted: int = 2000
    """Pictures that the ranking is fitted to, at most, evenly drawn. Each is captioned once by each way of decoding."""


@dataclass(frozen=True)
class Remembered:
    """The words, the memory if one was asked for, the ranking by them, and what captions are worth with it."""

    words: PictureWords
    memory: Memory | None
    ranking: Ranking
    evaluation: Evaluation

    def ranker(self, bundle: Bundle) -> Ranker:
        """What ranks so."""
        return Ranker(self.memory or Memory(), self.ranking, bundle.tokenizer(), self.words)

    @property
    def cider(self) -> float:
        """CIDEr points (x 100)."""
        return self.evaluation.metrics["cider"]


def remember(
    bundle: Bundle,
    captions: Mapping[Path, Sequence[str]],
    examples: Sequence[Example],
    settings: MemorySettings | None = None,
    *,
    threads: int = 1,
    facts: Mapping[str, Any] | None = None,
    on_picture: Callable[[], object] = lambda: None,
) -> Remembered:
    """Learn the words of pictures, remember these if asked to, fit the ranking, and measure.

    Args:
        bundle: the model, which has an alignment; its confidences are measured as they are before calibration.
        captions: what is learnt from, as `remembered_captions` gives it.
        examples: other pictures with people's captions, to measure on.
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
    words, memory = _learnt(vectors, [*captions.values()], settings)
    used = (*USED, "similarity") if settings.pictures else USED
    ranking = Ranking(settings.neighbours, settings.sharpness, {})
    parts = _parts(vectors, captions, settings)
    weights: dict[str, Weights] = {}
    for way in ways(bundle):
        options = Options(decode=way, beams=MAX_BEAMS if way == "beam" else 3)
        judged = [
            picture
            for part, held in parts
            for picture in judge(bundle, engine, tokenizer, held, ranking, part, options, on_picture)
        ]
        weights[ranked_as(way)] = Weights(*fit_weights(judged, used).tolist())
    ranking = ranking._replace(weights=weights)
    captioner = Captioner(bundle, threads, engine, ranker=Ranker(memory, ranking, tokenizer, words))
    evaluation = evaluate_model(captioner, examples, facts=facts, on_caption=on_picture)
    return Remembered(words, memory if settings.pictures else None, ranking, evaluation)


def ways(bundle: Bundle) -> tuple[str, ...]:
    """The ways of decoding whose candidates get weights: one of each kind that the model has."""
    return tuple(dict.fromkeys((bundle.decodes[0], "beam") if "beam" in bundle.decodes else bundle.decodes[:1]))


def _learnt(
    vectors: np.ndarray, captions: Sequence[Sequence[str]], settings: MemorySettings
) -> tuple[PictureWords, Memory]:
    """The words, and the memory, which is empty unless asked for."""
    memory = Memory()
    if settings.pictures:
        memory.add(vectors, captions)
        memory = memory.smaller(settings.entries, settings.least, settings.width)
    return fit_words(vectors, captions, settings.common), memory


def _parts(
    vectors: np.ndarray, captions: Mapping[Path, Sequence[str]], settings: MemorySettings
) -> list[tuple[list[Example], tuple[Memory, PictureWords]]]:
    """The pictures to fit the ranking to, in parts, with what was learnt of all pictures but those of the part."""
    images, said = [*captions], [*captions.values()]
    drawn = sorted({*np.linspace(0, len(images) - 1, min(settings.fitted, len(images))).astype(int).tolist()})
    parts = []
    for fold in range(min(FOLDS, len(drawn))):
        chosen = {*drawn[fold::FOLDS]}
        others = [place for place in range(len(images)) if place not in chosen] or [*chosen]  # one picture alone
        words, memory = _learnt(vectors[others], [said[place] for place in others], settings)
        examples = [Example(images[place], tuple(said[place]), str(place), "") for place in sorted(chosen)]
        parts.append((examples, (memory, words)))
    return parts


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
    """The features of each picture's candidates, and what they are worth to people (`worth`)."""
    said = {str(place): [ptb_tokens(text) for text in example.captions] for place, example in enumerate(examples)}
    metric = CiderD(said)
    plan = options.plan(bundle)
    judged = []
    for place, example in enumerate(examples):
        encoded = _encoded(bundle, engine, example.image)
        candidates = engine.decode(encoded, plan)
        texts = [sentence(decode(tokenizer, candidate.token_ids)) for candidate in candidates]
        tokens = [ptb_tokens(text) for text in texts]
        gains = np.array([worth(metric.score(each, str(place)), each, said[str(place)]) for each in tokens])
        table = features(candidates, texts, engine.vector(encoded)[0], held[0], ranking, words=held[1])
        # others come after these, whatever the weights
        whole = np.array([not (ends_early(text) or names_twice(text)) for text in texts])
        judged.append(Judged(table[whole], gains[whole]) if whole.any() else Judged(table, gains))
        on_picture()
    return judged


def _encoded(bundle: Bundle, engine: Engine, image: Path) -> Encoded:
    size = bundle.preprocessing
    return Encoded(load_image(image, (size.width, size.height))[None], engine)
