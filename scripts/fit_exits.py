"""Fit the exits of a trained multi-scale model: train teaches how sure they are, val calibrates that.

python scripts/fit_exits.py --model runs/fastvlm-base/best --root data/flickr8k --out runs/fastvlm-base/exits
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from rich.progress import Progress

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.data.readers import load_dataset
from fastcap.errors import FastcapError
from fastcap.evaluation.exits import choose_threshold, fit_exit, observe

MARGIN = 0.02  # nats a token: what an exit may lose of a picture and still be called good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="checkpoint directory")
    parser.add_argument("--dataset", default="flickr8k")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=600, help="of train, and half as many of val")
    parser.add_argument("--allowed", type=float, default=0.01, help="nats a token that the mean loss may grow by")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint directory to write")
    args = parser.parse_args()
    model, tokenizer = load_checkpoint(args.model)
    counts = {"train": args.pictures, "val": args.pictures // 2}
    with Progress() as progress:
        task = progress.add_task("reading captions at every exit", total=sum(counts.values()))
        seen = {}
        for split, count in counts.items():
            examples = load_dataset(args.dataset, args.root, split)
            spread = examples[:: max(1, len(examples) // count)][:count]
            seen[split] = observe(model, tokenizer, spread, lambda: progress.advance(task))
    train, val = seen["train"], seen["val"]
    good, held = (each.losses[:, :-1] <= each.losses[:, -1:] + MARGIN for each in (train, val))
    sure = []
    for exit, layer in enumerate(model.backbone.exits):
        weight, bias = fit_exit(train.read[exit], good[:, exit], val.read[exit], held[:, exit])
        layer.load_state_dict({"weight": weight, "bias": bias})
        sure.append(layer(val.read[exit])[:, 0].sigmoid())
        print(f"exit {exit}: good for {held[:, exit].float().mean():.0%} of val, says {sure[-1].mean():.0%}")
    chosen = choose_threshold(torch.stack(sure, 1).detach().numpy(), val.losses.numpy(), args.allowed)
    shares = ", ".join(f"{share:.0%}" for share in chosen.shares)
    print(f"threshold {chosen.threshold:.3f}: {shares} of val leave at the exits; the loss grows by {chosen.added:.4f}")
    eyes = dataclasses.replace(model.config.backbone, thresholds=(chosen.threshold,) * len(model.backbone.exits))
    save_checkpoint(args.out, dataclasses.replace(model.config, backbone=eyes), model.state_dict(), tokenizer)
    print(args.out)


if __name__ == "__main__":
    try:
        main()
    except FastcapError as error:
        raise SystemExit(str(error)) from None
