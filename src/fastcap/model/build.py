"""From settings to a model: the tables of the classes of its parts and families."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fastcap.alignment.cmfa import Alignment
from fastcap.backbone.resnet_vit import ResNetViTBackbone
from fastcap.backbone.spatial_mamba import SpatialMambaBackbone
from fastcap.config import ModelConfig, keywords
from fastcap.decoder.moe_decoder import MoEDecoder
from fastcap.decoder.rope_decoder import RopeDecoder
from fastcap.generation.dlag import LengthPredictor
from fastcap.generation.icmr import ICMRDecoder
from fastcap.model.captioning import CaptionModel
from fastcap.model.frozen import FrozenParts
from fastcap.model.parallel import ParallelCaptionModel
from fastcap.model.prefix import PrefixCaptionModel, prefix_parts
from fastcap.model.shrinking import shrunk

__all__ = ["BACKBONES", "DECODERS", "MODELS", "build_model", "load_frozen"]

# By the `kind` of their settings, which are in `fastcap.config.model`.
BACKBONES: dict[str, Any] = {"spatial_mamba": SpatialMambaBackbone, "resnet_vit": ResNetViTBackbone}
DECODERS: dict[str, Any] = {"moe": MoEDecoder, "rope": RopeDecoder}
MODELS: dict[str, Any] = {"parallel": ParallelCaptionModel, "autoregressive": CaptionModel}


def load_frozen(config: ModelConfig, dtype: torch.dtype = torch.float32, nf4: bool = False) -> FrozenParts | None:
    """The pretrained parts that a configuration names, which several models may share; None where it names none."""
    return FrozenParts(config, dtype, nf4) if config.kind == "prefix" else None


def build_model(config: ModelConfig, frozen: FrozenParts | None = None) -> CaptionModel:
    """The model that a configuration describes, with random weights.

    Its parts are built, and registered, in one order: the same seed gives the same weights in every version.

    Args:
        frozen: what `load_frozen` gave, fitted to the model's tokenizer.
    """
    if frozen is not None:
        return shrunk(PrefixCaptionModel(config, **prefix_parts(config, frozen)))
    width, vocabulary = config.d_model, config.vocabulary
    parts: dict[str, nn.Module] = {
        "backbone": BACKBONES[config.backbone.kind](d_model=width, **keywords(config.backbone)),
        "decoder": DECODERS[config.decoder.kind](
            vocabulary, d_model=width, max_length=config.max_length, **keywords(config.decoder)
        ),
    }
    if config.kind == "parallel":
        parts["length_predictor"] = LengthPredictor(width, config.max_length)
        parts["refiner"] = ICMRDecoder(vocabulary, config.generation.passes)
    parts["alignment"] = Alignment(width, config.d_space, config.max_length)
    return shrunk(MODELS[config.kind](config, **parts))
