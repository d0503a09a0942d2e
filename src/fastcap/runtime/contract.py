"""What a model directory holds, for each kind of model: its files, the tensors of its graphs, the keys of its manifest.

| file | what it is | parallel | autoregressive | prefix |
| --- | --- | --- | --- | --- |
| model.json | `Manifest`: facts, limits, sizes and hashes | required | required | required |
| tokenizer.json | a tokenizer of the `tokenizers` library | required | required | required |
| model.onnx | `MODEL`: pixels to captions | required | - | - |
| encode.onnx, step.onnx | `ENCODE`, `STEP`: captions from left to right | both or neither | required | - |
| the four of `PREFIX_GRAPHS` | captions from left to right by a language model | - | - | required |
| scale1.onnx, ... | scales of the vision part | - | - | with `exits` |
| language_model.data | weights of theirs | - | - | as they ask for it |
| text.onnx | `TEXT`: texts to vectors, for scores | with `alignment` | with `alignment` | with `alignment` |
| words.npz | which words people use of a picture, to rank by | with `ranking` | with `ranking` | with `ranking` |
| memory.npz | what people said of pictures, to rank by, too | with `ranking` | with `ranking` | with `ranking` |
| photo.json | tells photos from other pictures; needs an `alignment` | optional | optional | optional |

`fastcap.export` writes directories by this module, `fastcap.runtime` reads them by it, and
`scripts/web_constants.py` writes the constants of the web page from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fastcap.runtime.fitted import Alignment, Calibration, Exits, Questions, Ranking, Weights
from fastcap.vocabulary import Vocabulary

if TYPE_CHECKING:
    from fastcap.config import ModelConfig

__all__ = [
    "ANSWERING",
    "DECODES",
    "ENCODE",
    "FORMAT",
    "GRAPHS",
    "IMAGE_VECTORS",
    "KINDS",
    "LANGUAGE_MODEL",
    "LANGUAGE_WEIGHTS",
    "LEFT_TO_RIGHT",
    "MANIFEST",
    "MEMORY",
    "MODEL",
    "PHOTO",
    "PICTURES",
    "PREFIX_GRAPHS",
    "PREFIX_INIT",
    "PROJECTION",
    "RANKED_AS",
    "SCALED",
    "STATE",
    "STEP",
    "TEXT",
    "TOKENIZER",
    "VISION_ENCODER",
    "WORDS",
    "Alignment",
    "Calibration",
    "Decoding",
    "Exits",
    "File",
    "Graph",
    "Kind",
    "Manifest",
    "Preprocessing",
    "Questions",
    "Ranking",
    "Tensor",
    "Weights",
    "decodes",
    "named_lengths",
    "ranked_as",
    "scale_file",
]

_Manifest = TypeVar("_Manifest", bound="Manifest")

FORMAT = 2
MANIFEST, TOKENIZER = "model.json", "tokenizer.json"
MEMORY, WORDS, PHOTO = "memory.npz", "words.npz", "photo.json"
PICTURES = ("photo", "blank", "text", "screen", "chart", "drawing")
"""Kinds of pictures that a directory with `PHOTO` tells apart."""
UINT8, INT64, FLOAT = "tensor(uint8)", "tensor(int64)", "tensor(float)"


class Tensor(NamedTuple):
    """An input or output of a graph: its type as ONNX Runtime names it, and its shape.

    Letters of shapes: H, W height and width of the model's pictures; V size of the vocabulary; A width of the space in
    which pictures and texts are compared; S twice the number of layers (keys, then values of each), N heads, D width of
    a head; I image tokens of C numbers; P tokens of a prefix of E numbers; K candidate captions, T tokens,
    U further tokens, R rows (captions that are decoded side by side). The manifest states H, W and V, the graph A, S,
    N, D, I, C, P and E; K, T, U and R change from run to run.
    """

    type: str
    shape: tuple[int | str, ...]


class Graph(NamedTuple):
    """A graph of a model directory, and its tensors by name.

    Attributes:
        file: its name.
        inputs, outputs: the tensors that it always has.
        gives_state, reads_state: whether it also has outputs or inputs `state0`, `state1`, ...: the picture's state,
            in whatever number, types and shapes the decoder needs, the same in both graphs.
        gives_vectors: whether it may also have the output `IMAGE_VECTORS`.
    """

    file: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    gives_state: bool = False
    reads_state: bool = False
    gives_vectors: bool = False


STATE = "state"
"""How the names of the tensors of a picture's state begin; a number follows."""

IMAGE_VECTORS = {"image_vectors": Tensor(FLOAT, (1, "A"))}
"""The picture as a unit vector, comparable with those of `TEXT`: an output of the graph that `Kind.vectors` names, in a
directory that has a `TEXT`."""

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
"""Pixels to the picture's state: all that left-to-right decoding needs."""

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
"""Reads one more token of each row. `cache`: keys and values of the tokens read so far. `parents`: the row of `cache`
that each row continues. `log_p`: log-probabilities of the next token."""

_TOKENS = {"image_tokens": Tensor(FLOAT, (1, "I", "C"))}
_PREFIX = {"prefix": Tensor(FLOAT, (1, "P", "E"))}

VISION_ENCODER = Graph("vision_encoder.onnx", inputs=_IMAGES, outputs=_TOKENS, gives_vectors=True)
"""Pixels to image tokens."""

SCALED = {"sure": Tensor(FLOAT, (1,)), "carry": Tensor(FLOAT, (1, "X", "Y", "Z"))}
"""Further outputs of `VISION_ENCODER`, and of every `scale_file`, with `exits`; see `fastcap.runtime.scales`."""


def scale_file(index: int) -> str:
    """The graph of a scale of the vision part; the first is `VISION_ENCODER`."""
    return f"scale{index}.onnx" if index else VISION_ENCODER.file


PROJECTION = Graph("projection.onnx", inputs=_TOKENS, outputs=_PREFIX)
"""Image tokens to the first words of a language model's text."""

PREFIX_INIT = Graph("prefix_init.onnx", inputs=_PREFIX, outputs={}, gives_state=True)
"""These words to the language model's keys and values, which are the picture's state."""

LANGUAGE_MODEL = Graph(
    "language_model.onnx",
    inputs={**STEP.inputs, "token_ids": Tensor(INT64, ("R", "U")), "padding": Tensor(INT64, ("R",))},
    outputs={**STEP.outputs, "new_cache": Tensor(FLOAT, ("S", "N", "R", "T+U", "D"))},
    reads_state=True,
)
"""Reads U more tokens of each row, as `STEP` reads one. `padding`: how many of the row's first tokens, in cache and
`token_ids` together, stand there only to make rows equally long; none of the others reads them."""

LANGUAGE_WEIGHTS = "language_model.data"
"""The weights that `LANGUAGE_MODEL`, `PREFIX_INIT` and `TEXT` share."""

TEXT = Graph(
    "text.onnx",
    inputs={"text_ids": Tensor(INT64, (1, "T"))},
    outputs={"text_vectors": Tensor(FLOAT, (1, "A"))},
)
"""A text to a unit vector. A directory has it if its manifest has an `alignment`."""

LEFT_TO_RIGHT = (ENCODE.file, STEP.file)
"""The graphs of left-to-right decoding by a decoder of ours; a directory has both or neither."""

PREFIX_GRAPHS = (VISION_ENCODER.file, PROJECTION.file, PREFIX_INIT.file, LANGUAGE_MODEL.file)
"""The graphs of a language model that reads a picture as the beginning of its text, in the order in which they run."""

GRAPHS = {
    graph.file: graph for graph in (MODEL, ENCODE, STEP, VISION_ENCODER, PROJECTION, PREFIX_INIT, LANGUAGE_MODEL, TEXT)
}

DECODES = ("parallel", "greedy", "beam", "sample")
"""Ways of decoding; all but the first decode from left to right."""


class Kind(NamedTuple):
    """A family of models. `graphs`: the files that it must have. `vectors`: the file that gives `IMAGE_VECTORS`.
    `decodes`: its ways of decoding, the default first. `left_to_right`: the graphs that those but "parallel" need: all
    but the last run in turn on a picture, the last one once a token. `own_marks`: whether its tokenizer's marks are
    `<bos>` and so on, all different; a language model of others has its own, one of which may serve twice."""

    graphs: tuple[str, ...]
    vectors: str
    decodes: tuple[str, ...]
    left_to_right: tuple[str, ...] = LEFT_TO_RIGHT
    own_marks: bool = True


KINDS = {
    "parallel": Kind((MODEL.file,), MODEL.file, DECODES),
    "autoregressive": Kind(LEFT_TO_RIGHT, ENCODE.file, ("beam", "greedy", "sample")),
    "prefix": Kind(PREFIX_GRAPHS, VISION_ENCODER.file, ("beam", "greedy", "sample"), PREFIX_GRAPHS, own_marks=False),
}


ANSWERING = ("prefix",)
"""Kinds whose models can be trained to answer questions: those with a language model."""


def decodes(kind: str, files: Collection[str]) -> tuple[str, ...]:
    """The ways of decoding of a directory with these files, the default first."""
    able = set(KINDS[kind].left_to_right) <= set(files)
    return tuple(way for way in KINDS[kind].decodes if way == "parallel" or able)


class Preprocessing(NamedTuple):
    """How a picture becomes the input of a graph: resized to `width` x `height` pixels, whatever its aspect ratio."""

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


RANKED_AS = ("parallel", "search")
"""Kinds of candidates that have weights of their own, since their probabilities mean different things."""


def ranked_as(way: str) -> str:
    """Which of `RANKED_AS` candidates are that were decoded in a way of `DECODES`."""
    return "parallel" if way == "parallel" else "search"


MAX_CANDIDATES = 8  # captions of one picture that may be asked for at once; each costs time
SHORT, LONG = 7, 13  # tokens: at most this many is short, at least this many is long


def named_lengths(low: int, high: int) -> dict[str, tuple[int, int]]:
    """What "short", "normal" and "long" mean in tokens, for a model whose captions have `low` to `high` of them."""
    return {
        "short": (low, max(low, min(SHORT, high))),
        "normal": (low, high),
        "long": (min(LONG, high), high),
    }


class File(NamedTuple):
    """A file as the manifest states it: its size, and the SHA-256 of its content in hexadecimal digits."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of `model.json`. Its keys are these fields and `format`, which is `FORMAT`; a field that is None is
    left out. The keys of a section are the fields of its class.

    Attributes:
        kind: a key of `KINDS`.
        name, description, licence: free texts; the name is not empty.
        alignment: None if the directory has no `TEXT`.
        ranking: None if the directory has neither `WORDS` nor `MEMORY`; one that has needs an alignment, too.
        questions: None if the model was not trained to answer.
        exits: None if the vision part is one graph.
        architecture, unheld: the model's settings, and by name the weights that no graph holds, flat: what
            `fastcap checkpoint` needs to turn the directory back into a checkpoint.
        files: every file but the manifest, by name. A graph may keep weights in another file that is listed here.
        quality, speed: measured figures, in any form.
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
    ranking: Ranking | None = None
    questions: Questions | None = None
    exits: Exits | None = None
    architecture: Mapping[str, Any] | None = None
    unheld: Mapping[str, Any] | None = None
    files: Mapping[str, File]
    quality: Mapping[str, Any] = field(default_factory=dict)
    speed: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls: type[_Manifest], config: ModelConfig, **rest: Any) -> _Manifest:
        """The manifest of a model with these settings; `rest`: the other fields."""
        size, generation = config.image_size, config.generation
        decoding = Decoding(
            passes=generation.passes,
            min_length=1,
            max_length=config.max_length,
            max_candidates=MAX_CANDIDATES,
            default_candidates=generation.candidates,
            lengths=named_lengths(generation.min_length, config.max_length),
        )
        template, tokens = (getattr(config.decoder, name, None) for name in ("template", "question_tokens"))
        questions = Questions(template, tokens) if template and tokens else None
        scales, thresholds = (getattr(config.backbone, name, ()) for name in ("scales", "thresholds"))
        never = (2.0,) * (len(scales) - 1)
        return cls(
            kind=config.kind,
            questions=questions,
            exits=Exits(tuple(thresholds) or never) if len(scales) > 1 else None,
            preprocessing=Preprocessing(size, size),
            vocabulary=config.vocabulary,
            decoding=decoding,
            **rest,
        )

    def as_json(self) -> dict[str, Any]:
        """The content of `model.json`."""
        sections: dict[str, Any] = {
            "vocabulary": vars(self.vocabulary),
            "files": {name: f._asdict() for name, f in self.files.items()},
        }
        for name in ("preprocessing", "decoding", "calibration", "alignment", "questions", "exits"):
            sections[name] = (section := getattr(self, name)) and section._asdict()
        sections["ranking"] = self.ranking and self.ranking.as_json()
        values = {"format": FORMAT, **vars(self), **sections}
        return {key: value for key, value in values.items() if value is not None}
