"""How well texts fit a picture: the runtime of `fastcap.alignment.cmfa`, without PyTorch.

Letters: R texts, T tokens, A width of the space in which pictures and texts are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from fastcap.errors import ConfigError, ModelFileError, counted, many
from fastcap.runtime.bundle import Bundle, running
from fastcap.runtime.contract import TEXT
from fastcap.runtime.encoding import clean_caption, encode

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["MAX_TEXTS", "Scorer"]

MAX_TEXTS = 10_000  # of one call


class Scorer:
    """Embeds texts with `text.onnx` and scores them against a picture's vector, which an engine computes.

    Raises ConfigError if the model directory has no alignment, ModelFileError as `Bundle.open_graph` does.
    """

    def __init__(self, bundle: Bundle, tokenizer: Tokenizer, threads: int = 1) -> None:
        if bundle.alignment is None:
            raise ConfigError(f"the model {bundle.name!r} does not compare pictures and texts: it has no {TEXT.file}")
        self._alignment = bundle.alignment
        self._path = bundle.folder / TEXT.file
        self._longest = bundle.decoding.max_length
        self._session = bundle.open_graph(TEXT, threads)
        self._tokenizer = tokenizer

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """R texts -> unit vectors (R, A) float32.

        Raises ConfigError for no texts or too many, and for one that is not Unicode, empty or longer than the longest
        caption.
        """
        texts = list(islice(many(texts, "texts"), MAX_TEXTS + 1))
        if not 1 <= len(texts) <= MAX_TEXTS:
            raise ConfigError(f"got {counted(len(texts), 'text')}; needed: a list of 1 to {MAX_TEXTS} texts")
        for text in texts:
            _check_text(text)
        token_ids = [encode(self._tokenizer, clean_caption(text)) for text in texts]
        for text, ids in zip(texts, token_ids, strict=True):
            if not 1 <= len(ids) <= self._longest:
                raise ConfigError(f"the text {text[:60]!r} has {len(ids)} tokens; allowed: 1 to {self._longest}")
        with running(self._path):
            vectors = [self._session.run([*TEXT.outputs], {"text_ids": np.array([ids])})[0] for ids in token_ids]
        return self.checked(np.concatenate(vectors), len(texts))

    def scores(self, image_vector: np.ndarray, texts: Sequence[str]) -> list[float]:
        """How well texts fit a picture (A,): see `Captioner.score`."""
        vectors = self.embed(texts)
        if image_vector.shape != vectors.shape[1:]:
            raise ModelFileError(f"{self._path}: gives {vectors.shape}; the picture has {image_vector.shape}")
        return [self._alignment.score(cosine) for cosine in (vectors @ image_vector).tolist()]

    def checked(self, vectors: np.ndarray, count: int) -> np.ndarray:
        """The vectors, if they are as many as there should be, and numbers."""
        if vectors.ndim != 2 or len(vectors) != count or not np.isfinite(vectors).all():
            raise ModelFileError(
                f"{self._path}: gives {vectors.dtype} {vectors.shape}; expected {count} finite vectors"
            )
        return vectors


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise ConfigError(f"got a text of type {type(text).__name__}; needed: str")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"the text {text[:60]!r} holds half a character; allowed: what UTF-8 can encode") from None
