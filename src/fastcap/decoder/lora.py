"""Low-rank adapters (LoRA, Hu et al. 2022) in a frozen language model, through peft.

A frozen matrix W becomes `W + (alpha / rank) B A`, of which only A and B are trained; B begins as zero, so an adapter
changes nothing until it has learnt something.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fastcap.errors import ConfigError, ModelFileError, needs

__all__ = ["TARGETS", "adapter_state", "add_adapters", "load_adapters", "lora_targets", "merge_adapters"]

TARGETS = ("attention", "all")


def lora_targets(model: nn.Module, where: str = "attention") -> list[str]:
    """Names of the linear layers that get adapters, as peft matches them: `self_attn.q_proj`, `attn.c_attn`, ...

    Args:
        model: a decoder-only language model of transformers.
        where: "attention" for the matrices of self-attention, "all" for those of the feed-forward networks too.

    Raises:
        ConfigError: another `where`, or a model in which there is no such layer.
    """
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    if where not in TARGETS:
        raise ConfigError(f"adapter targets are {where!r}; allowed: {', '.join(TARGETS)}")
    heads = {id(module) for module in (output_layer(model),) if module is not None}
    found: dict[str, None] = {}
    for name, module in model.named_modules():
        parent = name.split(".")[-2] if name.count(".") else ""
        wanted = where == "all" or "attn" in parent or "attention" in parent
        if wanted and isinstance(module, nn.Linear | Conv1D) and id(module) not in heads:
            found[f"{parent}.{name.rpartition('.')[2]}"] = None
    if not found:
        raise ConfigError(f"{type(model).__name__} has no linear layer in {where}; adapters need one")
    return list(found)


def output_layer(model: Any) -> nn.Module | None:
    """The layer that gives logits, which is never adapted."""
    return model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None


def add_adapters(
    model: nn.Module, rank: int = 16, alpha: int = 16, dropout: float = 0.05, where: str = "attention"
) -> nn.Module:
    """Freeze a language model and put adapters into it, in place; only these are trainable then.

    Args:
        rank, alpha: of every adapter; 16 and 16 as in the seed's model.
        dropout: of an adapter's input, in training only.
        where: see `lora_targets`.

    Raises:
        ConfigError: a number out of its range, an unknown `where`, or peft is missing.
    """
    for name, value, holds, allowed in (
        ("rank", rank, rank >= 1, "1 or more"),
        ("alpha", alpha, alpha >= 1, "1 or more"),
        ("dropout", dropout, 0 <= dropout < 1, "at least 0, below 1"),
    ):
        if not holds:
            raise ConfigError(f"adapter {name} is {value}; allowed: {allowed}")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError(f"an adapter {needs('peft', 'prefix')}") from error
    model.requires_grad_(False)
    targets = lora_targets(model, where)
    fan_in_fan_out = any(type(module).__name__ == "Conv1D" for module in model.modules())
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, fan_in_fan_out=fan_in_fan_out
    )
    return inject_adapter_in_model(config, model)


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' tensors by name, nothing of the frozen model."""
    return {name: value.detach() for name, value in model.named_parameters() if ".lora_" in name}


def load_adapters(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Copy adapters into a model that has such ones.

    Raises:
        ModelFileError: they belong to another base model, or to other ranks or layers.
    """
    own = adapter_state(model)
    if own.keys() != state.keys():
        odd = sorted(own.keys() ^ state.keys())[0]
        raise ModelFileError(
            f"adapters of another base model: {len(own.keys() & state.keys())} of {len(own)} tensors match; {odd} is "
            "in one of them only"
        )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ModelFileError(
                f"adapters of another base model or rank: {name} is {tuple(value.shape)}, needed: "
                f"{tuple(own[name].shape)}"
            )
    for name, value in state.items():
        own[name].copy_(value)


def merge_adapters(model: nn.Module) -> nn.Module:
    """Add the adapters to the matrices they belong to, in place, and take them out: the plain language model again.

    Sums are made in 64 bits, so that every processor rounds them to the same number.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            adapted: Any = module
            base = adapted.get_base_layer()
            dtype = base.weight.dtype
            adapted.double().merge(safe_merge=True)  # raises if a merged matrix holds a number that is not finite
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, base.to(dtype))
    return model
