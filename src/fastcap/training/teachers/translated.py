"""A teacher of kind sequences: checkpoints of another vocabulary than the student's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn

from fastcap.checkpoint import read_settings
from fastcap.errors import ModelFileError
from fastcap.runtime.conversation import Turn
from fastcap.runtime.encoding import clean_caption, decode, encode
from fastcap.training.teachers.ensemble import Ensemble

__all__ = ["Translated", "vocabulary_of"]


def vocabulary_of(name: str) -> dict[str, int]:
    """The tokens of a checkpoint and their ids.

    Raises:
        ModelFileError: there is no such checkpoint.
    """
    vocabulary: dict[str, int] = read_settings(Path(name))[1].get_vocab()
    return vocabulary


class Translated(nn.Module):
    """Checkpoints that say captions and answers in tokens of their own, which the student reads as text in its own.

    A large language model teaches a small one so, each with its own tokenizer.

    Args:
        names: checkpoint directories of one vocabulary.
        tokenizer: the student's.
        cache: folder for decoded pictures, `data.cache`.
        dtype: as of `Ensemble`.

    Raises:
        ModelFileError: a checkpoint is missing or damaged, or has another vocabulary than the first one.
    """

    def __init__(
        self, names: Sequence[str], tokenizer: Tokenizer, cache: Path, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        config, theirs = read_settings(Path(names[0]))
        for name in names[1:]:
            if vocabulary_of(name) != theirs.get_vocab():
                raise ModelFileError(f"teacher {name} has another vocabulary than {names[0]}; allowed: one for all")
        self.ensemble = Ensemble(names, config, theirs, cache, dtype)
        self.tokenizer, self.settings = tokenizer, [*self.ensemble.settings, theirs.to_str()]

    @property
    def reads_questions(self) -> bool:
        """As `Ensemble.reads_questions`."""
        return self.ensemble.reads_questions

    def captions(self, paths: Sequence[Path], images: Sequence[int]) -> list[list[list[int]]]:
        """As `Ensemble.captions`, in the student's tokens."""
        return [[self.translated(ids) for ids in each] for each in self.ensemble.captions(paths, images)]

    def told(self, paths: Sequence[Path], asked: Sequence[tuple[int, Sequence[Turn]]]) -> list[list[int]]:
        """As `Ensemble.told`, in the student's tokens."""
        return [self.translated(ids) for ids in self.ensemble.told(paths, asked)]

    def translated(self, token_ids: Sequence[int]) -> list[int]:
        """The student's tokens of a teacher's."""
        return encode(self.tokenizer, clean_caption(decode(self.ensemble.tokenizer, token_ids)))
