"""Does a model say more about gender than people do? LIC, a classifier's leakage from captions without gendered words.

Hirota, Nakashima and Garcia, "Quantifying Societal Bias Amplification in Image Captioning", CVPR 2022: mask what states
a gender, train a classifier to guess it from the rest, once on people's captions and once on a model's of the same
pictures. If it does better on the model's, the model has amplified what goes with a gender. Theirs is an LSTM or BERT;
ours is a logistic regression over a bag of words, which runs on a CPU in seconds and is the same on every machine.

Letters: N pictures, V words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastcap.curation.genders import Gender, without_gender
from fastcap.errors import DataError

__all__ = ["Leakage", "leakage"]

FEWEST = 20  # pictures of women and of men: below, folds hold one or two and the figure is noise
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_STEPS = 25  # of Newton's method; it converges in fewer than ten


@dataclass(frozen=True)
class Leakage:
    """How well gender is guessed from captions without gendered words.

    `people`, `model`: LIC of each, 0 to 1: a right guess counts by its confidence (0.5 to 1), a wrong one nothing, so
    that half-hearted guesses at random give 0.25. Classes weigh the same. `people_accuracy`, `model_accuracy`: the
    share of right guesses; chance is 0.5.
    `amplification`: `model` - `people`, with the bounds of its 95 % interval (pictures drawn again 1,000 times).
    `women`, `men`: pictures. `words`: size of the vocabulary that both share.
    """

    people: float
    model: float
    people_accuracy: float
    model_accuracy: float
    amplification: float
    low: float
    high: float
    women: int
    men: int
    words: int


def leakage(
    people: Sequence[Sequence[str]],
    model: Sequence[str],
    genders: Sequence[Gender],
    *,
    seeds: int = 10,
    folds: int = 5,
    ridge: float = 1.0,
) -> Leakage:
    """Leakage from people's captions and from a model's.

    Args:
        people: captions of each picture; one is drawn a seed, so that both sides have the same amount of text.
        model: one caption of each picture.
        genders: of each picture, as `measures.pictures_by_gender` gives them; pictures with "" are left out.
        seeds: drawings of captions and folds, whose mean is given (10: it moves the figure by about 0.01).
        folds: a picture is guessed by a classifier that was trained on the other folds.
        ridge: weight of the penalty on squared weights, beside a sum over captions. It was not tuned.

    Words that the model never uses are left out of people's captions, as in the paper: else people's larger
    vocabulary alone would leak more.

    Raises DataError for fewer than 20 pictures of women or of men, or lists of different lengths.
    """
    if not len(people) == len(model) == len(genders):
        raise DataError(
            f"got {len(people)} pictures, {len(model)} captions and {len(genders)} genders; needed: as many"
        )
    kept = [at for at, gender in enumerate(genders) if gender]
    target = np.array([genders[at] == "woman" for at in kept])  # (N,)
    if min(target.sum(), (~target).sum()) < FEWEST:
        raise DataError(
            f"{int(target.sum())} pictures of women and {int((~target).sum())} of men; needed: {FEWEST} of each"
        )
    said = [_words(model[at]) for at in kept]
    written = [[_words(text) for text in people[at]] for at in kept]
    often = Counter(word for words in said for word in words)
    vocabulary = {word: at for at, word in enumerate(sorted(word for word, n in often.items() if n > 1))}
    generated = _bags(said, vocabulary)
    scores = np.zeros((2, 2, len(kept)))  # (people | model, LIC | right, N)
    for seed in range(seeds):
        drawn = np.random.default_rng(seed)
        captions = [texts[drawn.integers(len(texts))] for texts in written]
        fold = _folds(target, folds, drawn)
        for side, bags in enumerate((_bags(captions, vocabulary), generated)):
            right = _confidence_in_truth(bags, target, fold, ridge)
            scores[side] += np.stack([np.where(right > 0.5, right, 0), right > 0.5]) / seeds
    (people_lic, people_right), (model_lic, model_right) = (
        (_balanced(side[0], target), _balanced(side[1], target)) for side in scores
    )
    low, high = _interval(scores[1, 0] - scores[0, 0], target)
    return Leakage(
        people_lic, model_lic, people_right, model_right, model_lic - people_lic, low, high,
        int(target.sum()), int((~target).sum()), len(vocabulary),
    )  # fmt: skip


def _words(caption: str) -> frozenset[str]:
    return frozenset(_WORD.findall(without_gender(caption).lower()))


def _bags(captions: Sequence[frozenset[str]], vocabulary: dict[str, int]) -> np.ndarray:
    """Which words are in each caption, and a column of ones: (N, V + 1)."""
    bags = np.zeros((len(captions), len(vocabulary) + 1))
    bags[:, -1] = 1
    for row, words in enumerate(captions):
        for word in words & vocabulary.keys():
            bags[row, vocabulary[word]] = 1
    return bags


def _folds(target: np.ndarray, folds: int, drawn: np.random.Generator) -> np.ndarray:
    """A fold for each picture, (N,); each fold has its share of both classes."""
    fold = np.zeros(len(target), dtype=int)
    for value in (True, False):
        places = drawn.permutation(np.flatnonzero(target == value))
        fold[places] = np.arange(len(places)) % folds
    return fold


def _confidence_in_truth(bags: np.ndarray, target: np.ndarray, fold: np.ndarray, ridge: float) -> np.ndarray:
    """The probability of the true class of each picture, (N,), by a classifier that has not seen it."""
    confidence = np.zeros(len(target))
    for held in range(fold.max() + 1):
        out = fold == held
        weights = _fitted(bags[~out], target[~out], ridge)
        woman = 1 / (1 + np.exp(-(bags[out] @ weights)))
        confidence[out] = np.where(target[out], woman, 1 - woman)
    return confidence


def _fitted(bags: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
    """Logistic regression by Newton's method, (V + 1,); classes weigh the same, the intercept is not penalised."""
    share = target.mean()
    weight = np.where(target, 0.5 / share, 0.5 / (1 - share))
    penalty = np.full(bags.shape[1], ridge)
    penalty[-1] = 1e-6
    weights = np.zeros(bags.shape[1])
    for _ in range(_STEPS):
        woman = 1 / (1 + np.exp(-np.clip(bags @ weights, -30, 30)))
        gradient = bags.T @ (weight * (woman - target)) + penalty * weights
        hessian = (bags * (weight * woman * (1 - woman))[:, None]).T @ bags + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    return weights


def _balanced(scores: np.ndarray, target: np.ndarray) -> float:
    return float((scores[target].mean() + scores[~target].mean()) / 2)


def _interval(differences: np.ndarray, target: np.ndarray, times: int = 1000) -> tuple[float, float]:
    """The middle 95 % of the balanced mean over pictures drawn again, each class for itself."""
    drawn = np.random.default_rng(0)
    classes = [differences[target], differences[~target]]
    means = [
        np.mean([values[drawn.integers(len(values), size=len(values))].mean() for values in classes])
        for _ in range(times)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
