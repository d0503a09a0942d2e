"""The recipe that goes on training a checkpoint on conversations, from a few settings."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

from fastcap.config import DataConfig, ModelConfig, StageConfig, TrainConfig, from_mapping
from fastcap.data.conversations import load_conversations
from fastcap.errors import ConfigError, ModelFileError
from fastcap.vocabulary import Marks

__all__ = ["finetuning"]

CONFIG = "config.json"
LONGEST = 96  # tokens of a question, where the checkpoint has not been asked any
WARMUP = 0.05  # share of the steps, 100 of them at most


def finetuning(
    model_path: str | Path,
    train_data: str | Path,
    val_data: str | Path,
    output_dir: str | Path,
    *,
    num_epochs: float = 5,
    batch_size: int = 16,
    learning_rate: float = 5e-5,
    accumulate: int = 1,
    patience: int = 0,
) -> TrainConfig:
    """The recipe. All that the checkpoint trained goes on learning, at one rate; it is validated once an epoch.

    Args:
        model_path: a checkpoint directory of a model that reads questions.
        train_data, val_data: files of conversations, see `fastcap.data.conversations`.
        output_dir: the run's folder; the best checkpoint is its `best`.
        num_epochs: how often each conversation is read.
        batch_size: conversations a step, over all processes and micro-batches.
        accumulate: micro-batches of a step.
        patience: validations in a row without a better one after which it ends; 0 for never.

    Raises:
        ModelFileError: no such checkpoint, or its model reads no questions.
        DataError: a file cannot be read.
        ConfigError: a number is out of its range.
    """
    file = Path(model_path) / CONFIG
    try:
        model = from_mapping(ModelConfig, json.loads(file.read_text(encoding="utf-8")))
        model.template  # noqa: B018 (raises where no questions are read)
    except (OSError, ValueError, ConfigError) as error:
        raise ModelFileError(f"{file} is of no checkpoint that can learn to answer: {error}") from error
    if not (num_epochs > 0 and math.isfinite(num_epochs)) or batch_size < 1:
        raise ConfigError(f"num_epochs is {num_epochs} and batch_size {batch_size}; allowed: above 0, 1 or more")
    n_train = len(load_conversations(train_data))
    load_conversations(val_data)  # what is wrong with it is told before anything is computed
    epoch = math.ceil(n_train / batch_size)
    steps = max(1, math.ceil(num_epochs * n_train / batch_size))
    stage = StageConfig(
        "answers",
        steps=steps,
        learning_rate=learning_rate,
        adapter_rate=1.0,
        images=batch_size,
        captions=0,
        questions=1,
        warmup=min(100, round(WARMUP * steps)),
        smoothing=0.0,
        patience=patience,
    )
    asked = getattr(model.decoder, "question_tokens", 0) or LONGEST
    decoder = dataclasses.replace(model.decoder, question_tokens=asked)  # type: ignore[arg-type]
    output = Path(output_dir)
    data = DataConfig(
        root="",
        train=(),
        val=(),
        conversations=(str(train_data),),
        val_conversations=(str(val_data),),
        cache=str(output / "cache"),
    )
    return TrainConfig(
        name=output.name,
        output=str(output),
        init=str(model_path),
        ema=min(0.999, 1 - 1 / (1 + steps / 5)),
        accumulate=accumulate,
        evaluate_every=epoch,
        log_every=min(10, epoch),
        model=dataclasses.replace(model, marks=Marks(), decoder=decoder),
        data=data,
        stages=(stage,),
    )
