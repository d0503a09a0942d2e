"""ROUGE-L: the longest common subsequence of a caption and its references.

Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, in the form of the COCO caption
tool: the best precision and the best recall over the references, combined with beta 1.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastcap.evaluation.tokens import references_of, tokens_of

__all__ = ["rouge_l"]

BETA = 1.2  # the COCO tool's weight of recall over precision


def rouge_l(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """ROUGE-L of one caption's tokens against its references, in 0..1; the corpus score is the mean.

    Raises DataError for one text in place of tokens, and for no references.
    """
    candidate, references = tokens_of(candidate), references_of(references)
    common = [_common_subsequence(candidate, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(candidate)
    recall = max(n / len(reference) for n, reference in zip(common, references, strict=True) if reference)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, start=1):
            above = row[j]
            row[j] = diagonal + 1 if x == y else max(above, row[j - 1])
            diagonal = above
    return row[-1]
