"""Gradient checkpointing (Chen et al. 2016): blocks keep their inputs alone and compute the rest again on the way back,
a third more arithmetic for much less memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fastcap.backbone.mobilenetv2 import InvertedResidual
from fastcap.backbone.resnet_vit import EncoderLayer, ResidualBlock
from fastcap.backbone.spatial_mamba import SpatialMambaBlock
from fastcap.decoder.moe_decoder import DecoderLayer
from fastcap.decoder.rope_decoder import RopeLayer

__all__ = ["BLOCKS", "checkpoint_blocks"]

BLOCKS = (InvertedResidual, SpatialMambaBlock, ResidualBlock, EncoderLayer, DecoderLayer, RopeLayer)


def checkpoint_blocks(model: nn.Module) -> None:
    """Let every block of a model forget in training what it can compute again; gradients are the same, dropout too."""
    for module in model.modules():
        if isinstance(module, BLOCKS):
            module.forward = functools.partial(forgetful, module, module.forward)  # type: ignore[method-assign]


def forgetful(module: nn.Module, forward: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """A block's answer, checkpointed where a gradient will be asked for."""
    if not (module.training and torch.is_grad_enabled()):
        return forward(*arguments, **settings)
    return checkpoint(forward, *arguments, use_reentrant=False, **settings)
