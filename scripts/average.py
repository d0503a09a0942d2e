"""The weighted mean of checkpoints of one architecture (model soup, Wortsman et al. 2022), as a checkpoint.

python scripts/average.py runs/a/best runs/b/best --weights 0.6 0.4 --out runs/mean
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.config import ModelConfig
from fastcap.errors import FastcapError
from fastcap.model import CaptionModel


def main() -> int:
    """Average, write, print the directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path, help="checkpoint directories")
    parser.add_argument("--weights", nargs="+", type=float, help="one for each, their sum is made 1 (all equal)")
    parser.add_argument("--out", required=True, type=Path, help="checkpoint directory to write")
    args = parser.parse_args()
    weights = torch.tensor(args.weights or [1.0] * len(args.checkpoints))
    if len(weights) != len(args.checkpoints) or not (weights > 0).all():
        parser.error(f"--weights are {args.weights}; allowed: {len(args.checkpoints)} numbers above 0")
    try:
        models, tokenizers = zip(*map(load_checkpoint, args.checkpoints), strict=True)
    except FastcapError as error:
        print(f"average: {error}", file=sys.stderr)
        return 1
    for path, model, tokenizer in zip(args.checkpoints[1:], models[1:], tokenizers[1:], strict=True):
        if (shape(model), tokenizer.get_vocab()) != (shape(models[0]), tokenizers[0].get_vocab()):
            print(f"average: {path} has another architecture or vocabulary than {args.checkpoints[0]}", file=sys.stderr)
            return 1
    shares, states = (weights / weights.sum()).tolist(), [model.state_dict() for model in models]
    mean = {
        name: torch.stack([share * state[name] for share, state in zip(shares, states, strict=True)]).sum(dim=0)
        for name in states[0]
    }
    save_checkpoint(args.out, models[0].config, mean, tokenizers[0])
    print(args.out)
    return 0


def shape(model: CaptionModel) -> ModelConfig:
    """A model's settings but for dropout, which belongs to a training: stages with and without may be averaged."""
    return dataclasses.replace(model.config, decoder=dataclasses.replace(model.config.decoder, dropout=0.0))


if __name__ == "__main__":
    sys.exit(main())
