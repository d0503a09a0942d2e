"""How good a model's captions of the validation images are, and its answers about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from fastcap.alignment.cmfa import recall
from fastcap.config import DataConfig, ModelConfig
from fastcap.data.batching import pad_tokens
from fastcap.data.cache import ImageCache
from fastcap.data.resave import as_jpeg
from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.evaluation.sample import small_sample, spread
from fastcap.model import CaptionModel
from fastcap.runtime.encoding import clean_caption, decode, encode
from fastcap.runtime.images import load_image
from fastcap.training.answering import Answering
from fastcap.training.pools import read_examples
from fastcap.training.streaming import read_first

__all__ = ["Validation"]

BATCH = 50
QUALITY = 75  # of the JPEG that captions should survive


class Validation:
    """The first `val_limit` validation images, of files spread evenly over all, with their references.

    Args:
        model, tokenizer: how large the images are, and how references are tokenised.

    Raises:
        DataError: a data set cannot be read.
    """

    def __init__(self, data: DataConfig, model: ModelConfig, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.pad_id = tokenizer, model.vocabulary.pad_id
        self.resaves = data.resave.share > 0
        self.answering = Answering(data, model, tokenizer) if data.val_conversations else None
        self.images: ImageCache | NDArray[np.uint8]
        if data.streams("val"):
            samples, self.images = read_first(data, model.image_size)
            captions = [sample.captions for sample in samples]
        elif not data.val:  # nothing but questions
            self.images, self.token_ids = np.empty((0, model.image_size, model.image_size, 3), np.uint8), []
            return
        else:
            chosen = spread([example for _, part in read_examples(data, "val") for example in part], data.val_limit)
            cache = ImageCache(Path(data.cache) / f"val-{model.image_size}", model.image_size)
            self.images = cache.build([example.image for example in chosen])
            captions = [example.captions for example in chosen]
        self.scorer = CiderD({str(i): [ptb_tokens(text) for text in texts] for i, texts in enumerate(captions)})
        token_ids = [[encode(tokenizer, clean_caption(text)) for text in texts] for texts in captions]
        self.token_ids = [[row[: model.max_length] for row in rows if row] for rows in token_ids]

    @torch.no_grad()
    def figures(self, model: CaptionModel, *, causal: bool, align: bool) -> tuple[dict[str, float], str, str]:
        """Figures of a model in evaluation mode, its caption of the first image, and what a small sample is worth.

        Args:
            causal: whether it captions from left to right, where its family has another way.
            align: whether to measure as well how images and captions retrieve one another.

        Returns:
            `val_cider` (CIDEr-D, times 100), `distinct` (number of different captions), and shares, 0..1: recalls; and
            where pictures are re-saved in training, `val_changed`, of the captions that a JPEG changes. Where there are
            validation conversations `val_accuracy` (VQA accuracy, times 100), and where there are those alone, their
            first question with its answer in place of a caption.
        """
        answers = self.answering.figures(model) if self.answering else ({}, "")
        if not len(self.images):
            return *answers, ""
        captions: dict[str, list[str]] = {}
        vectors, changed = [], 0
        for start in range(0, len(self.images), BATCH):
            batch = range(start, min(start + BATCH, len(self.images)))
            pixels = self.images[list(batch)]
            image = model.encode(torch.from_numpy(pixels).to(model.decoder.device))
            if align:
                vectors.append(model.alignment.embed_image(image))
            found = model.best_captions(image, causal)
            for index, ids in zip(batch, found, strict=True):
                captions[str(index)] = ptb_tokens(decode(self.tokenizer, ids))
            if self.resaves:
                again = model.encode(torch.from_numpy(resaved(pixels)).to(model.decoder.device))
                changed += sum(a != b for a, b in zip(found, model.best_captions(again, causal), strict=True))
        distinct = len({tuple(caption) for caption in captions.values()})
        cider, by_image = self.scorer.corpus(captions)
        figures = {"val_cider": 100 * cider, "distinct": distinct, **answers[0]}
        if self.resaves:
            figures["val_changed"] = changed / len(captions)
        if align:
            figures |= self.recall(model, torch.cat(vectors))
        return figures, " ".join(captions["0"]), small_sample([100 * score for score in by_image.values()])

    @staticmethod
    def score(figures: dict[str, float]) -> float:
        """What the best checkpoint is chosen by: CIDEr, VQA accuracy, or the mean of both."""
        known = [figures[name] for name in ("val_cider", "val_accuracy") if name in figures]
        return sum(known) / len(known)

    @staticmethod
    def told(figures: dict[str, float], example: str, sample: str) -> str:
        """What `figures` gave, in lines."""
        named = {"val_cider": "CIDEr", "val_accuracy": "VQA accuracy"}
        scores = [f"{name} {figures[key]:.2f}" for key, name in named.items() if key in figures]
        scores[0] += f" ({sample})" if sample else ""
        recalls = [f"  {key} {value:.3f}" for key, value in figures.items() if key not in (*named, "distinct")]
        return "\n".join([f"val {', '.join(scores)}; {example}", *recalls])

    def recall(self, model: CaptionModel, images: Tensor) -> dict[str, float]:
        """How often the vectors (B, A) of the validation images retrieve their captions, and captions their image."""
        rows = [row for rows in self.token_ids for row in rows]
        owners = torch.tensor([i for i, rows in enumerate(self.token_ids) for _ in rows], device=images.device)
        token_ids, padding_mask = (torch.from_numpy(part).to(images.device) for part in pad_tokens(rows, self.pad_id))
        texts = model.embed_text(token_ids, (~padding_mask).sum(dim=1))
        return recall(images @ texts.t(), owners)


def resaved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures (B, H, W, 3) as they come back from a JPEG."""
    size = pixels.shape[2], pixels.shape[1]
    return np.stack([load_image(as_jpeg(Image.fromarray(each), QUALITY), size) for each in pixels])
