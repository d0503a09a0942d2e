"""A model's attention to the image tokens while it writes each word, as numbers and as a picture.

Letters: N image tokens, T caption tokens, W words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from fastcap.decoder.prefix_lm import PrefixLM
from fastcap.eager import TorchEngine
from fastcap.errors import ConfigError
from fastcap.files import written_aside
from fastcap.layers import ImageTokens
from fastcap.losses.language import read_causally
from fastcap.model import CaptionModel
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.encoding import decode
from fastcap.runtime.engine import Encoded
from fastcap.runtime.images import ImageSource

__all__ = ["attention_maps", "draw_attention", "explain", "kept_tokens", "words_of"]

COLUMNS = 5  # of panels in a row


@torch.no_grad()
def explain(captioner: Captioner, image: ImageSource | Encoded, path: Path | str, beams: int = 3) -> str:
    """Caption a picture from left to right, and draw its attention for each word (`draw_attention`); returns the
    caption.

    Args:
        captioner: of a checkpoint (`fastcap.eager.checkpoint_captioner`).
        image: a picture, or what this captioner encoded; what is kept of it, as by `ask`, is not computed again.
        path: of the PNG.
        beams: hypotheses.

    Raises:
        ConfigError: an exported model would have to be explained.
        ImageError: a bad picture.
    """
    encoded = image if isinstance(image, Encoded) else captioner.prepare(image)
    engine = encoded.engine
    if not isinstance(engine, TorchEngine):
        raise ConfigError(
            f"model {captioner.bundle.name!r} is exported, and gives no attention weights; needed: a checkpoint"
        )
    tokens, tokenizer = engine.image(encoded), captioner.bundle.tokenizer()
    token_ids = engine.model.search(tokens, beams=beams)[0][0].token_ids
    maps, kept = attention_maps(engine.model, tokens, token_ids).numpy(), kept_tokens(engine.model, tokens)
    draw_attention(encoded.pixels[0], words_of(tokenizer, token_ids), maps, Path(path), kept=kept)
    return decode(tokenizer, token_ids)


@torch.no_grad()
def attention_maps(model: CaptionModel, image: ImageTokens, token_ids: Sequence[int]) -> Tensor:
    """The cross-attention of causal decoding to the N tokens of one image, (1, N, D), for each of T caption tokens:
    (T, N), rows sum to 1, the mean over layers and heads.

    Linear attention, too, reads a weighted mean of the image tokens out of its memory; these are its weights. Of a
    language model it is the attention to the tokens of its prefix; where these are selected, or resampled, it is given
    back to the image tokens that they were made of.
    """
    if isinstance(model.decoder, PrefixLM):
        state, ids = model.decoder.prepare(image), torch.tensor([list(token_ids)])
        seen = model.decoder.attention_to_image(model.decoder.inputs(ids), state)[:-1]  # the last row predicts the end
        return seen if pools(model) else seen @ model.decoder.projection.weights(image.tokens)[0]
    weights: list[Tensor] = []
    handles = [
        layer.cross_attention.register_forward_pre_hook(
            lambda attention, inputs: weights.append(attention.weights(inputs[0], image.tokens))
        )
        for layer in model.decoder.layers
    ]
    try:
        read_causally(model.decoder, model.decoder.prepare(image), torch.tensor([list(token_ids)]))
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(weights).mean(dim=(0, 2))[0, :-1]  # (layers, 1, H, T + 1, N); the last row predicts the end


def pools(model: CaptionModel) -> bool:
    """Whether a prefix model's tokens are the cells of a grid, pooled."""
    selection = getattr(model.decoder.projection, "selection", None)
    return selection is not None and selection.kind == "pool"


@torch.no_grad()
def kept_tokens(model: CaptionModel, image: ImageTokens) -> np.ndarray | None:
    """Which of the N tokens of one image are selected, (N,), 1 or 0; None for a model that selects none."""
    selection = getattr(getattr(model.decoder, "projection", None), "selection", None)
    if selection is None or selection.kind == "pool":
        return None
    return selection.weights(image.tokens)[0].sum(dim=0).numpy()


def words_of(tokenizer: Tokenizer, token_ids: Sequence[int]) -> list[tuple[str, list[int]]]:
    """The words of a caption, each with the positions of its tokens; a token with a leading space begins a word."""
    words: list[tuple[str, list[int]]] = []
    for place, token in enumerate(token_ids):
        piece = tokenizer.decode([token], skip_special_tokens=True)
        if piece.startswith(" ") or not words:
            words.append((piece.strip(), [place]))
        else:
            text, places = words[-1]
            words[-1] = (text + piece, [*places, place])
    return words


def draw_attention(
    pixels: np.ndarray,
    words: Sequence[tuple[str, list[int]]],
    maps: np.ndarray,
    path: Path,
    title: str = "",
    kept: np.ndarray | None = None,
) -> None:
    """Write a PNG: the photo (H, W, 3) as it is; if given, which image tokens are `kept` (N,); then the photo once for
    each word under a heat map, the mean of its tokens' rows of `maps` (T, N), N a square grid, scaled so that its
    largest cell is 1. Replaced as a whole, or not at all."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    side = int(maps.shape[1] ** 0.5)
    height, width = pixels.shape[:2]
    panels: list[tuple[str, Any]] = [(title, None), *([] if kept is None else [("(kept)", kept)])]
    panels += [(text, maps[places].mean(axis=0)) for text, places in words]
    rows = -(-len(panels) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(2.2 * COLUMNS, 2.5 * rows), squeeze=False)
    for axis, (text, weights) in zip(axes.flat, panels, strict=False):
        axis.set_title(text, fontsize=10)
        axis.imshow(pixels)
        if weights is not None:
            grid = weights.reshape(side, side) / weights.max()
            smooth = "nearest" if weights is kept else "bilinear"
            axis.imshow(grid, extent=(0, width, height, 0), alpha=0.6, cmap="inferno", interpolation=smooth)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.tight_layout()
    try:
        with written_aside(path) as file:
            figure.savefig(file, dpi=100, format="png")
    finally:
        plt.close(figure)
