"""What each of several processes holds of a model in training: all of it (DDP) or a part (FSDP2, DeepSpeed's ZeRO-3).

    torchrun --nproc_per_node 2 benchmarks/sharding.py --config configs/model/fastcap_base.yaml

One step of AdamW each way, on one drawn picture a process; bytes are those of the largest share, without padding for
messages and without activations. ZeRO-3 is left out where DeepSpeed is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ReduceOp, all_reduce, destroy_process_group, get_rank, get_world_size, init_process_group
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from fastcap.config import load_config
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.losses.language import causal_loss, read_causally
from fastcap.model import CaptionModel, build_model
from fastcap.training.sharding import local_parts, shard_blocks, shard_like
from fastcap.training.zero import ZeroOptimizer, shard_by_zero


class Reading(nn.Module):
    """A model and its causal loss of pixels (B, H, W, 3) and full-length captions (B, T)."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, token_ids: Tensor) -> Tensor:
        """The loss of a batch."""
        decoder = self.model.decoder
        lengths = torch.full((len(token_ids),), token_ids.shape[1])
        state = decoder.prepare(self.model.encode(pixels))
        return causal_loss(decoder, read_causally(decoder, state, token_ids, lengths), token_ids, lengths, 0.1)


def held(tensors: list[Tensor]) -> int:
    """Bytes of memory behind tensors, of the part that is here, of the process with most."""
    local = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
    storages = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in local}
    total = torch.tensor(sum(storages.values()))
    all_reduce(total, ReduceOp.MAX)
    return int(total)


def measure(path: str, way: str) -> dict[str, float]:
    """One step, by ddp, fsdp2 or zero3; what a process then holds."""
    torch.manual_seed(0)
    config, device = load_config(path).model, torch.device("cpu")
    model = build_model(config).train()
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(get_rank())
    size = config.image_size
    pixels = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8, generator=generator)
    token_ids = torch.randint(5, config.vocab_size, (1, config.max_length), generator=generator)
    reading: nn.Module = Reading(model)
    reading(pixels, token_ids).backward()
    for weight in model.parameters():  # what the loss does not reach is not trained
        weight.requires_grad_(weight.grad is not None)
        weight.grad = None
    if way == "fsdp2":
        shard_blocks(reading, device)
    elif way == "ddp":
        reading = DistributedDataParallel(reading)
    optimizer: Any = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad])
    if way == "zero3":
        reading, optimizer = shard_by_zero(reading, optimizer, device)
    if way != "ddp":
        average = shard_like(average, local_parts(model))
    torch.manual_seed(0)  # dropout
    loss = reading(pixels, token_ids)
    loss.backward()
    optimizer.step()
    total = loss.detach().clone()
    all_reduce(total)
    weights, gradients = list(model.parameters()), [weight.grad for weight in model.parameters()]
    if isinstance(optimizer, ZeroOptimizer):  # DeepSpeed keeps parts beside the weights, which it empties
        zero = optimizer.zero
        weights += [weight.ds_tensor for weight in weights]
        weights += [zero.lp_param_buffer, *zero.fp32_partitioned_groups_flat]
        gradients += [zero.grad_partitions_flat_buffer, *(bucket.buffer for bucket in zero.ipg_buckets.values())]
    return {
        "loss": float(total) / get_world_size(),
        "parameters": held(weights),
        "optimiser": held([part for state in optimizer.state.values() for part in state.values()]),
        "average": held(list(average.values())),
        "gradients": held([gradient for gradient in gradients if gradient is not None]),
    }


def main() -> None:
    """All ways, compared; the first process prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/model/fastcap_base.yaml", help="%(default)s")
    args = parser.parse_args()
    torch.set_num_threads(1)
    init_process_group("gloo")
    ways = ["ddp", "fsdp2", *(["zero3"] if importlib.util.find_spec("deepspeed") else [])]
    found = {way: measure(args.config, way) for way in ways}
    sums = {way: figures["parameters"] + figures["optimiser"] for way, figures in found.items()}
    result = {
        "format": 1,
        "kind": "sharding",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "config": args.config,
        "processes": get_world_size(),
        "bytes_per_process": found,
        "parameters_and_optimiser_of_ddp": {way: round(total / sums["ddp"], 3) for way, total in sums.items()},
    }
    if get_rank() == 0:
        print(json.dumps(result, indent=1))
    destroy_process_group()


if __name__ == "__main__":
    main()
