"""Settings of one stage of training: how long, on what, with which losses and teachers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fastcap.config.reading import check_positive, check_ranges
from fastcap.errors import ConfigError

__all__ = ["LOSSES", "SOURCES", "TEACHERS", "ForcingConfig", "StageConfig", "TeacherConfig"]

SOURCES = ("human", "machine", "distilled")
TEACHERS = ("features", "logits", "sequences", "readings")
ONE = {"features": "one .npz file", "readings": "one checkpoint directory"}
LOSSES = (
    "causal", "masked", "consistency", "contrastive", "length", "balance", "reward", "causal_reward", "clip_loss",
    "invariance", "token_invariance",
)  # fmt: skip


@dataclass(frozen=True)
class TeacherConfig:
    """One teacher of a stage's curriculum; see `fastcap.training.distillation` and docs/distillation.md."""

    kind: Literal["features", "logits", "sequences", "readings"]
    """What it teaches: its summary of an image, its next-token probabilities, its captions and answers; or all that it
    makes of a batch, which it reads beside the student."""
    names: tuple[str, ...]
    """features: one MobileNetV2 .npz below `data.root`. logits: checkpoint directories, whose probabilities are
    averaged. sequences: one of the sources machine or distilled, or checkpoint directories (beam search of their
    average, in whatever vocabulary; in a stage with questions their answers, too), or a .jsonl file of captions
    (`scripts/committee.py`), or one Hugging Face captioner, a directory or `NAME` or `NAME@REVISION` on the hub.
    readings: the checkpoint directory of what the student was made of."""
    weight: float = 1.0
    """Weight of its loss, times its part in the curriculum; of sequences the share of caption rows, and of answers,
    at most 1."""
    temperature: float = 2.0
    """Temperature of logits; 2 lets second choices count (Hinton et al. 2015)."""

    def __post_init__(self) -> None:
        most = 1 if self.kind == "sequences" else math.inf
        check_ranges(
            self,
            kind=(self.kind in TEACHERS, ", ".join(TEACHERS)),
            names=(
                bool(self.names) and all(self.names) and (self.kind not in ONE or len(self.names) == 1),
                ONE.get(self.kind, "one name or more"),
            ),
            weight=(0 <= self.weight <= most, "0 to 1" if self.kind == "sequences" else "0 or more"),
            temperature=(self.temperature > 0, "above 0"),
        )


@dataclass(frozen=True)
class ForcingConfig:
    """Scheduled sampling: how often the causal reading is given people's words; see `fastcap.losses.forcing`."""

    schedule: Literal["always", "linear", "cosine", "inverse_sigmoid"] = "always"
    """Always (teacher forcing), or how the probability falls from 1 to `end` over the stage."""
    end: float = 0.5
    """That probability at the end of the stage."""
    passes: int = 1
    """Passes that predict the words given instead; 1 is the cheapest, as many as tokens is the form word by word."""

    def __post_init__(self) -> None:
        check_positive(self, "passes")
        check_ranges(self, end=(0 <= self.end <= 1, "0 to 1"))


@dataclass(frozen=True)
class StageConfig:
    """One stage of training; the model, the average of its weights and the data carry over to the next."""

    name: str
    """Its name in logs and messages."""
    steps: int
    """Optimiser steps."""
    learning_rate: float
    """Highest learning rate, reached after `warmup`."""
    inputs: Literal["images", "words"] = "images"
    """Images; or words: captions without images (`data.siblings`), some words of each five standing in for an image,
    while everything but the encoder learns."""
    images: int = 32
    """Images a step, over all processes and micro-batches."""
    captions: int = 3
    """Captions drawn an image a step; they share the encoder's work. 0 where there are questions alone."""
    questions: int = 0
    """Conversations of `data.conversations` drawn an image a step, beside the captions; each is read once an epoch. An
    image that has one kind alone gives as many rows of it as others give of both."""
    max_tokens: int = 0
    """With questions: most tokens of a step's rows, padding included. Images are then grouped by the length of their
    rows, and a step has `images` of them or fewer; 0 to draw `images` whatever their lengths."""
    patience: int = 0
    """Validations in a row without a better one after which the stage ends early; 0 for never."""
    sources: tuple[str, ...] = ("human", "machine")
    """Which captions may be drawn: human, machine, distilled (beams of this model's causal reading, made when a stage
    first asks)."""
    teachers: tuple[TeacherConfig, ...] = ()
    """A curriculum, weakest first: the stage begins with the first and ends with the last."""
    freeze: Literal["convolutions", "none", "captioner"] = "convolutions"
    """What does not learn. convolutions: the network to stride 16, whose outputs are cached for `views` augmented views
    of an image, which saves three quarters of the encoder's work. none: all learns, from pixels augmented anew.
    captioner: all but the alignment, which learns from cached image tokens."""
    quantized: bool = False
    """Whether weights are rounded as in the exported graph, with learned scales; those that are frozen, with scales
    that stay as they are."""
    bits: str = ""
    """File of the bits of each layer, as `fastcap export --target-size` writes it; empty for 8 bits in all."""
    convolution_rate: float = 1.0
    """Factor of the learning rate of convolutions; below 1 where they begin with a teacher's weights."""
    adapter_rate: float = 0.5
    """Factor of the learning rate of a language model's adapters and unfrozen layers, which correct what is good."""
    warmup: int = 100
    """Steps in which the learning rate rises from 0."""
    weight_decay: float = 0.01
    """AdamW's; its usual value."""
    clip: float = 1.0
    """Largest norm of all gradients together; larger ones are scaled down."""
    smoothing: float = 0.1
    """Label smoothing of `causal` and `masked`; the transformer's usual value."""
    causal: float = 1.0
    """Weight of the cross-entropy of the causal reading, from left to right."""
    masked: float | None = None
    """Weight of the cross-entropy of masked tokens in the parallel reading; unset: 1, or 0 without such a reading."""
    consistency: float = 0.0
    """Weight of the distance of these two readings from each other; the bundled model was trained without."""
    contrastive: float = 0.0
    """Weight of the contrastive loss of images and texts; the alignment may also be trained alone, afterwards."""
    contrast: Literal["info_nce", "sigmoid"] = "info_nce"
    """Its form: softmax over the texts of a micro-batch (CLIP), or a sigmoid a pair (SigLIP)."""
    clip_loss: float = 0.0
    """Weight of the distance of picture and caption in the space of a frozen judge; see `fastcap.losses.clip`."""
    clip_model: str = ""
    """That judge, a CLIP of transformers, by its name as a pretrained part or its folder; empty for the alignment that
    an earlier stage has trained."""
    length: float | None = None
    """Weight of the cross-entropy of the length; unset: 0.1, or 0 where no length is predicted."""
    balance: float = 0.01
    """Weight of the loss that evens out the use of experts; Switch's value (Fedus et al. 2021)."""
    reward: float = 0.0
    """Weight of self-critical CIDEr of the parallel reading; from a later stage on, when captions make sense."""
    causal_reward: float = 0.0
    """Weight of self-critical CIDEr of the causal reading; likewise."""
    rare_words: float = 0.0
    """What the rewards pay beside CIDEr-D (0 to 10) for each word that people use of the picture and of few others; see
    `fastcap.training.pools.RareWords`."""
    invariance: float = 0.0
    """Weight of the distance between what is predicted of a picture and of its re-saved version; see
    `fastcap.losses.invariance`. Needs data.resave.share above 0."""
    token_invariance: float = 0.0
    """Weight of the distance, 1 minus the cosine, between the image tokens of both versions. Likewise."""
    samples: int = 4
    """Captions drawn for the rewards, a row or (causal) an image; each is compared with the mean of the others."""
    crop_scale: float = 1.0
    """Smallest share of a cached view's area that a random crop keeps, mirrored at random too; 1 leaves views as they
    are. Needs freeze convolutions."""
    forcing: ForcingConfig = field(default_factory=ForcingConfig)
    """Scheduled sampling of the causal reading."""

    @property
    def rows(self) -> int:
        """Rows of tokens an image a step: captions and conversations."""
        return self.captions + self.questions

    def __post_init__(self) -> None:
        check_positive(self, "steps", "images")
        check_ranges(
            self,
            captions=(self.captions >= (0 if self.questions > 0 else 1), "1 or more; 0 with questions"),
            questions=(self.questions >= 0, "0 or more"),
            max_tokens=(self.max_tokens >= 0 and (self.questions > 0 or not self.max_tokens), "0; more with questions"),
            patience=(self.patience >= 0, "0 (never) or more"),
            learning_rate=(self.learning_rate > 0, "above 0"),
            convolution_rate=(self.convolution_rate >= 0, "0 or more"),
            adapter_rate=(self.adapter_rate >= 0, "0 or more"),
            sources=(
                bool(self.sources) and set(self.sources) <= set(SOURCES),
                f"one or more of {', '.join(SOURCES)}",
            ),
            warmup=(self.warmup >= 0, "0 or more"),
            weight_decay=(self.weight_decay >= 0, "0 or more"),
            clip=(self.clip > 0, "above 0"),
            smoothing=(0 <= self.smoothing < 1, "at least 0, below 1"),
            rare_words=(self.rare_words >= 0, "0 or more"),
            samples=(self.samples >= 2, "2 or more: each is compared with the others"),
            crop_scale=(0 < self.crop_scale <= 1, "above 0, at most 1"),
            **{name: ((getattr(self, name) or 0) >= 0, "0 or more") for name in LOSSES},
        )
        if self.quantized and (self.freeze == "captioner" or self.inputs != "images"):
            raise ConfigError("quantized is true; allowed: false, where the captioner is frozen or reads no images")
        if self.crop_scale < 1 and (self.freeze != "convolutions" or self.inputs != "images"):
            raise ConfigError(f"crop_scale is {self.crop_scale}; allowed: 1, where no feature maps are kept")
        if self.bits and not self.quantized:
            raise ConfigError(f"bits is {self.bits!r}; allowed: nothing, where quantized is false")
        if self.clip_model and not self.clip_loss:
            raise ConfigError(f"clip_model is {self.clip_model!r}; allowed: nothing, where clip_loss is 0")
        if self.teachers and (self.inputs == "words" or self.freeze == "captioner"):
            raise ConfigError("teachers are named; allowed: none, where no captioner learns from images")
        for name in ("reward", "causal_reward", "contrastive", "clip_loss"):
            if self.inputs == "words" and getattr(self, name):
                raise ConfigError(f"{name} is {getattr(self, name)}; allowed: 0, where words stand in for images")
        if self.compares_versions and self.inputs == "words":
            raise ConfigError("a stage has invariance; allowed: 0, where words stand in for images")
        if self.rare_words and not (self.reward or self.causal_reward):
            raise ConfigError(f"rare_words is {self.rare_words}; allowed: 0, where nothing is rewarded")
        if self.freeze == "captioner":
            idle = [name for name in LOSSES if name != "contrastive" and getattr(self, name)]
            if idle or not self.contrastive:
                weights = ", ".join(f"{name} {getattr(self, name)}" for name in [*idle, "contrastive"])
                raise ConfigError(f"weights are {weights}; allowed: contrastive alone, where the captioner is frozen")

    @property
    def aligns(self) -> bool:
        """Whether the alignment of images and texts learns."""
        return bool(self.contrastive) or self.reads_beside

    @property
    def reads_beside(self) -> bool:
        """Whether a teacher reads every batch beside the student."""
        return any(teacher.kind == "readings" for teacher in self.teachers)

    @property
    def compares_versions(self) -> bool:
        """Whether a step needs pictures and their re-saved versions."""
        return bool(self.invariance or self.token_invariance)
