"""What each of several processes holds of a model in training: all of it (DDP) or a part (FSDP2).

    torchrun --nproc_per_node 2 benchmarks/sharding.py --config configs/model/fastcap_base.yaml

One step of AdamW each way, on one drawn picture a process; bytes are those of the largest share, without padding for
messages and without activations.
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import Tensor, nn
from torch.distributed import ReduceOp, all_reduce, destroy_process_group, get_rank, get_world_size, init_process_group
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from fastcap.config import load_config
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.losses.language import causal_loss, read_causally
from fastcap.model import CaptionModel
from fastcap.training.sharding import shard_blocks, shard_like


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


def measure(path: str, sharding: bool) -> dict[str, float]:
    """One step; what a process then holds."""
    torch.manual_seed(0)
    config = load_config(path).model
    model = CaptionModel(config).train()
    model.alignment.requires_grad_(False)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    reading: nn.Module = Reading(model)
    if sharding:
        shard_blocks(reading, torch.device("cpu"))
        average = shard_like(average, model.state_dict())
    else:
        reading = DistributedDataParallel(reading, find_unused_parameters=True)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad])
    generator = torch.Generator().manual_seed(get_rank())
    size = config.image_size
    pixels = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8, generator=generator)
    token_ids = torch.randint(5, config.vocab_size, (1, config.max_length), generator=generator)
    torch.manual_seed(0)  # dropout
    loss = reading(pixels, token_ids)
    loss.backward()
    optimizer.step()
    total = loss.detach().clone()
    all_reduce(total)
    moments = [part for state in optimizer.state.values() for part in state.values()]
    return {
        "loss": float(total) / get_world_size(),
        "parameters": held(list(model.parameters())),
        "optimiser": held(moments),
        "average": held(list(average.values())),
        "gradients": held([weight.grad for weight in model.parameters() if weight.grad is not None]),
    }


def main() -> None:
    """Both ways, compared; the first process prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/model/fastcap_base.yaml", help="%(default)s")
    args = parser.parse_args()
    torch.set_num_threads(1)
    init_process_group("gloo")
    ddp, fsdp2 = (measure(args.config, sharding) for sharding in (False, True))
    sums = [way["parameters"] + way["optimiser"] for way in (ddp, fsdp2)]
    result = {
        "format": 1,
        "kind": "sharding",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "config": args.config,
        "processes": get_world_size(),
        "bytes_per_process": {"ddp": ddp, "fsdp2": fsdp2},
        "parameters_and_optimiser_of_ddp": round(sums[1] / sums[0], 3),
    }
    if get_rank() == 0:
        print(json.dumps(result, indent=1))
    destroy_process_group()


if __name__ == "__main__":
    main()
