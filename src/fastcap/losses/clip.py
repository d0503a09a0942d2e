"""The CLIP loss: a frozen judge of pictures and texts (CLIP, Radford et al. 2021, or the model's own alignment) finds
that what the captioner says belongs to the picture.

Words have no gradient. So the judge reads, in place of the word at each place of a caption, the mean of the embeddings
of all words, weighted by the captioner's probabilities there. These are of the causal reading of a given caption: the
captioner is told the words before each place, and nothing is sampled. The gradient is exact for what the judge reads;
what it reads is a mixture, which is a sentence to the degree to which the captioner is certain.

Letters: B images, R = B c caption rows, those of an image side by side, T tokens, V vocabulary, A width of the judge's
space.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from fastcap.decoder.caption_decoder import Decoder

__all__ = ["clip_loss", "held_still", "said"]


def said(decoder: Decoder, hidden: Tensor) -> Tensor:
    """Hidden states (R, T + 1, D) of `read_causally` -> probabilities (R, T, V) of the words at each place, 0 of marks;
    the last state predicts the end alone."""
    return decoder.without_marks(decoder.project(hidden[:, :-1])).softmax(dim=-1)


def clip_loss(images: Tensor, texts: Tensor) -> Tensor:
    """One minus the cosine of unit vectors (B, A) and (R, A), the mean over rows: 0 where all texts fit, at most 2."""
    of_image = images.repeat_interleave(len(texts) // len(images), dim=0)
    return 1 - (of_image * texts).sum(dim=-1).mean()


@contextlib.contextmanager
def held_still(*modules: nn.Module) -> Iterator[None]:
    """A context in which modules compute without dropout, and get no gradient themselves: they judge, and do not learn
    to judge more kindly."""
    states = [(module, module.training) for part in modules for module in part.modules()]
    learning = [parameter for part in modules for parameter in part.parameters() if parameter.requires_grad]
    try:
        for part in modules:
            part.eval()
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in states:
            module.training = training
        for parameter in learning:
            parameter.requires_grad_(True)
