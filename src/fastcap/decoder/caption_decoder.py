"""What all decoders have in common: how they are asked, and one table of words, read with and spoken with."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.layers import ImageTokens, KeyValueCache
from fastcap.vocabulary import Vocabulary

__all__ = ["CaptionDecoder", "Decoder", "State"]


class State(Protocol):
    """All that a decoder needs of B images, computed once by `Decoder.prepare` and read by every later call."""

    @property
    def n_images(self) -> int:
        """B."""


class Decoder(nn.Module):
    """Caption tokens and an image to logits over the vocabulary. Whoever owns the table of words adds `project`.

    Letters: B images, R caption rows (a multiple of B, the rows of one image side by side), T tokens, D width,
    V vocabulary.
    """

    vocabulary: Vocabulary
    layers: nn.ModuleList  # as many as a `KeyValueCache` has

    @abstractmethod
    def prepare(self, image: ImageTokens) -> Any:
        """image (tokens (B, N, D), pooled (B, D)) -> `State`."""

    @abstractmethod
    def hidden(
        self,
        token_ids: Tensor,
        image_state: Any,
        *,
        causal: bool = True,
        lengths: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """token_ids (R, T) -> hidden states (R, T, D), which `project` turns into logits.

        Args:
            causal: True reads left to right: row t predicts token t+1, and the input begins with the begin mark.
            lengths: (R,) tokens of each row before its padding; None for T.
            cache: holds the tokens read before; `token_ids` are then the new ones only.
        """

    @abstractmethod
    def project(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) -> logits (..., V)."""

    def logits(
        self,
        token_ids: Tensor,
        image_state: Any,
        *,
        causal: bool = True,
        lengths: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """token_ids (R, T) -> logits (R, T, V); arguments as in `hidden`."""
        return self.project(self.hidden(token_ids, image_state, causal=causal, lengths=lengths, cache=cache))

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def inputs(self, token_ids: Tensor, begin: Tensor | None = None) -> Tensor:
        """What the causal reading of token_ids (R, T) is given: the begin mark, or each row's own of `begin` (R,), then
        all of them, (R, T + 1)."""
        if begin is None:
            return F.pad(token_ids, (1, 0), value=self.vocabulary.bos_id)
        return torch.cat([begin[:, None], token_ids], dim=1)

    def targets(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """What it predicts: token_ids (R, T), the end mark at their lengths (R,), padding behind it, (R, T + 1)."""
        padded = F.pad(token_ids, (0, 1), value=self.vocabulary.pad_id)
        return padded.masked_fill(torch.arange(padded.shape[1]).to(lengths) == lengths[:, None], self.vocabulary.eos_id)

    def without_marks(self, logits: Tensor, value: float = -torch.inf) -> Tensor:
        """Logits (..., V) with `value` in place of those of marks."""
        return logits.index_fill(-1, torch.tensor(self.vocabulary.barred, device=logits.device), value)


class CaptionDecoder(Decoder):
    """A decoder with a table of words of its own, which is both input embedding and output matrix.

    Args:
        vocabulary: V tokens, and which of them are marks.
        d_model: D, the width of the image tokens too.
        max_length: most caption tokens, begin and end marks not counted.
        dropout: share of the embedded tokens, and of each residual branch, that is dropped in training.
    """

    def __init__(self, vocabulary: Vocabulary, d_model: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.d_model = d_model
        self.max_length = max_length
        self.embedding = nn.Embedding(vocabulary.size, d_model)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(d_model)
        self.bias = nn.Parameter(torch.zeros(vocabulary.size))
        nn.init.normal_(self.embedding.weight, std=0.02)

    def embed(self, token_ids: Tensor) -> Tensor:
        """(...) -> (..., D). The table's scale suits the output matrix; the input is scaled up."""
        return self.embedding(token_ids) * self.d_model**0.5

    def project(self, hidden: Tensor) -> Tensor:
        """As in `Decoder`."""
        return hidden @ self.embedding.weight.t() + self.bias
