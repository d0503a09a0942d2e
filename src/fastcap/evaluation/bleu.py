"""BLEU-1..4 of a whole set of captions: how many of their n-grams a reference also has.

Source: Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002, in the
form of the COCO caption tool: the reference length of an image is the one closest to its caption's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from fastcap.evaluation.tokens import with_references

__all__ = ["bleu"]

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
            counts = _ngrams(candidate, order)
            allowed: Counter[tuple[str, ...]] = Counter()
            for reference in expected:
                allowed |= _ngrams(reference, order)
            matched[order - 1] += sum((counts & allowed).values())
            proposed[order - 1] += max(0, len(candidate) - order + 1)
    ratio = (candidate_length + TINY) / (reference_length + SMALL)
    brevity = min(0.0, 1 - 1 / ratio)
    logs = [math.log((m + TINY) / (p + SMALL)) for m, p in zip(matched, proposed, strict=True)]
    return [math.exp(sum(logs[:order]) / order + brevity) for order in range(1, n + 1)]


def _ngrams(tokens: Tokens, order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))
