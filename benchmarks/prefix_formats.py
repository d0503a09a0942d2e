"""What formats of a prefix model's language model cost: nats a token of people's captions against fp32, and megabytes.

Weights are rounded as the export rounds them, and multiplied in floats, so that what is measured is the rounding alone.

`python benchmarks/prefix_formats.py --model runs/distilvit/best --root data/flickr8k [--pictures 64] [--save]`
"""

from __future__ import annotations

import argparse
import copy
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fastcap.checkpoint import load_checkpoint
from fastcap.data.readers import load_dataset
from fastcap.decoder.lora import merge_adapters
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.model import CaptionModel
from fastcap.quantization.blocks import block_size, input_moments, to_blocks
from fastcap.release.drawn import reading
from fastcap.release.pipeline import load_pictures
from fastcap.runtime.encoding import clean_caption, encode

RESULTS = Path(__file__).parent / "results" / "prefix_formats.json"
READ = r"(?:gate_proj|up_proj|q_proj|k_proj)\."  # as `fastcap.quantization.blocks.COARSE`
FORMATS: dict[str, tuple[str, bool]] = {  # which matrices have 4 bits, and whether their rounding makes up for itself
    "8 bits": ("^$", False),
    "4 bits for what reads, plain": (READ, False),
    "4 bits for what reads": (READ, True),
    "4 bits, plain": ("", False),
}
"""The third is what is exported."""

Tokens = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # images (B, H, W, 3), token ids (B, T) padded, lengths (B,)


@torch.no_grad()
def log_probabilities(model: CaptionModel, batches: list[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every token after every start of the captions, (N, V), and the tokens that came, (N,)."""
    found, came = [], []
    for images, ids, lengths in batches:
        decoder = model.decoder
        state = decoder.prepare(model.encode(images))
        hidden = decoder.hidden(decoder.inputs(ids), state, lengths=lengths + 1)
        real = torch.arange(hidden.shape[1]) <= lengths[:, None]
        found.append(decoder.project(hidden[real]).log_softmax(dim=-1))
        came.append(decoder.targets(ids, lengths)[real])
    return torch.cat(found), torch.cat(came)


def rounded(weight: torch.Tensor, bits: int, moments: np.ndarray | None) -> torch.Tensor:
    """A weight as it is read out of its blocks."""
    values, steps = to_blocks(weight.numpy(), bits, moments)
    if bits == 4:
        values = np.stack([values & 15, values >> 4], axis=-1)
    integers = values.reshape(len(weight), -1, block_size(weight.shape[1], bits)).astype(np.float32) - (1 << bits - 1)
    read = integers * steps.reshape(len(weight), -1, 1)
    return torch.from_numpy(read.reshape(len(weight), -1)[:, : weight.shape[1]].copy())


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint directory of a prefix model")
    parser.add_argument("--root", type=Path, required=True, help="folder of Flickr8k")
    parser.add_argument("--pictures", type=int, default=64, help="pictures of val, two captions each")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = load_checkpoint(args.model)
    size, longest = model.config.image_size, model.config.max_length
    moments = input_moments(model, *reading(partial(encode, tokenizer), size, longest))
    merge_adapters(model.decoder.language_model)
    examples = load_dataset("flickr8k", args.root, "val", decode_images=False)
    chosen = examples[:: max(1, len(examples) // args.pictures)][: args.pictures]
    images, batches = load_pictures(chosen, len(chosen), size), []
    for first in range(0, len(chosen), 8):
        texts = [encode(tokenizer, clean_caption(text))[:longest] for row in chosen[first : first + 8]
                 for text in row.captions[:2]]  # fmt: skip
        lengths = torch.tensor([len(text) for text in texts])
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
        batches.append((torch.from_numpy(images[first : first + 8]), ids, lengths))
    expected, came = log_probabilities(model, batches)
    body = model.decoder.language_model
    linear = {name: p.detach().clone() for name, p in body.named_parameters() if name.endswith("proj.weight")}

    def measure(bits_of: Callable[[str], int], makes_up: bool) -> dict[str, float]:
        twin, count = copy.deepcopy(model), 0
        with torch.no_grad():
            for name, weight in linear.items():
                known = moments.get(f"model.decoder.language_model.{name}") if makes_up else None
                twin.decoder.language_model.get_parameter(name).copy_(rounded(weight, bits_of(name), known))
                blocks = weight.shape[0] * -(-weight.shape[1] // block_size(weight.shape[1], bits_of(name)))
                count += weight.numel() * bits_of(name) // 8 + 4 * blocks
        log_p, _ = log_probabilities(twin, batches)
        loss = -log_p.gather(1, came[:, None]).mean().item()
        divergence = (expected.exp() * (expected - log_p)).sum(dim=1).mean().item()
        return {"loss": round(loss, 4), "divergence": round(divergence, 4), "megabytes": round(count / 1e6, 1)}

    fp32 = -expected.gather(1, came[:, None]).mean().item()
    rows = {"fp32": {"loss": round(fp32, 4), "divergence": 0.0,
                     "megabytes": round(sum(4 * w.numel() for w in linear.values()) / 1e6, 1)}}  # fmt: skip
    print("fp32", rows["fp32"], flush=True)
    for name, (pattern, makes_up) in FORMATS.items():
        rows[name] = measure(lambda n, p=pattern: 4 if re.search(p, n) else 8, makes_up)
        print(name, rows[name], flush=True)
    if args.save:
        facts = {"pictures": len(chosen), "tokens": len(came), "threads": 1}
        about = {"date": now(), "commit": git_commit(), "machine": machine_facts(), "model": args.model.name, **facts}
        RESULTS.write_text(json.dumps({"format": 1, "kind": "prefix_formats", **about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
