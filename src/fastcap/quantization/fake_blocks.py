"""Fake quantisation of the prefix family: a language model is trained with the rounded matrices of its export.

A checkpoint holds adapters alone, which the exporter merges before it rounds. So training rounds what is merged: in the
forward pass a matrix is `round(W + s B A)`, and the gradient reaches A and B straight through (Bengio et al. 2013). No
step is learned: each block's is that of its largest number. That the exporter makes up for errors of 4 bits with what
matrices read (GPTQ) is left out, since it takes minutes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.quantization.scales import LARGE, block_bits, block_size, is_linear

__all__ = ["round_blocks", "rounded_matrices"]


def round_blocks(weight: Tensor, bits: int) -> Tensor:
    """A weight (N, K) with the numbers of each block as whole multiples of its step, and the gradient of the weight."""
    n, k = weight.shape
    block, half = block_size(k, bits), 1 << bits - 1
    blocks = F.pad(weight, (0, -k % block)).view(n, -1, block)
    with torch.no_grad():
        largest = blocks.gather(2, blocks.abs().argmax(dim=2, keepdim=True))
        step = torch.where(largest == 0, 1.0, -largest / half)
        rounded = (blocks / step).round_().clamp_(-half, half - 1).mul_(step).view(n, -1)[:, :k]
    return weight + (rounded - weight).detach()


@contextlib.contextmanager
def rounded_matrices(model: Any, bits: Mapping[str, int]) -> Iterator[None]:
    """A context in which a prefix model computes with rounded matrices, adapters merged into them.

    Args:
        bits: of tensors by their names in a graph; those left out have `block_bits`, and 16 leaves a matrix as it is.
    """
    swapped: list[tuple[nn.Module, dict[str, Any], Any]] = []
    head = model.decoder.language_model.get_output_embeddings()
    try:
        for name, module in model.decoder.named_modules():
            linear: Any = getattr(module, "base_layer", module)
            if not is_linear(linear) or name.endswith(".base_layer") or ".lora_" in name or linear is head:
                continue
            chosen = bits.get(f"model.decoder.{name}.weight", block_bits(f"{name}.weight"))
            if chosen == 16 or linear.weight.numel() < LARGE:
                continue
            adapted = module if linear is not module else None
            weight = linear.weight if adapted is None else linear.weight + adapted.get_delta_weight("default")
            swapped.append((linear, dict(linear._parameters), adapted))
            del linear._parameters["weight"]
            plain = isinstance(linear, nn.Linear)  # GPT-2's has its inputs first
            linear.weight = round_blocks(weight, chosen) if plain else round_blocks(weight.T, chosen).T
            if adapted is not None:
                adapted._disable_adapters = True
        yield
    finally:
        for linear, parameters, adapted in swapped:
            linear.__dict__.pop("weight", None)
            linear._parameters.clear()  # in the order that they had
            linear._parameters.update(parameters)
            if adapted is not None:
                adapted._disable_adapters = False
