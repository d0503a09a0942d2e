"""The recipe that lets a pruned model learn again what it lost, from the model that it was pruned from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fastcap.checkpoint import read_settings
from fastcap.config import DataConfig, DatasetConfig, StageConfig, TeacherConfig, TrainConfig
from fastcap.vocabulary import Marks

__all__ = ["recovery"]

IMAGES = {"parallel": 32, "autoregressive": 32, "prefix": 16}
"""A step at most, by the kind of model."""
VALIDATED = 100  # pictures
WARMUP = 0.05  # share of the steps, 100 of them at most


def recovery(
    pruned: Path,
    teacher: Path,
    output: Path,
    data: Path,
    *,
    dataset: str = "flickr8k",
    split: str = "train",
    val_split: str = "val",
    steps: int = 500,
    learning_rate: float = 2e-4,
    images: int = 32,
) -> TrainConfig:
    """The recipe: people's captions, and the next-token probabilities of the unpruned model, half and half.

    Of a prefix model, projection and adapters learn, whose tower is frozen; of other families everything, from cached
    features where no convolution lost channels, else from pixels.

    Args:
        pruned: checkpoint directory to begin with.
        teacher: that of the unpruned model, with the same vocabulary.
        output: the run's folder; the best checkpoint is its `best`.
        data: folder of the data set.
        dataset: a key of `fastcap.data.formats.READERS`.
        images: most images a step, of those that `IMAGES` allows.

    Raises:
        ModelFileError: `pruned` is no checkpoint.
        ConfigError: a number is out of its range.
    """
    model, _ = read_settings(pruned)
    channels = model.kind != "prefix" and any(entry.split(":")[1].startswith("channels") for entry in model.pruned)
    stage = StageConfig(
        "recovery",
        steps=steps,
        learning_rate=learning_rate,
        images=min(images, IMAGES[model.kind]),
        captions=2,
        teachers=(TeacherConfig("logits", (str(teacher),)),),
        freeze="none" if channels else "convolutions",
        sources=("human",),
        warmup=min(100, round(WARMUP * steps)),
    )
    return TrainConfig(
        name=output.name,
        output=str(output),
        init=str(pruned),
        ema=min(0.999, 1 - 1 / (1 + steps / 5)),
        evaluate_every=max(1, steps // 2),
        checkpoint_every=max(1, min(200, steps // 2)),
        trackers=("jsonl",),
        model=dataclasses.replace(model, marks=Marks()),
        data=DataConfig(
            root="",
            train=(DatasetConfig(dataset, str(data), split),),
            val=(DatasetConfig(dataset, str(data), val_split),),
            cache=str(output / "cache"),
            val_limit=VALIDATED,
        ),
        stages=(stage,),
    )
