"""Caption every picture of a data set, one at a time, and measure the captions and their time."""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fastcap.errors import DataError, many
from fastcap.evaluation.calibration import calibration_error, support
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.metrics import UNITS, score_captions
from fastcap.evaluation.sample import margin, small_sample
from fastcap.runtime.neutral import gendered_words, neutralise
from fastcap.runtime.options import Options

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastcap.runtime.bundle import Bundle
    from fastcap.runtime.captioner import Caption
    from fastcap.runtime.options import Keywords

__all__ = ["Evaluation", "EvaluationRow", "evaluate_model"]

WEIGHTS = (
    ("model.onnx",),
    ("encode.onnx", "step.onnx"),
    ("vision_encoder.onnx", "projection.onnx", "language_model.data"),
    ("model.safetensors",),
)  # by kind of directory
WARM_UP = 3  # captions that are not measured: the first ones allocate memory that later ones reuse


class Example(Protocol):
    """The part of a data set's example that is used here."""

    @property
    def image(self) -> Path: ...

    @property
    def image_id(self) -> str: ...

    @property
    def captions(self) -> Sequence[str]: ...


class Captioning(Protocol):
    """The part of a captioner that is used here."""

    @property
    def bundle(self) -> Bundle: ...

    def caption(self, image: Path, options: Options, /) -> Caption: ...


@dataclass(frozen=True)
class EvaluationRow:
    """One picture: its caption, what people wrote, CIDEr-D x 100, confidence and support (0 to 1), milliseconds."""

    image: Path
    image_id: str
    caption: str
    references: tuple[str, ...]
    cider: float
    confidence: float
    support: float
    milliseconds: float


@dataclass(frozen=True)
class Evaluation:
    """The outcome: `metrics` by name (see `UNITS`), a row for each picture, `facts` on model, options and machine."""

    metrics: dict[str, float]
    rows: tuple[EvaluationRow, ...]
    facts: dict[str, Any]

    def latency(self) -> dict[str, float]:
        """Wall time from a picture's file to its caption, one picture at a time, in milliseconds."""
        import numpy as np

        p50, p95 = np.percentile([row.milliseconds for row in self.rows], [50, 95])
        return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2)}

    def calibration(self) -> tuple[list[float], list[float]]:
        """Confidence and support of every caption; see `fastcap.evaluation.calibration`."""
        return [row.confidence for row in self.rows], [row.support for row in self.rows]

    @property
    def small_sample(self) -> str:
        """What to say of the CIDEr of fewer than 200 pictures; else ""."""
        return small_sample([row.cider for row in self.rows])

    def as_json(self) -> dict[str, Any]:
        """Everything but the rows, fit for `json.dumps`."""
        metrics = {name: round(value, 4) for name, value in self.metrics.items()}
        confidences, supports = self.calibration()
        width = margin([row.cider for row in self.rows])
        return {
            "format": 1,
            "kind": "evaluation",
            **self.facts,
            "calibration": {
                "error": round(calibration_error(confidences, supports), 4),
                "mean_confidence": round(sum(confidences) / len(confidences), 4),
                "mean_support": round(sum(supports) / len(supports), 4),
            },
            "images": len(self.rows),
            "metrics": metrics,
            "cider_margin": None if width is None else round(width, 2),  # 95 % interval: cider +- this
            "units": UNITS,
            "latency": self.latency(),
        }


def evaluate_model(
    captioner: Captioning,
    examples: Sequence[Example],
    options: Options | None = None,
    *,
    facts: Mapping[str, Any] | None = None,
    on_caption: Callable[[], object] = lambda: None,
    **keywords: Unpack[Keywords],
) -> Evaluation:
    """Caption the pictures of `examples` and compare with their captions.

    `options`, or its fields as keywords: those of `Captioner.caption`. Of several candidates the best is measured;
    neutral captions are compared with references made neutral in the same way.
    `facts`: recorded beside the options, the model and the machine; for example data set, threads, command.
    `on_caption`: called after each picture.

    Raises:
        DataError: there are no examples.
        ImageError: a picture cannot be read. None is left out, since figures on fewer would not compare.
        ConfigError: an option that the model does not take.
    """
    examples = list(many(examples, "examples"))
    for place, example in enumerate(examples):
        if not all(hasattr(example, name) for name in ("image", "image_id", "captions")):
            raise DataError(
                f"item {place} of the examples is {reprlib.repr(example)}; needed: what `load_dataset` gives"
            )
    if not examples:
        raise DataError("evaluation needs at least one picture with its captions, got none")
    options = Options.of(options, keywords)
    for example in examples[:WARM_UP]:
        captioner.caption(example.image, options)
    captions = []
    for example in examples:
        captions.append(captioner.caption(example.image, options))
        on_caption()
    metrics, rows = _compare(examples, captions, options.neutral)
    recorded = {
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "model": _model_facts(captioner.bundle),
        **options.facts(captioner.bundle),
        "gendered_captions": sum(bool(gendered_words(caption.text)) for caption in captions),
    }
    return Evaluation(metrics, rows, {**recorded, **(facts or {})})


def _compare(
    examples: Sequence[Example], captions: Sequence[Caption], neutral: bool
) -> tuple[dict[str, float], tuple[EvaluationRow, ...]]:
    """The metrics of the whole set, and a row for each picture."""
    keys = [str(example.image) for example in examples]
    references = [
        tuple(neutralise(text, always=True) for text in example.captions) if neutral else tuple(example.captions)
        for example in examples
    ]
    scores = score_captions(
        {key: caption.text for key, caption in zip(keys, captions, strict=True)},
        dict(zip(keys, references, strict=True)),
    )
    rows = tuple(
        EvaluationRow(
            image=example.image,
            image_id=example.image_id,
            caption=caption.text,
            references=written,
            cider=scores.cider[key],
            confidence=caption.confidence,
            support=support(caption.text, written),
            milliseconds=caption.milliseconds,
        )
        for key, example, written, caption in zip(keys, examples, references, captions, strict=True)
    )
    return scores.metrics, rows


def _model_facts(bundle: Bundle) -> dict[str, Any]:
    """Name, size, and the sha256 of the files that hold the weights, read one after another."""
    digest = hashlib.sha256()
    for name in next(names for names in WEIGHTS if set(names) <= bundle.files.keys()):
        with (bundle.folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return {"name": bundle.name, "bytes": bundle.bytes, "sha256": digest.hexdigest()}
