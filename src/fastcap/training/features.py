"""Outputs of frozen parts of the network, computed once for a few augmented views of each image and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.data.augment import AugmentSettings, augment, draw_window
from fastcap.data.cache import ImageCache

__all__ = ["FrozenFeatures", "crop_anew"]


def crop_anew(
    features: Tensor, captions: Sequence[Sequence[str]], rngs: Sequence[np.random.Generator], crop_scale: float
) -> Tensor:
    """Feature maps (B, C, H, W), each cropped and mirrored at random as `augment` does with its picture.

    A map of a crop is nearly the crop of a map, and costs next to nothing: kept maps need not be the same ones in
    every epoch.

    Args:
        captions, rngs: of each image: so that nothing contradicts them, and what is drawn depends on no other.
        crop_scale: smallest share of the map's area that is kept, above 0, at most 1.
    """
    settings = AugmentSettings(crop_scale=crop_scale)
    theta = torch.zeros(len(features), 2, 3)
    for row, texts, rng in zip(theta, captions, rngs, strict=True):
        (left, top, right, bottom), mirrored = draw_window(texts, rng, settings)
        row[0, 0] = (left - right) if mirrored else (right - left)
        row[1, 1] = bottom - top
        row[0, 2], row[1, 2] = left + right - 1, top + bottom - 1
    grid = F.affine_grid(theta, list(features.shape), align_corners=False)
    return F.grid_sample(features, grid, padding_mode="border", align_corners=False)


class FrozenFeatures:
    """`features[images, views]` -> (B, ...) float32, what `compute` makes of (B, 3, H, W) uint8 pixels.

    View 0 is the image as it is, the others are augmented. Kept as fp16: 38 kB a view instead of 76, an error far
    below the quantisation to come. The file's name is a digest of the weights, the images and the seed, so a stale
    cache cannot be used; an interrupted build goes on where it stopped.

    Args:
        parts: the frozen modules that `compute` uses.
        captions: of each image, so that no view contradicts them.
    """

    BATCH = 16

    def __init__(
        self,
        folder: Path,
        compute: Callable[[Tensor], Tensor],
        parts: Sequence[nn.Module],
        images: ImageCache,
        captions: Sequence[Sequence[str]],
        views: int,
        seed: int,
    ) -> None:
        digest = hashlib.sha256(json.dumps([images.size, images.keys, views, seed, captions]).encode())
        for module in parts:
            for tensor in module.state_dict().values():
                digest.update(tensor.cpu().numpy().tobytes())
        path = folder / f"features-{digest.hexdigest()[:16]}.npy"
        if not path.is_file():
            self.build(path, compute, images, captions, views, seed)
        self.values = np.load(path, mmap_mode="r")

    @torch.no_grad()
    def build(
        self,
        path: Path,
        compute: Callable[[Tensor], Tensor],
        images: ImageCache,
        captions: Sequence[Sequence[str]],
        views: int,
        seed: int,
    ) -> None:
        """Compute all views, image by image; progress is noted after each batch."""
        one = compute(torch.zeros(1, 3, images.size, images.size, dtype=torch.uint8))
        shape = (len(images), views, *one.shape[1:])
        path.parent.mkdir(parents=True, exist_ok=True)
        partial, progress = path.with_suffix(".partial.npy"), path.with_suffix(".progress")
        done = int(progress.read_text()) if partial.is_file() and progress.is_file() else 0
        values = np.lib.format.open_memmap(partial, "r+" if done else "w+", np.float16, None if done else shape)
        starts = range(done, len(images), self.BATCH)
        for start in track(starts, "frozen features", console=Console(stderr=True)):
            batch = range(start, min(start + self.BATCH, len(images)))
            pixels = []
            for index in batch:
                image = images[index]
                rng = np.random.default_rng([seed, index])
                pixels += [image] + [augment(image, captions[index], rng) for _ in range(views - 1)]
            stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
            features = compute(stacked).cpu().numpy().astype(np.float16)
            values[batch.start : batch.stop] = features.reshape(len(batch), views, *features.shape[1:])
            progress.write_text(str(batch.stop))
        values.flush()
        del values
        partial.rename(path)
        progress.unlink(missing_ok=True)

    def __getitem__(self, key: tuple[np.ndarray, np.ndarray]) -> Tensor:
        return torch.from_numpy(np.asarray(self.values[key]).astype(np.float32))
