"""What a model directory is: its files, the tensors of its graphs and the sections of its manifest, for every kind of
model.

`fastcap.export` writes by it, `fastcap.runtime` reads by it, and `scripts/web_contract.py` writes the web page's
constants from it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fastcap.vocabulary import Vocabulary

if TYPE_CHECKING:
    from fastcap.config import ModelConfig

__all__ = [
    "DECODES",
    "ENCODE",
    "FORMAT",
    "GRAPHS",
    "IMAGE_VECTORS",
    "KINDS",
    "LEFT_TO_RIGHT",
    "MANIFEST",
    "MODEL",
    "STATE",
    "STEP",
    "TEXT",
    "TOKENIZER",
    "Alignment",
    "Calibration",
    "Decoding",
    "File",
    "Graph",
    "Kind",
    "Manifest",
    "Preprocessing",
    "Tensor",
    "decodes",
    "named_lengths",
]

_Manifest = TypeVar("_Manifest", bound="Manifest")

FORMAT = 2
MANIFEST, TOKENIZER = "model.json", "tokenizer.json"
UINT8, INT64, FLOAT = "tensor(uint8)", "tensor(int64)", "tensor(float)"


class Tensor(NamedTuple):
    """An input or output of a graph: its type as ONNX Runtime names it, and its shape.

    Letters of shapes: H, W height and width of the model's pictures; K candidate captions, T tokens, R rows (captions
    that are decoded side by side); V vocabulary, A the space in which pictures and texts are compared; S keys and
    values in turn of each layer, N heads, D width of a head. H, W and V are those of the manifest, S, N and D those of
    the graph; K, T and R change from run to run.
    """

    type: str
    shape: tuple[int | str, ...]


class Graph(NamedTuple):
    """A file of a model directory, and its tensors by name.

    Attributes:
        file: its name.
        inputs, outputs: what it always has.
        gives_state, reads_state: whether it also gives or reads the picture's state: tensors `state0`, `state1`, ...,
            as many and of such types and shapes as the model's decoder needs, the same on both sides.
        gives_vectors: whether it may also give `IMAGE_VECTORS`.
    """

    file: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    gives_state: bool = False
    reads_state: bool = False
    gives_vectors: bool = False


STATE = "state"
"""The name of a tensor of the picture's state, before its number."""

IMAGE_VECTORS = {"image_vectors": Tensor(FLOAT, (1, "A"))}
"""A picture as a unit vector beside those of texts: of the graph that `Kind.vectors` names, where there is a `TEXT`."""

_IMAGES = {"images": Tensor(UINT8, (1, "H", "W", 3))}

MODEL = Graph(
    "model.onnx",
    inputs={
        **_IMAGES,
        "length_range": Tensor(INT64, (2,)),
        "candidates": Tensor(INT64, (1,)),
        "penalties": Tensor(FLOAT, ("V",)),
    },
    outputs={
        "token_ids": Tensor(INT64, (1, "K", "T")),
        "lengths": Tensor(INT64, (1, "K")),
        "confidences": Tensor(FLOAT, (1, "K")),
        "token_confidences": Tensor(FLOAT, (1, "K", "T")),
    },
    gives_vectors=True,
)
"""Pixels to captions, best first, by parallel decoding. `length_range`: the smallest and the largest length in tokens;
`candidates`: how many of the likeliest lengths are decoded; `penalties`: added to the logits of the vocabulary."""

ENCODE = Graph("encode.onnx", inputs=_IMAGES, outputs={}, gives_state=True, gives_vectors=True)
"""Pixels to all that decoding from left to right needs of the picture."""

STEP = Graph(
    "step.onnx",
    inputs={
        "token_ids": Tensor(INT64, ("R",)),
        "parents": Tensor(INT64, ("R",)),
        "cache": Tensor(FLOAT, ("S", "N", "R", "T", "D")),
    },
    outputs={"log_p": Tensor(FLOAT, ("R", "V")), "new_cache": Tensor(FLOAT, ("S", "N", "R", "T+1", "D"))},
    reads_state=True,
)
"""One more token of each row. `parents`: the row of `cache` whose past each row continues; `log_p`: log-probabilities
of the token that comes next."""

TEXT = Graph(
    "text.onnx",
    inputs={"text_ids": Tensor(INT64, (1, "T"))},
    outputs={"text_vectors": Tensor(FLOAT, (1, "A"))},
)
"""A text to a unit vector; there where the manifest has an `alignment`."""

GRAPHS = {graph.file: graph for graph in (MODEL, ENCODE, STEP, TEXT)}
LEFT_TO_RIGHT = (ENCODE.file, STEP.file)
"""What decoding from left to right takes; a directory has both or neither."""

DECODES = ("parallel", "greedy", "beam", "sample")
"""Ways of decoding; all but the first go from left to right."""


class Kind(NamedTuple):
    """A family of models. `graphs`: files that it must have. `vectors`: that which gives the vector of a picture.
    `decodes`: ways of decoding, the usual one first; those from left to right where `LEFT_TO_RIGHT` is there."""

    graphs: tuple[str, ...]
    vectors: str
    decodes: tuple[str, ...]


KINDS = {
    "parallel": Kind((MODEL.file,), MODEL.file, DECODES),
    "autoregressive": Kind(LEFT_TO_RIGHT, ENCODE.file, ("beam", "greedy", "sample")),
}


def decodes(kind: str, files: Collection[str]) -> tuple[str, ...]:
    """The ways of decoding of a directory with these files, the usual one first."""
    return tuple(way for way in KINDS[kind].decodes if way == "parallel" or ENCODE.file in files)


class Preprocessing(NamedTuple):
    """What happens to a picture before the graph sees it. `width`, `height` in pixels."""

    width: int
    height: int
    resize: str = "squash"
    resample: str = "bilinear"


class Decoding(NamedTuple):
    """Limits of the decoder. Lengths in tokens; `lengths` maps a name to (smallest, largest)."""

    passes: int
    min_length: int
    max_length: int
    max_candidates: int
    default_candidates: int
    lengths: Mapping[str, tuple[int, int]]


class Calibration(NamedTuple):
    """How a caption's probability becomes its confidence: `sigmoid(scale * logit(p) + offset)`, fitted so that the
    confidence is the share of the caption's content words that people use as well. The defaults change nothing."""

    scale: float = 1.0
    offset: float = 0.0

    def confidence(self, probability: float) -> float:
        """From 0 to 1, in the order of the probabilities."""
        p = min(max(probability, 1e-6), 1 - 1e-6)
        return _sigmoid(self.scale * math.log(p / (1 - p)) + self.offset)


class Alignment(NamedTuple):
    """How the cosine of a picture and a text becomes a score: `sigmoid(scale * cosine + offset)`, fitted so that the
    score is the probability that the text was written of this picture rather than of another one."""

    scale: float = 1.0
    offset: float = 0.0

    def score(self, cosine: float) -> float:
        """From 0 to 1, in the order of the cosines."""
        return _sigmoid(self.scale * cosine + self.offset)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-min(max(x, -30), 30)))


MAX_CANDIDATES = 8  # captions of one picture that may be asked for at once; each costs time
SHORT, LONG = 9, 13  # tokens: at most this many is short, at least this many is long


def named_lengths(low: int, high: int) -> dict[str, tuple[int, int]]:
    """What "short", "normal" and "long" mean in tokens, for captions of `low` to `high` of them."""
    return {
        "short": (low, max(low, min(SHORT, high))),
        "normal": (low, high),
        "long": (min(LONG, high), high),
    }


class File(NamedTuple):
    """What the manifest says of a file: its size, and the SHA-256 of its content in hexadecimal digits."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `model.json` says. Its keys are these fields and `format`, which is `FORMAT`; a field that is None is left
    out. The keys of a section are the fields of its class.

    Attributes:
        kind: a key of `KINDS`.
        name, description, licence: for people.
        alignment: there is one where there is a `TEXT`.
        architecture, unheld: the model's settings, and the weights that no graph holds, flat, by name: with these,
            `fastcap checkpoint` turns the directory back into a checkpoint.
        files: all files but the manifest, by name. A graph may keep weights in other files that are listed here.
        quality, speed: measured figures that the directory states about itself, free in form.
    """

    kind: str
    name: str
    description: str = ""
    licence: str = ""
    preprocessing: Preprocessing
    vocabulary: Vocabulary
    decoding: Decoding
    calibration: Calibration = field(default_factory=Calibration)
    alignment: Alignment | None = None
    architecture: Mapping[str, Any] | None = None
    unheld: Mapping[str, Any] | None = None
    files: Mapping[str, File]
    quality: Mapping[str, Any] = field(default_factory=dict)
    speed: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls: type[_Manifest], config: ModelConfig, **rest: Any) -> _Manifest:
        """That of a model with these settings; `rest`: what they do not say."""
        size, generation = config.image_size, config.generation
        decoding = Decoding(
            passes=generation.passes,
            min_length=1,
            max_length=config.max_length,
            max_candidates=MAX_CANDIDATES,
            default_candidates=generation.candidates,
            lengths=named_lengths(generation.min_length, config.max_length),
        )
        return cls(
            kind=config.kind,
            preprocessing=Preprocessing(size, size),
            vocabulary=config.vocabulary,
            decoding=decoding,
            **rest,
        )

    def as_json(self) -> dict[str, Any]:
        """The content of `model.json`."""
        sections = {"vocabulary": vars(self.vocabulary), "files": {name: f._asdict() for name, f in self.files.items()}}
        for name in ("preprocessing", "decoding", "calibration", "alignment"):
            sections[name] = (section := getattr(self, name)) and section._asdict()
        values = {"format": FORMAT, **vars(self), **sections}
        return {key: value for key, value in values.items() if value is not None}
