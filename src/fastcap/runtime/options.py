"""What a caller may ask of a captioner: one frozen object for Python, the command line, the server and bulk jobs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from fastcap.errors import ConfigError, nearest
from fastcap.runtime.contract import DECODES

if TYPE_CHECKING:
    from typing import TypedDict

    from fastcap.runtime.bundle import Bundle

    class Keywords(TypedDict, total=False):
        """The fields of `Options`, as keywords."""

        length: str | int
        candidates: int
        neutral: bool
        decode: str | None
        beams: int
        sampling: Sampling | None


__all__ = ["MAX_BEAMS", "RANGES", "Options", "Plan", "Sampling"]

MAX_BEAMS = 8
_WORD_SPREAD = 4  # a word is one token or a few: captions of n words have about n to n + 4 tokens

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.01, 100.0),
    "top_k": (0, 2**20),  # the largest vocabulary
    "top_p": (0.01, 1.0),
    "seed": (0, 2**32 - 1),
    "no_repeat": (0, 512),  # the longest caption
}
"""The smallest and the largest value of each setting."""

_WHOLE = ("top_k", "seed", "no_repeat")


@dataclass(frozen=True)
class Sampling:
    """How captions are drawn at random, token by token; by default from the probabilities as the model gives them.

    `temperature`: divides the logarithms of the probabilities; below 1 prefers what is likely, above 1 levels.
    `top_k`: only that many likeliest tokens may be drawn; 0 for all.
    `top_p`: and of these only the likeliest whose probabilities first sum up to this (Holtzman et al. 2020).
    `seed`: the same one draws the same captions of a picture, whatever other pictures are captioned with it.
    `no_repeat`: no sequence of that many tokens is said twice in a caption; 0 for no such guard.

    Raises ConfigError for a value outside `RANGES`.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    no_repeat: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value: Any = getattr(self, name)
            numbers = (int,) if name in _WHOLE else (int, float)
            if type(value) not in numbers or not low <= value <= high:
                kind = "whole numbers" if name in _WHOLE else "numbers"
                raise ConfigError(f"{name} is {value!r}; allowed are {kind} from {low} to {high}")


@dataclass(frozen=True)
class Options:
    """How a picture is captioned.

    `length`: "short", "normal" or "long", or a number of words. The network counts in tokens, so for a number the
    lengths from that many tokens upwards are decoded, and the caption with exactly that many words is chosen, the most
    confident if several; if none has, the nearest.
    `candidates`: how many different wordings to return at most; fewer when wordings coincide or the length leaves no
    more. The model's default number is decoded in any case, and the best wins.
    `neutral`: say nothing of anybody's gender; see `fastcap.runtime.neutral`. `tokens` are those that the decoder
    chose, also where a gendered word that it spelt from pieces was replaced in `text`.
    `decode`: "parallel", all tokens at once in a few passes; or, from left to right with the same network, "greedy" or
    "beam" search, or "sample", drawn at random. None is the first that the model can do (`Bundle.decodes`).
    `beams`: hypotheses that beam search keeps, 1 to 8; at least as many as `candidates`.
    `sampling`: temperature, seed and the like of "sample", and of nothing else; None is `Sampling()`.
    """

    length: str | int = "normal"
    candidates: int = 1
    neutral: bool = False
    decode: str | None = None
    beams: int = 3
    sampling: Sampling | None = None

    @classmethod
    def of(cls, options: Options | None, keywords: Keywords) -> Options:
        """Options, of which keywords replace single ones."""
        return replace(options or cls(), **keywords)

    def plan(self, bundle: Bundle) -> Plan:
        """What these options ask of a model.

        Raises:
            ConfigError: an option out of its range, or a way of decoding that the model directory has no graphs for.
        """
        decode = self._decode(bundle)
        limits, candidates = bundle.decoding, self.candidates
        if type(candidates) is not int or not 1 <= candidates <= limits.max_candidates:
            raise ConfigError(
                f"candidates is {candidates!r}; allowed are whole numbers from 1 to {limits.max_candidates}"
            )
        if type(self.beams) is not int or not 1 <= self.beams <= MAX_BEAMS:
            raise ConfigError(f"beams is {self.beams!r}; allowed are whole numbers from 1 to {MAX_BEAMS}")
        if decode == "greedy" and candidates > 1:
            raise ConfigError(f"candidates is {candidates}; greedy search finds 1, beam search up to {MAX_BEAMS}")
        if self.sampling is not None and decode != "sample":
            raise ConfigError(f"decode is {decode!r}; {', '.join(asdict(self.sampling))} go with 'sample' alone")
        words = None
        if isinstance(self.length, str):
            if self.length not in limits.lengths:
                raise ConfigError(
                    f"length is {self.length!r}{nearest(self.length, limits.lengths)}; "
                    f"allowed are {', '.join(limits.lengths)} or a number of words"
                )
            low, high = limits.lengths[self.length]
            decoded = max(candidates, limits.default_candidates)
        else:
            if type(self.length) is not int or not limits.min_length <= self.length <= limits.max_length:
                raise ConfigError(
                    f"length is {self.length!r}; allowed are {', '.join(limits.lengths)} "
                    f"or a number of words from {limits.min_length} to {limits.max_length}"
                )
            words = low = self.length
            decoded = min(max(candidates, _WORD_SPREAD + 1), limits.max_candidates)
            high = min(low + decoded - 1, limits.max_length)
        beams = 1 if decode == "greedy" else max(self.beams, candidates)
        sampling = self.sampling or Sampling() if decode == "sample" else None
        decoded = min(decoded, high - low + 1)
        return Plan(low, high, decoded, candidates, words, self.neutral, decode, beams, sampling)

    def _decode(self, bundle: Bundle) -> str:
        decode = self.decode if self.decode is not None else bundle.decodes[0]
        if decode not in DECODES:
            raise ConfigError(f"decode is {decode!r}{nearest(str(decode), DECODES)}; allowed are {', '.join(DECODES)}")
        if decode == "parallel" and "parallel" not in bundle.decodes:
            raise ConfigError(
                f"decode is 'parallel'; model {bundle.name!r} writes from left to right: allowed are "
                f"{', '.join(bundle.decodes)}"
            )
        if decode not in bundle.decodes:
            raise ConfigError(
                f"decode is {decode!r}; model {bundle.name!r} has no encode.onnx and step.onnx, which that takes: "
                "allowed is parallel"
            )
        return decode


class Plan(NamedTuple):
    """What to ask of an engine, and what to return.

    `low`, `high`: lengths in tokens. `decoded`: how many of them. `returned`: wordings to return. `words`: how many
    were asked for, or None.
    """

    low: int
    high: int
    decoded: int
    returned: int
    words: int | None
    neutral: bool
    decode: str
    beams: int
    sampling: Sampling | None
