"""What a caller may ask of a captioner: one frozen object for Python, the command line, the server and bulk jobs.

A new option is a new field here and needs no other edit: the front ends derive their flags, query parameters, form
fields and records from the fields of `Options` and `Sampling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from fastcap.errors import ConfigError, nearest
from fastcap.runtime.contract import DECODES

if TYPE_CHECKING:
    from fastcap.runtime.bundle import Bundle

__all__ = [
    "LEAST_END",
    "LEAST_TOKEN",
    "LENGTH_BEAMS",
    "MAX_BEAMS",
    "NO_REPEAT",
    "WORD_SPREAD",
    "Keywords",
    "Options",
    "Plan",
    "Sampling",
    "Setting",
    "option",
    "settings",
]

MAX_BEAMS = 8
WORD_SPREAD = 4  # a word is one token or a few: captions of n words have about n to n + 4 tokens
# Of every length that is not "normal"; chosen on val, where fewer beams miss more of the numbers, and a smaller least
# probability lets more captions run on without sense (docs/log.md).
LENGTH_BEAMS = 16
NO_REPEAT = 2  # no two tokens in a row come twice: "in the water in the water" says no more
LEAST_TOKEN, LEAST_END = 0.02, 0.001  # probabilities below which a token, or the end, is taken for a mistake


class Setting(NamedTuple):
    """How front ends describe and check one field. The option has the type of `default`; None stands for a text.

    `told`: one line of help. `metavar`: the value's placeholder on the command line.
    `between`: smallest and largest number, or a function that reads them off a model. `unit`: what to call the number;
    by default "whole numbers" or "numbers". `names`: a function that reads the allowed texts off a model. `decode`: the
    only way of decoding that uses the option. `usual`: what to call the default, if its value does not say it.
    `served`: whether a server may have another default, for every request that asks for no other value.
    """

    default: Any
    told: str
    metavar: str = "N"
    between: tuple[float, float] | Callable[[Any], tuple[float, float]] | None = None
    unit: str = ""
    names: Callable[[Any], Iterable[str]] | None = None
    decode: str | None = None
    usual: str = ""
    served: bool = False

    def range(self, bundle: Bundle | None) -> tuple[float, float] | None:
        """Smallest and largest number that this model takes; None if the option is no number."""
        return self.between(bundle) if callable(self.between) else self.between

    def texts(self, bundle: Bundle | None) -> tuple[str, ...]:
        """The texts that this model takes; none if it takes any text, or only numbers."""
        return tuple(self.names(bundle)) if self.names else ()

    def allowed(self, bundle: Bundle | None) -> str:
        """As messages say it: "short, normal, long or a number of words from 4 to 24"."""
        if isinstance(self.default, bool):
            return "true and false"
        numbers = self.range(bundle)
        unit = self.unit or ("numbers" if isinstance(self.default, float) else "whole numbers")
        span = f"{unit} from {numbers[0]} to {numbers[1]}" if numbers else ""
        return " or ".join(filter(None, (", ".join(self.texts(bundle)), span))) or "any text"

    def check(self, name: str, value: Any, bundle: Bundle | None = None) -> None:
        """Raise ConfigError unless this model takes the value."""
        texts, numbers = self.texts(bundle), self.range(bundle)
        if value is self.default is None or not (texts or numbers):
            return
        if numbers and not isinstance(value, str):
            kinds = (int, float) if isinstance(self.default, float) else (int,)
            fits = type(value) in kinds and numbers[0] <= value <= numbers[1]
        else:
            fits = value in texts
        if not fits:
            near = nearest(value, texts) if isinstance(value, str) else ""
            raise ConfigError(f"{name} is {value!r}{near}; allowed are {self.allowed(bundle)}")


def option(default: Any, told: str, metavar: str = "N", **facts: Any) -> Any:
    """A dataclass field with its `Setting`."""
    return field(default=default, metadata={"setting": Setting(default, told, metavar, **facts)})


def settings(*kinds: type[Options] | type[Sampling]) -> dict[str, Setting]:
    """The settings of `Options`, of `Sampling`, or of both side by side, by name."""
    return {each.name: each.metadata["setting"] for kind in kinds for each in fields(kind) if each.metadata}


@dataclass(frozen=True)
class Sampling:
    """How captions are drawn at random, token by token. By default from the likeliest 50, and of these from as many as
    have 0.95 of the probability together: the rest is mostly pieces of words, and spells what is no word.

    `temperature`: divides the logarithms of the probabilities; below 1 prefers likely tokens, above 1 levels them.
    `top_k`: only this many of the likeliest tokens may be drawn; 0 for all.
    `top_p`: of these, only the likeliest whose probabilities first sum to this (Holtzman et al. 2020).
    `seed`: the same seed draws the same captions of a picture, whatever other pictures are captioned with it.
    `no_repeat`: no sequence of this many tokens occurs twice in a caption; 0 for no such guard.

    Raises ConfigError for a value out of its range.
    """

    temperature: float = option(1.0, "below 1 prefers what is likely, above 1 levels", "X", between=(0.01, 100.0))
    top_k: int = option(50, "likeliest tokens that may be drawn, 0 for all", between=(0, 2**20))  # largest vocabulary
    top_p: float = option(0.95, "and of these as many as have this probability together", "P", between=(0.01, 1.0))
    seed: int = option(0, "the same one draws the same captions", between=(0, 2**32 - 1))
    no_repeat: int = option(
        0,
        "tokens in a row that are never said twice, 0 for no such guard",
        between=(0, 512),  # longest caption
    )

    def __post_init__(self) -> None:
        for name, setting in settings(type(self)).items():
            setting.check(name, getattr(self, name))


class Keywords(TypedDict, total=False):
    """The fields of `Options` as keywords, for type checkers."""

    length: str | int
    candidates: int
    neutral: bool
    decode: str | None
    no_memory: bool
    min_confidence: float
    hedge: float
    beams: int
    sampling: Sampling | None


@dataclass(frozen=True)
class Options:
    """How a picture is captioned.

    `length`: "short", "normal" or "long", or a number of words. For all but "normal", captions of every length are
    searched from left to right, and those are left out that the network itself takes for a mistake or that stop where a
    word is due ("A man in a"); for a number, of the others the nearest to it is chosen, so a caption has fewer words
    where there is no more to say. Parallel decoding and samples know only lengths in tokens: those from the number
    upwards are decoded, what stops early is cut back to where a sentence may end, and comes after what is whole with
    the confidence of what was cut. Parallel captions of a length that the network would not choose often read badly.
    `candidates`: up to how many different wordings to return: the caption, and others that are sentences, no token of
    which is improbable. Fewer if wordings coincide or the length leaves no more. Where neither a way of decoding nor a
    length is asked for, beam search finds the others, if the model can: parallel decoding writes whole sentences of the
    length that the network chooses, and broken ones of others. The caption is the one of `candidates=1`.
    `neutral`: name nobody's gender: the same captions in other words, with the tokens and confidences of before; see
    `fastcap.runtime.neutral`. Wordings that become equal are one, and more are decoded in their place.
    `decode`: "parallel", all tokens at once in a few passes; or, from left to right with the same network, "greedy" or
    "beam" search, or "sample", drawn at random. None is the first that the model can do (`Bundle.decodes`), and
    "beam", if it can, for a length other than "normal".
    `no_memory`: rank candidates by the probability that the network gives them alone. A model whose directory has a
    memory also asks how like a candidate is what people said of similar pictures; see `fastcap.runtime.ranking`.
    `min_confidence`: a caption whose confidence is lower is not given: its text is "". What is no photo has a lowered
    confidence, if the model can tell (`Caption.kind`). 0, the default, gives every caption.
    `hedge`: a caption whose confidence is lower begins with "Maybe: ", and so does any of a picture that is no photo.
    0, the default, hedges nothing.
    `beams`: hypotheses that beam search keeps, 1 to 8; at least as many as `candidates`, and at least 16 for a length
    other than "normal".
    `sampling`: temperature, seed and the other settings of "sample"; refused for another `decode`. None is
    `Sampling()`.
    """

    length: str | int = option(
        "normal",
        "length of the caption: a name, or a number of words",
        "short|normal|long|N",
        between=lambda bundle: (bundle.decoding.min_length, bundle.decoding.max_length),
        unit="a number of words",
        names=lambda bundle: bundle.decoding.lengths,
    )
    candidates: int = option(
        1,
        "up to so many different wordings, all of them sentences",
        between=lambda bundle: (1, bundle.decoding.max_candidates),
    )
    neutral: bool = option(False, "say nothing of anybody's gender")
    decode: str | None = option(
        None,
        "all words at once, or in turn",
        "|".join(DECODES),
        names=lambda bundle: bundle.decodes,
        usual="parallel; beam for other lengths than normal, or a model that cannot",
    )
    no_memory: bool = option(False, "rank candidates by probability alone, though the model has a memory")
    min_confidence: float = option(
        0.0,
        "give no caption whose confidence is lower, which is low for what is no photo",
        "P",
        between=(0.0, 1.0),
        served=True,
    )
    hedge: float = option(
        0.0,
        'begin captions with "Maybe: " whose confidence is lower, and those of no photos',
        "P",
        between=(0.0, 1.0),
        served=True,
    )
    beams: int = option(3, "hypotheses of decode=beam", between=(1, MAX_BEAMS), decode="beam")
    sampling: Sampling | None = None

    @classmethod
    def of(cls, options: Options | None, keywords: Keywords) -> Options:
        """`options`, or the default ones, with the fields in `keywords` replaced. Raises ConfigError."""
        if not isinstance(options, (cls, NoneType)):
            raise ConfigError(f"options is {options!r}; allowed: an Options, or its fields as keywords")
        return replace(options or cls(), **keywords)

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Options:
        """Options from single values by name, those of `Sampling` among them, as a command line or a query has them."""
        drawn = {name: values[name] for name in settings(Sampling) if name in values}
        own = {name: value for name, value in values.items() if name not in drawn}
        return cls(**own, sampling=Sampling(**drawn) if drawn else None)

    def changed(self, bundle: Bundle) -> dict[str, Any]:
        """Single values by name, those of `Sampling` among them, where they differ from the model's defaults."""

        def flat(options: Options) -> dict[str, Any]:
            own = {name: getattr(options, name) for name in settings(type(options))}
            return own | asdict(options.sampling or Sampling())

        usual = flat(type(self)(decode=replace(self, decode=None)._decode(bundle)))
        return {name: value for name, value in flat(self).items() if value not in (None, usual[name])}

    def facts(self, bundle: Bundle) -> dict[str, Any]:
        """What a measurement records, fit for JSON: `decode` by its name, and no option that it does not use."""
        decode = self._decode(bundle)
        named = replace(self, decode=decode)
        used = (name for name, setting in settings(type(self)).items() if setting.decode in (None, decode))
        sampling = {"sampling": asdict(self.sampling or Sampling())} if decode == "sample" else {}
        return {name: getattr(named, name) for name in used} | sampling

    def plan(self, bundle: Bundle) -> Plan:
        """What these options ask of a model.

        Raises:
            ConfigError: an option out of its range, or a way of decoding that the model directory has no graphs for.
        """
        decode = self._decode(bundle)
        for name, setting in settings(type(self)).items():
            setting.check(name, getattr(self, name), bundle)
        if decode == "greedy" and self.candidates > 1:
            raise ConfigError(f"candidates is {self.candidates}; greedy search finds 1, beam search up to {MAX_BEAMS}")
        if self.sampling is not None and decode != "sample":
            raise ConfigError(f"decode is {decode!r}; {', '.join(settings(Sampling))} go with 'sample' alone")
        if decode == "parallel" and self.decode is None and self.candidates > 1 and "beam" in bundle.decodes:
            others = replace(self, decode="beam").plan(bundle)
            return replace(self, candidates=1).plan(bundle)._replace(others=others)
        limits = bundle.decoding
        every_length = self.length != "normal" and decode in ("greedy", "beam")
        if isinstance(self.length, str):
            words = None
            low, high = limits.lengths[self.length]
            decoded = max(self.candidates, limits.default_candidates)
        else:
            words = self.length
            decoded = min(max(self.candidates, WORD_SPREAD + 1), limits.max_candidates)
            low = limits.min_length if every_length else words
            high = min(words + (WORD_SPREAD if every_length else decoded - 1), limits.max_length)
        beams = 1 if decode == "greedy" else max(self.beams, self.candidates, LENGTH_BEAMS if every_length else 1)
        sampling = self.sampling or Sampling() if decode == "sample" else None
        decoded = min(decoded, high - low + 1)
        return Plan(
            low,
            high,
            decoded,
            self.candidates,
            words,
            self.neutral,
            decode,
            beams,
            sampling,
            every_length,
            self.no_memory,
            min_confidence=self.min_confidence,
            hedge=self.hedge,
        )

    def _decode(self, bundle: Bundle) -> str:
        decode = self.decode
        if decode is None:
            decode = "beam" if self.length != "normal" and "beam" in bundle.decodes else bundle.decodes[0]
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

    `low`, `high`: lengths in tokens. `decoded`: how many captions to decode. `returned`: how many wordings to return.
    `words`: the number of words asked for, or None. `every_length`: whether to search captions of every length from
    left to right, and to choose among them; else a search ends them between `low` and `high`. `others`: how further
    wordings are decoded, if otherwise than the first. `min_confidence`, `hedge`: as in `Options`.
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
    every_length: bool = False
    no_memory: bool = False
    others: Plan | None = None
    min_confidence: float = 0.0
    hedge: float = 0.0
