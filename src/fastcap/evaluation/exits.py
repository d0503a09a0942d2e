"""Fitting the exits of a multi-scale model: how sure each is that further scales would change nothing for the better,
and from which confidence on a picture leaves.

Letters: P pictures, E exits, C width of what an exit reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from fastcap.data.readers import Example
from fastcap.errors import ConfigError
from fastcap.model import CaptionModel
from fastcap.runtime.encoding import clean_caption, encode
from fastcap.runtime.images import load_image

__all__ = ["Chosen", "Observed", "choose_threshold", "fit_exit", "observe"]

CAPTIONS = 2  # of a picture that are read
DECAY = 1e-3  # of the squared weights of an exit
NEVER = 2.0  # a threshold that no confidence reaches


class Observed(NamedTuple):
    """What P pictures gave: for each exit but the last what it reads, (P, C); and the `losses` of their captions at all
    exits, (P, E), in nats a token."""

    read: list[Tensor]
    losses: Tensor


class Chosen(NamedTuple):
    """One threshold for all exits, the share of pictures that leave at each, and how much the mean loss grows."""

    threshold: float
    shares: list[float]
    added: float


@torch.no_grad()
def observe(
    model: CaptionModel, tokenizer: Tokenizer, examples: Sequence[Example], advance: Callable[[], object] = lambda: None
) -> Observed:
    """Let a model read captions of pictures at every exit.

    Args:
        advance: called after each picture.

    Raises:
        ConfigError: the model has no exits.
    """
    backbone, decoder, size = model.backbone, model.decoder, model.config.image_size
    if len(getattr(backbone, "scales", ())) < 2:
        raise ConfigError("the model has no exits; needed: model.backbone.scales, two or more")
    read: list[list[Tensor]] = [[] for _ in backbone.exits]
    losses = []
    for example in examples:
        captions = [encode(tokenizer, clean_caption(text)) for text in example.captions[:CAPTIONS]]
        pixels = torch.from_numpy(load_image(example.image, (size, size)))[None].permute(0, 3, 1, 2)
        maps, own = backbone.maps(pixels), []
        for exit in range(len(backbone.scales)):
            image = backbone.read(maps, torch.tensor([exit]))
            own.append(caption_loss(decoder, image, captions))
            if exit < len(backbone.exits):
                read[exit].append(image.pooled[0, : backbone.exits[exit].in_features])
        losses.append(own)
        advance()
    return Observed([torch.stack(rows) for rows in read], torch.tensor(losses))


def caption_loss(decoder: Any, image: Any, captions: Sequence[Sequence[int]]) -> float:
    """The mean loss a token of captions of one picture, end marks included."""
    longest, end = max(map(len, captions)), decoder.vocabulary.eos_id
    ids = torch.tensor([[*row, *[end] * (longest - len(row))] for row in captions])
    lengths = torch.tensor([len(row) + 1 for row in captions])
    hidden = decoder.hidden(decoder.inputs(ids), decoder.prepare(image), lengths=lengths)
    targets = F.pad(ids, (0, 1), value=end)
    real = torch.arange(longest + 1) < lengths[:, None]
    return float(F.cross_entropy(decoder.project(hidden)[real], targets[real]))


def fit_exit(read: Tensor, good: Tensor, held_read: Tensor, held_good: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (1, C) and bias (1,) of an exit: logistic regression, whose slope and offset are fitted once more to other
    pictures, so that its confidence is the share of them that were good to leave.

    Args:
        read, good: (P, C), and (P,) whether leaving was good, of pictures to learn from.
        held_read, held_good: the same of others, to calibrate on.
    """
    mean, spread = read.mean(dim=0), read.std(dim=0).clamp(min=1e-6)
    weight, bias = regression((read - mean) / spread, good, DECAY)
    weight = weight / spread
    bias = bias - (weight * mean).sum()
    logits = held_read @ weight + bias
    slope, offset = regression(logits[:, None], held_good, 0.0)
    return (weight * slope)[None], (bias * slope[0] + offset).reshape(1)


def regression(x: Tensor, good: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Logistic regression of (P,) truths on (P, C): weights (C,) and a bias."""
    weight, bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(x @ weight + bias, good.float()) + decay * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


def choose_threshold(sure: np.ndarray, losses: np.ndarray, allowed: float) -> Chosen:
    """The lowest threshold, of those that some confidence reaches, at which the mean loss grows by at most `allowed`.

    Args:
        sure: (P, E - 1), confidences of the exits but the last.
        losses: (P, E).
        allowed: nats a token.
    """
    last = losses.shape[1] - 1
    whole = losses[:, last].mean()
    best = Chosen(NEVER, [0.0] * last + [1.0], 0.0)
    for threshold in np.unique(np.quantile(sure, np.linspace(0, 1, 101)))[::-1]:
        leaves = np.concatenate([sure >= threshold, np.ones((len(sure), 1), bool)], axis=1).argmax(axis=1)
        added = float(losses[np.arange(len(losses)), leaves].mean() - whole)
        if added <= allowed:
            shares = np.bincount(leaves, minlength=last + 1) / len(leaves)
            best = Chosen(float(threshold), shares.tolist(), added)
    return best
