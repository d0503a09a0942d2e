"""The words that people use of pictures, learnt from captioned ones: logistic regression from the pictures' vectors.

The network may have been trained on these pictures, whose vectors are then a little too sure of themselves: pictures
that it had not seen, added to the fit, changed nothing (docs/log.md).

Letters: P pictures, A width of their vectors, W words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fastcap.errors import ConfigError
from fastcap.runtime.text import caption_words
from fastcap.runtime.words import PictureWords

__all__ = ["fit_words"]

STEPS, BATCH, RATE = 150, 1024, 0.05  # of Adam, whose rate falls to 0; 300 steps give the same choice
DECAY = 3e-4  # of weights, for vectors of variance 1; from 1e-4 to 1e-3 the choice is the same, 1e-2 is worse
MOMENTS = 0.9, 0.99


def fit_words(vectors: np.ndarray, captions: Sequence[Sequence[str]], common: int = 8) -> PictureWords:
    """A logistic model of each word that the captions of `common` pictures or more use.

    Args:
        vectors: (P, A), as `Captioner.embed_images` gives them.
        captions: of each picture; a word that two of five use is to have the probability 0.4.

    Raises:
        ConfigError: there is no picture, or not a vector for each.
    """
    if not len(captions) or np.shape(vectors)[:1] != (len(captions),) or np.ndim(vectors) != 2:
        raise ConfigError(f"vectors are {np.shape(vectors)}; needed: one for each of {len(captions)} pictures")
    used = [[{*caption_words(text)} for text in texts] for texts in captions]
    pictures = Counter(word for texts in used for word in set[str]().union(*texts))
    words = sorted(word for word, count in pictures.items() if count >= common)
    numbers = {word: number for number, word in enumerate(words)}
    shares = np.zeros((len(captions), len(words)), np.float32)
    for row, texts in enumerate(used):
        for word in (word for text in texts for word in text if word in numbers):
            shares[row, numbers[word]] += 1 / len(texts)
    mean, spread = vectors.mean(axis=0), np.maximum(vectors.std(axis=0), 1e-6)
    weights, offsets = _logistic(((vectors - mean) / spread).astype(np.float32), shares)
    weights = weights / spread[:, None]
    idf = np.log(len(captions) / np.array([pictures[word] for word in words]).clip(min=1))
    return PictureWords(words, weights.T, offsets - mean @ weights, idf)


def _logistic(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (A, W) and offsets (W,) that predict y (P, W), 0 to 1, from x (P, A), by Adam (Kingma and Ba 2015)."""
    drawn = np.random.default_rng(0)
    mean = y.mean(axis=0)
    x = np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)  # the last weight is the offset
    weights = np.zeros((x.shape[1], y.shape[1]), np.float32)
    weights[-1] = np.log((mean + 1e-4) / (1 - mean + 1e-4))
    decay = np.full((x.shape[1], 1), DECAY, np.float32)
    decay[-1] = 0
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, STEPS + 1):
        rows = drawn.choice(len(x), min(BATCH, len(x)), replace=False)
        slope = x[rows].T @ (1 / (1 + np.exp(-(x[rows] @ weights))) - y[rows]) / len(rows) + decay * weights
        first += (1 - MOMENTS[0]) * (slope - first)
        second += (1 - MOMENTS[1]) * (slope**2 - second)
        size = np.sqrt(second / (1 - MOMENTS[1] ** step)) + 1e-6
        weights -= RATE * (1 - step / STEPS) * first / (1 - MOMENTS[0] ** step) / size
    return weights[:-1], weights[-1]
