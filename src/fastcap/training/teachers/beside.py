"""A teacher of kind readings: what a smaller model was made of reads every batch beside it.

Nothing of it is cached, so that it sees the student's crops and masks, and teaches all that a model predicts: both
readings, lengths, experts, image tokens, and the vectors of images and texts. Logits, which are cached, are those of
the causal reading of whole pictures.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from fastcap.checkpoint import load_checkpoint
from fastcap.config import ModelConfig
from fastcap.errors import ModelFileError
from fastcap.layers import ImageTokens
from fastcap.losses.invariance import Reader, reading_divergence, token_distance

__all__ = ["ReadsBeside"]


class ReadsBeside(nn.Module):
    """A frozen model of the student's family, which continues from the same cached features.

    Args:
        checkpoint: its directory.
        student, tokenizer: the model that learns, and its tokenizer.

    Raises:
        ModelFileError: the checkpoint is missing or damaged, or has another kind, backbone or vocabulary.
    """

    def __init__(self, checkpoint: Path, student: ModelConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model, theirs = load_checkpoint(checkpoint)
        own = self.model.config
        parts = {
            "kind": (own.kind, student.kind),
            "backbone": (own.backbone, student.backbone),
            "vocabulary": (theirs.get_vocab(), tokenizer.get_vocab()),
        }
        if other := [name for name, (teacher, learner) in parts.items() if teacher != learner]:
            raise ModelFileError(
                f"teacher {checkpoint} has another {other[0]} than the student; allowed: what the student was made of"
            )
        self.model.eval().requires_grad_(False)

    def encode(self, batch: dict[str, Tensor]) -> ImageTokens:
        """Its image tokens of a batch: of the student's features behind frozen convolutions, or of pixels."""
        if "features" in batch:
            return self.model.backbone.cuts["convolutions"].resume(batch["features"])
        return self.model.encode(batch["pixels"])

    def loss(self, batch: dict[str, Tensor], student: Reader) -> Tensor:
        """The divergence of the student's predictions from its own in nats, plus the mean of three distances, 1 minus
        the cosine: of image tokens, and of the vectors of images and texts. Without dropout, whose noise is none of the
        student's faults."""
        training = student.model.training
        student.model.eval()
        with torch.no_grad():
            image = self.encode(batch)
            teacher = Reader(self.model, image, self.model.decoder.prepare(image))
        distances = [token_distance(image.tokens, student.image.tokens)]
        for embed in (image_vectors, text_vectors):
            with torch.no_grad():
                target = embed(teacher, batch)
            distances.append(token_distance(target, embed(student, batch)))
        loss = reading_divergence(teacher, student, batch) + torch.stack(distances).mean()
        student.model.train(training)
        return loss


def image_vectors(reader: Reader, batch: dict[str, Tensor]) -> Tensor:
    """Of B images (B, A), unit length."""
    return reader.model.alignment.embed_image(reader.image)


def text_vectors(reader: Reader, batch: dict[str, Tensor]) -> Tensor:
    """Of R captions (R, A), unit length."""
    return reader.model.embed_text(batch["token_ids"], batch["lengths"])
