"""Caption every picture of a data set, one at a time; measure the captions and the time they took."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fastcap.errors import DataError
from fastcap.evaluation.calibration import calibration_error, support
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.metrics import UNITS, score_captions
from fastcap.runtime.neutral import gendered_words, neutralise
from fastcap.runtime.options import Sampling

if TYPE_CHECKING:
    from fastcap.runtime.captioner import Caption, Captioner

__all__ = ["Evaluation", "EvaluationRow", "evaluate_model"]

WEIGHTS = (("model.onnx",), ("encode.onnx", "step.onnx"), ("model.safetensors",))  # of the kinds of directories
WARM_UP = 3  # captions before the clock counts: the first ones pay for memory that the others reuse


class Example(Protocol):
    """What is read of a data set's examples."""

    @property
    def image(self) -> Path: ...

    @property
    def image_id(self) -> str: ...

    @property
    def captions(self) -> Sequence[str]: ...


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
    """The outcome: `metrics` by name (see `UNITS`), a row a picture, `facts` on what was measured where."""

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

    def as_json(self) -> dict[str, Any]:
        """Everything but the rows, fit for `json.dumps`."""
        metrics = {name: round(value, 4) for name, value in self.metrics.items()}
        confidences, supports = self.calibration()
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
            "units": UNITS,
            "latency": self.latency(),
        }


def evaluate_model(
    captioner: Captioner,
    examples: Sequence[Example],
    *,
    length: str | int = "normal",
    candidates: int = 1,
    neutral: bool = False,
    decode: str | None = None,
    beams: int = 3,
    sampling: Sampling | None = None,
    facts: Mapping[str, Any] | None = None,
    on_caption: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Caption the pictures of `examples` and compare with their captions.

    `length` to `sampling` are passed to `Captioner.caption`; of several candidates the best is measured.
    Neutral captions are compared with references made neutral in the same way.
    `facts` are noted beside those found here: data set, threads, command. `on_caption` is called after each
    picture.

    Raises:
        DataError: there are no examples.
        ImageError: a picture cannot be read. None is left out, since figures on fewer would not compare.
        ConfigError: the model does not know this length, number of candidates or way of decoding.
    """
    if not examples:
        raise DataError("evaluation needs at least one picture with its captions, got none")

    def caption(example: Example) -> Caption:
        return captioner.caption(
            example.image,
            length=length,
            candidates=candidates,
            neutral=neutral,
            decode=decode,
            beams=beams,
            sampling=sampling,
        )

    for example in list(examples)[:WARM_UP]:
        caption(example)
    captions = []
    for example in examples:
        captions.append(caption(example))
        on_caption()

    keys = [str(example.image) for example in examples]
    references = [tuple(map(neutralise, example.captions) if neutral else example.captions) for example in examples]
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
    bundle = captioner.bundle
    decode = decode or bundle.decodes[0]
    weights = next(names for names in WEIGHTS if set(names) <= bundle.files.keys())
    found = {
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "model": {
            "name": bundle.name,
            "bytes": bundle.bytes,
            "sha256": _sha256(*(bundle.folder / name for name in weights)),
        },
        "length": length,
        "candidates": candidates,
        "neutral": neutral,
        "decode": decode,
        **({"beams": beams} if decode == "beam" else {}),
        **({"sampling": asdict(sampling or Sampling())} if decode == "sample" else {}),
        "gendered_captions": sum(bool(gendered_words(caption.text)) for caption in captions),
    }
    return Evaluation(scores.metrics, rows, {**found, **(facts or {})})


def _sha256(*paths: Path) -> str:
    """Of the files, one after another."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
