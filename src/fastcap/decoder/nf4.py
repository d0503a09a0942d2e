"""A frozen language model in 4 bits while its adapters are trained: QLoRA (Dettmers et al. 2023), through bitsandbytes.

Each matrix is stored as NF4, 4 bits a number with a scale for 64 of them, and multiplied after it has been made 32 bits
again. Adapters, embeddings, norms and the head stay as they are. A checkpoint holds the adapters alone: it is validated
in training beside 4 bits, and captions and is exported beside the whole matrices.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from fastcap.decoder.lora import output_layer
from fastcap.decoder.prefix_lm import last_layers
from fastcap.errors import ConfigError, needs

__all__ = ["store_in_nf4"]


def store_in_nf4(language_model: Any, unfrozen: int = 0) -> Any:
    """Put NF4 in place of a language model's linear layers, in place.

    Args:
        unfrozen: last layers that are trained as a whole, and left alone.

    Raises:
        ConfigError: bitsandbytes is missing, or a layer is no `nn.Linear` (GPT-2's are not).
    """
    try:
        from bitsandbytes.nn import Linear4bit
    except ImportError as error:
        raise ConfigError(f"precision nf4 {needs('bitsandbytes', 'qlora')}") from error
    spared: Collection[nn.Module | None] = {output_layer(language_model)} | {
        module for layer in last_layers(language_model, unfrozen) for module in layer.modules()
    }
    found = [
        (name, module)
        for name, module in language_model.named_modules()
        if isinstance(module, nn.Linear) and module not in spared
    ]
    if not found:
        raise ConfigError(
            f"precision is nf4; allowed: no or bf16, since {type(language_model).__name__} has no nn.Linear"
        )
    for name, module in found:
        made = Linear4bit(
            module.in_features, module.out_features, module.bias is not None, torch.float32, quant_type="nf4"
        )
        made.load_state_dict(module.state_dict())
        # some processors would turn the weights, which models share, into another form when one does not train
        made.support_avx512bf16_for_cpu = False
        parent, _, child = name.rpartition(".")
        setattr(language_model.get_submodule(parent), child, made.to(module.weight.device).requires_grad_(False))
    return language_model
