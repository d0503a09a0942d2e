"""Pictures in, captions out: the one verb of the runtime."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from fastcap.errors import ConfigError, ModelFileError
from fastcap.runtime.bundle import Bundle, find_model, nearest
from fastcap.runtime.images import ImageSource, load_image
from fastcap.runtime.neutral import neutral_penalties, neutralise
from fastcap.runtime.text import decode, word_count

__all__ = ["Candidate", "Caption", "Captioner", "Token"]

_OUTPUTS = ["token_ids", "lengths", "confidences", "token_confidences"]
_BATCH = 8  # pictures loaded before they are captioned; more only cost memory
_WORD_SPREAD = 4  # a word is one token or a few: captions of n words have about n to n + 4 tokens


class Token(NamedTuple):
    """One piece of a caption as the decoder chose it, with the probability it gave that choice (0 to 1)."""

    text: str
    confidence: float


@dataclass(frozen=True)
class Candidate:
    """One wording; `confidence` from 0 to 1, about the share of its content words that people would use as well."""

    text: str
    confidence: float
    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class Caption(Candidate):
    """The best wording for a picture.

    `candidates`: the wordings asked for, all different, best first; the first is this caption.
    `milliseconds`: wall time from the source to the text; pictures of one batch share its time equally.
    """

    candidates: tuple[Candidate, ...]
    milliseconds: float

    def __str__(self) -> str:
        return self.text


class Captioner:
    """A loaded model. Safe to share between threads; holds no state between pictures.

    `threads`: CPU threads for the network, 1 to 64. One is the default, since the network takes
    milliseconds and waking more threads costs as much.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self._session = bundle.session(threads)
        self._tokenizer = bundle.tokenizer()
        self._no_penalties = np.zeros(bundle.vocabulary.size, np.float32)

    @classmethod
    def open(cls, name_or_dir: str | os.PathLike[str], threads: int = 1) -> Captioner:
        """Load a bundled model by name, or a model directory. Raises ConfigError or ModelFileError."""
        return cls(Bundle.open(find_model(name_or_dir)), threads)

    @overload
    def caption(
        self,
        images: list[Any] | tuple[Any, ...],
        *,
        length: str | int = ...,
        candidates: int = ...,
        neutral: bool = ...,
    ) -> list[Caption]: ...

    @overload
    def caption(
        self, images: ImageSource, *, length: str | int = ..., candidates: int = ..., neutral: bool = ...
    ) -> Caption: ...

    def caption(
        self,
        images: ImageSource | list[Any] | tuple[Any, ...],
        *,
        length: str | int = "normal",
        candidates: int = 1,
        neutral: bool = False,
    ) -> Caption | list[Caption]:
        """Caption one picture, or a list or tuple of them (a list comes back, in order).

        A picture is a path, bytes, a binary file object, a PIL image or an array; see `load_image`.

        `length`: "short", "normal" or "long", or a number of words. The network counts in tokens, so for a
        number the lengths from that many tokens upwards are decoded, and the caption with exactly that many
        words is chosen, the most confident if several; if none has, the nearest.
        `candidates`: how many different wordings to return at most; fewer when wordings coincide or when
        the length leaves no more. The model's default number is decoded in any case, and the best wins.
        `neutral`: say nothing of anybody's gender; see `fastcap.runtime.neutral`. `tokens` are those that the
        decoder chose, also where a gendered word that it spelt from pieces was replaced in `text`.

        Raises ImageError for a bad picture, ConfigError for a length or a number out of range.
        """
        plan = self._plan(length, candidates, neutral)
        if not isinstance(images, (list, tuple)):
            return self._caption_batch([images], plan)[0]
        captions: list[Caption] = []
        for start in range(0, len(images), _BATCH):
            captions += self._caption_batch(images[start : start + _BATCH], plan)
        return captions

    def caption_pixels(
        self, pixels: np.ndarray, *, length: str | int = "normal", candidates: int = 1, neutral: bool = False
    ) -> list[Caption]:
        """Caption pictures that are already at the model's size: uint8 RGB (B,H,W,3), as `load_image` gives.

        Raises ConfigError for a length, a number of candidates or an array that does not fit.
        """
        plan = self._plan(length, candidates, neutral)
        size = self.bundle.preprocessing
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (size.height, size.width, 3):
            raise ConfigError(
                f"pixels are {pixels.dtype} {pixels.shape}; expected uint8 (B,{size.height},{size.width},3)"
            )
        return self._run(pixels, plan, time.perf_counter())

    def check_options(self, length: str | int = "normal", candidates: int = 1) -> None:
        """Raise the ConfigError that `caption` would raise for these options, without a picture."""
        self._plan(length, candidates)

    def _caption_batch(self, sources: Sequence[ImageSource], plan: _Plan) -> list[Caption]:
        started = time.perf_counter()
        size = (self.bundle.preprocessing.width, self.bundle.preprocessing.height)
        return self._run(np.stack([load_image(source, size) for source in sources]), plan, started)

    def _run(self, pixels: np.ndarray, plan: _Plan, started: float) -> list[Caption]:
        """One picture at a time: an int8 graph takes the scale of its activations from all that it sees at once, so
        in a batch a caption would depend on its neighbours; and on a CPU a batch is hardly faster."""
        wordings = [self._candidates(plan, *self._outputs(picture[None], plan)) for picture in pixels]
        milliseconds = 1000 * (time.perf_counter() - started) / max(len(wordings), 1)
        return [
            Caption(best[0].text, best[0].confidence, best[0].tokens, tuple(best), milliseconds) for best in wordings
        ]

    def _outputs(self, picture: np.ndarray, plan: _Plan) -> list[np.ndarray]:
        """What the graph says of one picture (1,H,W,3), without the leading 1."""
        feed = {
            "images": picture,
            "length_range": np.array([plan.low, plan.high], np.int64),
            "candidates": np.array([plan.decoded], np.int64),
            "penalties": self._neutral_penalties if plan.neutral else self._no_penalties,
        }
        path = self.bundle.folder / "model.onnx"
        try:
            outputs = self._session.run(_OUTPUTS, feed)
        except Exception as error:  # onnxruntime's exception types share no base of their own
            reason = str(error).partition("\n")[0]
            raise ModelFileError(f"{path}: failed while running ({reason})") from error
        self._check_outputs(path, outputs, plan)
        return [output[0] for output in outputs]

    def _check_outputs(self, path: Path, outputs: list[np.ndarray], plan: _Plan) -> None:
        """A graph of the right signature can still return nonsense; say so before it is read."""
        token_ids, size = outputs[0], self.bundle.vocabulary.size
        shapes = [output.shape for output in outputs]
        expected = (1, plan.decoded, *token_ids.shape[2:3])
        if shapes != [expected, expected[:2], expected[:2], expected]:
            raise ModelFileError(f"{path}: outputs have shapes {shapes}; expected B=1 K={plan.decoded}")
        if ((token_ids < 0) | (token_ids >= size)).any():
            raise ModelFileError(f"{path}: token ids outside 0 to {size - 1}")

    def _candidates(
        self,
        plan: _Plan,
        token_ids: np.ndarray,  # (K,T)
        lengths: np.ndarray,  # (K,)
        confidences: np.ndarray,  # (K,)
        token_confidences: np.ndarray,  # (K,T)
    ) -> list[Candidate]:
        """The different wordings of one picture, best first."""
        found: dict[str, int] = {}
        for row, (ids, length) in enumerate(zip(token_ids.tolist(), lengths.tolist(), strict=True)):
            text = decode(ids[:length], self._tokenizer)
            if plan.neutral:
                text = neutralise(text)  # what was spelt from smaller pieces than words
            found.setdefault(text, row)
        texts = list(found)
        if plan.words is not None:
            wanted = plan.words
            texts.sort(key=lambda text: abs(word_count(text) - wanted))
        wordings = []
        for text in texts[: plan.returned]:
            row = found[text]
            pieces = [self._tokenizer.decode([token]) for token in token_ids[row, : lengths[row]].tolist()]
            tokens = tuple(map(Token, pieces, token_confidences[row].tolist()))
            confidence = self.bundle.calibration.confidence(float(confidences[row]))
            wordings.append(Candidate(text, confidence, tokens))
        return wordings

    @functools.cached_property
    def _neutral_penalties(self) -> np.ndarray:
        return neutral_penalties(self._tokenizer)

    def _plan(self, length: str | int, candidates: int, neutral: bool = False) -> _Plan:
        limits = self.bundle.decoding
        if type(candidates) is not int or not 1 <= candidates <= limits.max_candidates:
            raise ConfigError(
                f"candidates is {candidates!r}; allowed are whole numbers from 1 to {limits.max_candidates}"
            )
        words = None
        if isinstance(length, str):
            if length not in limits.lengths:
                raise ConfigError(
                    f"length is {length!r}{nearest(length, limits.lengths)}; "
                    f"allowed are {', '.join(limits.lengths)} or a number of words"
                )
            low, high = limits.lengths[length]
            decoded = max(candidates, limits.default_candidates)
        else:
            if type(length) is not int or not limits.min_length <= length <= limits.max_length:
                raise ConfigError(
                    f"length is {length!r}; allowed are {', '.join(limits.lengths)} "
                    f"or a number of words from {limits.min_length} to {limits.max_length}"
                )
            words = low = length
            decoded = min(max(candidates, _WORD_SPREAD + 1), limits.max_candidates)
            high = min(low + decoded - 1, limits.max_length)
        return _Plan(low, high, min(decoded, high - low + 1), candidates, words, neutral)


class _Plan(NamedTuple):
    """What to ask of the graph: lengths `low` to `high` in tokens, `decoded` of them; what to give back."""

    low: int
    high: int
    decoded: int
    returned: int
    words: int | None
    neutral: bool
