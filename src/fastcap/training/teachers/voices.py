"""Captioners of a committee: what each says of a picture, and how likely each finds what others say.

Members may differ in everything, vocabularies too: they exchange sentences, as `spoken` writes them.
Letters: R captions, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fastcap.checkpoint import load_checkpoint
from fastcap.data.batching import pad_tokens
from fastcap.eager import checkpoint_captioner
from fastcap.errors import ModelFileError
from fastcap.generation.autoregressive import beam_search
from fastcap.layers import ImageTokens
from fastcap.losses.language import read_causally
from fastcap.model import CaptionModel
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.encoding import decode, encode
from fastcap.runtime.images import load_image
from fastcap.runtime.options import Options
from fastcap.runtime.text import caption_words
from fastcap.training.teachers.ensemble import mean_step

__all__ = ["CaptionerVoice", "Checkpoints", "Voice", "open_voice", "spoken"]


def spoken(text: str) -> str:
    """A caption as members exchange it: small letters, no punctuation, so that equal ones are equal."""
    return " ".join(caption_words(text))


class Voice(Protocol):
    """Whoever captions: candidates of each of some pictures, the best first, each as `spoken` writes it."""

    def captions(self, images: Sequence[Path]) -> list[list[str]]: ...


def open_voice(name: str, way: str, candidates: int) -> Voice:
    """A voice by its name: a bundled model, a model directory, a checkpoint directory, or several checkpoint
    directories joined by `+`, whose probabilities are averaged.

    Args:
        way: of decoding; several checkpoints know "beam" alone.
        candidates: captions of each picture, the width of a beam.

    Raises:
        ModelFileError: there is no such model, or checkpoints differ in vocabulary.
        ConfigError: a way of decoding, or a number, that the model does not know.
    """
    names = name.split("+")
    if way == "beam" and all((Path(each) / "model.safetensors").is_file() for each in names):
        return Checkpoints(names, candidates)
    if len(names) > 1:
        raise ModelFileError(f"voice {name} has several members; allowed: checkpoint directories, searched by beam")
    is_checkpoint = (Path(name) / "model.safetensors").is_file()
    return CaptionerVoice(checkpoint_captioner(name) if is_checkpoint else Captioner.open(name), way, candidates)


class CaptionerVoice:
    """A captioner with the way of decoding that it is asked for."""

    def __init__(self, captioner: Captioner, way: str, candidates: int) -> None:
        self.captioner = captioner
        self.options = Options(decode=way, candidates=candidates, no_memory=True)
        if way == "beam":
            self.options = Options(decode=way, beams=candidates, candidates=candidates, no_memory=True)
        captioner.check_options(self.options)

    def captions(self, images: Sequence[Path]) -> list[list[str]]:
        """As `Voice`."""
        found = (self.captioner.caption(image, self.options).candidates for image in images)
        return [list(dict.fromkeys(spoken(each.text) for each in candidates)) for candidates in found]


class Checkpoints:
    """Checkpoints of one vocabulary that speak and judge as one: the mean of their probabilities of the next token.

    A `fastcap.generation.autoregressive.Stepper`.
    """

    def __init__(self, names: Sequence[str], candidates: int = 5) -> None:
        loaded = [load_checkpoint(name) for name in names]
        self.models: list[CaptionModel] = [model for model, _ in loaded]
        self.tokenizer, self.candidates = loaded[0][1], candidates
        for name, (_, tokenizer) in zip(names, loaded, strict=True):
            if tokenizer.get_vocab() != self.tokenizer.get_vocab():
                raise ModelFileError(f"{name} has another vocabulary than {names[0]}; allowed: one for all of a voice")
        self.steppers = [model.stepper() for model in self.models]
        self.vocabulary = self.models[0].vocabulary
        self.max_length = min(model.config.max_length for model in self.models)

    def encode(self, images: Sequence[Path]) -> list[ImageTokens]:
        """What each member sees of the pictures."""
        sizes = {model.config.image_size for model in self.models}
        pixels = {
            size: torch.from_numpy(np.stack([load_image(image, (size, size)) for image in images])) for size in sizes
        }
        return [model.encode(pixels[model.config.image_size]) for model in self.models]

    def start(self, image_state: list[Any], rows_per_image: int, prompt_ids: Sequence[int] = ()) -> Any:
        """The state of rows that have read a prompt."""
        return [s.start(state, rows_per_image, prompt_ids) for s, state in zip(self.steppers, image_state, strict=True)]

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        """Log-probabilities (R, V) after one more token a row."""
        return mean_step(self.steppers, token_ids, state, parents)

    @torch.no_grad()
    def captions(self, images: Sequence[Path]) -> list[list[str]]:
        """As `Voice`."""
        states = [m.decoder.prepare(seen) for m, seen in zip(self.models, self.encode(images), strict=True)]
        limits = {**self.models[0].limits(), "max_length": self.max_length}
        found = beam_search(self, states, len(images), beams=self.candidates, **limits)
        texts = [[spoken(decode(self.tokenizer, one.token_ids)) for one in captions] for captions in found]
        return [list(dict.fromkeys(filter(None, captions))) for captions in texts]

    @torch.no_grad()
    def likelihoods(self, image: Path, texts: Sequence[str]) -> list[float]:
        """The mean log-probability of the tokens of each text, its end included, in nats; of a text that is too long,
        of its beginning."""
        rows = [encode(self.tokenizer, text)[: self.max_length] for text in texts]
        padded, padding = map(torch.from_numpy, pad_tokens(rows, self.vocabulary.pad_id))
        lengths = (~padding).sum(dim=1)
        parts = []
        for model, seen in zip(self.models, self.encode([image]), strict=True):
            state = model.decoder.prepare(seen)
            parts.append(model.decoder.project(read_causally(model.decoder, state, padded, lengths)).log_softmax(-1))
        mean = torch.stack(parts).logsumexp(dim=0) - np.log(len(parts))
        return mean_log_p(mean, self.models[0].decoder.targets(padded, lengths), lengths)


def mean_log_p(log_p: Tensor, targets: Tensor, lengths: Tensor) -> list[float]:
    """The mean of log_p (R, T + 1, V) at the targets (R, T + 1), the end of each at its length (R,)."""
    each = log_p.gather(2, targets[..., None])[..., 0]
    past = torch.arange(targets.shape[1]) > lengths[:, None]
    means: list[float] = (each.masked_fill(past, 0.0).sum(dim=1) / (lengths + 1)).tolist()
    return means
