"""How good a model's answers to the validation questions are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from fastcap.config import DataConfig, ModelConfig
from fastcap.data.cache import ImageCache
from fastcap.evaluation.answers import vqa_accuracy
from fastcap.evaluation.sample import spread
from fastcap.layers import ImageTokens
from fastcap.model import CaptionModel
from fastcap.runtime.conversation import encode_prompt
from fastcap.runtime.encoding import decode
from fastcap.training.conversations import read_conversations

__all__ = ["LONGEST", "Answering"]

LONGEST = 12  # tokens of an answer: those of people have three at most, but for one in a hundred


class Answering:
    """The first `val_limit` validation conversations, spread evenly over all, each with its image.

    Raises:
        DataError: a file cannot be read.
    """

    def __init__(self, data: DataConfig, model: ModelConfig, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.conversations = spread(read_conversations(data, "val"), data.val_limit)
        paths = list(dict.fromkeys(conversation.image for conversation in self.conversations))
        self.place = {path: place for place, path in enumerate(paths)}
        self.images = ImageCache(Path(data.cache) / f"val-asked-{model.image_size}", model.image_size).build(paths)
        self.prompts = [
            encode_prompt(tokenizer, conversation.turns[:-1], model.template, model.marks.eos_id)
            for conversation in self.conversations
        ]

    @torch.no_grad()
    def figures(self, model: CaptionModel) -> tuple[dict[str, float], str]:
        """`val_accuracy`, VQA accuracy times 100, by greedy search; and the first question with its answer."""
        total, example, encoded = 0.0, "", None
        for place, (conversation, prompt) in enumerate(zip(self.conversations, self.prompts, strict=True)):
            if encoded is None or conversation.image != self.conversations[place - 1].image:
                pixels = torch.from_numpy(self.images[[self.place[conversation.image]]])
                encoded = model.encode(pixels.to(model.decoder.device))
            answer = decode(self.tokenizer, answer_ids(model, encoded, prompt))
            people = conversation.answers or (conversation.turns[-1].text,)
            total += vqa_accuracy(answer, people)
            example = example or f"{conversation.question} {answer}"
        return {"val_accuracy": 100 * total / len(self.conversations)}, example


def answer_ids(model: CaptionModel, image: ImageTokens, prompt: Sequence[int]) -> list[int]:
    """The likeliest tokens, one by one, of an answer about one encoded image."""
    limits = {"min_length": 1, "max_length": LONGEST}
    return model.search(image, beams=1, prompt_ids=tuple(prompt), **limits)[0][0].token_ids
