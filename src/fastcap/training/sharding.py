"""How the processes of a run share its weights: each holds all of them, or its shards by PyTorch's FSDP2.

FSDP2 (Zhao et al. 2023, after ZeRO-3, Rajbhandari et al. 2020): each process (rank) keeps its shard of every weight,
along the first axis, and so of its gradient, its optimiser state and its average. A block's weights are gathered when
it computes, and freed afterwards. The shards of DeepSpeed's ZeRO-3, which are flat, are gathered by the same functions;
see `fastcap.training.zero`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.distributed import all_gather_single, get_rank, get_world_size
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from fastcap.errors import ConfigError
from fastcap.training.recompute import BLOCKS

__all__ = [
    "FlatPart", "Fsdp2", "Replicated", "gather", "local_parts", "part_of", "shard_blocks", "shard_like",
    "start_processes", "undivided", "whole",
]  # fmt: skip

Build = Callable[[], torch.optim.Optimizer]


def start_processes(precision: str) -> Accelerator:
    """The processes of this run, as accelerate or torchrun started them; one, if nobody did.

    Raises:
        ConfigError: accelerate is told to shard the model, which this package does itself.
    """
    if "true" in (os.environ.get(f"ACCELERATE_USE_{engine}") for engine in ("FSDP", "DEEPSPEED")):
        raise ConfigError(
            "accelerate is told to divide the model itself (distributed_type FSDP or DEEPSPEED); allowed: "
            "MULTI_GPU, with sharding fsdp2 or zero3 in the recipe"
        )
    return Accelerator(
        cpu=not torch.accelerator.is_available(),  # else processes on CPUs would not find one another
        mixed_precision=precision,
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),  # no stage uses all of the network
            InitProcessGroupKwargs(timeout=timedelta(days=1)),  # while the main process caches or validates
        ],
    )


class Replicated:
    """Every process holds all weights; several exchange their gradients (DDP). One process is the plain case."""

    shards = False

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator, self.device = accelerator, accelerator.device

    def wrap(self, network: nn.Module, build: Build, backward: Callable[[], Any]) -> tuple[nn.Module, Any]:
        """What to call in place of a network, and its optimiser.

        Args:
            build: makes the optimiser, once the network's parameters are those that it will train.
            backward: computes the network's gradients of one batch, which tell what a stage trains.
        """
        return self.accelerator.prepare(network, build())

    def clip(self, network: nn.Module, optimizer: Any, limit: float) -> Tensor:
        """Scale gradients down to a norm of `limit`, that of all together; returns the norm before."""
        return whole(self.accelerator.clip_grad_norm_(network.parameters(), limit))

    def close(self, model: nn.Module, optimizer: Any, new_model: Callable[[], Any]) -> Any:
        """At the end of a stage: the model with all its weights, of which `new_model` makes another if need be."""
        return model


class Fsdp2(Replicated):
    """Every process holds its shards of the weights."""

    shards = True

    def wrap(self, network: nn.Module, build: Build, backward: Callable[[], Any]) -> tuple[nn.Module, Any]:
        shard_blocks(network, self.device)
        return network, build()

    def close(self, model: nn.Module, optimizer: Any, new_model: Callable[[], Any]) -> Any:
        weights = gather(local_parts(model), self.device)
        self.release(optimizer)
        complete = new_model()
        complete.load_state_dict(weights)
        return complete

    def release(self, optimizer: Any) -> None:
        """Free what the optimiser holds of the network."""


class FlatPart(Tensor):
    """This process's shard of a flattened tensor, (n,), equally long in all; the last ends are filled up.

    `whole_shape` is the shape of the tensor.
    """

    whole_shape: torch.Size

    @staticmethod
    def of(part: Tensor, shape: torch.Size) -> FlatPart:
        """A shard (n,), of a tensor of this shape."""
        flat = part.as_subclass(FlatPart)
        flat.whole_shape = shape
        return flat

    def numbers(self) -> Tensor:
        """The shard without what it was filled up with."""
        plain = self.as_subclass(Tensor)
        return plain[: max(0, self.whole_shape.numel() - get_rank() * len(plain))]


def shard_blocks(network: nn.Module, device: torch.device) -> None:
    """Shard the weights of a network among all processes, in place; what is in no block forms one block more. What
    others have trained stays whole.

    Every process has to hold the same weights, and from now on to call the same blocks equally often in the same order:
    they wait for one another in each. The gradient is the mean of the processes' gradients.

    Args:
        device: where the process computes; CPUs talk by gloo.

    Raises:
        ValueError: a weight without axes is trained.
    """
    frozen = frozen_for_good(network)
    apart = undivided(network) | frozen
    mesh = init_device_mesh(device.type, (get_world_size(),))
    for block in [module for module in network.modules() if isinstance(module, BLOCKS)]:
        if not frozen.isdisjoint(block.parameters()):
            continue
        fully_shard(block, mesh=mesh)
        if hasattr(block, "prepare"):  # what a decoder's layer computes once for an image
            register_fsdp_forward_method(block, "prepare")
    fully_shard(network, mesh=mesh, ignored_params=apart)


def frozen_for_good(network: nn.Module) -> set[nn.Parameter]:
    """The weights of a prefix model that others have trained: every process keeps them whole, since they have neither
    gradients nor moments, and the models that are made for validation share them."""
    return {
        parameter
        for module in network.modules()
        if (learned := getattr(module, "learned", None)) is not None
        for name, parameter in module.named_parameters()
        if name not in learned
    }


def undivided(network: nn.Module) -> set[nn.Parameter]:
    """The single numbers among a network's weights, which cannot be sharded.

    Raises:
        ValueError: one of them is trained.
    """
    scalars = {parameter for parameter in network.parameters() if parameter.ndim == 0}
    if any(scalar.requires_grad for scalar in scalars):
        raise ValueError("a single number that is trained cannot be divided, nor would its gradients be exchanged")
    return scalars


def local_parts(network: nn.Module) -> dict[str, Tensor]:
    """What this process holds of a network's state, by name."""
    state = network.state_dict(keep_vars=True)  # DeepSpeed keeps its shards as attributes of the weights
    return {
        name: FlatPart.of(value.ds_tensor, value.ds_shape) if hasattr(value, "ds_tensor") else value.detach()
        for name, value in state.items()
    }


def shard_like(tensors: Mapping[str, Tensor], patterns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """This process's shards of whole tensors, divided as those of the same names are; nothing is communicated."""
    return {name: part_of(tensor, patterns[name]) for name, tensor in tensors.items()}


def part_of(tensor: Tensor, pattern: Tensor) -> Tensor:
    """This process's shard of a whole tensor, divided as another is."""
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
    """A tensor gathered from all processes' shards, or as it is; every process has to call this."""
    if isinstance(tensor, FlatPart):
        flat = torch.empty(get_world_size() * len(tensor), dtype=tensor.dtype, device=tensor.device)
        all_gather_single(flat, tensor.as_subclass(Tensor))
        return flat[: tensor.whole_shape.numel()].view(tensor.whole_shape)
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather(tensors: Mapping[str, Tensor], device: torch.device | str, keep: bool = True) -> dict[str, Tensor]:
    """Tensors gathered one by one, on `device`; every process has to call this.

    A tensor that is not sharded is returned as it is; `keep`: whether this process needs the others.
    """
    gathered = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if full is tensor:
            gathered[name] = tensor
        elif keep:
            gathered[name] = full.detach().to(device)
    return gathered
