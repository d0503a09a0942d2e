"""Rules across the parts of a recipe: what a model's family, streamed data and sharding allow of a stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from fastcap.config.data import STREAMS, DataConfig
from fastcap.config.model import ModelConfig
from fastcap.config.stage import StageConfig
from fastcap.errors import ConfigError

__all__ = ["check_frozen", "check_sharding", "fit_stage"]

# By the model's kind: weights of losses that a stage leaves unset, and what a stage may not set, with the reason.
WEIGHTS = {
    "parallel": {"masked": 1.0, "length": 0.1},
    "autoregressive": {"masked": 0.0, "length": 0.0},
    "prefix": {"masked": 0.0, "length": 0.0},
}
_NO_READING = "0, since a {decoder} decoder has no parallel reading"
_LEFT_TO_RIGHT = dict.fromkeys(("masked", "consistency", "length", "reward"), _NO_READING)
REFUSED: dict[str, dict[str, str]] = {"parallel": {}, "autoregressive": _LEFT_TO_RIGHT, "prefix": _LEFT_TO_RIGHT}
PRECISIONS = {"fsdp2": ("no", "bf16"), "zero3": ("no",)}  # by sharding: neither scales losses, as fp16 needs
UNSHARDED = ("reward", "causal_reward", "contrastive", "clip_loss", "quantized")
"""Settings of a stage that sharding does not allow."""


def fit_stage(stage: StageConfig, model: ModelConfig, data: DataConfig) -> StageConfig:
    """A stage with the weights that it leaves unset as the model needs them.

    Raises:
        ConfigError: a setting that does not go with the model or the data.
    """
    if data.streams("train") and stage.inputs == "images":
        check_stream(stage)
    if stage.compares_versions and not data.resave.share:
        raise ConfigError(f"stage {stage.name} has invariance; allowed: 0, where data.resave.share is 0")
    if stage.questions:
        check_questions(stage, model, data)
    elif not data.train and stage.inputs == "images":
        raise ConfigError(f"stage {stage.name}: questions is 0; allowed: 1 or more, since data.train names no captions")
    for name, allowed in REFUSED[model.kind].items():
        if value := getattr(stage, name):
            allowed = allowed.format(decoder=model.decoder.kind)
            raise ConfigError(f"stage {stage.name}: {name} is {str(value).lower()}; allowed: {allowed}")
    if model.kind == "prefix":
        if stage.inputs == "words":
            raise ConfigError(f"stage {stage.name}: inputs is words; allowed: images, which frozen towers read alone")
        for teacher in stage.teachers:
            if teacher.kind in ("features", "readings"):
                raise ConfigError(f"stage {stage.name}: a teacher has kind {teacher.kind}; allowed: logits and "
                                  "sequences, for a language model behind frozen towers")  # fmt: skip
    unset: Any = {name: weight for name, weight in WEIGHTS[model.kind].items() if getattr(stage, name) is None}
    return dataclasses.replace(stage, **unset)


def check_questions(stage: StageConfig, model: ModelConfig, data: DataConfig) -> None:
    """Refuse what a stage with conversations cannot do: their rows are no captions."""
    if model.kind != "prefix":
        raise ConfigError(
            f"stage {stage.name}: questions is {stage.questions}; allowed: 0, since a {model.decoder.kind} decoder "
            "reads no questions; prefix_lm does"
        )
    if not getattr(model.decoder, "question_tokens", 0):
        raise ConfigError(
            f"stage {stage.name}: questions is {stage.questions}; allowed: 0, unless model.decoder.question_tokens "
            "says how long a question may be"
        )
    if not data.conversations:
        raise ConfigError(f"stage {stage.name}: questions is {stage.questions}, but data.conversations names no file")
    if stage.captions and not data.train:
        raise ConfigError(f"stage {stage.name}: captions is {stage.captions}; allowed: 0, since data.train is empty")
    refused: dict[str, Any] = {name: getattr(stage, name) for name in ("contrastive", "clip_loss", "causal_reward")}
    refused |= {"data.weights": data.weights, "invariance": stage.compares_versions}
    for name, value in refused.items():
        if value:
            raise ConfigError(f"stage {stage.name}: {name} is {value}; allowed: none in a stage with questions")
    for teacher in stage.teachers:
        if teacher.kind != "sequences":
            raise ConfigError(f"stage {stage.name}: a teacher has kind {teacher.kind}; allowed: sequences, in a stage "
                              "with questions")  # fmt: skip


def check_stream(stage: StageConfig) -> None:
    """Refuse whatever keeps something of every picture: shards are read as they are needed."""
    refused = {
        f"freeze {stage.freeze}": stage.freeze != "none",
        "teachers": bool(stage.teachers),
        f"sources {', '.join(stage.sources)}": "human" not in stage.sources or "distilled" in stage.sources,
        f"reward {stage.reward}": stage.reward > 0,
        f"causal_reward {stage.causal_reward}": stage.causal_reward > 0,
        f"clip_model {stage.clip_model}": bool(stage.clip_model),
    }
    if any(refused.values()):
        raise ConfigError(
            f"stage {stage.name}: {'; '.join(name for name, holds in refused.items() if holds)}; allowed, where "
            f"data.train is {' or '.join(STREAMS)}: freeze none, no teachers, sources with human and without "
            "distilled, reward and causal_reward 0, no clip_model, since all else keeps something of every picture"
        )


def check_frozen(model: ModelConfig, precision: str, sharding: str) -> None:
    """Refuse what parts that others have trained cannot do, and what they alone can."""
    if precision == "nf4" and model.kind != "prefix":
        raise ConfigError(f"precision is nf4; allowed: no, bf16 or fp16, with a {model.decoder.kind} decoder, of which "
                          "nothing is frozen")  # fmt: skip
    for name, holds, value, allowed in (
        ("precision", precision != "fp16", precision, "no, bf16 or nf4"),
        ("sharding", sharding != "zero3", sharding, "no or fsdp2"),
    ):
        if model.kind == "prefix" and not holds:
            raise ConfigError(f"{name} is {value}; allowed: {allowed}, with a {model.decoder.kind} decoder")


def check_sharding(sharding: str, precision: str, model: ModelConfig, stages: Sequence[StageConfig]) -> None:
    """Refuse what training with sharded weights cannot do."""
    if sharding == "no":
        return
    if precision not in PRECISIONS[sharding]:
        allowed = " or ".join(PRECISIONS[sharding])
        raise ConfigError(f"precision is {precision!r}; allowed: {allowed}, with sharding {sharding}")
    if getattr(model.decoder, "balancing", "") == "bias":
        raise ConfigError(f"balancing is 'bias'; allowed: loss, with sharding {sharding}, which keeps no common biases")
    for stage in stages:
        for name in UNSHARDED:
            if value := getattr(stage, name):
                raise ConfigError(
                    f"stage {stage.name}: {name} is {str(value).lower()}; allowed: none of reward, causal_reward, "
                    f"contrastive, clip_loss and quantized with sharding {sharding}; see docs/distributed.md"
                )
