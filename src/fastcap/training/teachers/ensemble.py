"""A teacher of kind logits or sequences: checkpoints whose next-token probabilities are averaged; those that read
questions answer, too.

Letters: B images, R caption rows, T tokens, V vocabulary, k likeliest tokens.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from fastcap.checkpoint import load_checkpoint
from fastcap.config import ModelConfig
from fastcap.data.batching import pad_tokens
from fastcap.data.cache import ImageCache
from fastcap.errors import ModelFileError
from fastcap.generation.autoregressive import Stepper, beam_search
from fastcap.layers import ImageTokens
from fastcap.losses.language import read_causally
from fastcap.model import CaptionModel
from fastcap.model.prefix import PrefixCaptionModel, merged
from fastcap.runtime.answering import Prompted
from fastcap.runtime.conversation import Turn, encode_prompt
from fastcap.training.answering import LONGEST

if TYPE_CHECKING:
    from fastcap.decoder.moe_decoder import ImageState

__all__ = ["BEAMS", "Caption", "Ensemble", "mean_step"]

BEAMS = 3  # captions of an image that a teacher gives

Caption = tuple[int, tuple[int, ...]]  # index of an image, token ids


def mean_step(
    steppers: Sequence[Stepper], token_ids: np.ndarray, state: Sequence[Any], parents: np.ndarray
) -> tuple[np.ndarray, list[Any]]:
    """A step of several steppers as one: the logarithms (R, V) of the mean of their probabilities, and their states."""
    return mean([stepper.step(token_ids, part, parents) for stepper, part in zip(steppers, state, strict=True)])


def mean(steps: Sequence[tuple[np.ndarray, Any]]) -> tuple[np.ndarray, list[Any]]:
    """What several members gave, log-probabilities (R, V) and states, as one."""
    return np.logaddexp.reduce([log_p for log_p, _ in steps]) - np.log(len(steps)), [state for _, state in steps]


def as_spoken(model: CaptionModel, dtype: torch.dtype) -> CaptionModel:
    """A member that only speaks: a prefix model with its adapters in the matrices they belong to, its language model in
    `dtype`; any other as it is."""
    if not isinstance(model, PrefixCaptionModel):
        return model
    whole = merged(model)
    whole.decoder.language_model.to(dtype)
    return whole


class Ensemble(nn.Module):
    """Checkpoints as one autoregressive teacher, whose next-token probabilities are the mean of theirs.

    A `fastcap.generation.autoregressive.Stepper`, so it can be searched. Members may differ in everything but the
    vocabulary.

    Args:
        names: checkpoint directories.
        student, tokenizer: the model that learns, and its tokenizer.
        cache: folder for decoded pictures, `data.cache`.
        dtype: in which language models compute, bfloat16 where the student's does: on a processor that multiplies 16
            bits, a large one says a caption in half the time, and an answer in a third.

    Raises:
        ModelFileError: a checkpoint is missing or damaged, has another vocabulary than the student, or cannot read
            captions as long as the student's.
    """

    def __init__(
        self,
        names: Sequence[str],
        student: ModelConfig,
        tokenizer: Tokenizer,
        cache: Path,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        models = []
        for name in names:
            model, theirs = load_checkpoint(name)
            ours = tokenizer.get_vocab()
            if theirs.get_vocab() != ours:
                shared = len(ours.items() & theirs.get_vocab().items())
                raise ModelFileError(
                    f"teacher {name} has another vocabulary: {theirs.get_vocab_size()} tokens, of which {shared} are "
                    f"among the student's {len(ours)}; allowed: the student's own, as from the same data.train and "
                    "data.text, or by beginning with the teacher's weights (init)"
                )
            if model.config.max_length < student.max_length:
                raise ModelFileError(
                    f"teacher {name} reads captions of at most {model.config.max_length} tokens; allowed: "
                    f"{student.max_length} (the student's model.max_length) or more"
                )
            models.append(as_spoken(model, dtype))
        self.members: list[CaptionModel] = models
        self.models = nn.ModuleList(models).eval().requires_grad_(False)
        self.steppers = [model.stepper() for model in models]
        self.settings = [dataclasses.asdict(model.config) for model in models]
        self.student, self.vocabulary, self.tokenizer, self.cache = student, student.vocabulary, tokenizer, cache
        self.images: dict[int, ImageCache] = {}  # by size

    def prepare(self, paths: Sequence[Path], images: Sequence[int], rows: Any = slice(None)) -> list[ImageState]:
        """Each member's state of some images; `rows`, indices into these, repeats them for several captions."""
        states = []
        for model in self.models:
            assert isinstance(model, CaptionModel)
            size = model.config.image_size
            if size not in self.images:
                self.images[size] = ImageCache(self.cache / f"train-{size}", size).build(paths)
            pixels = torch.from_numpy(self.images[size][list(images)])
            image = model.encode(pixels.to(model.decoder.device))
            states.append(model.decoder.prepare(ImageTokens(image.tokens[rows], image.pooled[rows])))
        return states

    def start(self, image_state: list[ImageState], rows_per_image: int, prompt_ids: Sequence[int] = ()) -> Any:
        """The state of rows that have read a prompt."""
        return [s.start(state, rows_per_image, prompt_ids) for s, state in zip(self.steppers, image_state, strict=True)]

    def read(self, image_state: list[Any], prompts: Sequence[Sequence[int]]) -> tuple[np.ndarray, list[Any]]:
        """As `PrefixStepper.read`: prompts of any lengths, one a row."""
        return mean([s.read(state, prompts) for s, state in zip(self.steppers, image_state, strict=True)])  # type: ignore[attr-defined]

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        """Log-probabilities (R, V) after one more token a row."""
        return mean_step(self.steppers, token_ids, state, parents)

    @torch.no_grad()
    def captions(self, paths: Sequence[Path], images: Sequence[int]) -> list[list[list[int]]]:
        """Token ids of the best `BEAMS` captions of some images by beam search, best first."""
        hypotheses = beam_search(
            self,
            self.prepare(paths, images),
            len(images),
            beams=BEAMS,
            max_length=self.student.max_length,
            min_length=self.student.generation.min_length,
            bos_id=self.vocabulary.bos_id,
            eos_id=self.vocabulary.eos_id,
            forbidden=self.vocabulary.barred_in_search,
        )
        return [[hypothesis.token_ids for hypothesis in image] for image in hypotheses]

    @property
    def reads_questions(self) -> bool:
        """Whether all members do, put in the same words."""
        decoders: list[Any] = [model.config.decoder for model in self.members]
        templates = {decoder.template for decoder in decoders if getattr(decoder, "question_tokens", 0)}
        return len(templates) == 1 and all(getattr(decoder, "question_tokens", 0) for decoder in decoders)

    @torch.no_grad()
    def told(self, paths: Sequence[Path], asked: Sequence[tuple[int, Sequence[Turn]]]) -> list[list[int]]:
        """Token ids of the likeliest answers, word by word; of a conversation that the members do not read, none.

        Args:
            asked: the index of an image, and a conversation about it, whose last answer is not read.
        """
        config: Any = self.members[0].config
        most = min(model.config.decoder.question_tokens for model in self.members)  # type: ignore[union-attr]
        limits = self.members[0].limits() | {"min_length": 1, "max_length": LONGEST}
        marks = config.marks
        answers: list[list[int]] = [[] for _ in asked]
        read = [encode_prompt(self.tokenizer, turns[:-1], config.template, marks.eos_id) for _, turns in asked]
        places = [place for place, prompt in enumerate(read) if len(prompt) <= most]
        if not places:
            return answers
        images, rows = np.unique([asked[place][0] for place in places], return_inverse=True)
        stepper = Prompted(self, [[marks.bos_id, *read[place]] for place in places], marks.eos_id)
        found = beam_search(stepper, self.prepare(paths, images.tolist(), rows), len(places), beams=1, **limits)
        for place, (best,) in zip(places, found, strict=True):
            answers[place] = best.token_ids
        return answers

    @torch.no_grad()
    def next_tokens(self, paths: Sequence[Path], captions: Sequence[Caption], k: int) -> tuple[Tensor, Tensor]:
        """The likeliest k tokens at every place of R captions, the end included: ids and log-probabilities, each
        (R, T + 1, k)."""
        images, rows = np.unique([image for image, _ in captions], return_inverse=True)
        token_ids = torch.from_numpy(pad_tokens([ids for _, ids in captions], self.vocabulary.pad_id)[0])
        log_p = []
        for model, state in zip(self.models, self.prepare(paths, images.tolist(), rows), strict=True):
            assert isinstance(model, CaptionModel)
            hidden = read_causally(model.decoder, state, token_ids.to(model.decoder.device))
            log_p.append(model.decoder.project(hidden).log_softmax(dim=-1))
        top = torch.stack(log_p).logsumexp(dim=0).topk(k, dim=-1)
        return top.indices, top.values - math.log(len(log_p))
