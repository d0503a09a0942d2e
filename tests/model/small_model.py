"""The autoregressive family, small."""

from __future__ import annotations

from typing import Any

import torch

from fastcap.config import GenerationConfig, ModelConfig, ResNetViTConfig, RopeDecoderConfig
from fastcap.model import CaptionModel, build_model

EXPERTS = {"n_experts": 6, "top_k": 2, "d_hidden": 16}


def small_config(**decoder: Any) -> ModelConfig:
    """Pictures of 64x64 pixels, four image tokens; `decoder`: settings of the decoder."""
    return ModelConfig(
        image_size=64,
        d_model=32,
        vocab_size=300,
        max_length=12,
        backbone=ResNetViTConfig(widths=(8, 8, 12, 16), depths=(1, 1, 1, 1), n_layers=1, n_heads=4, d_hidden=48),
        decoder=RopeDecoderConfig(**{"n_layers": 2, "n_heads": 4, "d_hidden": 48, **decoder}),
        generation=GenerationConfig(min_length=2),
    )


def small_model(**decoder: Any) -> CaptionModel:
    """A model in evaluation mode whose every weight is random, those that begin at 0 or 1 too."""
    torch.manual_seed(0)
    model = build_model(small_config(**decoder))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()
