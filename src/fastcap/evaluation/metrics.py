"""All caption metrics of a set of captions, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastcap.errors import DataError, listed, mapping, one_text
from fastcap.evaluation.bleu import bleu
from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.diversity import diversity
from fastcap.evaluation.meteor import meteor
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.evaluation.rouge import rouge_l

__all__ = ["UNITS", "CaptionScores", "evaluate_captions", "score_captions"]

UNITS = {
    "cider": "CIDEr-D x 100",
    "bleu_1": "BLEU-1 x 100",
    "bleu_2": "BLEU-2 x 100",
    "bleu_3": "BLEU-3 x 100",
    "bleu_4": "BLEU-4 x 100",
    "rouge_l": "ROUGE-L x 100",
    "meteor": "METEOR x 100, exact and stem matches only",
    "distinct_captions": "different captions",
    "vocabulary": "different words",
    "distinct_1": "different words / words",
    "distinct_2": "different word pairs / word pairs",
    "mean_length": "words a caption",
    "repetition_rate": "share of captions with an immediate repeat of 1 to 3 words",
    "empty_rate": "share of captions without a word",
}
"""The unit of each metric, in the order that reports use."""


@dataclass(frozen=True)
class CaptionScores:
    """`metrics` of the whole set by name, as in `UNITS`, and `cider` (x 100) by image id."""

    metrics: dict[str, float]
    cider: dict[str, float]


def evaluate_captions(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """All metrics of one caption an image against that image's references; names and units are in `UNITS`.

    Captions are plain text; they are tokenised as the COCO caption tool does, and BLEU, ROUGE-L and CIDEr-D
    equal its figures (which it prints without the factor 100).

    Raises:
        DataError: they are no mappings, not about the same images, there are none, a caption is no text, or an image
            has no reference.
    """
    return score_captions(predictions, references).metrics


def score_captions(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> CaptionScores:
    """As `evaluate_captions`, with the CIDEr-D of each image beside the metrics of the set."""
    mapping(predictions, "captions by image id", DataError)
    mapping(references, "lists of references by image id", DataError)
    for ids, others, part in ((predictions, references, "references"), (references, predictions, "caption")):
        missing = [image_id for image_id in ids if image_id not in others]
        if missing:
            raise DataError(f"{len(missing)} of {len(ids)} images have no {part}, among them {missing[0]!r}")
    candidates = {
        image_id: ptb_tokens(one_text(caption, f"the caption of {image_id!r}", DataError))
        for image_id, caption in predictions.items()
    }
    expected = {
        image_id: [ptb_tokens(text) for text in listed(texts, f"references of {image_id!r}", error=DataError)]
        for image_id, texts in references.items()
    }
    cider, cider_by_image = CiderD(expected).corpus(candidates)
    metrics = {"cider": 100 * cider}
    metrics |= {f"bleu_{n}": 100 * score for n, score in enumerate(bleu(candidates, expected), start=1)}
    rouge = sum(rouge_l(candidates[image_id], expected[image_id]) for image_id in candidates)
    metrics["rouge_l"] = 100 * rouge / len(candidates)
    metrics["meteor"] = 100 * meteor(candidates, expected)
    metrics |= diversity(candidates)
    return CaptionScores(metrics, {image_id: 100 * score for image_id, score in cider_by_image.items()})
