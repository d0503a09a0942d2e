"""Settings as frozen dataclasses, read strictly from YAML. `TrainConfig` is a whole recipe."""

from fastcap.config.data import DataConfig, DatasetConfig, ResaveConfig
from fastcap.config.model import (
    BackboneConfig,
    DecoderConfig,
    GenerationConfig,
    ModelConfig,
    PrefixConfig,
    ResNetViTConfig,
    RopeDecoderConfig,
    TowersConfig,
    keywords,
)
from fastcap.config.reading import from_mapping
from fastcap.config.recipe import TrainConfig, load_config, recipes
from fastcap.config.stage import LOSSES, SOURCES, ForcingConfig, StageConfig, TeacherConfig

__all__ = [
    "LOSSES", "SOURCES", "BackboneConfig", "DataConfig", "DatasetConfig", "DecoderConfig", "ForcingConfig",
    "GenerationConfig", "ModelConfig", "PrefixConfig", "ResNetViTConfig", "ResaveConfig", "RopeDecoderConfig",
    "StageConfig", "TeacherConfig", "TowersConfig", "TrainConfig", "from_mapping", "keywords", "load_config", "recipes",
]  # fmt: skip
