"""Sharded training by DeepSpeed's ZeRO-3 (Rajbhandari et al. 2020).

Each process keeps an equal shard of every weight, flattened, and so of its gradient, its moments and its average. A
layer's weights are gathered when it computes, and freed afterwards.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import all_reduce

from fastcap.errors import ConfigError, needs
from fastcap.training.sharding import Build, FlatPart, Fsdp2, part_of, undivided

__all__ = ["Zero3", "ZeroOptimizer", "freeze_unused", "import_deepspeed", "shard_by_zero"]

# Layers whose weights are only read by calling them; the weights of other modules may be read in other ways.
LAYERS = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)
BUCKET = 500_000  # numbers that are sent together, of gradients and of weights that will be needed next


class Zero3(Fsdp2):
    """Every process holds its shards of the weights, in DeepSpeed's engine."""

    def __init__(self, accelerator: Any) -> None:
        super().__init__(accelerator)
        import_deepspeed(self.device)  # a missing package is an error now, not after the caches are built

    def wrap(self, network: nn.Module, build: Build, backward: Callable[[], Any]) -> tuple[nn.Module, Any]:
        freeze_unused(network, backward)
        return shard_by_zero(network, build(), self.device)

    def clip(self, network: nn.Module, optimizer: ZeroOptimizer, limit: float) -> Tensor:
        return optimizer.clip(limit)

    def release(self, optimizer: ZeroOptimizer) -> None:
        optimizer.close()


def freeze_unused(network: nn.Module, backward: Callable[[], Any]) -> None:
    """Train only what gets gradients in `backward`: DeepSpeed would take the others' for 0, and decay the weights."""
    backward()
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None


def import_deepspeed(device: torch.device) -> Any:
    """DeepSpeed, told on which device the process computes, and to compile nothing.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ["DS_ACCELERATOR"] = device.type
    try:
        import deepspeed
    except ModuleNotFoundError as error:
        raise ConfigError(f"sharding zero3 {needs('DeepSpeed', 'deepspeed')}") from error
    deepspeed.ops.__compatible_ops__ = {}  # else a compiler builds what inference on CPUs would use
    warnings.filterwarnings("ignore", "`torch.distributed.*_tensor` is deprecated", FutureWarning)  # at every message
    return deepspeed


class ZeroOptimizer:
    """AdamW whose weights, gradients and moments are divided, used as any optimiser of PyTorch.

    Args:
        engine: what `deepspeed.initialize` made.
    """

    def __init__(self, engine: Any) -> None:
        self.engine, self.zero = engine, engine.optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of weights, with their rates."""
        return self.zero.param_groups

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        """This process's shards of the moments of each weight."""
        state: dict[Tensor, dict[str, Tensor]] = {}
        for flat, parameters in self.flat_groups():
            for name, value in self.zero.optimizer.state.get(flat, {}).items():
                sizes = [parameter.ds_tensor.numel() for parameter in parameters]
                pieces = value.split(sizes) if value.ndim else [value.clone() for _ in sizes]
                for parameter, piece in zip(parameters, pieces, strict=True):
                    piece = FlatPart.of(piece, parameter.ds_shape) if value.ndim else piece
                    state.setdefault(parameter, {})[name] = piece
        return state

    def flat_groups(self) -> Any:
        """This process's shards of the weights that are trained, side by side in flat tensors, and these weights."""
        return zip(self.zero.fp32_partitioned_groups_flat, self.zero.fp16_groups, strict=True)

    def zero_grad(self) -> None:
        """Set all gradients to 0."""
        self.zero.zero_grad()
        self.zero.grad_partitions_flat_buffer.zero_()  # else a weight that gets no gradient keeps its last one

    def clip(self, limit: float) -> Tensor:
        """Scale gradients down to a norm of `limit`, that of all weights together; returns the norm before."""
        from deepspeed.utils import safe_get_local_grad

        gradients = []
        for _, parameters in self.flat_groups():
            gradients += [FlatPart.of(safe_get_local_grad(p), p.ds_shape).numbers() for p in parameters]
        squares = torch.stack(torch._foreach_norm(gradients)).square().sum()
        all_reduce(squares)
        norm = squares.sqrt()
        torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def step(self) -> None:
        """Update the weights."""
        self.zero.step()

    def close(self) -> None:
        """Release the network."""
        from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK

        self.engine.destroy()
        FWD_MODULE_STACK.clear()  # modules that are computing; DeepSpeed never removes the network itself


def shard_by_zero(
    network: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> tuple[nn.Module, ZeroOptimizer]:
    """Shard the weights of a network among all processes, in place, and an optimiser's moments of them.

    Every process has to hold the same weights, and from now on to call the same layers equally often in the same order.
    Weights that are read other than by calling a layer (embeddings, positions, experts) stay gathered for a step.
    The gradient is the mean of the processes' gradients, and 0 for trained weights that get none.

    Returns:
        What to call in place of the network, and in place of the optimiser.

    Raises:
        ConfigError: DeepSpeed is not installed.
        ValueError: a weight without axes is trained.
    """
    deepspeed = import_deepspeed(device)
    states = {parameter: optimizer.state.pop(parameter) for parameter in list(optimizer.state)}
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": 3,
            "reduce_bucket_size": BUCKET,
            "stage3_prefetch_bucket_size": BUCKET,
            "stage3_param_persistence_threshold": 0,
            "stage3_max_reuse_distance": 0,
            "memory_efficient_linear": False,  # it would stand in for PyTorch's own everywhere
        },
    }
    scalars = undivided(network)
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter in scalars:  # DeepSpeed would try to divide it, and fail
                delattr(module, name)
                module.register_buffer(name, parameter.detach())
    engine = deepspeed.initialize(model=network, optimizer=optimizer, config=settings)[0]
    engine.no_sync = contextlib.nullcontext  # gradients of each micro-batch are sent: a process keeps its shards alone
    for module in network.modules():
        if not isinstance(module, LAYERS):
            for parameter in module.parameters(recurse=False):
                deepspeed.zero.register_external_parameter(network, parameter)
    sharded = ZeroOptimizer(engine)
    groups = zip(engine.optimizer.fp16_partitioned_groups_flat, sharded.flat_groups(), strict=True)
    for weights, (flat, parameters) in groups:
        flat.data = weights  # in float32 one and the same; DeepSpeed 0.19 takes "cpu" for another device, and copies
        known = [states[parameter] for parameter in parameters if parameter in states]
        if known:
            optimizer.state[flat] = {"step": known[0]["step"]}
            for name in ("exp_avg", "exp_avg_sq"):
                moments = []
                for parameter in parameters:
                    pattern = FlatPart.of(parameter.ds_tensor, parameter.ds_shape)
                    moment = states[parameter][name] if parameter in states else torch.zeros(parameter.ds_shape)
                    moments.append(part_of(moment, pattern).as_subclass(Tensor))
                optimizer.state[flat][name] = torch.cat(moments)
    return engine, sharded
