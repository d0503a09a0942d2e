"""A stage of training that takes a second."""

from __future__ import annotations

from typing import Any

from fastcap.config import StageConfig


def stage(**settings: Any) -> StageConfig:
    defaults = {"name": "pretrain", "steps": 4, "learning_rate": 1e-3, "images": 5, "captions": 2, "warmup": 2}
    return StageConfig(**{**defaults, "sources": ("human",), **settings})
