"""Gradient checkpointing (Chen et al. 2016): blocks keep only their inputs and recompute their activations in the
backward pass, a third more arithmetic for much less memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fastcap.backbone.convolutional import InvertedResidual
from fastcap.backbone.resnet_vit import EncoderLayer, ResidualBlock
from fastcap.backbone.spatial_mamba import SpatialMambaBlock
from fastcap.decoder.moe_decoder import DecoderLayer
from fastcap.decoder.prefix_lm import PrefixLM, all_layers
from fastcap.decoder.rope_decoder import RopeLayer

__all__ = ["BLOCKS", "checkpoint_blocks"]

BLOCKS = (InvertedResidual, SpatialMambaBlock, ResidualBlock, EncoderLayer, DecoderLayer, RopeLayer)


def checkpoint_blocks(model: nn.Module) -> None:
    """Let every block of a model recompute its activations in training, a language model's layers among them; gradients
    are the same, dropout included."""
    layers = {
        layer for part in model.modules() if isinstance(part, PrefixLM) for layer in all_layers(part.language_model)
    }
    for module in model.modules():
        if isinstance(module, BLOCKS) or module in layers:
            module.forward = functools.partial(recomputing, module, module.forward)  # type: ignore[method-assign]


def recomputing(module: nn.Module, forward: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """A block's output, checkpointed where it needs a gradient."""
    if not (module.training and torch.is_grad_enabled()):
        return forward(*arguments, **settings)
    return checkpoint(forward, *arguments, use_reentrant=False, **settings)
