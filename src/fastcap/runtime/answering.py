"""Answers to several questions about one picture, searched side by side.

Letters: Q questions, k hypotheses of each, R = Q k rows, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypedDict

import numpy as np

from fastcap.errors import ConfigError, many, one_text
from fastcap.runtime.bundle import ADAPTERS
from fastcap.runtime.conversation import PLACE, USER, Turn, check_turns, encode_prompt
from fastcap.runtime.encoding import decode, encode
from fastcap.runtime.options import Options, settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from fastcap.generation.autoregressive import Hypothesis
    from fastcap.runtime.bundle import Bundle
    from fastcap.runtime.contract import Questions
    from fastcap.runtime.engine import Decoded
    from fastcap.vocabulary import Vocabulary

__all__ = [
    "BUILT",
    "MAX_QUESTIONS",
    "Answer",
    "How",
    "Prompted",
    "Prompts",
    "Reader",
    "check_answers",
    "how_to_get_one",
    "search_answers",
]

MAX_QUESTIONS = 1000  # of one call
ANSWERING = {
    "fastvlm-base": "129 MB; right in 84 % of what is there and 37 % of open questions",
    "fastvlm-tiny": "8 MB; 84 % and 35 %",
}
"""The models of ours that answer, whose adapters ship, the larger first, and what each is worth (docs/fastvlm.md)."""
BUILT = [f"models/{name}" for name in ANSWERING]
"""Where `fastcap build` puts them by default."""
TOGETHER = 16
"""Questions that are read side by side; more only cost memory."""


class Reader(Protocol):
    """A `fastcap.generation.autoregressive.Stepper` that reads prompts of different lengths in one go, one a row: their
    log-probabilities (R, V) of the next token, and the state of these rows."""

    def read(self, image_state: Any, prompts: Sequence[Sequence[int]]) -> tuple[np.ndarray, Any]: ...

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]: ...


class Progress(NamedTuple):
    """Where a search stands. `log_p`: of the prompts, until the first step has given them to the search. `rows`: the
    row in the state of each row of the search (R,)."""

    state: Any
    log_p: np.ndarray | None
    rows: np.ndarray


class Prompted:
    """A stepper for which each "image" of a search is one question about the same picture: its rows continue their own
    prompt, begin mark included. A row that has ended is not computed any more: its log-probabilities are 0."""

    def __init__(self, reader: Reader, prompts: Sequence[Sequence[int]], eos_id: int) -> None:
        self._reader, self._prompts, self._eos_id = reader, prompts, eos_id

    def start(self, image_state: Any, rows_per_image: int, prompt_ids: Sequence[int] = ()) -> Progress:
        """The state of the prompts, which are read once for all hypotheses."""
        log_p, state = self._reader.read(image_state, self._prompts)
        return Progress(state, log_p, np.arange(len(self._prompts)).repeat(rows_per_image))

    def step(self, token_ids: np.ndarray, state: Progress, parents: np.ndarray) -> tuple[np.ndarray, Progress]:
        """As every stepper, but for the first time, when the search hands in the begin mark: that was read."""
        if state.log_p is not None:
            return state.log_p[state.rows], state._replace(log_p=None)
        (going,) = np.nonzero(token_ids != self._eos_id)
        computed, grown = self._reader.step(token_ids[going], state.state, state.rows[parents[going]])
        log_p = np.zeros((len(token_ids), computed.shape[1]), computed.dtype)
        log_p[going] = computed
        rows = np.zeros(len(token_ids), np.int64)
        rows[going] = np.arange(len(going))
        return log_p, Progress(grown, None, rows)


def check_answers(bundle: Bundle) -> None:
    """Raise ConfigError for a model that was not trained to answer; the message says how to get one that was."""
    if bundle.questions is None:
        raise ConfigError(f"model {bundle.name!r} writes captions and answers no questions; {how_to_get_one()}")


def how_to_get_one() -> str:
    """What to do for a model that answers."""
    told = [
        f"'fastcap build {name}' ({worth})"
        for name, worth in ANSWERING.items()
        if (ADAPTERS / name / "config.json").is_file()
    ]
    if told:
        return f"{' or '.join(told)} makes one that answers: docs/fastvlm.md"
    return "docs/fastvlm.md says how one that does is trained, none is part of this installation"


class How(TypedDict, total=False):
    """How questions are asked, as keywords; see `Captioner.ask`."""

    history: Sequence[Turn]
    beams: int


@dataclass(frozen=True)
class Answer:
    """The answer to `question`; `confidence` from 0 to 1, about the share of such answers that are right.

    `milliseconds`: wall time from the source, or from what `Captioner.encode` gave; questions that were asked together
    share it equally.
    """

    question: str
    text: str
    confidence: float
    milliseconds: float

    def __str__(self) -> str:
        return self.text


class Prompts:
    """Questions about one picture as a model reads them; arguments as of `Captioner.ask`.

    Attributes:
        ids: the tokens of each question, begin mark included, behind the turns of `history`.
        opening: tokens with which every prompt begins, whatever is asked: the begin mark, and the template before the
            question as far as it has tokens of its own.

    Raises ConfigError for a question that is no text, empty or too long, or a history that does not end with an answer.
    """

    def __init__(
        self,
        bundle: Bundle,
        tokenizer: Tokenizer,
        questions: str | Sequence[str],
        history: Sequence[Turn] = (),
        beams: int = 1,
    ) -> None:
        assert bundle.questions is not None
        settings(Options)["beams"].check("beams", beams)
        self._bundle, self._tokenizer, self.beams = bundle, tokenizer, beams
        self._questions = [questions] if isinstance(questions, str) else list(many(questions, "questions"))
        if not 1 <= len(self._questions) <= MAX_QUESTIONS:
            raise ConfigError(f"got {len(self._questions)} questions; allowed are 1 to {MAX_QUESTIONS}")
        for place, question in enumerate(self._questions):
            one_text(question, "the question" if len(self._questions) == 1 else f"question {place}")
        history = list(many(history, "turns"))
        if history:
            check_turns(history, asks=False)
        self.ids = [self._ids(question, history, bundle.questions) for question in self._questions]
        before = bundle.questions.template.partition(PLACE)[0].rstrip()  # a space belongs to the question's first token
        opening = bundle.vocabulary.bos_id, *encode(tokenizer, before)
        shared = all(tuple(ids[: len(opening)]) == opening for ids in self.ids)
        self.opening = opening if shared else opening[:1]

    def _ids(self, question: str, history: Sequence[Turn], limits: Questions) -> list[int]:
        turns = check_turns([*history, Turn(USER, question)], asks=True)
        vocabulary = self._bundle.vocabulary
        ids = encode_prompt(self._tokenizer, turns, limits.template, vocabulary.eos_id)
        if len(ids) > limits.tokens:
            before = " with the turns before it" if history else ""
            raise ConfigError(
                f"the question has {len(ids)} tokens{before}; model {self._bundle.name!r} reads at most {limits.tokens}"
            )
        return [vocabulary.bos_id, *ids]

    def answers(self, decoded: Sequence[Decoded], started: float) -> list[Answer]:
        """What was decoded, as answers; `started`: what `time.perf_counter` said."""
        assert self._bundle.questions is not None
        milliseconds = 1000 * (time.perf_counter() - started) / len(decoded)
        return [
            Answer(
                question,
                decode(self._tokenizer, each.token_ids),
                self._bundle.questions.confidence(each.probability),
                milliseconds,
            )
            for question, each in zip(self._questions, decoded, strict=True)
        ]


def search_answers(
    reader: Reader,
    image_state: Any,
    prompts: Sequence[Sequence[int]],
    vocabulary: Vocabulary,
    longest: int,
    beams: int,
) -> list[Hypothesis]:
    """The best answer to each prompt, of at most `longest` tokens; greedy with one beam."""
    from fastcap.generation.autoregressive import beam_search  # a caption starts without it

    best: list[Hypothesis] = []
    for start in range(0, len(prompts), TOGETHER):
        part = prompts[start : start + TOGETHER]
        found = beam_search(
            Prompted(reader, part, vocabulary.eos_id),
            image_state,
            len(part),
            beams=beams,
            max_length=longest,
            bos_id=vocabulary.bos_id,
            eos_id=vocabulary.eos_id,
            forbidden=vocabulary.barred_in_search,
        )
        best += [hypotheses[0] for hypotheses in found]
    return best
