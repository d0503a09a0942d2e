"""Pictures in, captions out: the one verb of the runtime."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from fastcap.errors import ConfigError, ModelFileError
from fastcap.generation.autoregressive import beam_search, sample
from fastcap.runtime.bundle import Bundle, find_model, running
from fastcap.runtime.images import ImageSource, load_image
from fastcap.runtime.neutral import neutral_penalties, neutralise
from fastcap.runtime.options import Options, Plan
from fastcap.runtime.scorer import Scorer
from fastcap.runtime.stepper import OnnxStepper
from fastcap.runtime.text import decode, word_count

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastcap.runtime.options import Keywords

__all__ = ["Candidate", "Caption", "Captioner", "Token"]

_OUTPUTS = ["token_ids", "lengths", "confidences", "token_confidences"]
_BATCH = 8  # pictures loaded before they are captioned; more only cost memory


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
        self._threads = threads
        if bundle.kind == "parallel":
            self._session = bundle.session(threads)
        else:
            self._stepper  # noqa: B018 (a cached property that loads)
        self._tokenizer = bundle.tokenizer()
        self._no_penalties = np.zeros(bundle.vocabulary.size, np.float32)

    @classmethod
    def open(cls, name_or_dir: str | os.PathLike[str], threads: int = 1) -> Captioner:
        """Load a bundled model by name, or a model directory. Raises ConfigError or ModelFileError."""
        return cls(Bundle.open(find_model(name_or_dir)), threads)

    @overload
    def caption(
        self, images: list[Any] | tuple[Any, ...], options: Options | None = ..., **keywords: Unpack[Keywords]
    ) -> list[Caption]: ...

    @overload
    def caption(self, images: ImageSource, options: Options | None = ..., **keywords: Unpack[Keywords]) -> Caption: ...

    def caption(
        self,
        images: ImageSource | list[Any] | tuple[Any, ...],
        options: Options | None = None,
        **keywords: Unpack[Keywords],
    ) -> Caption | list[Caption]:
        """Caption one picture, or a list or tuple of them (a list comes back, in order).

        A picture is a path, bytes, a binary file object, a PIL image or an array; see `load_image`.

        `options`, or its fields as keywords (`length="short"`): see `Options`. The two graphs that decode from left to
        right are loaded when they are first asked for. Greedy search finds one caption; of a sample, `candidates` are
        drawn. For a number of words each length in tokens is searched or drawn on its own, all side by side.

        The confidence of left-to-right decoding is calibrated like that of parallel decoding, which it was fitted for
        where the model can: there the mean probability of a caption's tokens in both readings, here that of the causal
        reading alone, end mark included, before any temperature. Beam search and samples are ordered by the
        log-probability over length ** 0.7, not by confidence.

        Raises ImageError for a bad picture, ConfigError for an option out of range, or a way of decoding that the model
        directory has no graphs for.
        """
        plan = Options.of(options, keywords).plan(self.bundle)
        if not isinstance(images, (list, tuple)):
            return self._caption_batch([images], plan)[0]
        captions: list[Caption] = []
        for start in range(0, len(images), _BATCH):
            captions += self._caption_batch(images[start : start + _BATCH], plan)
        return captions

    def caption_pixels(
        self, pixels: np.ndarray, options: Options | None = None, **keywords: Unpack[Keywords]
    ) -> list[Caption]:
        """Caption pictures that are already at the model's size: uint8 RGB (B,H,W,3), as `load_image` gives.

        Options are those of `caption`. Raises ConfigError for one out of range, or an array that does not fit.
        """
        plan = Options.of(options, keywords).plan(self.bundle)
        size = self.bundle.preprocessing
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (size.height, size.width, 3):
            raise ConfigError(
                f"pixels are {pixels.dtype} {pixels.shape}; expected uint8 (B,{size.height},{size.width},3)"
            )
        return self._run(pixels, plan, time.perf_counter())

    def score(self, image: ImageSource, texts: Sequence[str]) -> list[float]:
        """How well each text fits a picture, 0 to 1: the probability, in the eyes of the model's alignment, that the
        text was written of this picture rather than of another everyday photo (fitted on one of each).

        `image`: one picture, as in `caption`. `texts`: 1 to 10,000 of them, each of at most as many tokens as the
        longest caption. The image side is blind to the texts; the order of scores is that of their cosines. The graph
        that embeds texts is loaded when it is first asked for.

        Raises ImageError for a bad picture, ConfigError for texts that are none, empty, too long or not Unicode, or a
        model directory without an alignment.
        """
        return self._scorer.scores(self.embed_images([image])[0], texts)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """R texts -> unit vectors (R, A) float32: for those who keep them, to search. Raises as `score`."""
        return self._scorer.embed(texts)

    def embed_images(self, images: Sequence[ImageSource]) -> np.ndarray:
        """B pictures -> unit vectors (B, A) float32; products with those of texts are cosines. Raises as `score`."""
        size, scorer = (self.bundle.preprocessing.width, self.bundle.preprocessing.height), self._scorer
        if not len(images):
            raise ConfigError("got 0 pictures; needed: 1 or more")
        embed = self._embedded if self.bundle.kind == "parallel" else self._stepper.embed
        vectors = [embed(load_image(image, size)[None]) for image in images]
        return scorer.checked(np.concatenate(vectors), len(images))

    def _embedded(self, picture: np.ndarray) -> np.ndarray:
        """picture (1,H,W,3) -> (1,A), which the graph says beside a caption: the shortest one, as nobody reads it."""
        shortest = self.bundle.decoding.min_length
        feed = {
            "images": picture,
            "length_range": np.array([shortest, shortest]),
            "candidates": np.array([1]),
            "penalties": self._no_penalties,
        }
        with running(self.bundle.folder / "model.onnx"):
            (vectors,) = self._session.run(["image_vectors"], feed)
        return vectors

    @functools.cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.bundle, self._threads)

    def check_options(self, options: Options | None = None, **keywords: Unpack[Keywords]) -> None:
        """Raise the ConfigError that `caption` would raise for these options, without a picture."""
        Options.of(options, keywords).plan(self.bundle)

    def _caption_batch(self, sources: Sequence[ImageSource], plan: Plan) -> list[Caption]:
        started = time.perf_counter()
        size = (self.bundle.preprocessing.width, self.bundle.preprocessing.height)
        return self._run(np.stack([load_image(source, size) for source in sources]), plan, started)

    def _run(self, pixels: np.ndarray, plan: Plan, started: float) -> list[Caption]:
        """One picture at a time: an int8 graph takes the scale of its activations from all that it sees at once, so
        in a batch a caption would depend on its neighbours; and on a CPU a batch is hardly faster."""
        decoded = self._refined if plan.decode == "parallel" else self._searched
        wordings = [self._candidates(plan, decoded(picture[None], plan)) for picture in pixels]
        milliseconds = 1000 * (time.perf_counter() - started) / max(len(wordings), 1)
        return [
            Caption(best[0].text, best[0].confidence, best[0].tokens, tuple(best), milliseconds) for best in wordings
        ]

    def _refined(self, picture: np.ndarray, plan: Plan) -> list[_Decoded]:
        """What the graph says of one picture (1,H,W,3), best first."""
        feed = {
            "images": picture,
            "length_range": np.array([plan.low, plan.high], np.int64),
            "candidates": np.array([plan.decoded], np.int64),
            "penalties": self._neutral_penalties if plan.neutral else self._no_penalties,
        }
        path = self.bundle.folder / "model.onnx"
        with running(path):
            outputs = self._session.run(_OUTPUTS, feed)
        self._check_outputs(path, outputs, plan)
        rows = zip(*(output[0].tolist() for output in outputs), strict=True)
        return [_Decoded(ids[:length], p, each[:length]) for ids, length, p, each in rows]

    def _searched(self, picture: np.ndarray, plan: Plan) -> list[_Decoded]:
        """What is found or drawn from left to right of one picture (1,H,W,3), best first."""
        marks = self.bundle.vocabulary
        barred = np.flatnonzero(self._neutral_penalties).tolist() if plan.neutral else []
        lengths = range(plan.low, plan.high + 1) if plan.words is not None else None
        limits: dict[str, Any] = {
            "min_length": lengths or plan.low,
            "max_length": lengths or plan.high,
            "bos_id": marks.bos_id,
            "eos_id": marks.eos_id,
            "forbidden": [*marks.barred_in_search, *barred],
        }
        start = self._stepper, self._stepper.encode(picture), len(lengths) if lengths else 1
        if plan.sampling is None:
            found = beam_search(*start, beams=plan.beams, **limits)
        else:
            limits |= asdict(plan.sampling)
            found = sample(*start, samples=plan.returned, **limits)
        best = sorted((hypothesis for each in found for hypothesis in each), key=lambda each: -each.score)
        if not best:
            raise ConfigError(f"no caption of {plan.low} to {plan.high} tokens is left under these options")
        return [
            _Decoded(token_ids, float(np.exp(np.mean(log_p))), np.exp(log_p[:-1]).tolist())
            for token_ids, _, log_p in best
        ]

    def _check_outputs(self, path: Path, outputs: list[np.ndarray], plan: Plan) -> None:
        """A graph of the right signature can still return nonsense; say so before it is read."""
        token_ids, size = outputs[0], self.bundle.vocabulary.size
        shapes = [output.shape for output in outputs]
        expected = (1, plan.decoded, *token_ids.shape[2:3])
        if shapes != [expected, expected[:2], expected[:2], expected]:
            raise ModelFileError(f"{path}: outputs have shapes {shapes}; expected B=1 K={plan.decoded}")
        if ((token_ids < 0) | (token_ids >= size)).any():
            raise ModelFileError(f"{path}: token ids outside 0 to {size - 1}")

    def _candidates(self, plan: Plan, decoded: list[_Decoded]) -> list[Candidate]:
        """The different wordings of one picture, best first."""
        found: dict[str, _Decoded] = {}
        for each in decoded:
            if plan.words is None and len(found) == plan.returned:
                break  # nobody asks for the others
            text = decode(each.token_ids, self._tokenizer)
            if plan.neutral:
                text = neutralise(text)  # what was spelt from smaller pieces than words
            found.setdefault(text, each)
        texts = list(found)
        if plan.words is not None:
            wanted = plan.words
            texts.sort(key=lambda text: abs(word_count(text) - wanted))
        wordings = []
        for text in texts[: plan.returned]:
            token_ids, probability, token_probabilities = found[text]
            tokens = tuple(map(Token, map(self._piece, token_ids), token_probabilities))
            wordings.append(Candidate(text, self.bundle.calibration.confidence(probability), tokens))
        return wordings

    @functools.cached_property
    def _pieces(self) -> dict[int, str]:
        """What each token spells, as far as it was asked for."""
        return {}

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self._tokenizer.decode([token])
        return self._pieces[token]

    @functools.cached_property
    def _neutral_penalties(self) -> np.ndarray:
        return neutral_penalties(self._tokenizer)

    @functools.cached_property
    def _stepper(self) -> OnnxStepper:
        return OnnxStepper.open(self.bundle, self._threads)


class _Decoded(NamedTuple):
    """A caption of T tokens, its probability and theirs (T,)."""

    token_ids: list[int]
    probability: float
    token_probabilities: list[float]
