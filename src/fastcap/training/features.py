"""Outputs of frozen parts of the network, computed once for a few augmented views of each image and cached on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.config import ResaveConfig
from fastcap.data.augment import AugmentSettings, augment, draw_window
from fastcap.data.cache import ImageCache
from fastcap.data.resave import resave
from fastcap.data.store import open_store

__all__ = ["FrozenFeatures", "crop_anew"]

RESAVED = 1  # tells the generators of re-saved views from those of augmented ones


def crop_anew(
    features: Tensor, captions: Sequence[Sequence[str]], rngs: Sequence[np.random.Generator], crop_scale: float
) -> Tensor:
    """Feature maps (B, C, H, W), each cropped and mirrored at random as `augment` does with its picture.

    The map of a crop is nearly the crop of the map, and costs next to nothing, so that cached maps need not be the same
    in every epoch.

    Args:
        captions, rngs: one for each image: crops do not contradict its captions, and do not depend on other images.
        crop_scale: smallest share of the map's area that a crop has, above 0, at most 1.
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
    """`features[images, views]` -> (B, ...) float32: the outputs of frozen modules for views of images, cached on disk.

    View 0 is the image as it is, the others are augmented; view `views + v` is view v re-saved. Cached as fp16: 38 kB a
    view instead of 76, an error far below that of quantisation. The file is named by a digest of weights, images,
    captions, seed and how views are re-saved, so that a stale one cannot be used; an interrupted build continues where
    it stopped.

    Args:
        compute: from (B, 3, H, W) uint8 pixels to outputs (B, ...).
        parts: the frozen modules that `compute` uses.
        captions: of each image, so that no view contradicts them.
        resaving: how views are re-saved; None for views as they are alone.
        store: what holds them, a key of `fastcap.data.store.STORES`.
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
        resaving: ResaveConfig | None = None,
        store: str = "npy",
    ) -> None:
        self.compute, self.images, self.captions = compute, images, captions
        self.views, self.seed, self.resaving = views, seed, resaving
        facts = [images.size, images.keys, views, seed, captions]
        if resaving is not None:
            facts.append([resaving.quality, resaving.resized, resaving.scale, resaving.noise])
        digest = hashlib.sha256(json.dumps(facts).encode())
        for module in parts:
            for tensor in module.state_dict().values():
                digest.update(tensor.cpu().numpy().tobytes())
        self.values = open_store(store, folder).rows(
            f"features-{digest.hexdigest()[:16]}",
            self.shape,
            self.outputs,
            dtype=np.float16,
            chunk=self.BATCH,
            title="frozen features",
        )

    @property
    def kept(self) -> int:
        """Views of an image that are kept, re-saved ones included."""
        return self.views if self.resaving is None else 2 * self.views

    @torch.no_grad()
    def shape(self) -> tuple[int, ...]:
        """Images, views, and the shape of what `compute` gives for one."""
        blank = self.compute(torch.zeros(1, 3, self.images.size, self.images.size, dtype=torch.uint8))
        return (len(self.images), self.kept, *blank.shape[1:])

    @torch.no_grad()
    def outputs(self, batch: range) -> NDArray[np.float32]:
        """All views of a batch of images: (B, views, ...)."""
        pixels = []
        for index in batch:
            image, rng = self.images[index], np.random.default_rng([self.seed, index])
            views = [image] + [augment(image, self.captions[index], rng) for _ in range(self.views - 1)]
            if self.resaving is not None:
                rng = np.random.default_rng([self.seed, index, RESAVED])
                views += [resave(view, rng, self.resaving) for view in views]
            pixels += views
        outputs = self.compute(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)).cpu().numpy()
        return outputs.reshape(len(batch), self.kept, *outputs.shape[1:])

    def __getitem__(self, key: tuple[np.ndarray, np.ndarray]) -> Tensor:
        return torch.from_numpy(np.asarray(self.values[key]).astype(np.float32))
