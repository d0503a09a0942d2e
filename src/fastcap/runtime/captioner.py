"""Pictures in, captions out: what a caller asks of a model, whatever its family."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from fastcap.errors import ConfigError, many
from fastcap.runtime.answering import Answer, Prompts, check_answers
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.captions import Candidate, Caption, Token
from fastcap.runtime.encoding import Pieces
from fastcap.runtime.engine import ENGINES, Decoded, Encoded, Engine
from fastcap.runtime.images import MAX_PIXELS, ImageSource, load_image
from fastcap.runtime.kept import Kept
from fastcap.runtime.options import Options, Plan
from fastcap.runtime.photo import PhotoHead, Verdict
from fastcap.runtime.ranking import Ranker, ranked
from fastcap.runtime.reopening import Opener, opened, opener_with
from fastcap.runtime.scorer import Scorer
from fastcap.runtime.silence import doubted
from fastcap.runtime.taught import neighbours, plan_of, taught_ranker
from fastcap.runtime.wording import Wordings, with_sound_others

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastcap.runtime.answering import How
    from fastcap.runtime.conversation import Turn
    from fastcap.runtime.options import Keywords

__all__ = ["Candidate", "Caption", "Captioner", "Token"]

_BATCH = 8  # pictures loaded before they are captioned; more only cost memory


class Captioner:
    """A loaded model. Safe to share between threads; holds no state between pictures, but for those that it keeps.

    `bundle`: the model directory.
    `threads`: CPU threads for the network, 1 to 64. One is the default, since the network takes
    milliseconds and waking more threads costs as much.
    `keep`: of how many pictures what the network computed is kept between calls, 0 to 1024; the last ones, found by the
    hash of their bytes. Results are those without.
    `engine`: what runs the model, in place of the engine of its kind; `ranker`: what orders candidates, in place of the
    directory's own; `opener` is then what opens the directory with these in another process, as `open` does.

    A pickle holds the directory and the number of threads, and opens it again; a copy is the captioner itself.

    Raises ConfigError for the number of threads, ModelFileError for a graph, tokenizer, memory or head that is not as
    the directory's manifest says.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 1,
        engine: Engine | None = None,
        opener: Opener | None = None,
        ranker: Ranker | None = None,
        keep: int = 0,
    ) -> None:
        self.bundle = bundle
        self._kept = Kept(keep)
        self._threads = threads
        self._opener = type(self).open if engine is None and ranker is None else opener
        self._engine = ENGINES[bundle.kind](bundle, threads) if engine is None else engine
        self._tokenizer = bundle.tokenizer()
        self._pieces = Pieces(self._tokenizer)
        self._ranker = ranker or Ranker.open(bundle, self._pieces)
        self._photo = PhotoHead.open(bundle)

    @classmethod
    def open(
        cls,
        name_or_dir: str | os.PathLike[str],
        threads: int = 1,
        memory: str | os.PathLike[str] | None = None,
        keep: int = 0,
    ) -> Captioner:
        """Load a bundled model by name, or a model directory; `memory`, a file of `fastcap learn`, beside its own.

        Raises ConfigError or ModelFileError, also for a memory that is damaged or of another model.
        """
        bundle = Bundle.open(find_model(name_or_dir))
        ranker = None if memory is None else taught_ranker(memory, bundle)
        return cls(bundle, threads, None, opener_with(cls.open, memory), ranker, keep)

    def __reduce__(self) -> tuple[Callable[..., Captioner], tuple[Opener, str, int]]:
        if self._opener is None:
            raise ConfigError(
                "this captioner was given an engine or a ranker without an opener; load the model in each process"
            )
        return opened, (self._opener, self.bundle.address, self._threads)

    def __copy__(self) -> Captioner:
        return self  # it holds no state between pictures

    def __deepcopy__(self, _: object) -> Captioner:
        return self

    def encode(self, image: ImageSource) -> Encoded:
        """Load one picture and run the expensive step of the model, once.

        `caption`, `ask`, `score` and `embed_images` accept the result in place of a picture, and compute only what is
        missing. An autoregressive model runs its vision part here and never again. A parallel model is one graph from
        pixels to captions: computed here are the captions of the default options and the vector for scores; the first
        left-to-right decoding, which other lengths take, runs the vision part once more.

        `image`: as in `caption`. Raises ImageError for a bad picture.
        """
        return self._kept.find(image, MAX_PIXELS, self._load, self._engine.encode)

    def prepare(self, image: ImageSource, max_pixels: int = MAX_PIXELS) -> Encoded:
        """As `encode`, but nothing is computed ahead: only what is asked of the result, and once.

        `max_pixels`: most pixels that the header may declare.
        """
        load = functools.partial(self._load, max_pixels=max_pixels)
        return self._kept.find(image, max_pixels, load, lambda pixels: Encoded(pixels, self._engine))

    @overload
    def caption(
        self, images: list[Any] | tuple[Any, ...], options: Options | None = ..., **keywords: Unpack[Keywords]
    ) -> list[Caption]: ...

    @overload
    def caption(
        self, images: ImageSource | Encoded, options: Options | None = ..., **keywords: Unpack[Keywords]
    ) -> Caption: ...

    def caption(
        self,
        images: ImageSource | Encoded | list[Any] | tuple[Any, ...],
        options: Options | None = None,
        **keywords: Unpack[Keywords],
    ) -> Caption | list[Caption]:
        """Caption one picture, or a list or tuple of them (a list comes back, in order).

        A picture is a path, bytes, a binary file object, a PIL image or an array (see `load_image`), or the result of
        `encode`.

        `options`, or its fields as keywords (`length="short"`): see `Options`. The two graphs of left-to-right decoding
        are loaded on first use. Greedy search returns one caption; sampling draws `candidates` of them.

        All ways of decoding share one calibration, fitted for the model's default one. Parallel decoding calibrates the
        mean probability of a caption's tokens, parallel and causal; left-to-right decoding the causal one alone, before
        any temperature, end mark included but for a length other than "normal". Beam search and samples are ordered by
        log-probability over length ** 0.7, not by confidence; with a memory, all of them as its manifest says.

        Raises ImageError for a bad picture, ConfigError for an option out of range, a way of decoding that the model
        directory has no graphs for, or a picture that another captioner encoded.
        """
        plan = self._plan(options, keywords)
        if isinstance(images, (set, frozenset, Mapping, Iterator)) and not hasattr(images, "read"):
            raise ConfigError(f"got a {type(images).__name__}; needed: a picture, or a list or tuple of pictures")
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
        plan = self._plan(options, keywords)
        size = self.bundle.preprocessing
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (size.height, size.width, 3):
            raise ConfigError(
                f"pixels are {pixels.dtype} {pixels.shape}; expected uint8 (B,{size.height},{size.width},3)"
            )
        started = time.perf_counter()
        return self._run([Encoded(picture[None], self._engine) for picture in pixels], plan, started)

    @overload
    def ask(self, image: ImageSource | Encoded, questions: str, **how: Unpack[How]) -> Answer: ...

    @overload
    def ask(
        self, image: ImageSource | Encoded, questions: list[str] | tuple[str, ...], **how: Unpack[How]
    ) -> list[Answer]: ...

    def ask(
        self, image: ImageSource | Encoded, questions: str | Sequence[str], **how: Unpack[How]
    ) -> Answer | list[Answer]:
        """Answer a question about a picture, or a list of up to 1,000 (a list comes back, in order), which are searched
        side by side: each answer is that to its question alone.

        `image`: as in `caption`; what was encoded, or is kept, is not computed again.
        `history`: turns before (`fastcap.runtime.conversation.Turn`), which all questions follow, none by default.
        `beams`: hypotheses of an answer, 1 to 8; by default 1, as answers are short.

        Raises ImageError for a bad picture, ConfigError for a question that is none, empty or too long, a history that
        does not end with an answer, or a model that was not trained to answer.
        """
        check_answers(self.bundle)
        started = time.perf_counter()
        prompts = Prompts(self.bundle, self._tokenizer, questions, **how)
        answers = prompts.answers(self._engine.answer(self._taken(image), prompts), started)
        return answers[0] if isinstance(questions, str) else answers

    def score(self, image: ImageSource | Encoded, texts: Sequence[str]) -> list[float]:
        """How well each text fits a picture, 0 to 1: the probability, estimated by the model's alignment, that the text
        was written of this picture rather than of another everyday photo (fitted on one of each).

        `image`: one picture, as in `caption`. `texts`: 1 to 10,000 of them, each of at most as many tokens as the
        longest caption. The picture's vector does not depend on the texts; scores are ordered as the cosines. The graph
        that embeds texts is loaded on first use.

        Raises ImageError for a bad picture, ConfigError for texts that are none, empty, too long or not Unicode, a
        picture that another captioner encoded, or a model directory without an alignment.
        """
        return self._scorer.scores(self.embed_images([image])[0], texts)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """R texts -> unit vectors (R, A) float32, for instance for a search index. Raises as `score`."""
        return self._scorer.embed(texts)

    def embed_images(self, images: Sequence[ImageSource | Encoded]) -> np.ndarray:
        """B pictures -> unit vectors (B, A) float32; products with those of texts are cosines. Raises as `score`."""
        scorer = self._scorer
        if isinstance(images, (np.ndarray, Encoded)):  # an array's rows would be taken for pictures
            raise ConfigError("got one picture; needed: a list of pictures")
        images = list(many(images, "pictures"))
        if not images:
            raise ConfigError("got 0 pictures; needed: 1 or more")
        vectors = [self._engine.vector(self._taken(image)) for image in images]
        return scorer.checked(np.concatenate(vectors), len(images))

    def judge(self, image: ImageSource | Encoded) -> Verdict | None:
        """What a picture is, and how probably a photo, without a caption; None from a directory that cannot tell.

        Raises ImageError for a bad picture, ConfigError for one that another captioner encoded.
        """
        return self._judge(self._taken(image))

    @property
    def exits_taken(self) -> list[int] | None:
        """How many pictures left the vision part at each of its exits so far; None for a model without exits."""
        return getattr(self._engine, "exits_taken", None)

    def check_options(self, options: Options | None = None, **keywords: Unpack[Keywords]) -> None:
        """Raise the ConfigError that `caption` would raise for these options, without a picture."""
        self._plan(options, keywords)

    def check_question(self, question: str, history: Sequence[Turn] = ()) -> None:
        """Raise the ConfigError that `ask` would raise for this question, without a picture."""
        check_answers(self.bundle)
        Prompts(self.bundle, self._tokenizer, question, history)

    def _plan(self, options: Options | None, keywords: Keywords) -> Plan:
        if options is None and not keywords:
            return self._usual
        return plan_of(Options.of(options, keywords), self._ranker, self.bundle)

    @functools.cached_property
    def _usual(self) -> Plan:  # checking options takes its time
        return plan_of(Options(), self._ranker, self.bundle)

    def _load(self, image: ImageSource, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """A picture as pixels (1, H, W, 3)."""
        size = self.bundle.preprocessing.width, self.bundle.preprocessing.height
        return load_image(image, size, max_pixels)[None]

    def _taken(self, image: ImageSource | Encoded) -> Encoded:
        """A caller's picture, as engines take it. A plain picture is used once, so it is not encoded ahead."""
        if not isinstance(image, Encoded):
            return self.prepare(image)
        if image.engine is not self._engine:
            raise ConfigError(
                "got a picture that another captioner encoded; allowed: one that encode() of this captioner, of model "
                f"{self.bundle.name!r}, returned"
            )
        return image

    def _caption_batch(self, images: Sequence[ImageSource | Encoded], plan: Plan) -> list[Caption]:
        started = time.perf_counter()
        return self._run([self._taken(image) for image in images], plan, started)

    def _run(self, pictures: list[Encoded], plan: Plan, started: float) -> list[Caption]:
        """One picture at a time: an int8 graph takes the scale of its activations from all that it sees at once, so
        in a batch a caption would depend on its neighbours; and on a CPU a batch is hardly faster."""
        captions = [self._captioned(picture, plan) for picture in pictures]
        milliseconds = 1000 * (time.perf_counter() - started) / max(len(captions), 1)
        return [caption(milliseconds=milliseconds) for caption in captions]

    def _captioned(self, picture: Encoded, plan: Plan) -> Callable[..., Caption]:
        """What makes a picture's caption of its `milliseconds`."""
        candidates = self._candidates(picture, plan)
        around = neighbours(self._engine, self._ranker, picture, plan)
        verdict = self._judge(picture)
        shown, confidence = doubted(candidates, verdict, plan)
        text, tokens = (shown[0].text, shown[0].tokens) if shown else ("", ())
        kind = verdict.kind if verdict else None
        return functools.partial(Caption, text, confidence, tokens, tuple(shown), neighbours=around, kind=kind)

    def _judge(self, picture: Encoded) -> Verdict | None:
        return self._photo.judge(picture.pixels[0], self._engine.vector(picture)[0]) if self._photo else None

    def _candidates(self, picture: Encoded, plan: Plan) -> list[Candidate]:
        """The different wordings of one picture, best first."""
        best = self._wordings(picture, plan)
        if plan.others or plan.returned > 1:
            others = self._wordings(picture, plan.others) if plan.others else ()
            best = with_sound_others(best, others, plan.others or plan)
        candidates = []
        for text, decoded in best:
            tokens = tuple(map(Token, map(self._pieces.piece, decoded.token_ids), decoded.token_probabilities))
            candidates.append(Candidate(text, self.bundle.calibration.confidence(decoded.probability), tokens))
        return candidates

    def _wordings(self, picture: Encoded, plan: Plan) -> list[tuple[str, Decoded]]:
        wordings = Wordings(plan, self._pieces)
        wordings.add(ranked(self._engine, self._ranker, picture, plan))
        if further := wordings.further(self.bundle.decoding):
            wordings.add(ranked(self._engine, self._ranker, picture, further))
        return wordings.best()

    @functools.cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.bundle, self._tokenizer, self._threads)
