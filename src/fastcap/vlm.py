"""Questions about pictures in the way of transformers: `FastVLMModel`, `FastVLMProcessor`, `FastVLMConfig`.

>>> from fastcap.vlm import FastVLMModel, FastVLMProcessor  # doctest: +SKIP
>>> model = FastVLMModel.from_pretrained("runs/fastvlm-base/best")  # doctest: +SKIP
>>> processor = FastVLMProcessor.from_pretrained("runs/fastvlm-base/best")  # doctest: +SKIP
>>> inputs = processor(images=image, text="What is in this image?", return_tensors="pt")  # doctest: +SKIP
>>> processor.decode(model(**inputs).logits)  # doctest: +SKIP

A thin layer over a prefix model (`fastcap.model.prefix`) in PyTorch, for training code and notebooks. To answer fast
and without PyTorch, export it, and ask `fastcap.Captioner`.

Letters: B pictures with a question each, T tokens, V vocabulary.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.checkpoint import load_checkpoint, read_settings, save_checkpoint
from fastcap.config import ModelConfig, PrefixConfig, TowersConfig
from fastcap.errors import ConfigError, ModelFileError
from fastcap.model import CaptionModel, build_model, load_frozen
from fastcap.release.adapters import find_adapters, unpack
from fastcap.runtime.answering import search_answers
from fastcap.runtime.contract import MANIFEST
from fastcap.runtime.conversation import USER, Turn, check_turns, encode_prompt
from fastcap.runtime.encoding import decode
from fastcap.runtime.images import load_image

__all__ = ["FastVLMConfig", "FastVLMModel", "FastVLMOutput", "FastVLMProcessor"]

IGNORED = -100
"""Of labels: places without a loss, as transformers has it."""


@dataclass(frozen=True)
class FastVLMConfig:
    """What a new model is made of; its frozen parts have to be here (`fastcap download`).

    Attributes:
        attention_type: how the resampler between image and language model attends: "dense", "linear", or "sparse".
        attention_pattern: of "sparse": "strided", a query reads every `attention_stride`-th image token.
        attention_stride: that.
        use_flash_attention: whether the language model attends in PyTorch's fused kernel, or step by step.
        vision_encoder, language_model: frozen parts, by name or folder.
        image_size: side of the pictures in pixels.
        image_tokens: tokens of the prefix.
        hidden_size: width of the resampler, a multiple of 8.
        lora_rank: of the adapters; 0 for none.
        question_tokens, answer_tokens: the most of each.
    """

    attention_type: Literal["dense", "linear", "sparse"] = "dense"
    attention_pattern: Literal["strided"] = "strided"
    attention_stride: int = 2
    use_flash_attention: bool = True
    vision_encoder: str = "efficientnet-lite2"
    language_model: str = "smollm2-135m-instruct"
    image_size: int = 224
    image_tokens: int = 16
    hidden_size: int = 512
    lora_rank: int = 16
    question_tokens: int = 128
    answer_tokens: int = 32

    def __post_init__(self) -> None:
        for name, allowed in (("attention_type", KINDS), ("attention_pattern", ("strided",))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")

    def model_config(self) -> ModelConfig:
        """The same in the words of a recipe. Raises ConfigError for a number out of range."""
        decoder = PrefixConfig(
            language_model=self.language_model,
            image_tokens=self.image_tokens,
            projection="resampler",
            attention=KINDS[self.attention_type],
            attention_stride=self.attention_stride,
            d_hidden=self.hidden_size,
            rank=self.lora_rank,
            prune=False,
            question_tokens=self.question_tokens,
        )
        return ModelConfig(
            image_size=self.image_size,
            max_length=self.answer_tokens,
            backbone=TowersConfig(names=(self.vision_encoder,)),
            decoder=decoder,
        )


KINDS: dict[str, Literal["flash", "linear", "strided"]] = {"dense": "flash", "linear": "linear", "sparse": "strided"}
"""What `attention_type` is called in `fastcap.attention`."""


class FastVLMOutput(NamedTuple):
    """`logits` (B, T, V), each of the next token; and the `loss`, where labels were given."""

    logits: Tensor
    loss: Tensor | None = None


class FastVLMModel(nn.Module):
    """A prefix model that answers.

    Args:
        config: of a new model, whose weights are random where nothing is frozen.

    Raises:
        ModelFileError: a frozen part is not here, or damaged.
        ConfigError: a setting out of its range.
    """

    def __init__(self, config: FastVLMConfig) -> None:
        frozen = load_frozen(config.model_config())
        assert frozen is not None
        tokenizer = frozen.learn_vocabulary(())
        self.hold(build_model(frozen.fit(config.model_config(), tokenizer), frozen).eval(), tokenizer)
        if config.use_flash_attention:
            self.model.decoder.language_model.config._attn_implementation = "sdpa"

    def hold(self, model: CaptionModel, tokenizer: Tokenizer) -> None:
        """Begin to be this model."""
        super().__init__()
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def from_pretrained(cls, name_or_folder: str | os.PathLike[str]) -> FastVLMModel:
        """A checkpoint directory, or adapters by name or folder, whose frozen parts have to be here.

        Raises ModelFileError for anything else, or a model that was not trained to answer.
        """
        made = cls.__new__(cls)
        made.hold(*load(name_or_folder))
        return made

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write a checkpoint directory, which `fastcap export` takes, too."""
        save_checkpoint(Path(folder), self.model.config, self.model.state_dict(), self.tokenizer)

    @property
    def config(self) -> ModelConfig:
        """Its settings, those of a recipe."""
        return self.model.config

    def forward(
        self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> FastVLMOutput:
        """Answer, or read given answers.

        Args:
            pixel_values: (B, H, W, 3) uint8, as the processor gives it; input_ids, attention_mask: (B, T), questions.
            labels: (B, T), the tokens of `input_ids` that are to be learnt, -100 elsewhere. `input_ids` then hold
                questions and answers.

        Returns:
            Without labels, the logits from which each token of the answer and its end mark was chosen, so that their
            arg-max is the answer; padded with the end mark. With labels, those of every place of `input_ids`.
        """
        if labels is not None:
            return self.read(pixel_values, input_ids, attention_mask, labels)
        rows = []
        answers = self.generate(pixel_values, input_ids, attention_mask)
        for row, answer in enumerate(answers):
            prompt = prompt_of(input_ids[row], attention_mask[row])
            said = [int(token) for token in answer if token != self.model.vocabulary.eos_id]
            rows.append(self.logits_of(pixel_values[row : row + 1], prompt, said))
        end = torch.full((rows[0].shape[1],), -torch.inf)
        end[self.model.vocabulary.eos_id] = 0.0
        longest = max(map(len, rows))
        return FastVLMOutput(torch.stack([torch.cat([row, end.expand(longest - len(row), -1)]) for row in rows]))

    def logits_of(self, pixels: Tensor, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
        """Logits (T + 1, V) of an answer of T tokens and its end, -inf where a search may not go."""
        decoder, vocabulary = self.model.decoder, self.model.vocabulary
        ids = torch.tensor([[*prompt, *answer]])
        hidden = decoder.hidden(ids, decoder.prepare(self.model.encode(pixels)))
        logits = decoder.project(hidden[0, len(prompt) - 1 :]).clone()
        logits[:, list(vocabulary.barred_in_search)] = -torch.inf
        before = [vocabulary.bos_id, *answer]
        places = torch.arange(len(before))
        logits[places, torch.tensor(before)] = -torch.inf  # no token twice in a row
        logits[0, vocabulary.eos_id] = -torch.inf  # nor an answer of none
        if len(answer) == self.config.max_length:
            logits[-1, : vocabulary.eos_id] = logits[-1, vocabulary.eos_id + 1 :] = -torch.inf
        return logits

    def read(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> FastVLMOutput:
        """Logits of given texts, and the mean cross-entropy of their labels."""
        decoder = self.model.decoder
        state = decoder.prepare(self.model.encode(pixel_values))
        logits = decoder.project(decoder.hidden(input_ids, state, lengths=attention_mask.sum(dim=1)))
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        return FastVLMOutput(logits, loss)

    @torch.no_grad()
    def generate(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor, num_beams: int = 1) -> Tensor:
        """The answers (B, T), ended and padded with the end mark; greedily with one beam."""
        config, answers = self.config, []
        reader: Any = self.model.stepper()
        for row, ids in enumerate(input_ids):
            state = self.model.decoder.prepare(self.model.encode(pixel_values[row : row + 1]))
            prompts = [prompt_of(ids, attention_mask[row])]
            (best,) = search_answers(reader, state, prompts, config.vocabulary, config.max_length, num_beams)
            answers.append(torch.tensor([*best.token_ids, config.vocabulary.eos_id]))
        return nn.utils.rnn.pad_sequence(answers, batch_first=True, padding_value=config.vocabulary.eos_id)


class FastVLMProcessor:
    """Pictures and questions to what a `FastVLMModel` reads, and its answers to text."""

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer) -> None:
        self.config, self.tokenizer = config, tokenizer

    @classmethod
    def from_pretrained(cls, name_or_folder: str | os.PathLike[str]) -> FastVLMProcessor:
        """That of a model; see `FastVLMModel.from_pretrained`."""
        with checkpoint_of(name_or_folder) as folder:
            return cls(*read_settings(folder))

    @classmethod
    def of(cls, model: FastVLMModel) -> FastVLMProcessor:
        """That of a loaded model."""
        return cls(model.config, model.tokenizer)

    def __call__(self, images: Any = None, text: Any = None, return_tensors: str = "pt") -> dict[str, Tensor]:
        """One question about each picture.

        Args:
            images: a picture as `fastcap.runtime.images.load_image` takes it, or a list of them.
            text: a question, or a list of as many.
            return_tensors: "pt", PyTorch's; there are no others.

        Raises ConfigError for another number of questions than pictures, or a question that is none, empty or too long;
        ImageError for a bad picture.
        """
        if return_tensors != "pt":
            raise ConfigError(f"return_tensors is {return_tensors!r}; allowed: 'pt'")
        if images is None or text is None:
            lacking = "images" if images is None else "text"
            raise ConfigError(f"{lacking} is None; needed: pictures, and their questions")
        pictures = list(images) if isinstance(images, (list, tuple)) else [images]
        questions = list(text) if isinstance(text, (list, tuple)) else [text]
        if not pictures or len(pictures) != len(questions):
            raise ConfigError(f"{len(pictures)} pictures and {len(questions)} questions; needed: as many, 1 or more")
        size = (self.config.image_size,) * 2
        pixels = np.stack([load_image(picture, size) for picture in pictures])
        rows = [torch.tensor(self.prompt(question)) for question in questions]
        pad = self.config.vocabulary.pad_id
        lengths = torch.tensor([len(row) for row in rows])
        return {
            "pixel_values": torch.from_numpy(pixels),
            "input_ids": nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad),
            "attention_mask": (torch.arange(int(lengths.max())) < lengths[:, None]).long(),
        }

    def prompt(self, question: str) -> list[int]:
        """A question's tokens, begin mark included."""
        settings, vocabulary = cast(PrefixConfig, self.config.decoder), self.config.vocabulary
        turns = check_turns([Turn(USER, question)], asks=True)
        ids = encode_prompt(self.tokenizer, turns, settings.template, vocabulary.eos_id)
        if len(ids) > settings.question_tokens:
            raise ConfigError(f"the question has {len(ids)} tokens; allowed are {settings.question_tokens}")
        return [vocabulary.bos_id, *ids]

    def decode(self, answer: Any) -> str:
        """The text of one answer: token ids (T,), or logits (T, V) as the model gives them, with or without a batch of
        one before. Raises ConfigError for several answers."""
        values = torch.as_tensor(answer)
        if values.is_floating_point():
            values = values.argmax(dim=-1)
        if values.dim() == 2 and len(values) > 1:
            raise ConfigError(f"got {len(values)} answers; needed: one, or batch_decode for several")
        ids = values.reshape(-1).tolist()
        end = self.config.vocabulary.eos_id
        return decode(self.tokenizer, ids[: ids.index(end)] if end in ids else ids)

    def batch_decode(self, answers: Any) -> list[str]:
        """The text of each answer."""
        return [self.decode(answer[None]) for answer in torch.as_tensor(answers)]


def prompt_of(ids: Tensor, mask: Tensor) -> list[int]:
    """The tokens of one row, without padding."""
    return ids[mask.bool()].tolist()


def load(name_or_folder: str | os.PathLike[str]) -> tuple[CaptionModel, Tokenizer]:
    """A prefix model that was trained to answer, from a checkpoint directory or adapters."""
    with checkpoint_of(name_or_folder) as folder:
        return load_checkpoint(folder)


@contextlib.contextmanager
def checkpoint_of(name_or_folder: str | os.PathLike[str]) -> Iterator[Path]:
    """The checkpoint directory that is there, or that adapters are unpacked to meanwhile.

    Raises ModelFileError for an exported model, or one that was not trained to answer; ConfigError for neither.
    """
    folder = Path(name_or_folder)
    if (folder / MANIFEST).is_file():
        raise ModelFileError(
            f"{folder} is an exported model, which fastcap.load_model({str(folder)!r}).ask takes; needed: a checkpoint "
            "directory, or adapters"
        )
    with tempfile.TemporaryDirectory() as scratch:
        if not (folder / "model.safetensors").is_file():
            unpack(find_adapters(name_or_folder), folder := Path(scratch) / "checkpoint")
        config, _ = read_settings(folder)
        if not getattr(config.decoder, "question_tokens", 0):
            raise ModelFileError(f"{name_or_folder} was trained to write captions; needed: a model that answers")
        yield folder
