"""BLEU-1..4 of a whole set of captions: how many of their n-grams a reference also has.

Source: Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002, in the
form of the COCO caption tool: the reference length of an image is the one closest to its caption's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from fastcap.evaluation.tokens import with_references

__all__ = ["bleu", "sentence_bleu"]

Tokens = Sequence[str]

# The COCO tool's guards against zero: a set without any 4-gram match has a BLEU-4 near 0, not an error.
TINY, SMALL = 1e-15, 1e-9


def bleu(candidates: Mapping[str, Tokens], references: Mapping[str, Sequence[Tokens]], n: int = 4) -> list[float]:
    """BLEU-1 to BLEU-n over all images together, each in 0..1.

    `candidates` maps an image id to a caption's tokens, `references` the same id to its references' tokens.

    Raises DataError for one text in place of tokens, and for an image without references.
    """
    matched, proposed = [0] * n, [0] * n
    candidate_length = reference_length = 0
    for candidate, expected in with_references(candidates, references):
        candidate_length += len(candidate)
        reference_length += min((abs(len(reference) - len(candidate)), len(reference)) for reference in expected)[1]
        for order in range(1, n + 1):
            matched[order - 1] += _matched(candidate, expected, order)
            proposed[order - 1] += max(0, len(candidate) - order + 1)
    ratio = (candidate_length + TINY) / (reference_length + SMALL)
    brevity = min(0.0, 1 - 1 / ratio)
    logs = [math.log((m + TINY) / (p + SMALL)) for m, p in zip(matched, proposed, strict=True)]
    return [math.exp(sum(logs[:order]) / order + brevity) for order in range(1, n + 1)]


def sentence_bleu(candidate: Tokens, references: Sequence[Tokens]) -> float:
    """BLEU-4 of one caption, 0..1, for comparing captions of a picture: half a match more than there are of two words
    and more, since most captions have no match of four (Lin and Och, COLING 2004, add a whole one)."""
    logs = []
    for order in range(1, 5):
        more = 0.5 if order > 1 else TINY
        proposed = max(0, len(candidate) - order + 1) + more
        logs.append(math.log((_matched(candidate, references, order) + more) / proposed))
    nearest = min((abs(len(reference) - len(candidate)), len(reference)) for reference in references)[1]
    return math.exp(sum(logs) / 4 + min(0.0, 1 - nearest / max(len(candidate), 1)))


def _matched(candidate: Tokens, references: Sequence[Tokens], order: int) -> int:
    """How many n-grams of a caption a reference has as well, each as often as in one of them at most."""
    allowed: Counter[tuple[str, ...]] = Counter()
    for reference in references:
        allowed |= _ngrams(reference, order)
    return sum((_ngrams(candidate, order) & allowed).values())


def _ngrams(tokens: Tokens, order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))
