"""What all decoders have: one table of words, read and spoken by, and logits of what they have read."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from fastcap.layers import ImageTokens, KeyValueCache

__all__ = ["CaptionDecoder"]


class CaptionDecoder(nn.Module):
    """Caption tokens and an image to logits over the vocabulary.

    Letters: B images, R caption rows (a multiple of B, the rows of one image side by side), T tokens, D width,
    V vocabulary.

    Args:
        vocab_size: V; input embedding and output matrix are one.
        d_model: D, the width of the image tokens too.
        max_length: most caption tokens, begin and end marks not counted.
        dropout: of the embedded tokens, and of each residual branch, in training only.
    """

    layers: nn.ModuleList

    def __init__(self, vocab_size: int, d_model: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.d_model = d_model
        self.max_length = max_length
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(d_model)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        nn.init.normal_(self.embedding.weight, std=0.02)

    @abstractmethod
    def prepare(self, image: ImageTokens) -> Any:
        """image (tokens (B, N, D), pooled (B, D)) -> the state that every later call reads."""

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
        """What a decoder makes of token_ids (R, T), before the output matrix: (R, T, D).

        Args:
            causal: True reads left to right: row t predicts token t+1, and the input begins with the begin mark.
            lengths: (R,) how many of a row's tokens are no padding, which stands at its end; None for all.
            cache: for stepping: holds the past, `token_ids` are then the new tokens only.
        """

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

    def embed(self, token_ids: Tensor) -> Tensor:
        """(...) -> (..., D). The output matrix is the embedding too: its scale serves that, a factor the input."""
        return self.embedding(token_ids) * self.d_model**0.5

    def project(self, hidden: Tensor) -> Tensor:
        """Hidden (..., D) -> logits (..., V)."""
        return hidden @ self.embedding.weight.t() + self.bias
