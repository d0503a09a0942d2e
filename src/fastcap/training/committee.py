"""A committee's captions: of all that its voices say of a picture, what most likely people would say.

Each candidate gets a score for every judge that there is, and two more: what the other candidates say (minimum Bayes
risk, Kumar and Byrne 2004), and what people say of similar training pictures (`fastcap.runtime.memory`). Weights are
fitted to pictures that people described and nobody was trained on. Of a training picture the most similar one is
itself, so that there its own captions decide.

All files are JSON lines, a picture a line, and grow picture by picture: an interrupted job goes on where it stopped.
`{"image": path, "captions": [text, ...]}` is what a voice says, `{"image": path, "scores": {text: number}}` what a
judge thinks of all candidates; paths are relative to the file's folder.
Letters: K candidates, F features.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastcap.errors import DataError
from fastcap.evaluation.ranking import Judged, cross_fitted, fit_weights
from fastcap.runtime.memory import NEIGHBOURS, SHARPNESS, Memory
from fastcap.runtime.text import caption_words, ends_early, sentence
from fastcap.runtime.words import PictureWords

__all__ = ["Candidates", "Committee", "append_lines", "gather", "read_lines"]

ALWAYS = ("similarity", "consensus", "votes", "words", "expected", "information")
"""Features beside the judges' scores: of the captions of similar pictures, of the other candidates; how many voices say
it; how many words it has; and the two of `PictureWords.score`."""


def read_lines(path: Path, key: str) -> dict[Path, Any]:
    """What a file of JSON lines has under a key, by the absolute path of the picture; a torn last line is left out.

    Raises:
        DataError: the file is missing, or another line than the last is damaged.
    """
    found = {}
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines[:-1], 1):  # the last is empty, or torn
        try:
            row = json.loads(line)
            found[Path(os.path.abspath(path.parent / row["image"]))] = row[key]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: line {number} is no JSON object with image and {key}") from error
    return found


def append_lines(
    path: Path, images: Sequence[Path], key: str, compute: Callable[[list[Path]], Sequence[Any]], batch: int = 1
) -> Iterator[int]:
    """Write what is missing of some pictures, and yield the number of pictures that are done after each batch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        text = path.read_bytes()
        if not text.endswith(b"\n"):  # a line that an interruption tore
            os.truncate(path, text.rfind(b"\n") + 1)
    done = read_lines(path, key).keys() if path.is_file() else set()
    missing = [image for image in images if Path(os.path.abspath(image)) not in done]
    yield len(images) - len(missing)
    with path.open("a", encoding="utf-8") as file:
        for start in range(0, len(missing), batch):
            part = missing[start : start + batch]
            for image, value in zip(part, compute(part), strict=True):
                row = {"image": os.path.relpath(os.path.abspath(image), path.parent.absolute()), key: value}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            yield len(images) - len(missing) + start + len(part)


@dataclass(frozen=True)
class Candidates:
    """What is said of one picture: each text once, in the order of the voices, and how many voices say it."""

    texts: list[str]
    votes: list[int]


def gather(voices: Sequence[Mapping[Path, Sequence[str]]], image: Path) -> Candidates:
    """The candidates of a picture.

    Raises:
        DataError: a voice has said nothing of it.
    """
    votes: dict[str, int] = {}
    for number, voice in enumerate(voices, 1):
        if image not in voice:
            raise DataError(f"voice {number} has said nothing of {image}; needed: the same pictures for all")
        for text in dict.fromkeys(voice[image]):
            votes[text] = votes.get(text, 0) + 1
    return Candidates(list(votes), list(votes.values()))


class Committee:
    """Voices, judges and a memory of captioned pictures.

    Args:
        voices: by name, what each says of each picture.
        judges: by name, their scores of the candidates of each picture: likelihoods, or any other figure.
        memory: of captioned pictures; empty for none.
        vectors: the pictures' vectors, as the memory has them.
        likely: which words people use of a picture with such a vector; None for none.
    """

    def __init__(
        self,
        voices: Mapping[str, Mapping[Path, Sequence[str]]],
        judges: Mapping[str, Mapping[Path, Mapping[str, float]]],
        memory: Memory,
        vectors: Mapping[Path, np.ndarray],
        likely: PictureWords | None = None,
    ) -> None:
        self.voices, self.judges, self.memory, self.vectors, self.likely = voices, judges, memory, vectors, likely
        self.names = (*judges, *ALWAYS)

    def candidates(self, image: Path) -> Candidates:
        """All that is said of a picture."""
        return gather(list(self.voices.values()), image)

    def features(self, image: Path, candidates: Candidates) -> np.ndarray:
        """What a picture's candidates are chosen by: (K, F), in the order of `names`.

        Raises:
            DataError: a judge does not know a candidate.
        """
        columns: list[Any] = []
        for name, judge in self.judges.items():
            scores = judge.get(image, {})
            if unknown := [text for text in candidates.texts if text not in scores]:
                raise DataError(f"judge {name} has no score of {unknown[0]!r} of {image}; let it judge all voices")
            columns.append([scores[text] for text in candidates.texts])
        near = self.memory.similarity(self.vectors[image], candidates.texts, NEIGHBOURS, SHARPNESS)
        columns += [near if len(self.memory) else np.zeros(len(candidates.texts))]
        columns += [self.memory.consensus(candidates.texts), candidates.votes]
        columns.append([len(caption_words(text)) for text in candidates.texts])
        if self.likely is None:
            columns += [np.zeros(len(candidates.texts))] * 2
        else:
            columns += [*self.likely.score(self.vectors[image], candidates.texts).T]
        return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)

    def judged(self, image: Path, gain: Callable[[str], float]) -> Judged:
        """The features and gains of a picture's candidates, to fit weights to."""
        candidates = self.candidates(image)
        return Judged(self.features(image, candidates), np.array([gain(text) for text in candidates.texts]))

    def fit(self, pictures: Sequence[Judged], used: Sequence[str]) -> dict[str, float]:
        """Weights by name, fitted to pictures that people described."""
        return dict(zip(self.names, fit_weights(pictures, used, self.names).tolist(), strict=True))

    def crosswise(self, pictures: Sequence[Judged], used: Sequence[str]) -> list[float]:
        """The gain of the candidate chosen of each picture, by weights fitted to others."""
        gains = [0.0] * len(pictures)
        for place, weights in cross_fitted(pictures, used, names=self.names):
            gains[place] = float(pictures[place].gains[int(np.argmax(pictures[place].features @ weights))])
        return gains

    def choose(self, image: Path, weights: Mapping[str, float], keep: int) -> list[str]:
        """The best candidates of a picture, at most `keep`: those that end as sentences do before others.

        Raises:
            DataError: there is no weight for a feature, or for one that is none.
        """
        if weights.keys() != set(self.names):
            raise DataError(f"weights are of {', '.join(weights)}; needed: of {', '.join(self.names)}")
        candidates = self.candidates(image)
        scores = self.features(image, candidates) @ np.array([weights[name] for name in self.names])
        whole = [not ends_early(sentence(text)) for text in candidates.texts]
        order = sorted(range(len(scores)), key=lambda place: (not whole[place], -scores[place]))
        return [candidates.texts[place] for place in order[:keep]]
