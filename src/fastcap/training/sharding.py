"""Sharded training by PyTorch's FSDP2 (Zhao et al. 2023, after ZeRO-3, Rajbhandari et al. 2020).

Each process keeps its part of every weight, along the first axis, and so of its gradient, its optimiser state and its
average. A block is put together when it computes, and taken apart again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed import get_world_size
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from fastcap.training.checkpointing import BLOCKS

__all__ = ["gather", "shard_blocks", "shard_like", "whole"]


def shard_blocks(network: nn.Module, device: torch.device) -> None:
    """Divide the weights of a network among all processes, in place; what is in no block is one block more.

    Every process is to hold the same weights, and from now on to call the same blocks equally often in the same order:
    they wait for one another in each. The gradient is the mean of the processes' gradients.

    Args:
        device: where the process computes; CPUs talk by gloo.

    Raises:
        ValueError: a weight without axes is trained.
    """
    scalars = {parameter for parameter in network.parameters() if parameter.ndim == 0}  # they have no parts
    if any(scalar.requires_grad for scalar in scalars):
        raise ValueError("a single number that is trained cannot be divided, nor would its gradients be exchanged")
    mesh = init_device_mesh(device.type, (get_world_size(),))
    for block in [module for module in network.modules() if isinstance(module, BLOCKS)]:
        fully_shard(block, mesh=mesh)
        if hasattr(block, "prepare"):  # what a decoder's layer computes once for an image
            register_fsdp_forward_method(block, "prepare")
    fully_shard(network, mesh=mesh, ignored_params=scalars)


def shard_like(tensors: Mapping[str, Tensor], patterns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """This process's parts of whole tensors, divided as those of the same names are; nothing is sent."""
    return {name: part_of(tensor, patterns[name]) for name, tensor in tensors.items()}


def part_of(tensor: Tensor, pattern: Tensor) -> Tensor:
    """A tensor divided as another is."""
    if not isinstance(pattern, DTensor):
        return tensor
    parts = distribute_tensor(tensor.to(pattern.device), pattern.device_mesh, pattern.placements, src_data_rank=None)
    return parts.clone()  # else the part would be a view that keeps the whole


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from all processes' parts, or as it is; all processes are to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather(tensors: Mapping[str, Tensor], device: torch.device | str, keep: bool = True) -> dict[str, Tensor]:
    """Tensors put together one by one, on `device`; all processes are to ask for it.

    A tensor that was not divided is returned as it is; `keep`: whether this process wants the others.
    """
    found = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if full is tensor:
            found[name] = tensor
        elif keep:
            found[name] = full.detach().to(device)
    return found
