"""Sharded training by PyTorch's FSDP2 (Zhao et al. 2023, after ZeRO-3, Rajbhandari et al. 2020).

Each process keeps its part of every weight, along the first axis, and so of its gradient, its optimiser state and its
average. A block is put together when it computes, and taken apart again. The parts of DeepSpeed's ZeRO-3, which are
flat, are gathered by the same functions; see `fastcap.training.zero`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed import all_gather_single, get_rank, get_world_size
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from fastcap.training.recompute import BLOCKS

__all__ = ["FlatPart", "gather", "local_parts", "part_of", "shard_blocks", "shard_like", "undivided", "whole"]


class FlatPart(Tensor):
    """This process's even part of a flattened tensor, (n,); where that does not come out even, the last end is filler.

    `whole_shape` is the shape of the tensor.
    """

    whole_shape: torch.Size

    @staticmethod
    def of(part: Tensor, shape: torch.Size) -> FlatPart:
        """A part (n,), of a tensor of this shape."""
        found = part.as_subclass(FlatPart)
        found.whole_shape = shape
        return found

    def numbers(self) -> Tensor:
        """The part without filler."""
        plain = self.as_subclass(Tensor)
        return plain[: max(0, self.whole_shape.numel() - get_rank() * len(plain))]


def shard_blocks(network: nn.Module, device: torch.device) -> None:
    """Divide the weights of a network among all processes, in place; what is in no block is one block more.

    Every process is to hold the same weights, and from now on to call the same blocks equally often in the same order:
    they wait for one another in each. The gradient is the mean of the processes' gradients.

    Args:
        device: where the process computes; CPUs talk by gloo.

    Raises:
        ValueError: a weight without axes is trained.
    """
    scalars = undivided(network)
    mesh = init_device_mesh(device.type, (get_world_size(),))
    for block in [module for module in network.modules() if isinstance(module, BLOCKS)]:
        fully_shard(block, mesh=mesh)
        if hasattr(block, "prepare"):  # what a decoder's layer computes once for an image
            register_fsdp_forward_method(block, "prepare")
    fully_shard(network, mesh=mesh, ignored_params=scalars)


def undivided(network: nn.Module) -> set[nn.Parameter]:
    """The single numbers among a network's weights, which have no parts.

    Raises:
        ValueError: one of them is trained.
    """
    scalars = {parameter for parameter in network.parameters() if parameter.ndim == 0}
    if any(scalar.requires_grad for scalar in scalars):
        raise ValueError("a single number that is trained cannot be divided, nor would its gradients be exchanged")
    return scalars


def local_parts(network: nn.Module) -> dict[str, Tensor]:
    """What this process holds of a network's state, by name."""
    state = network.state_dict(keep_vars=True)  # DeepSpeed notes its parts at the weights themselves
    return {
        name: FlatPart.of(value.ds_tensor, value.ds_shape) if hasattr(value, "ds_tensor") else value.detach()
        for name, value in state.items()
    }


def shard_like(tensors: Mapping[str, Tensor], patterns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """This process's parts of whole tensors, divided as those of the same names are; nothing is sent."""
    return {name: part_of(tensor, patterns[name]) for name, tensor in tensors.items()}


def part_of(tensor: Tensor, pattern: Tensor) -> Tensor:
    """A tensor divided as another is."""
    if isinstance(pattern, FlatPart):
        part = FlatPart.of(torch.zeros_like(pattern.as_subclass(Tensor)), pattern.whole_shape)
        start = get_rank() * len(part)
        part.numbers().copy_(tensor.flatten()[start : start + len(part)])
        return part
    if not isinstance(pattern, DTensor):
        return tensor
    parts = distribute_tensor(tensor.to(pattern.device), pattern.device_mesh, pattern.placements, src_data_rank=None)
    return parts.clone()  # else the part would be a view that keeps the whole


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from all processes' parts, or as it is; all processes are to ask for it."""
    if isinstance(tensor, FlatPart):
        flat = torch.empty(get_world_size() * len(tensor), dtype=tensor.dtype, device=tensor.device)
        all_gather_single(flat, tensor.as_subclass(Tensor))
        return flat[: tensor.whole_shape.numel()].view(tensor.whole_shape)
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
