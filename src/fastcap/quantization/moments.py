"""What the weights of a language model are multiplied with, by which they are rounded to 4 bits.

Letters: B pictures, K numbers of an input.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from fastcap.quantization.scales import block_bits, is_linear

__all__ = ["InDoubles", "input_moments"]


class InDoubles(TorchFunctionMode):
    """While it is entered, what asks torch for 32 bits gets 64: language models normalise in 32 whatever they compute
    in."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        func = torch.Tensor.double if func is torch.Tensor.float else func
        args = [torch.float64 if value is torch.float32 else value for value in args]
        return func(*args, **{k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()})


def input_moments(
    model: Any, images: np.ndarray, texts: Sequence[Sequence[int]], bits: Mapping[str, int] | None = None
) -> dict[str, np.ndarray]:
    """Sums of products of the inputs (K, K), float64, of a prefix model's products that get 4 bits, by the names that
    their weights have in a graph, while it reads texts of pictures.

    All is computed in 64 bits: in 32, the last digits depend on the processor, and one weight in two thousand would be
    rounded to another integer.

    Args:
        model: a `fastcap.model.CaptionModel` of the family.
        images: (B, H, W, 3) uint8.
        texts: token ids; the t-th is read as a text of picture t modulo B, and all pictures have as many.
        bits: of tensors by name, in place of `block_bits`.
    """
    model = copy.deepcopy(model).double()
    found: dict[str, Any] = {}

    def watch(name: str) -> Any:
        def hook(_: Any, inputs: tuple[Any, ...]) -> None:
            x = inputs[0].reshape(-1, inputs[0].shape[-1])
            found[name] = found.get(name, 0) + x.T @ x

        return hook

    for name, module in model.named_modules():
        linear = is_linear(getattr(module, "base_layer", module))
        chosen = (bits or {}).get(f"model.{name}.weight", block_bits(f"{name}.weight"))
        if linear and chosen == 4 and name.startswith("decoder.language_model.") and not name.endswith("base_layer"):
            module.register_forward_pre_hook(watch(f"model.{name}.weight"))
    order = [text for first in range(len(images)) for text in texts[first :: len(images)]]
    lengths = torch.tensor([len(text) for text in order])
    ids = torch.full((len(order), int(lengths.max())), model.vocabulary.pad_id)
    for row, text in zip(ids, order, strict=True):
        row[: len(text)] = torch.tensor(text)
    with torch.no_grad(), InDoubles():
        decoder = model.decoder
        state = decoder.prepare(model.encode(torch.from_numpy(images)))
        decoder.hidden(decoder.inputs(ids), state, lengths=lengths + 1)
    return {name: value.numpy() for name, value in found.items()}
