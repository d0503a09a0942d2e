"""The captioned images of a recipe, tokenised and grouped by image."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from fastcap.config import DataConfig
from fastcap.data.readers import Examples, load_dataset
from fastcap.errors import ConfigError, DataError, counted
from fastcap.evaluation.cider import CiderD
from fastcap.runtime.conversation import Conversation
from fastcap.runtime.encoding import clean_caption, decode, encode

__all__ = [
    "CaptionPool",
    "RareWords",
    "Row",
    "SiblingPool",
    "cider_reward",
    "limited",
    "read_examples",
    "read_texts",
    "steps_of",
]

END = "<eos>"  # no word of a caption
SIBLINGS = 5  # captions of one image in `data.siblings`

MACHINE_DATASETS = ("coco_machine",)  # captions by a stronger captioner; all others are by people, unless a recipe says


class Row(NamedTuple):
    """Tokens of a caption or conversation, and which of them are learnt, the end mark at the end: one more.

    `others`: where several people answered, the conversation with each one's answer, of which one is read at a time.
    """

    token_ids: list[int]
    learned: list[bool]
    others: tuple[Row, ...] = ()

    @property
    def n_prompt(self) -> int:
        """Tokens before the last answer."""
        return len(self.learned) - self.learned[::-1].index(False)


def read_examples(data: DataConfig, part: str) -> list[tuple[str, Examples]]:
    """The data sets of `data.train` or `data.val`, each with the source of its captions."""
    parts = []
    for index, dataset in enumerate(getattr(data, part)):
        try:
            examples = load_dataset(
                dataset.name,
                Path(data.root) / dataset.root,
                dataset.split,
                on_bad_data=data.on_bad_data,
                max_bad_share=data.max_bad_share,
                quarantine_file=Path(data.cache) / f"bad_{part}_{index}.jsonl",
            )
        except DataError as error:
            raise DataError(f"{error} (setting data.{part}.{index}, below data.root={data.root})") from error
        parts.append((dataset.source or ("machine" if dataset.name in MACHINE_DATASETS else "human"), examples))
    return parts


def limited(parts: list[tuple[str, Any]], limit: int) -> list[tuple[str, Any]]:
    """The examples, or conversations, of `limit` images, spread evenly over all; 0 for all. An image keeps all that is
    said of it."""
    paths = list(dict.fromkeys(example.image for _, examples in parts for example in examples))
    if not limit or limit >= len(paths):
        return parts
    kept = {paths[i * len(paths) // limit] for i in range(limit)}
    return [(source, [example for example in examples if example.image in kept]) for source, examples in parts]


def steps_of(data: DataConfig, images: int, epochs: float) -> int:
    """How many steps of so many images are so many epochs of `data.train`.

    Raises:
        ConfigError: the data are streamed, so that nobody has counted them.
        DataError: a data set cannot be read.
    """
    if data.streams("train"):
        raise ConfigError("epochs are given; allowed: stages.0.steps alone, where data.train is streamed")
    parts = limited(list(read_examples(data, "train")), data.train_limit)
    n_images = len({example.image for _, examples in parts for example in examples})
    return max(1, math.ceil(epochs * n_images / images))


def read_texts(data: DataConfig) -> Iterable[str]:
    """The captions of the files in `data.text`, one a line."""
    for name in data.text:
        yield from read_lines(data, name, "data.text")


def read_lines(data: DataConfig, name: str, setting: str) -> Iterable[str]:
    """The lines of a text file below `data.root`; `setting` is the one that names it."""
    path = Path(data.root) / name
    if not path.is_file():
        raise DataError(f"no file {path} (setting {setting}, below data.root={data.root})")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            yield from lines
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as text ({error}); setting {setting}") from error


@dataclass
class CaptionPool:
    """Images and the token ids of their captions by source (human, machine, distilled).

    `skipped` counts captions that were left out because they are longer than the model's `max_length`: truncated, they
    would teach sentences that do not end. `conversations`, `asked` (the same as text, in the same order) and their
    texts, `questions`, are added by `fastcap.training.conversations`.
    """

    paths: list[Path] = field(default_factory=list)
    token_ids: list[dict[str, list[list[int]]]] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    skipped: int = 0
    conversations: dict[int, list[Row]] = field(default_factory=dict)
    asked: dict[int, list[Conversation]] = field(default_factory=dict)
    questions: dict[int, list[str]] = field(default_factory=dict)

    @classmethod
    def build(cls, parts: Sequence[tuple[str, Examples]], tokenizer: Tokenizer, max_length: int) -> CaptionPool:
        """Group the examples of several data sets by image file."""
        pool = cls()
        index_of: dict[Path, int] = {}
        for source, examples in parts:
            for example in examples:
                index = index_of.setdefault(example.image, len(pool.paths))
                if index == len(pool.paths):
                    pool.add_image(example.image)
                for caption in map(clean_caption, example.captions):
                    pool.texts[index].append(caption)
                    ids = encode(tokenizer, caption)
                    if 1 <= len(ids) <= max_length:
                        pool.token_ids[index].setdefault(source, []).append(ids)
                    else:
                        pool.skipped += 1
        return pool

    def add_image(self, path: Path) -> None:
        """Add an image of which nothing is said yet."""
        self.paths.append(path)
        self.token_ids.append({})
        self.texts.append([])

    def said(self, index: int) -> list[str]:
        """All that is said of an image, which augmentation must not contradict: captions, questions and answers."""
        return [*self.texts[index], *self.questions.get(index, ())]

    def with_sources(self, sources: Sequence[str]) -> np.ndarray:
        """Indices of the images that have a caption from one of the sources.

        Raises:
            ConfigError: no image has.
        """
        eligible = [i for i, captions in enumerate(self.token_ids) if any(captions.get(s) for s in sources)]
        if not eligible:
            raise ConfigError(f"no image has a caption from the sources {', '.join(sources)}")
        return np.array(eligible)

    def draw(self, index: int, sources: Sequence[str], count: int, rng: np.random.Generator) -> list[list[int]]:
        """`count` captions of an image, without repetition as long as there are enough."""
        captions = [ids for source in sources for ids in self.token_ids[index].get(source, [])]
        order = np.concatenate([rng.permutation(len(captions)) for _ in range(-(-count // len(captions)))])
        return [captions[i] for i in order[:count]]

    def length_distribution(self, index: int, sources: Sequence[str], max_length: int) -> np.ndarray:
        """Shares of caption lengths 0..max_length in tokens: (max_length + 1,), float32."""
        captions = [ids for source in sources for ids in self.token_ids[index].get(source, [])]
        return length_distribution(captions, max_length)


def length_distribution(captions: Sequence[Sequence[int]], max_length: int) -> np.ndarray:
    """Shares of the lengths 0..max_length in tokens: (max_length + 1,), float32."""
    counts = np.bincount([len(ids) for ids in captions], minlength=max_length + 1)
    return (counts / counts.sum()).astype(np.float32)


class SiblingPool:
    """Captions without images, in groups that describe the same one: `groups[i]` is a list of token id lists."""

    def __init__(self, data: DataConfig, tokenizer: Tokenizer, max_length: int, pad_id: int) -> None:
        """Read `data.siblings`.

        Raises:
            DataError: the file is missing, damaged, not a multiple of five lines, or has no caption that fits.
        """
        self.pad_id = pad_id
        lines = list(read_lines(data, data.siblings, "data.siblings"))
        if not lines or len(lines) % SIBLINGS:
            raise DataError(
                f"{data.siblings} has {counted(len(lines), 'line')}; needed: {SIBLINGS} for each image (setting "
                "data.siblings)"
            )
        token_ids = [encode(tokenizer, clean_caption(line)) for line in lines]
        groups = (token_ids[i : i + SIBLINGS] for i in range(0, len(lines), SIBLINGS))
        fitting = ([ids for ids in group if 1 <= len(ids) <= max_length] for group in groups)
        self.groups = [group for group in fitting if group]
        if not self.groups:
            raise DataError(f"{data.siblings} has no caption of at most {max_length} tokens (setting data.siblings)")

    def draw(
        self, index: int, count: int, n_cells: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[list[int]]]:
        """Some words of one or two captions of a group, at random cells of (n_cells,), pad marks elsewhere; and `count`
        captions of the group, the targets.

        A random share of the words is shown, between a third and all: no image shows everything that people say of it.
        """
        group = self.groups[index]
        order = rng.permutation(len(group))
        words = sorted({token for i in order[: int(rng.integers(1, 3))] for token in group[i]})
        share = rng.uniform(1 / 3, 1)
        shown = [token for token in words if rng.random() < share][:n_cells]
        cells = np.full(n_cells, self.pad_id)
        cells[rng.permutation(n_cells)[: len(shown)]] = shown
        return cells, [group[i] for i in np.resize(rng.permutation(len(group)), count)]


def words_to_the_end(text: str) -> list[str]:
    """The words of a caption without punctuation, and the end mark, which the reward compares.

    With the mark, a caption that stops in the middle of a sentence ("a man in a") scores less than one that ends as
    people's do.
    """
    return [*re.findall(r"[\w'-]+", text), END]


class RareWords:
    """What the words of a caption are worth that people use of the same picture, and of few others.

    CIDEr's mean over all n-grams pays best for what most people say of a picture, and captions narrow to that: after
    its rewards, the bundled model of 0.1.0 used 181 different words on Flickr8k's val, and 300 before them. A word
    earns nothing if it is said of `COMMON` of the pictures or more, 1 if of `RARE` or fewer, and in between by the
    logarithm of its share. Repeated, it earns once; what nobody says of the picture earns nothing, and costs by CIDEr.

    Args:
        references: of each picture, each a list of words.
    """

    COMMON, RARE = 0.02, 0.001  # of 8,265 pictures of Flickr8k and COCO: "skateboard" or "bench", "tricycle"

    def __init__(self, references: Mapping[str, Sequence[Sequence[str]]]) -> None:
        said = {key: {word for words in captions for word in words} for key, captions in references.items()}
        pictures = Counter(word for words in said.values() for word in words)
        span = math.log(self.COMMON / self.RARE)
        self.worth = {
            word: min(1.0, max(0.0, math.log(self.COMMON * len(said) / count) / span))
            for word, count in pictures.items()
        }
        self.said = said

    def score(self, words: Sequence[str], key: str) -> float:
        """The sum over the different words of a caption of a picture."""
        return sum(self.worth[word] for word in set(words) & self.said[key])


def cider_reward(
    pool: CaptionPool, tokenizer: Tokenizer, pad_id: int, rare_words: float = 0.0
) -> Callable[[Sequence[int], Tensor], Tensor]:
    """A reward: image index of each row (R,), captions (S, R, T) of token ids -> CIDEr-D (S, R), 0..10; with
    `rare_words` times what `RareWords` gives."""
    references = {str(index): [words_to_the_end(text) for text in texts] for index, texts in enumerate(pool.texts)}
    scorer = CiderD(references)
    rare = RareWords(references) if rare_words else None

    def worth(text: str, key: str) -> float:
        words = words_to_the_end(text)
        return scorer.score(words, key) + (rare_words * rare.score(words, key) if rare else 0.0)

    def reward(images: Sequence[int], captions: Tensor) -> Tensor:
        samples, rows, _ = captions.shape
        decoded = [decode(tokenizer, [i for i in row if i != pad_id]) for row in captions.flatten(0, 1).tolist()]
        scores = [worth(text, str(images[i % rows])) for i, text in enumerate(decoded)]
        return torch.tensor(scores).view(samples, rows)

    return reward
