"""How much worse a model gets when one layer alone is rounded to 4 or 8 bits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.alignment.cmfa import contrastive_loss
from fastcap.data.batching import pad_tokens
from fastcap.errors import ConfigError
from fastcap.layers import ImageTokens
from fastcap.losses.language import causal_loss, length_loss, mask_tokens, masked_loss, read_causally, read_masked
from fastcap.model import CaptionModel
from fastcap.quantization.fake import rounded
from fastcap.quantization.scales import Layer
from fastcap.runtime.encoding import clean_caption, encode
from fastcap.vocabulary import Marks

__all__ = ["Batch", "Change", "batches_of", "loss_of", "measure_sensitivity"]

ROUNDED = (4, 8)  # 16 bits are the reference


@dataclass(frozen=True)
class Batch:
    """B pictures (B, H, W, 3) uint8 with a caption each: `token_ids` (B, T) padded, `lengths` (B,)."""

    pixels: Tensor
    token_ids: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Change:
    """By how much the loss rises, in nats: the mean over batches, each compared with itself, and its standard error."""

    mean: float
    error: float

    @property
    def is_certain(self) -> bool:
        """Whether the loss rises by more than chance."""
        return self.mean > 2 * self.error


def batches_of(
    pictures: np.ndarray,
    captions: Sequence[str],
    tokenizer: Tokenizer,
    max_length: int,
    size: int = 8,
    pad_id: int | None = None,
) -> list[Batch]:
    """Pictures (N, H, W, 3) uint8 and their captions, cut at `max_length` tokens, as batches of `size`.

    `pad_id`: of the model, where the tokenizer does not name its marks as ours does.

    Raises:
        ConfigError: fewer than two batches: without a second one, change and chance cannot be told apart.
    """
    if len(pictures) < 2 * size:
        raise ConfigError(f"sensitivity needs at least {2 * size} pictures, got {len(pictures)}")
    rows = [encode(tokenizer, clean_caption(text))[:max_length] for text in captions]
    pad_id = Marks.of(tokenizer).pad_id if pad_id is None else pad_id
    batches = []
    for start in range(0, len(pictures) - size + 1, size):
        token_ids, padding_mask = map(torch.from_numpy, pad_tokens(rows[start : start + size], pad_id))
        pixels = torch.from_numpy(pictures[start : start + size])
        batches.append(Batch(pixels, token_ids, (~padding_mask).sum(dim=1)))
    return batches


@torch.no_grad()
def measure_sensitivity(
    model: CaptionModel,
    layers: Mapping[str, Layer],
    batches: Sequence[Batch],
    on_layer: Callable[[str, dict[int, Change]], object] = lambda *_: None,
    known: Mapping[str, dict[int, Change]] | None = None,
) -> dict[str, dict[int, Change]]:
    """The change of the loss, for each layer by name and for 4 and 8 bits, when only that layer is rounded.

    The loss is that of everything that ships (`LOSSES`). Images are encoded once for the layers of the decoder, and up
    to the backbone's first cut once for its layers behind that.

    Args:
        model: of the prefix family, with its adapters merged (`fastcap.model.prefix.merged`).
        on_layer: called after each layer with its name and its changes.
        known: what was measured before, which is not measured again.
    """
    cut = next(iter(model.eval().backbone.cuts.values()))
    before_cut = {id(parameter) for module in cut.frozen for parameter in module.parameters()}
    means = input_means(model, batches)
    features = [cut.compute(batch.pixels.permute(0, 3, 1, 2)) for batch in batches]
    images = [cut.resume(values) for values in features]
    reference = [
        loss(model, image, batch, seed) for seed, (image, batch) in enumerate(zip(images, batches, strict=True))
    ]

    def changes(layer: Layer) -> list[float]:
        rises = []
        for index, batch in enumerate(batches):
            image = images[index]
            if id(model.get_parameter(layer.parameters[0])) in before_cut:
                image = model.encode(batch.pixels)
            elif layer.name.startswith("backbone"):
                image = cut.resume(features[index])
            rises.append(loss(model, image, batch, index) - reference[index])
        return rises

    sensitivity: dict[str, dict[int, Change]] = {}
    for name, layer in layers.items():
        sensitivity[name] = dict((known or {}).get(name, {}))
        for bits in layer.widths if not sensitivity[name] else ():
            if bits not in ROUNDED:
                continue
            with rounded_layer(model, layer, bits, means):
                rises = changes(layer)
            error = float(np.std(rises, ddof=1) / len(rises) ** 0.5)
            sensitivity[name][bits] = Change(float(np.mean(rises)), error)
        on_layer(name, sensitivity[name])
    return sensitivity


def loss(model: CaptionModel, image: ImageTokens, batch: Batch, seed: int) -> float:
    """The losses of everything that ships together, in nats; `seed` decides which tokens are masked."""
    return float(LOSSES[model.config.kind](model, image, model.decoder.prepare(image), batch, seed))


def loss_of(model: CaptionModel, batch: Batch, seed: int) -> Tensor:
    """As `loss`, of pictures that are not encoded yet, with a gradient."""
    image = model.encode(batch.pixels)
    return LOSSES[model.config.kind](model, image, model.decoder.prepare(image), batch, seed)


def causal_losses(model: CaptionModel, image: ImageTokens, state: Any, batch: Batch, seed: int) -> Tensor:
    """Of the next token, and of which caption belongs to which picture."""
    hidden = read_causally(model.decoder, state, batch.token_ids)
    next_token = causal_loss(model.decoder, hidden, batch.token_ids, batch.lengths, 0.0)
    texts, lengths = model.read_texts(batch.token_ids, batch.lengths)
    return next_token + contrastive_loss(model.alignment, "info_nce", image, texts, lengths)


def next_word_loss(model: CaptionModel, image: ImageTokens, state: Any, batch: Batch, seed: int) -> Tensor:
    """Of the next token alone: a language model that reads every text twice takes twice the time."""
    hidden = read_causally(model.decoder, state, batch.token_ids, batch.lengths)
    return causal_loss(model.decoder, hidden, batch.token_ids, batch.lengths, 0.0)


def all_losses(model: CaptionModel, image: ImageTokens, state: Any, batch: Batch, seed: int) -> Tensor:
    """Those, and of masked tokens and the length."""
    token_ids, lengths = batch.token_ids, batch.lengths
    masked = mask_tokens(token_ids, lengths, torch.Generator().manual_seed(seed))
    hidden = read_masked(model.decoder, state, token_ids, lengths, masked)
    scores = model.length_predictor(image.pooled)
    length = length_loss(scores, F.one_hot(lengths, scores.shape[1]).to(scores.dtype))
    masked_token = masked_loss(model.decoder, hidden, token_ids, masked, 0.0)
    return causal_losses(model, image, state, batch, seed) + masked_token + length


LOSSES = {"parallel": all_losses, "autoregressive": causal_losses, "prefix": next_word_loss}
"""By the kind of model."""


def input_means(model: CaptionModel, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Mean of each channel (I,) of the inputs of convolutions, by their names."""
    means: dict[str, list[Tensor]] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and model.config.kind != "prefix":  # whose convolutions only store integers
            parts = means.setdefault(name, [])
            hooks.append(module.register_forward_pre_hook(lambda _, x, parts=parts: parts.append(x[0].mean((0, 2, 3)))))
    for batch in batches:
        model.decoder.prepare(model.encode(batch.pixels))
    for hook in hooks:
        hook.remove()
    return {name: torch.stack(parts).mean(dim=0) for name, parts in means.items()}


@contextlib.contextmanager
def rounded_layer(model: CaptionModel, layer: Layer, bits: int, means: Mapping[str, Tensor]) -> Iterator[None]:
    """A context in which a layer's weights are rounded; a convolution gets the bias that keeps the mean of its output,
    as an exported one does."""
    changed = {name: rounded(model.get_parameter(name), layer, bits) for name in layer.parameters}
    module = model.get_submodule(layer.name) if layer.kind in ("depthwise", "convolution") else None
    if isinstance(module, nn.Conv2d) and module.bias is not None:
        (weight,) = changed.values()
        patch = means[layer.name][:, None, None].expand(-1, *module.kernel_size)
        lost = F.conv2d(patch[None], module.weight - weight, groups=module.groups)
        changed[f"{layer.name}.bias"] = module.bias + lost.flatten()
    originals = {name: model.get_parameter(name).data for name in changed}
    try:
        for name, value in changed.items():
            model.get_parameter(name).data = value
        yield
    finally:
        for name, value in originals.items():
            model.get_parameter(name).data = value
