"""The recipe that lets a smaller model learn again what it lost, from the model that it was made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from fastcap.checkpoint import read_settings
from fastcap.config import DataConfig, DatasetConfig, ModelConfig, StageConfig, TeacherConfig, TrainConfig
from fastcap.vocabulary import Marks

__all__ = ["learns_from_pixels", "recovery"]

IMAGES = 16  # a step at most; a student that begins near its teacher needs many steps rather than large ones
LEARNING_RATE = {"parallel": 1e-4, "autoregressive": 1e-4, "prefix": 2e-4}
"""By the kind of model. At 3e-4, half of the bundled model went away from the whole for 250 steps; the autoregressive
family was not measured."""
VALIDATED = 100  # pictures
WARMUP = 0.05  # share of the steps, 100 of them at most
CROP_SCALE = 0.6  # smallest share of a picture that a step sees: cached features are those of one view


def recovery(
    smaller: Path,
    teacher: Path,
    output: Path,
    data: Path,
    *,
    bits: Path | None = None,
    dataset: str = "flickr8k",
    split: str = "train",
    val_split: str = "val",
    steps: int = 500,
    learning_rate: float | None = None,
    images: int = IMAGES,
    precision: Literal["no", "bf16"] = "no",
) -> TrainConfig:
    """The recipe of a stage that computes with the rounded weights of the export, if there are `bits`.

    A prefix model learns people's captions and the next-token probabilities of the whole model, half and half: what its
    settings let learn does. Of other families everything learns to be like the whole model
    (`fastcap.training.teachers.beside`), and people's captions are what both read: a model that rewards have trained
    says other things than people do. From cached features where no convolution lost channels, else from pixels.

    Args:
        smaller: checkpoint directory to begin with.
        teacher: that of the whole model, with the same vocabulary.
        output: the run's folder; the best checkpoint is its `best`.
        data: folder of the data set.
        bits: file of the bits of each layer.
        dataset: a key of `fastcap.data.formats.READERS`.
        learning_rate: `LEARNING_RATE` if None.
        images: most images a step, `IMAGES` at most.
        precision: as in `TrainConfig`.

    Raises:
        ModelFileError: `smaller` is no checkpoint.
        ConfigError: a number is out of its range.
    """
    model, _ = read_settings(smaller)
    pixels = learns_from_pixels(model)
    learns: dict[str, Any] = {"teachers": (TeacherConfig("logits", (str(teacher),)),)}
    if model.kind != "prefix":
        learns = {"teachers": (TeacherConfig("readings", (str(teacher),)),), "causal": 0.0, "balance": 0.0}
        learns |= {"masked": 0.0, "length": 0.0, "crop_scale": 1.0 if pixels else CROP_SCALE}
        # What is like its teacher but for what it lacks has nothing to overfit, and dropout is one more thing to lack.
        model = dataclasses.replace(model, decoder=dataclasses.replace(model.decoder, dropout=0.0))
    stage = StageConfig(
        "recovery",
        steps=steps,
        learning_rate=learning_rate or LEARNING_RATE[model.kind],
        images=min(images, IMAGES),
        captions=2,
        freeze="none" if pixels else "convolutions",
        quantized=bits is not None,
        bits=str(bits or ""),
        sources=("human",),
        warmup=min(100, round(WARMUP * steps)),
        **learns,
    )
    return TrainConfig(
        name=output.name,
        output=str(output),
        init=str(smaller),
        ema=min(0.999, 1 - 1 / (1 + steps / 5)),
        evaluate_every=max(1, steps // 2),
        checkpoint_every=max(1, min(50, steps // 2)),
        precision=precision,
        views=4 if model.kind == "prefix" else 1,
        trackers=("jsonl",),
        model=dataclasses.replace(model, marks=Marks()),
        data=DataConfig(
            root="",
            train=(DatasetConfig(dataset, str(data), split),),
            val=(DatasetConfig(dataset, str(data), val_split),),
            cache=str(output.parent / "cache"),
            train_limit=steps * stage.images,  # the features of others would be cached for nothing
            val_limit=VALIDATED,
        ),
        stages=(stage,),
    )


def learns_from_pixels(model: ModelConfig) -> bool:
    """Whether convolutions in front of the cached features have lost channels, and have to learn, too."""
    return model.kind != "prefix" and any(entry.split(":")[1].startswith("channels") for entry in model.pruned)
