"""How a model runs: one engine per family, behind one protocol. A picture is encoded once, then decoded or embedded any
number of times.

Letters: H, W height and width of the model's pictures, T tokens, V vocabulary, A width of the space in which pictures
and texts are compared.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, TypeVar

import numpy as np

from fastcap.errors import ConfigError, ModelFileError
from fastcap.runtime.answering import check_answers, search_answers
from fastcap.runtime.bundle import Bundle, running
from fastcap.runtime.contract import IMAGE_VECTORS, MODEL, SHORT
from fastcap.runtime.options import LEAST_END, LEAST_TOKEN, NO_REPEAT, Options, Plan
from fastcap.runtime.stepper import OnnxStepper, Opened

if TYPE_CHECKING:
    from fastcap.generation.autoregressive import Hypothesis, Stepper
    from fastcap.runtime.answering import Prompts
    from fastcap.vocabulary import Vocabulary

__all__ = ["ENGINES", "Decoded", "Encoded", "Engine", "ParallelEngine", "StepEngine", "answered", "search"]

_Result = TypeVar("_Result")
_VECTORS = next(iter(IMAGE_VECTORS))


class Decoded(NamedTuple):
    """A caption of T tokens, its probability and theirs (T,). `sound`: no step of it was improbable; false only for
    what was decoded at every length."""

    token_ids: list[int]
    probability: float
    token_probabilities: list[float]
    sound: bool = True


class Encoded:
    """A picture that is ready to be captioned, scored and embedded; `Captioner.encode` returns it.

    It keeps the results of the network, so that none is computed twice. Threads may share it.

    Attributes:
        pixels: (1, H, W, 3) uint8.
        engine: that of the captioner that made it; no other captioner accepts it.
    """

    def __init__(self, pixels: np.ndarray, engine: Engine) -> None:
        self.pixels, self.engine = pixels, engine
        self._lock = threading.RLock()
        self._results: dict[Hashable, Any] = {}

    def __reduce__(self) -> NoReturn:
        raise ConfigError(
            "an encoded picture stays with its captioner; send the picture, and encode it in each process"
        )

    def __copy__(self) -> Encoded:
        return self

    def __deepcopy__(self, _: object) -> Encoded:
        return self

    def once(self, key: Hashable, compute: Callable[[], _Result]) -> _Result:
        """The result stored under `key`; computed and stored if there is none yet."""
        with self._lock:
            if key not in self._results:
                self._results[key] = compute()
            return self._results[key]


class Engine(Protocol):
    """A model of one family, ready to run; its arguments are checked by the captioner."""

    def encode(self, pixels: np.ndarray) -> Encoded:
        """Run the expensive step on pixels (1, H, W, 3) uint8. For an `Encoded` that was made without it, `decode` and
        `vector` run it themselves, as far as they need it."""

    def decode(self, encoded: Encoded, plan: Plan) -> list[Decoded]:
        """Captions, best first; at least one.

        Raises ModelFileError for a graph whose outputs make no sense, ConfigError if the plan leaves no caption.
        """

    def answer(self, encoded: Encoded, prompts: Prompts) -> list[Decoded]:
        """The best answer to each question.

        Raises ConfigError for a model that was not trained to answer.
        """

    def vector(self, encoded: Encoded) -> np.ndarray:
        """The picture's unit vector (1, A), comparable with those of texts."""


def answered(hypotheses: Iterable[Hypothesis]) -> list[Decoded]:
    """Answers as they were searched, each with the probability that the model gives to it as a whole: an answer is a
    word or two, which are right together or not at all."""
    decoded = []
    for token_ids, _, log_p in hypotheses:
        decoded.append(Decoded(token_ids, float(np.exp(np.sum(log_p))), np.exp(log_p[:-1]).tolist()))
    return decoded


def search(stepper: Stepper, image_state: Any, plan: Plan, vocabulary: Vocabulary) -> list[Decoded]:
    """Captions of one picture by beam search or sampling, best first; of every length, sound ones before others.

    Samples with a number of words are drawn for every length in tokens, as if it had its own picture.

    Raises ConfigError if no caption satisfies the plan.
    """
    from fastcap.generation import autoregressive  # a parallel caption starts without it

    limits: dict[str, Any] = {
        "min_length": plan.low,
        "max_length": plan.high,
        "bos_id": vocabulary.bos_id,
        "eos_id": vocabulary.eos_id,
        "forbidden": vocabulary.barred_in_search,
    }
    if plan.sampling is not None:
        if plan.words is not None:
            limits["min_length"] = limits["max_length"] = range(plan.low, plan.high + 1)
        settings = {"samples": plan.returned, **limits, **asdict(plan.sampling)}
        n_images = 1 if plan.words is None else len(limits["min_length"])
        groups = autoregressive.sample(stepper, image_state, n_images, **settings)
    elif plan.every_length:
        groups = [autoregressive.every_length(stepper, image_state, beams=plan.beams, no_repeat=NO_REPEAT, **limits)]
    else:
        groups = autoregressive.beam_search(stepper, image_state, 1, beams=plan.beams, **limits)
    best = sorted((hypothesis for group in groups for hypothesis in group), key=lambda hypothesis: -hypothesis.score)
    if not best:
        raise ConfigError(f"no caption of {plan.low} to {plan.high} tokens is left under these options")
    decoded = []
    for token_ids, _, log_p in best:
        # That a caption ends where it was asked to tells nothing of its words.
        judged = log_p[:-1] if plan.every_length and token_ids else log_p
        probability, each = float(np.exp(np.mean(judged))), np.exp(log_p[:-1]).tolist()
        decoded.append(Decoded(token_ids, probability, each, not plan.every_length or _is_sound(log_p)))
    return sorted(decoded, key=lambda caption: not caption.sound)


def _is_sound(log_p: list[float]) -> bool:
    """Whether every token was likely enough where it stands, and the end mark after more than a few tokens: nobody
    writes captions of two words, so after these it is improbable whatever they say."""
    *tokens, end = np.exp(log_p).tolist()
    return min(tokens, default=1.0) >= LEAST_TOKEN and (len(tokens) <= SHORT or end >= LEAST_END)


class StepEngine:
    """The autoregressive and the prefix family, and left-to-right decoding of the parallel one."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._stepper, self._vocabulary = OnnxStepper.open(bundle, threads), bundle.vocabulary
        self._longest = bundle.decoding.max_length

    def encode(self, pixels: np.ndarray) -> Encoded:
        encoded = Encoded(pixels, self)
        self._state(encoded)
        return encoded

    def decode(self, encoded: Encoded, plan: Plan) -> list[Decoded]:
        return search(self._stepper, self._state(encoded), plan, self._vocabulary)

    def answer(self, encoded: Encoded, prompts: Prompts) -> list[Decoded]:
        state = self._state(encoded)
        opening = prompts.opening
        reader = encoded.once(("opening", opening), lambda: Opened(self._stepper, opening))
        return answered(search_answers(reader, state, prompts.ids, self._vocabulary, self._longest, prompts.beams))

    def vector(self, encoded: Encoded) -> np.ndarray:
        return self._state(encoded)[_VECTORS]

    @property
    def exits_taken(self) -> list[int] | None:
        """As `OnnxStepper.exits_taken`."""
        return self._stepper.exits_taken

    def _state(self, encoded: Encoded) -> dict[str, np.ndarray]:
        return encoded.once("state", lambda: self._stepper.encode(encoded.pixels))


class ParallelEngine:
    """`model.onnx`, one graph from pixels to captions and to the picture's vector. Left-to-right decoding has a
    `StepEngine`, loaded on first use, whose `encode.onnx` runs the vision part again."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.session = bundle.open_graph(MODEL, threads)
        self._bundle, self._threads = bundle, threads
        self._path = bundle.folder / MODEL.file
        self._outputs = [*MODEL.outputs, *(IMAGE_VECTORS if bundle.alignment else ())]
        self._no_penalties = np.zeros(bundle.vocabulary.size, np.float32)

    def encode(self, pixels: np.ndarray) -> Encoded:
        """Compute the captions of the default options, and the vector."""
        encoded = Encoded(pixels, self)
        self.decode(encoded, Options().plan(self._bundle))
        return encoded

    def decode(self, encoded: Encoded, plan: Plan) -> list[Decoded]:
        if plan.decode != "parallel":
            return self._left_to_right.decode(encoded, plan)
        asked = plan.low, plan.high, plan.decoded
        outputs = encoded.once(asked, lambda: self._run(encoded, *asked))
        rows = zip(*(output[0].tolist() for output in outputs[: len(MODEL.outputs)]), strict=True)
        return [Decoded(ids[:length], p, token_p[:length]) for ids, length, p, token_p in rows]

    def answer(self, encoded: Encoded, prompts: Prompts) -> list[Decoded]:
        check_answers(self._bundle)  # raises: a directory of this kind is never trained to
        raise AssertionError

    def vector(self, encoded: Encoded) -> np.ndarray:
        """The vector from an earlier run of the graph; else from a run of the part alone that leads to it."""
        return encoded.once(_VECTORS, lambda: self._run_to_vector(encoded))

    @functools.cached_property
    def _left_to_right(self) -> StepEngine:
        return StepEngine(self._bundle, self._threads)

    def _feed(self, encoded: Encoded, low: int, high: int, candidates: int) -> dict[str, np.ndarray]:
        return {
            "images": encoded.pixels,
            "length_range": np.array([low, high], np.int64),
            "candidates": np.array([candidates], np.int64),
            "penalties": self._no_penalties,
        }

    def _run_to_vector(self, encoded: Encoded) -> np.ndarray:
        from onnxruntime import RunOptions

        options, shortest = RunOptions(), self._bundle.decoding.min_length
        options.only_execute_path_to_fetches = True  # no caption is decoded
        with running(self._path):
            return self.session.run([_VECTORS], self._feed(encoded, shortest, shortest, 1), options)[0]

    def _run(self, encoded: Encoded, low: int, high: int, candidates: int) -> list[np.ndarray]:
        """The graph's outputs: captions and, if the model has an alignment, last the vector, which is stored too."""
        with running(self._path):
            outputs = self.session.run(self._outputs, self._feed(encoded, low, high, candidates))
        self._check(outputs[: len(MODEL.outputs)], candidates)
        encoded.once(_VECTORS, lambda: outputs[-1])
        return outputs

    def _check(self, outputs: list[np.ndarray], candidates: int) -> None:
        """Refuse outputs of a wrong shape or range: a graph with the right signature can still return nonsense."""
        token_ids, size = outputs[0], self._bundle.vocabulary.size
        shapes = [output.shape for output in outputs]
        expected = (1, candidates, *token_ids.shape[2:3])
        if shapes != [expected, expected[:2], expected[:2], expected]:
            raise ModelFileError(f"{self._path}: outputs have shapes {shapes}; expected B=1 K={candidates}")
        if any(row and (min(row) < 0 or max(row) >= size) for row in token_ids[0].tolist()):
            raise ModelFileError(f"{self._path}: token ids outside 0 to {size - 1}")


ENGINES: dict[str, Callable[[Bundle, int], Engine]] = {
    "parallel": ParallelEngine,
    "autoregressive": StepEngine,
    "prefix": StepEngine,
}
"""The engine of a model directory, by its kind; the second argument is the number of threads."""
