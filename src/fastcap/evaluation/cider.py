"""CIDEr-D, the consensus of a caption with its references, fast enough to be a training reward.

Source: Vedantam, Zitnick, Parikh, "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015,
section 6 (CIDEr-D). The numbers equal those of the COCO caption tool, whose "CIDEr" is this CIDEr-D.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from fastcap.errors import ConfigError, DataError, mapping
from fastcap.evaluation.tokens import references_of, tokens_of

__all__ = ["CiderD"]

Tokens = Sequence[Hashable]
NGram = tuple[Hashable, ...]

SCALE = 10.0  # the paper's factor; a perfect caption scores 10
CACHED = 2048  # images whose reference vectors are kept, about 45 kB each; building one takes 0.3 ms


class _ReferenceVectors:
    """One image's references, inverted: n-gram -> [(reference, its count there, score of one match)]."""

    __slots__ = ("lengths", "matches")

    def __init__(self, lengths: list[int], matches: dict[NGram, list[tuple[int, int, float]]]):
        self.lengths = lengths
        self.matches = matches


class CiderD:
    """CIDEr-D against a fixed set of references.

    Args:
        references: image id -> that image's references, each a sequence of tokens. Tokens may be words or
            token ids: any hashable. The document frequencies are counted here, once, over these images.
        n: longest n-gram; 4, as in the paper.
        sigma: width in tokens of the Gaussian length penalty; 6, as in the paper.

    Raises:
        ConfigError: `n` or `sigma` is not positive.
        DataError: there are no images, or an image has no reference.
    """

    def __init__(self, references: Mapping[str, Sequence[Tokens]], n: int = 4, sigma: float = 6.0):
        if n < 1 or sigma <= 0:
            raise ConfigError(f"CIDEr-D needs n >= 1 and sigma > 0, got n={n}, sigma={sigma}")
        if not mapping(references, "lists of references by image id, each as tokens", DataError):
            raise DataError("CIDEr-D needs the references of at least one image, got none")
        self.n = n
        self.sigma = sigma
        self._references = {
            image_id: [tuple(caption) for caption in references_of(captions, f" of {image_id!r}")]
            for image_id, captions in references.items()
        }
        self._document_frequency: Counter[NGram] = Counter()
        for captions in self._references.values():
            self._document_frequency.update({ngram for caption in captions for ngram in self._ngrams(caption)})
        self._log_images = math.log(len(self._references))
        self._vectors: dict[str, _ReferenceVectors] = {}

    def score(self, candidate: Tokens, image_id: str) -> float:
        """CIDEr-D of one caption, in 0..10 (multiply by 10 for the usual "CIDEr 120").

        The first score for an image builds its reference vectors; later ones reuse them.

        Raises:
            DataError: no references are known for `image_id`.
        """
        vectors = self._vectors.get(image_id) or self._build_vectors(image_id)
        candidate = tuple(tokens_of(candidate))
        counts = Counter(self._ngrams(candidate))
        squared_norms = [0.0] * self.n
        dots = [[0.0] * self.n for _ in vectors.lengths]
        for ngram, count in counts.items():
            order = len(ngram) - 1
            squared_norms[order] += (count * self._idf(ngram)) ** 2
            for reference, reference_count, gain in vectors.matches.get(ngram, ()):
                # Counts are clipped at the reference's, so that repeating a good phrase adds nothing.
                dots[reference][order] += min(count, reference_count) * gain
        norms = [math.sqrt(value) or 1.0 for value in squared_norms]
        total = 0.0
        for length, dot in zip(vectors.lengths, dots, strict=True):
            difference = _length(candidate) - length
            penalty = math.exp(-(difference**2) / (2 * self.sigma**2))
            total += penalty * sum(value / norm for value, norm in zip(dot, norms, strict=True))
        return SCALE * total / (self.n * len(vectors.lengths))

    def corpus(self, candidates: Mapping[str, Tokens]) -> tuple[float, dict[str, float]]:
        """Mean CIDEr-D and that of each image, in 0..10.

        `candidates` may cover a part of the images; the document frequencies stay those of all references.

        Raises:
            DataError: `candidates` is empty or holds an image without references.
        """
        if not mapping(candidates, "captions by image id, each as tokens", DataError):
            raise DataError("CIDEr-D needs at least one caption, got none")
        scores = {image_id: self.score(tokens, image_id) for image_id, tokens in candidates.items()}
        return math.fsum(scores.values()) / len(scores), scores

    def _ngrams(self, tokens: tuple[Hashable, ...]) -> list[NGram]:
        return [tokens[i : i + n] for n in range(1, self.n + 1) for i in range(len(tokens) - n + 1)]

    def _idf(self, ngram: NGram) -> float:
        return self._log_images - math.log(self._document_frequency.get(ngram, 1))

    def _build_vectors(self, image_id: str) -> _ReferenceVectors:
        captions = self._references.get(image_id)
        if captions is None:
            raise DataError(f"no references for image {image_id!r} among the {len(self._references)} known images")
        matches: dict[NGram, list[tuple[int, int, float]]] = {}
        for reference, caption in enumerate(captions):
            counts = Counter(self._ngrams(caption))
            squared_norms = [0.0] * self.n
            for ngram, count in counts.items():
                squared_norms[len(ngram) - 1] += (count * self._idf(ngram)) ** 2
            for ngram, count in counts.items():
                idf = self._idf(ngram)
                if idf:
                    gain = idf * idf * count / math.sqrt(squared_norms[len(ngram) - 1])
                    matches.setdefault(ngram, []).append((reference, count, gain))
        vectors = _ReferenceVectors([_length(caption) for caption in captions], matches)
        if len(self._vectors) >= CACHED:
            del self._vectors[next(iter(self._vectors))]  # the oldest
        self._vectors[image_id] = vectors
        return vectors


def _length(tokens: Tokens) -> int:
    """The length the penalty compares: the reference tool counts bigrams, so 0 and 1 tokens are alike."""
    return max(len(tokens) - 1, 0)
