"""A checkpoint directory as a captioner, in PyTorch: before a model is exported, or where it cannot be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastcap.checkpoint import load_checkpoint
from fastcap.model import CaptionModel
from fastcap.runtime.answering import Prompts, search_answers
from fastcap.runtime.bundle import Bundle, check_threads
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import KINDS, File
from fastcap.runtime.engine import Decoded, Encoded, answered, search
from fastcap.runtime.options import Plan

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from fastcap.layers import ImageTokens

__all__ = ["TorchEngine", "checkpoint_captioner"]


def checkpoint_captioner(directory: str | os.PathLike[str], threads: int = 1, keep: int = 0) -> Captioner:
    """A `Captioner` of a checkpoint directory: the options and the captions of the exported fp32 model, but slower, and
    without calibration; confidences are probabilities as they are. Scores need an export, which fits them.

    `keep`: as of `Captioner`; `fastcap.evaluation.attention.explain` draws a picture that is kept, too.

    Raises ModelFileError for a damaged directory, ConfigError for a number of threads out of range.
    """
    check_threads(threads)
    folder = Path(directory).absolute()
    model, tokenizer = load_checkpoint(folder)
    torch.set_num_threads(threads)
    files = {name: File((folder / name).stat().st_size, sha256="") for name in ("model.safetensors", "tokenizer.json")}
    name = folder.resolve().name
    bundle = CheckpointBundle.of(model.config, name=name, files=files, folder=folder, loaded=tokenizer)
    return Captioner(bundle, threads, TorchEngine(model), checkpoint_captioner, keep=keep)


@dataclass(frozen=True, kw_only=True)
class CheckpointBundle(Bundle):
    """What a captioner asks of a model directory, said of a checkpoint directory, whose tokenizer is `loaded`."""

    loaded: Tokenizer

    @property
    def decodes(self) -> tuple[str, ...]:
        """All ways of its kind: every decoder reads from left to right."""
        return KINDS[self.kind].decodes

    def tokenizer(self) -> Tokenizer:
        """The one that `load_checkpoint` checked; it may have fewer tokens than the model."""
        return self.loaded


class TorchEngine:
    """A `fastcap.runtime.engine.Engine` over a `CaptionModel`, of any family."""

    def __init__(self, model: CaptionModel) -> None:
        self.model = model

    def encode(self, pixels: np.ndarray) -> Encoded:
        encoded = Encoded(pixels, self)
        self.image(encoded)
        return encoded

    @torch.no_grad()
    def decode(self, encoded: Encoded, plan: Plan) -> list[Decoded]:
        if plan.decode != "parallel":
            return search(self.model.stepper(), self._state(encoded), plan, self.model.config.vocabulary)
        asked = torch.tensor([plan.low, plan.high]), torch.tensor([plan.decoded])
        rows = zip(*(part[0].tolist() for part in self.model.caption(self.image(encoded), *asked)), strict=True)
        return [Decoded(ids[:length], p, token_p[:length]) for ids, length, p, token_p in rows]

    @torch.no_grad()
    def answer(self, encoded: Encoded, prompts: Prompts) -> list[Decoded]:
        reader: Any = self.model.stepper()  # of the prefix family: no other is asked
        config, state = self.model.config, self._state(encoded)
        return answered(search_answers(reader, state, prompts.ids, config.vocabulary, config.max_length, prompts.beams))

    @torch.no_grad()
    def vector(self, encoded: Encoded) -> np.ndarray:
        return self.model.alignment.embed_image(self.image(encoded)).numpy()

    def _state(self, encoded: Encoded) -> Any:
        return encoded.once("state", lambda: self.model.decoder.prepare(self.image(encoded)))

    @torch.no_grad()
    def image(self, encoded: Encoded) -> ImageTokens:
        """What the backbone makes of a picture, computed once."""
        return encoded.once("image", lambda: self.model.encode(torch.from_numpy(encoded.pixels)))
