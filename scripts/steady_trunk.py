"""A checkpoint whose convolutions to stride 16 give a re-saved picture the features of the picture as it is.

    python scripts/steady_trunk.py --checkpoint runs/a/best --pictures flickr8k DIR --folder DIR/unlabelled \\
        --steps 600 --out runs/steady

Most of what JPEG changes is in these convolutions already, and stages on kept features do not train them. Here they
learn from themselves, as they were: of a re-saved picture (`fastcap.data.resave`) their features shall be the old ones
of the picture itself, and its image tokens the old ones; of the picture itself both shall stay. No captions are needed.
All else is kept as it is, and goes on to fit. An interrupted run goes on from its last hundredth step.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from fastcap.checkpoint import load_checkpoint, load_tensors, save_checkpoint
from fastcap.config import ResaveConfig
from fastcap.data.resave import resave
from fastcap.errors import FastcapError
from fastcap.losses.invariance import token_distance
from fastcap.model import CaptionModel
from fastcap.runtime.images import load_image
from fastcap.training.neighbours import pictures_in
from fastcap.training.optimizer import schedule
from fastcap.training.weights import WeightAverage

SAVED, WARMUP, DECAY = 100, 20, 0.98  # steps between two checkpoints; of the rate; of the average of weights
CUT = "convolutions"


def main() -> int:
    """Train, print the directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pair = {"nargs": 2, "action": "append", "default": [], "metavar": ("NAME[:SPLIT]", "DIR")}
    parser.add_argument("--checkpoint", required=True, help="checkpoint directory to begin with")
    parser.add_argument("--pictures", help="those of a data set (split: train); may be repeated", **pair)
    parser.add_argument("--folder", type=Path, action="append", default=[], help="those in a folder; may be repeated")
    parser.add_argument("--steps", type=int, default=600, help="%(default)s")
    parser.add_argument("--batch", type=int, default=16, help="pictures of a step (%(default)s)")
    parser.add_argument("--rate", type=float, default=1e-4, help="highest learning rate (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="%(default)s")
    parser.add_argument("--threads", type=int, default=1, help="%(default)s")
    parser.add_argument("--out", required=True, type=Path, help="checkpoint directory to write")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        train(args, pictures_in(args.pictures, args.folder))
    except FastcapError as error:
        print(f"steady_trunk: error: {error}", file=sys.stderr)
        return 1
    print(args.out)
    return 0


def train(args: argparse.Namespace, images: list[Path]) -> None:
    """The steps that are left."""
    old, tokenizer = load_checkpoint(args.checkpoint)
    old.requires_grad_(False)
    model = copy.deepcopy(old)
    learning = {
        f"{part}.{name}": parameter
        for part in ("backbone.stem", "backbone.to_stride_16")
        for name, parameter in model.get_submodule(part).named_parameters()
    }
    for parameter in learning.values():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learning.values(), lr=args.rate, betas=(0.9, 0.98), weight_decay=0.0)
    average = WeightAverage(model, DECAY)
    begun = resumed(args.out, model, learning, optimizer, average)
    config = model.config
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("steps", total=args.steps, completed=begun)
        for step in range(begun, args.steps):
            for group in optimizer.param_groups:
                group["lr"] = args.rate * schedule(step, WARMUP, args.steps)
            losses = distances(model, old, *versions(images, step, args.batch, args.seed, config.image_size))
            optimizer.zero_grad()
            torch.stack([*losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learning.values(), 1.0)
            optimizer.step()
            average.update(model)
            progress.update(task, completed=step + 1)
            if (step + 1) % 10 == 0:
                row = {"step": step + 1, **{name: round(value.item(), 5) for name, value in losses.items()}}
                progress.console.print(json.dumps(row))
            if (step + 1) % SAVED == 0 or step + 1 == args.steps:
                moments = {
                    f"{name}:{part}": optimizer.state[parameter][part]
                    for name, parameter in learning.items()
                    for part in ("step", "exp_avg", "exp_avg_sq")
                }
                state = {"moments.safetensors": moments, "weights.safetensors": learning}
                done = {"state.json": {"step": step + 1, "updates": average.updates}}
                save_checkpoint(args.out, config, average.values, tokenizer, tensors=state, documents=done)


def resumed(
    out: Path,
    model: CaptionModel,
    learning: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    average: WeightAverage,
) -> int:
    """The steps that an interrupted run has done, whose state is put back; 0 if there is none."""
    if not (out / "state.json").is_file():
        return 0
    done = json.loads((out / "state.json").read_text("utf-8"))
    moments, weights = load_tensors(out / "moments.safetensors"), load_tensors(out / "weights.safetensors")
    average.values = dict(load_checkpoint(out)[0].state_dict())
    average.updates = done["updates"]
    with torch.no_grad():
        for name, parameter in learning.items():
            parameter.copy_(weights[name])
            optimizer.state[parameter] = {part: moments[f"{name}:{part}"] for part in ("step", "exp_avg", "exp_avg_sq")}
    return int(done["step"])


def versions(images: list[Path], step: int, count: int, seed: int, size: int) -> tuple[Tensor, Tensor]:
    """The pictures of a step as they are and re-saved, each (B, 3, H, W): every picture once an epoch."""
    pixels: list[list[np.ndarray]] = [[], []]
    for place in range(step * count, (step + 1) * count):
        epoch, within = divmod(place, len(images))
        index = int(np.random.default_rng([seed, epoch]).permutation(len(images))[within])
        rng = np.random.default_rng([seed, place, index])
        image = load_image(images[index], (size, size))
        image = image[:, ::-1].copy() if rng.random() < 0.5 else image
        pixels[0].append(image)
        pixels[1].append(resave(image, rng, ResaveConfig(share=1.0)))
    first, second = (torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2) for part in pixels)
    return first, second


def distances(model: CaptionModel, old: CaptionModel, images: Tensor, again: Tensor) -> dict[str, Tensor]:
    """How far features and image tokens of both versions are from the old ones of the picture itself; of features the
    squared distance as a share of their square."""
    cut = model.backbone.cuts[CUT]
    with torch.no_grad():
        features = old.backbone.cuts[CUT].compute(images)
        tokens = old.backbone.cuts[CUT].resume(features).tokens
    losses = {}
    for name, version in (("as_it_is", images), ("re_saved", again)):
        found = cut.compute(version)
        losses[name] = (found - features).square().sum() / features.square().sum()
        losses[f"{name}_tokens"] = token_distance(tokens, cut.resume(found).tokens)
    return losses


if __name__ == "__main__":
    sys.exit(main())
