"""Conversations in training: which are read, as which tokens, and in which step.

A row is a conversation as `fastcap.runtime.conversation.encode_training` gives it, and shares its image's prefix with
other rows. Every conversation is read once an epoch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from fastcap.config import DataConfig, StageConfig
from fastcap.data.batching import bucket_batches
from fastcap.data.conversations import load_conversations
from fastcap.errors import ConfigError, DataError
from fastcap.runtime.conversation import ASSISTANT, Conversation, Turn, encode_training, parts
from fastcap.runtime.encoding import clean_caption
from fastcap.training.pools import CaptionPool, Row
from fastcap.training.position import Position

__all__ = ["Dealer", "Share", "add_conversations", "learned_mask", "read_conversations", "spoken"]

ORDER = 11  # tells the generators of an image's conversations from all others


def read_conversations(data: DataConfig, part: str) -> list[Conversation]:
    """The conversations of `data.conversations` (`part` "train") or `data.val_conversations` ("val").

    Raises:
        DataError: a file cannot be read; names the setting.
    """
    setting = "conversations" if part == "train" else "val_conversations"
    read: list[Conversation] = []
    for index, name in enumerate(getattr(data, setting)):
        path = Path(data.root) / name
        try:
            read += load_conversations(path, on_bad_data=data.on_bad_data, max_bad_share=data.max_bad_share)
        except (DataError, ConfigError) as error:
            raise type(error)(f"{error} (setting data.{setting}.{index}, below data.root={data.root})") from error
    return read


def spoken(conversations: Sequence[Conversation], template: str) -> list[str]:
    """All texts of conversations as a tokenizer sees them, questions within the template, and all that was answered."""
    texts = []
    for conversation in conversations:
        texts += [text for text, _ in parts(conversation.turns, template)]
        texts += [cleaned for answer in dict.fromkeys(conversation.answers) if (cleaned := clean_caption(answer))]
    return texts


def add_conversations(
    pool: CaptionPool,
    conversations: Sequence[Conversation],
    tokenizer: Tokenizer,
    template: str,
    eos_id: int,
    longest: int,
    longest_prompt: int,
    drawn: bool = False,
) -> None:
    """Add conversations to a pool, and the images that it lacks. Those of more than `longest` tokens, or more than
    `longest_prompt` before the last answer, are left out, and counted in `pool.skipped`; `drawn`: with the answers of
    all people."""
    index_of = {path: index for index, path in enumerate(pool.paths)}
    for conversation in conversations:
        index = index_of.setdefault(conversation.image, len(pool.paths))
        if index == len(pool.paths):
            pool.add_image(conversation.image)
        pool.questions.setdefault(index, []).extend(turn.text for turn in conversation.turns)
        row = Row(*encode_training(tokenizer, conversation.turns, template, eos_id))
        if len(row.token_ids) <= longest and row.n_prompt <= longest_prompt:
            if drawn:
                told = (Row(*encode_training(tokenizer, turns, template, eos_id)) for turns in answered(conversation))
                row = row._replace(others=tuple(each for each in told if len(each.token_ids) <= longest))
            pool.conversations.setdefault(index, []).append(row)
            pool.asked.setdefault(index, []).append(conversation)
        else:
            pool.skipped += 1


def answered(conversation: Conversation) -> list[tuple[Turn, ...]]:
    """The turns with each person's answer at their end, as often as it was given; none where one answer is known."""
    cleaned = map(clean_caption, conversation.answers)
    return [(*conversation.turns[:-1], Turn(ASSISTANT, text)) for text in cleaned if text]


def learned_mask(rows: Sequence[Row], width: int) -> Tensor:
    """Which tokens of R rows, padded to T = `width`, are learnt, with their end marks: (R, T + 1)."""
    mask = torch.zeros(len(rows), width + 1, dtype=torch.bool)
    for place, row in enumerate(rows):
        mask[place, : len(row.learned)] = torch.tensor(row.learned)
    return mask


class Share(NamedTuple):
    """What a step reads of an image: some of its conversations, and so many captions."""

    image: int
    conversations: list[Row]
    n_captions: int


class Dealer:
    """Deals out the images of a stage with questions: each conversation once an epoch, `stage.questions` of an image at
    a time, as a function of the step alone. Where an image has more, it comes more often; the last time, some that it
    has shown fill up.

    Args:
        least: images that a step needs, one for each process and micro-batch; a smaller group is filled up with its
            own.
        told: tokens of the longest row with a teacher's answer, by image.

    Raises:
        ConfigError: no image has what the stage asks for; `stage.max_tokens` is less than the longest image's rows.
    """

    def __init__(
        self,
        stage: StageConfig,
        pool: CaptionPool,
        order_seed: Sequence[int],
        least: int = 1,
        told: Mapping[int, int] | None = None,
    ) -> None:
        self.stage, self.pool, self.order_seed, self.least = stage, pool, list(order_seed), least
        self.told = told or {}
        self.places: list[tuple[int, int]] = []  # an image, and which of its groups of conversations
        for image in range(len(pool.paths)):
            n_groups = math.ceil(len(pool.conversations.get(image, ())) / max(1, self.asked(image)))
            self.places += [(image, group) for group in range(n_groups or self.has_captions(image))]
        if not self.places:
            raise ConfigError(f"stage {stage.name}: no image has a conversation or a caption that fits")
        if stage.max_tokens:
            self.lengths = [stage.rows * (self.longest(image) + 1) for image, _ in self.places]
            self.grouped(0)  # raises if the budget is too small

    def has_captions(self, image: int) -> bool:
        """Whether the stage may draw captions of an image."""
        known = self.pool.token_ids[image]
        return self.stage.captions > 0 and any(known.get(source) for source in self.stage.sources)

    def asked(self, image: int) -> int:
        """How many conversations of an image a step reads."""
        if not self.pool.conversations.get(image):
            return 0
        return self.stage.questions if self.has_captions(image) else self.stage.rows

    def longest(self, image: int) -> int:
        """Tokens of the longest row that a step may read of an image."""
        rows = [each.token_ids for row in self.pool.conversations.get(image, ()) for each in (row, *row.others)]
        if self.has_captions(image):
            rows += [ids for source in self.stage.sources for ids in self.pool.token_ids[image].get(source, ())]
        return max(self.told.get(image, 0), *map(len, rows))

    @functools.lru_cache(maxsize=2)  # noqa: B019 (a stage's dealer lives as long as the stage)
    def grouped(self, epoch: int) -> list[list[int]]:
        """The steps of an epoch as groups of places of about equal length."""
        seed = int(np.random.SeedSequence(self.order_seed).generate_state(1)[0])
        return bucket_batches(self.lengths, self.stage.max_tokens, seed, epoch, self.stage.images)

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def shuffled(self, epoch: int) -> NDArray[np.int64]:
        """The order of an epoch's places."""
        return np.random.default_rng([*self.order_seed, epoch]).permutation(len(self.places))

    def steps(self, epochs: float) -> int:
        """How many steps so many epochs have."""
        if self.stage.max_tokens:
            return max(1, math.ceil(epochs * len(self.grouped(0))))
        return max(1, math.ceil(epochs * len(self.places) / self.stage.images))

    def deal(self, position: Position) -> list[Share]:
        """What a step reads of its images, each time the same."""
        n = self.stage.images
        if self.stage.max_tokens:
            epoch, step = divmod(position.step, len(self.grouped(0)))  # every epoch has as many groups
            group = np.array(self.grouped(epoch)[step])
            drawn = [(epoch, int(place)) for place in np.resize(group, max(len(group), self.least))]
        else:
            counted = (divmod(place, len(self.places)) for place in range(position.step * n, (position.step + 1) * n))
            drawn = [(epoch, int(self.shuffled(epoch)[place])) for epoch, place in counted]
        return [self.share(epoch, *self.places[place]) for epoch, place in drawn]

    def share(self, epoch: int, image: int, group: int) -> Share:
        """One image's conversations of a group, drawn anew in every epoch."""
        rows, asked = self.pool.conversations.get(image, []), self.asked(image)
        if not asked:
            return Share(image, [], self.stage.rows)
        rng = np.random.default_rng([*self.order_seed, epoch, ORDER, image])
        filled = np.resize(rng.permutation(len(rows)), math.ceil(len(rows) / asked) * asked)
        people = rng.random(len(rows))  # of each row, whose answer is read in this epoch
        chosen = []
        for place in filled[group * asked : (group + 1) * asked]:
            others = rows[place].others
            chosen.append(others[int(people[place] * len(others))] if others else rows[place])
        return Share(image, chosen, self.stage.rows - asked)
