"""A decoder in PyTorch, one token at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastcap.decoder.caption_decoder import Decoder, State
from fastcap.layers import KeyValueCache

__all__ = ["TorchStepper"]


class TorchStepper:
    """A decoder's causal reading as a `fastcap.generation.autoregressive.Stepper`."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    @torch.no_grad()
    def start(self, image_state: State, rows_per_image: int, prompt_ids: Sequence[int] = ()) -> Any:
        """The state of rows that have read a prompt, which is read in one go."""
        cache = KeyValueCache(len(self.decoder.layers))
        if len(prompt_ids):
            prompt = torch.tensor(list(prompt_ids), device=self.decoder.device)
            rows = prompt.expand(image_state.n_images * rows_per_image, -1)
            self.decoder.hidden(rows, image_state, causal=True, cache=cache)
        return image_state, cache

    @torch.no_grad()
    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        """Log-probabilities (R, V) after one more token of each row."""
        image_state, cache = state
        if cache.length:
            cache.reorder(torch.as_tensor(parents))
        ids = torch.as_tensor(token_ids, device=self.decoder.device)[:, None]
        logits = self.decoder.logits(ids, image_state, causal=True, cache=cache)[:, -1]
        return logits.log_softmax(dim=-1).cpu().numpy(), state
