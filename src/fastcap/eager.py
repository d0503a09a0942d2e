"""A checkpoint directory as a captioner, in PyTorch: before a model is exported, or where it cannot be."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastcap.checkpoint import load_checkpoint
from fastcap.errors import ConfigError
from fastcap.model import CaptionModel, TorchStepper
from fastcap.runtime.bundle import MAX_THREADS, Bundle
from fastcap.runtime.captioner import Captioner, _Decoded
from fastcap.runtime.contract import KINDS, Calibration, Decoding, Preprocessing, named_lengths
from fastcap.runtime.options import Plan

__all__ = ["EagerCaptioner"]


@dataclass(frozen=True)
class CheckpointBundle(Bundle):
    """What a captioner asks of a model directory, said of a checkpoint directory."""

    @property
    def decodes(self) -> tuple[str, ...]:
        """All ways of its kind: every decoder reads from left to right."""
        return KINDS[self.kind].decodes


class EagerStepper(TorchStepper):
    """A `TorchStepper` that looks at pictures, too."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__(model.decoder)
        self.model = model

    @torch.no_grad()
    def encode(self, picture: np.ndarray) -> Any:
        """picture (1,H,W,3) uint8 -> all that the decoder needs of it."""
        return self.model.decoder.prepare(self.model.encode(torch.from_numpy(picture)))


class EagerCaptioner(Captioner):
    """A `Captioner` of a checkpoint directory: the options and the captions of the exported fp32 model, but slower, and
    without calibration; confidences are probabilities as they are.

    Raises ModelFileError for a damaged directory, ConfigError for a number of threads or an option out of range, or a
    way of decoding that the decoder does not have.
    """

    def __init__(self, directory: str | os.PathLike[str], threads: int = 1) -> None:
        if type(threads) is not int or not 1 <= threads <= MAX_THREADS:
            raise ConfigError(f"threads is {threads!r}; allowed are whole numbers from 1 to {MAX_THREADS}")
        folder = Path(directory)
        self.model, self._tokenizer = load_checkpoint(folder)
        torch.set_num_threads(threads)
        config = self.model.config
        low, high = config.generation.min_length, config.max_length
        self.bundle = CheckpointBundle(
            folder=folder,
            name=folder.resolve().name,
            kind="parallel" if config.parallel else "autoregressive",
            description="",
            licence="",
            preprocessing=Preprocessing(config.image_size, config.image_size),
            vocabulary=config.vocabulary,
            decoding=Decoding(
                passes=config.generation.passes,
                min_length=1,
                max_length=high,
                max_candidates=8,
                default_candidates=config.generation.candidates,
                lengths=named_lengths(low, high),
            ),
            calibration=Calibration(),
            alignment=None,
            files={name: (folder / name).stat().st_size for name in ("model.safetensors", "tokenizer.json")},
            quality={},
            speed={},
        )
        self._threads = threads
        self._no_penalties = np.zeros(config.vocab_size, np.float32)

    @torch.no_grad()
    def _refined(self, picture: np.ndarray, plan: Plan) -> list[_Decoded]:
        penalties = self._neutral_penalties if plan.neutral else self._no_penalties
        asked = torch.tensor([plan.low, plan.high]), torch.tensor([plan.decoded]), torch.from_numpy(penalties)
        rows = zip(*(part[0].tolist() for part in self.model(torch.from_numpy(picture), *asked)), strict=True)
        return [_Decoded(ids[:length], p, each[:length]) for ids, length, p, each in rows]

    @functools.cached_property
    def _stepper(self) -> EagerStepper:  # type: ignore[override]
        return EagerStepper(self.model)
