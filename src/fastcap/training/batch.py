"""A step's batch, drawn as a whole and divided among processes and micro-batches. Their number changes only what is
drawn inside the network (dropout, samples of the reward) and losses that compare images with one another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Batch", "unit"]


class Batch(NamedTuple):
    """Captioned images of a step, all or a share of them.

    `tensors`: by name, each of B images or of R = B c caption rows, the c of an image side by side. `images`: their
    indices (B,). `counts`: the whole batch's images, tokens and masked tokens, over which losses are means (`unit`).
    """

    tensors: dict[str, Tensor]
    images: NDArray[np.int64]
    counts: dict[str, int]

    @classmethod
    def whole(cls, tensors: dict[str, Tensor], images: NDArray[np.int64]) -> Batch:
        """The batch of all images."""
        return cls(tensors, images, count(tensors, images))

    def share(self, index: int, of: int) -> Batch:
        """Every `of`-th image from `index` on, with its rows."""
        if of == 1:
            return self
        n_images = len(self.images)
        tensors = {
            name: value.unflatten(0, (n_images, -1))[index::of].flatten(0, 1) for name, value in self.tensors.items()
        }
        return self._replace(tensors=tensors, images=self.images[index::of])

    def fractions(self) -> dict[str, float]:
        """This share's part of the whole batch, by `unit`; exactly 1 where nothing was divided."""
        return {name: n / self.counts[name] for name, n in count(self.tensors, self.images).items()}


def count(tensors: dict[str, Tensor], images: NDArray[np.int64]) -> dict[str, int]:
    """How many images, tokens to predict (end marks included; those that are learnt, where a batch says which) and
    masked tokens there are."""
    lengths, masked, learned = tensors["lengths"], tensors.get("masked"), tensors.get("learned")
    n_tokens = int(lengths.sum()) + len(lengths) if learned is None else int(learned.sum())
    counts = {"images": len(images), "tokens": n_tokens}
    return counts if masked is None else {**counts, "masked": int(masked.sum())}


def unit(loss: str) -> str:
    """What a loss, by name, is the mean over: images, tokens or masked tokens.

    The sum over shares, weighted by the fractions of that unit, is the loss of the whole batch. The balance of experts
    and the contrast of images are no means, and are computed share by share.
    """
    if loss in ("masked", "consistency", "agreement"):
        return "masked"
    return "tokens" if loss == "causal" or loss.startswith("logits_") else "images"
