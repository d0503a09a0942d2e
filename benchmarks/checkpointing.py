"""What gradient checkpointing saves: the largest memory of a training step from pixels, with and without, as JSON.

`python benchmarks/checkpointing.py [--config configs/model/fastcap_base.yaml] [--images 4]`
"""

from __future__ import annotations

import argparse
import json
import time
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fastcap.config import load_config
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.losses.language import causal_loss, mask_tokens, masked_loss, read_causally, read_masked
from fastcap.model import CaptionModel, build_model
from fastcap.training.recompute import checkpoint_blocks


class PeakMemory(TorchDispatchMode):
    """A context that adds up the bytes of all living tensors that were made in it; `peak` is the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.living: dict[int, int] = {}
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), settings: Any = None) -> Any:
        made = function(*arguments, **(settings or {}))
        given = {each.untyped_storage()._cdata for each in tree_leaves(arguments) if isinstance(each, Tensor)}
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.living and storage._cdata not in given:
                    self.living[storage._cdata] = storage.nbytes()
                    self.bytes += storage.nbytes()
                    weakref.finalize(storage, self.forget, storage._cdata)
        self.peak = max(self.peak, self.bytes)
        return made

    def forget(self, storage: int) -> None:
        """A storage has gone."""
        self.bytes -= self.living.pop(storage, 0)


def step(model: CaptionModel, images: int) -> tuple[float, float, list[Tensor]]:
    """The peak in MB, the seconds and the gradients of one step on random images with three captions each."""
    generator = torch.Generator().manual_seed(0)
    size, config = model.config.image_size, model.config
    pixels = torch.randint(0, 256, (images, size, size, 3), dtype=torch.uint8, generator=generator)
    token_ids = torch.randint(5, config.vocab_size, (3 * images, config.max_length), generator=generator)
    lengths = torch.full((3 * images,), config.max_length)
    model.zero_grad()
    torch.manual_seed(0)  # dropout
    began = time.perf_counter()
    with PeakMemory() as memory:
        state = model.decoder.prepare(model.encode(pixels))
        loss = causal_loss(
            model.decoder, read_causally(model.decoder, state, token_ids, lengths), token_ids, lengths, 0.1
        )
        if config.kind == "parallel":
            masked = mask_tokens(token_ids, lengths, generator)
            hidden = read_masked(model.decoder, state, token_ids, lengths, masked)
            loss = loss + masked_loss(model.decoder, hidden, token_ids, masked, 0.1)
        loss.backward()
    seconds = time.perf_counter() - began
    found = [each.grad.clone() for each in model.parameters() if each.grad is not None]
    return memory.peak / 2**20, seconds, found


def main() -> None:
    """One step each way, compare the gradients, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/model/fastcap_base.yaml", help="%(default)s")
    parser.add_argument("--images", type=int, default=4, help="of a step (%(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_model(load_config(args.config).model).train()
    peak, seconds, gradients = step(model, args.images)
    checkpoint_blocks(model)
    peak_after, seconds_after, gradients_after = step(model, args.images)
    pairs = zip(gradients, gradients_after, strict=True)
    result = {
        "format": 1,
        "kind": "checkpointing",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "config": args.config,
        "images": args.images,
        "peak_mb": round(peak, 1),
        "peak_mb_checkpointed": round(peak_after, 1),
        "saved": round(1 - peak_after / peak, 3),
        "seconds": round(seconds, 2),
        "seconds_checkpointed": round(seconds_after, 2),
        "largest_difference_of_gradients": max(float((a - b).abs().max()) for a, b in pairs),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
