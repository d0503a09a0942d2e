"""The vocabulary of a model: how many tokens it has, and which of them are marks instead of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastcap.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Marks", "Vocabulary"]


@dataclass(frozen=True)
class Marks:
    """Ids of the tokens that are no text. The defaults are those of `fastcap.data.tokenizer.train_tokenizer`.

    Attributes:
        pad_id: fills a row of tokens behind the caption's end.
        bos_id, eos_id: stand before the first and after the last token of a caption.
        mask_id: stands for a token that the parallel reading has yet to predict; None where there is no such mark.
        unk_id: stands for text that the tokenizer cannot spell; None where there is no such mark.
    """

    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    mask_id: int | None = 3
    unk_id: int | None = 4

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Marks:
        """The marks that a tokenizer calls `<pad>`, `<bos>`, `<eos>`, `<mask>` and `<unk>`; the last two may be absent.

        Raises:
            ConfigError: one of the first three is absent.
        """
        pad, bos, eos, mask, unk = (tokenizer.token_to_id(f"<{name}>") for name in ("pad", "bos", "eos", "mask", "unk"))
        if pad is None or bos is None or eos is None:
            raise ConfigError(f"the tokenizer's <pad>, <bos> and <eos> are {pad}, {bos} and {eos}; needed: all three")
        return cls(pad, bos, eos, mask, unk)


@dataclass(frozen=True, kw_only=True)
class Vocabulary(Marks):
    """The marks of a model, and its number of tokens, `size`.

    Raises:
        ConfigError: a mark's id is outside 0 to `size` - 1.
    """

    size: int

    def __post_init__(self) -> None:
        for name in Marks.__dataclass_fields__:
            mark = getattr(self, name)
            if mark is not None and not 0 <= mark < self.size:
                raise ConfigError(f"{name} is {mark}; allowed: 0 to {self.size - 1}, the ids of the vocabulary")

    @property
    def mask(self) -> int:
        """The id of the mask mark.

        Raises:
            ConfigError: there is none.
        """
        if self.mask_id is None:
            raise ConfigError("mask_id is None; needed: the id of a mask mark, for decoding in parallel")
        return self.mask_id

    @property
    def barred(self) -> tuple[int, ...]:
        """Ids that no caption holds: all marks."""
        marks = {self.pad_id, self.bos_id, self.eos_id, self.mask_id, self.unk_id}
        return tuple(sorted(mark for mark in marks if mark is not None))

    @property
    def barred_in_search(self) -> tuple[int, ...]:
        """Ids that decoding from left to right never chooses: all marks but the end mark, which ends a caption."""
        return tuple(mark for mark in self.barred if mark != self.eos_id)
