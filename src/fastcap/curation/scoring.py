"""How well captions fit their picture: by the alignment of a model directory, and by the likelihood it gives them.

Letters: R captions of one picture, T tokens, V vocabulary, A width of the space in which pictures and texts are
compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import LEFT_TO_RIGHT
from fastcap.runtime.encoding import clean_caption, encode
from fastcap.runtime.stepper import OnnxStepper

__all__ = ["PairScorer"]

_DIGITS = 5


class PairScorer:
    """A model that says how well texts fit a picture. Captions longer than its longest are judged by their beginning.

    Attributes:
        aligns: whether `alignments` can be asked for, `explains` whether `likelihoods` can; both need graphs that not
            every model directory has.

    Raises ConfigError or ModelFileError as `Captioner.open` does.
    """

    def __init__(self, model: str, threads: int = 1) -> None:
        self._captioner = Captioner.open(model, threads)
        bundle = self._captioner.bundle
        self._vocabulary, self._longest = bundle.vocabulary, bundle.decoding.max_length
        self._tokenizer = bundle.tokenizer()
        self.size = (bundle.preprocessing.width, bundle.preprocessing.height)
        self.aligns = bundle.alignment is not None
        self.explains = all(name in bundle.files for name in LEFT_TO_RIGHT)
        self._stepper = OnnxStepper.open(bundle, threads) if self.explains else None

    def alignments(self, pixels: np.ndarray, captions: Sequence[str]) -> list[float | None]:
        """The cosine of a picture (H, W, 3) uint8 with each caption; None for one without a token."""
        texts = [self._shortened(caption) for caption in captions]
        usable = [text for text in texts if text]
        if not usable:
            return [None] * len(texts)
        image = self._captioner.embed_images([pixels])[0]
        cosines = iter((self._captioner.embed_texts(usable) @ image).tolist())
        return [round(next(cosines), _DIGITS) if text else None for text in texts]

    def likelihoods(self, pixels: np.ndarray, captions: Sequence[str]) -> list[float | None]:
        """The mean log-probability of each caption's tokens, end mark included, given the picture (H, W, 3) uint8 and
        the words before; None for a caption without a token."""
        assert self._stepper is not None, "a model without left-to-right decoding explains nothing"
        rows = [encode(self._tokenizer, clean_caption(caption))[: self._longest] for caption in captions]
        lengths = np.array([len(row) + 1 if row else 0 for row in rows])
        targets = np.full((len(rows), max(lengths.max(initial=0), 1)), self._vocabulary.eos_id)
        for at, row in enumerate(rows):
            targets[at, : len(row)] = row
        state = self._stepper.start(self._stepper.encode(pixels[None]), len(rows))
        given, parents = np.full(len(rows), self._vocabulary.bos_id), np.arange(len(rows))
        total = np.zeros(len(rows))
        for place in range(int(lengths.max(initial=0))):
            log_p, state = self._stepper.step(given, state, parents)
            given = targets[:, place]
            total += np.where(place < lengths, log_p[parents, given], 0)
        return [round(float(sum_ / n), _DIGITS) if n else None for sum_, n in zip(total, lengths, strict=True)]

    def _shortened(self, caption: str) -> str:
        """The caption, or as many of its first words as the model takes; empty if it has no token."""
        words = clean_caption(caption).split(" ")
        while len(encode(self._tokenizer, " ".join(words))) > self._longest:
            words.pop()
        return " ".join(words)
