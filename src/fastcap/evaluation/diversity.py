"""What scores against references do not show: how much captions differ, and whether they stutter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from fastcap.errors import DataError, mapping
from fastcap.evaluation.tokens import tokens_of

__all__ = ["diversity", "has_repeat"]

LONGEST_REPEAT = 3  # words; "on top of on top of" is a stutter, a longer echo is hardly ever one


def diversity(candidates: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Variety of a set of captions, given as tokens.

    Returns:
        `distinct_captions` and `vocabulary`: counts of different captions and words. `distinct_1` and
        `distinct_2`: different n-grams as a share of all, 0..1 (Li et al., NAACL 2016). `mean_length`: words.
        `repetition_rate` and `empty_rate`: shares of captions, in 0..1, that repeat 1 to 3 words at once, or
        have no word.

    Raises DataError for one text in place of tokens.
    """
    mapping(candidates, "captions by image id, each as tokens", DataError)
    captions = [tuple(tokens_of(tokens)) for tokens in candidates.values()]
    words = [word for caption in captions for word in caption]
    pairs = [pair for caption in captions for pair in pairwise(caption)]
    return {
        "distinct_captions": len(set(captions)),
        "vocabulary": len(set(words)),
        "distinct_1": len(set(words)) / max(1, len(words)),
        "distinct_2": len(set(pairs)) / max(1, len(pairs)),
        "mean_length": len(words) / max(1, len(captions)),
        "repetition_rate": sum(map(has_repeat, captions)) / max(1, len(captions)),
        "empty_rate": sum(not caption for caption in captions) / max(1, len(captions)),
    }


def has_repeat(tokens: Sequence[str]) -> bool:
    """Whether a run of 1 to 3 words follows itself at once, as in "a dog on a hat on a hat"."""
    tokens = tokens_of(tokens)
    return any(
        tokens[i : i + n] == tokens[i + n : i + 2 * n]
        for n in range(1, LONGEST_REPEAT + 1)
        for i in range(len(tokens) - 2 * n + 1)
    )
