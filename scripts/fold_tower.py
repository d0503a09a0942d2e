"""Take a tower out of a prefix model: what it said is read off the others, by least squares.

Towers that were trained on the same pictures say much the same. A tower that cannot be had everywhere can therefore be
left out after training: the projection of the others is fitted to the prefixes of all, and the alignment likewise.

`python scripts/fold_tower.py --model runs/three/best --drop mobilenetv2 --root data/flickr8k --out runs/two/best`
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.config import PrefixConfig, TowersConfig
from fastcap.data.readers import load_dataset
from fastcap.errors import ConfigError
from fastcap.release.pipeline import load_pictures

RIDGE = 3e-3  # of the mean square of an input
BATCH = 16


class LeastSquares:
    """Outputs (N, D) as affine functions of inputs (N, C), from sums over batches."""

    def __init__(self, d_in: int, d_out: int) -> None:
        self.squares = torch.zeros(d_in + 1, d_in + 1, dtype=torch.double)
        self.products = torch.zeros(d_in + 1, d_out, dtype=torch.double)

    def add(self, x: Tensor, y: Tensor) -> None:
        x = torch.cat([x.reshape(-1, x.shape[-1]), torch.ones(x[..., 0].numel(), 1)], dim=1)
        self.squares += (x.T @ x).double()
        self.products += (x.T @ y.reshape(-1, y.shape[-1])).double()

    def solve(self) -> tuple[Tensor, Tensor]:
        """Weight (D, C) and bias (D,), as `nn.Linear` has them."""
        size = len(self.squares)
        damped = self.squares + RIDGE * self.squares.diagonal().mean() * torch.eye(size, dtype=torch.double)
        solution = torch.linalg.solve(damped, self.products).float()
        return solution[:-1].T.contiguous(), solution[-1].clone()


@torch.no_grad()
def main() -> None:
    """Fit, write the checkpoint, and say how much of the prefixes is explained on pictures of val."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint directory of a prefix model")
    parser.add_argument("--drop", required=True, help="name of the tower to take out")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--dataset", default="flickr8k", help="its name")
    parser.add_argument("--pictures", type=int, default=2400, help="of train, to fit on")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint directory to write")
    args = parser.parse_args()
    model, tokenizer = load_checkpoint(args.model)
    config, projection, alignment = model.config, model.decoder.projection, model.alignment.image[1]
    towers = config.backbone
    if not isinstance(towers, TowersConfig) or args.drop not in towers.names or len(towers.names) == 1:
        raise SystemExit(f"--drop is {args.drop}; the model's towers are {getattr(towers, 'names', 'none')}")
    settings = config.decoder
    if not isinstance(settings, PrefixConfig) or (settings.projection, settings.selection) != ("linear", "pool"):
        raise ConfigError("only a linear projection of pooled tokens can be fitted")
    at = towers.names.index(args.drop)
    widths = [int(tower.d_tokens) for tower in model.backbone.towers.towers]
    start, end = sum(widths[:at]), sum(widths[: at + 1])
    kept = [*range(start), *range(end, sum(widths))]
    prefixes, vectors = LeastSquares(len(kept), config.d_model), LeastSquares(len(kept), config.d_space)

    def both(pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of the kept towers, pooled to those of a prefix, and the prefix before its scale; and what the dropped
        tower adds to the picture's vector, token by token."""
        tokens = projection.selection(model.encode(pictures).tokens)
        return tokens[..., kept], projection.project(projection.norm(tokens)), tokens @ alignment.weight.T

    def split(name: str, count: int) -> Tensor:
        return torch.from_numpy(load_pictures(load_dataset(args.dataset, args.root, name), count, config.image_size))

    for batch in split("train", args.pictures).split(BATCH):
        tokens, prefix, vector = both(batch)
        prefixes.add(F.layer_norm(tokens, tokens.shape[-1:]), prefix)
        vectors.add(tokens, vector)
    weight, bias = prefixes.solve()
    tokens, prefix, _ = both(split("val", 64))
    residue = prefix - F.linear(F.layer_norm(tokens, tokens.shape[-1:]), weight, bias)
    explained = 1 - residue.square().sum() / (prefix - prefix.mean(dim=(0, 1))).square().sum()
    print(f"{explained:.1%} of the variance of the prefixes of 64 other pictures is explained")
    image_weight, image_bias = vectors.solve()
    state = dict(model.state_dict())
    state |= {
        "decoder.projection.norm.weight": torch.ones(len(kept)),
        "decoder.projection.norm.bias": torch.zeros(len(kept)),
        "decoder.projection.project.weight": weight,
        "decoder.projection.project.bias": bias,
        "alignment.image.1.weight": image_weight,
        "alignment.image.1.bias": alignment.bias + image_bias,
    }
    rest = [name for index, name in enumerate(towers.names) if index != at]
    digests = [digest for index, digest in enumerate(towers.sha256) if index != at]
    backbone = dataclasses.replace(towers, names=tuple(rest), sha256=tuple(digests))
    save_checkpoint(args.out, dataclasses.replace(config, backbone=backbone), state, tokenizer)
    print(args.out)


if __name__ == "__main__":
    main()
