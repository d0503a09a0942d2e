"""METEOR with exact and stem matches: words aligned to each reference, with a penalty for broken order.

Source: Denkowski and Lavie, "Meteor Universal: Language Specific Translation Evaluation for Any Target
Language", WMT 2014 (METEOR 1.5), with its English parameters. The variant: words match if equal
(weight 1.0) or of one Porter2 stem (0.6). The full METEOR also matches WordNet synonyms and a paraphrase
table of tens of megabytes, which are left out, and the list of function words is our own. On the 608 COCO
images that the tests use this gives 0.2720, the full METEOR 1.5 gives 0.2810, and METEOR 1.5 restricted to
exact and stem matches 0.2709. Compare it only with figures of this same variant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

from fastcap.evaluation.stem import stem
from fastcap.evaluation.tokens import with_references

__all__ = ["meteor"]

Tokens = Sequence[str]
Partial = tuple[tuple[float, int, int], int, int | None, tuple[tuple[int, int], ...]]
"""An alignment so far: (weight, -chunks, -distance), bit set of the reference positions taken, the one of the
last word (None if it has no match), the pairs."""

ALPHA = 0.85  # weight of recall in the harmonic mean
BETA, GAMMA = 0.20, 0.60  # exponent and weight of the penalty for broken order
DELTA = 0.75  # weight of content words; function words weigh 1 - DELTA
EXACT, STEM = 1.0, 0.6  # weight of a match
BEAM = 40  # alignments kept at each word; captions rarely need more than two or three

FUNCTION_WORDS = frozenset(
    word
    for line in (
        "a an the this that some no all other i you he his she her it its we they their who which what",
        "is are was were be been have has had do can could will would may not n't",
        "and or but so if than as when while there of in to for on with at by from about into over after",
        "up out 's ' -lrb- -rrb- more also one two",
    )
    for word in line.split()
)


@dataclass(frozen=True)
class Statistics:
    """What a score is computed from; those of a whole set are the sums over its captions."""

    candidate_length: int = 0
    reference_length: int = 0
    candidate_weight: float = 0.0  # length with content and function words weighed
    reference_weight: float = 0.0
    candidate_matched: float = 0.0  # weighed matches
    reference_matched: float = 0.0
    matches: int = 0
    chunks: int = 0  # runs of matches that are in the same order, without a gap, on both sides

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def score(self) -> float:
        if not self.matches:
            return 0.0
        precision = self.candidate_matched / self.candidate_weight
        recall = self.reference_matched / self.reference_weight
        mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
        identical = self.candidate_length == self.reference_length == self.matches and self.chunks == 1
        fragmentation = 0.0 if identical else self.chunks / self.matches
        return mean * (1 - GAMMA * fragmentation**BETA)


def meteor(candidates: Mapping[str, Tokens], references: Mapping[str, Sequence[Tokens]]) -> float:
    """METEOR of a whole set, in 0..1: for each caption the reference that suits it best, statistics summed; which of
    several that suit it equally does not depend on their order.

    `candidates` maps an image id to a caption's tokens, `references` the same id to its references' tokens. Raises
    DataError for one text in place of tokens, and for an image without references.
    """
    total = Statistics()
    for candidate, expected in with_references(candidates, references):
        compared = (compare(candidate, reference) for reference in expected)
        total += max(compared, key=lambda statistics: (statistics.score, astuple(statistics)))
    return total.score


def compare(candidate: Tokens, reference: Tokens) -> Statistics:
    """The statistics of one caption against one reference."""
    pairs = align(candidate, reference)
    return Statistics(
        candidate_length=len(candidate),
        reference_length=len(reference),
        candidate_weight=sum(map(_weight, candidate)),
        reference_weight=sum(map(_weight, reference)),
        candidate_matched=sum(_match(candidate[i], reference[j]) * _weight(candidate[i]) for i, j in pairs),
        reference_matched=sum(_match(candidate[i], reference[j]) * _weight(reference[j]) for i, j in pairs),
        matches=len(pairs),
        chunks=sum((i - 1, j - 1) not in pairs for i, j in pairs),
    )


def align(candidate: Tokens, reference: Tokens) -> dict[tuple[int, int], None]:
    """The best one-to-one alignment: pairs (position in `candidate`, position in `reference`), in order.

    Best: the most match weight, then the fewest chunks, then the least distance that words have moved.
    """
    options = [[j for j, other in enumerate(reference) if _match(word, other)] for word in candidate]
    wanted = [sum(j in places for places in options) for j in range(len(reference))]
    beam: list[Partial] = [((0.0, 0, 0), 0, None, ())]
    for i, places in enumerate(options):
        best: dict[tuple[int, int | None], Partial] = {}
        only_choice = len(places) == 1 and wanted[places[0]] == 1
        for (weight, chunks, distance), taken, last, pairs in beam:
            free = [j for j in places if not taken >> j & 1]
            following: list[Partial] = [
                (
                    (
                        weight + _match(candidate[i], reference[j]),
                        chunks - (last is None or j != last + 1),
                        distance - abs(i - j),
                    ),
                    taken | 1 << j,
                    j,
                    (*pairs, (i, j)),
                )
                for j in free
            ]
            if not only_choice:
                following.append(((weight, chunks, distance), taken, None, pairs))
            for alignment in following:
                state = alignment[1:3]
                if state not in best or alignment[0] > best[state][0]:
                    best[state] = alignment
        beam = sorted(best.values(), key=lambda alignment: alignment[0], reverse=True)[:BEAM]
    return dict.fromkeys(beam[0][3])


def _match(word: str, other: str) -> float:
    if word == other:
        return EXACT
    return STEM if stem(word) == stem(other) else 0.0


def _weight(word: str) -> float:
    return 1 - DELTA if word in FUNCTION_WORDS else DELTA
