"""How a captioner gets into another process: a pickle holds where its model is, and opens that again."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from fastcap.runtime.bundle import find_model

if TYPE_CHECKING:
    from fastcap.runtime.captioner import Captioner

__all__ = ["Opener", "opened", "opener_with"]

Opener: TypeAlias = "Callable[[str, int], Captioner]"
"""Opens the model of a name or directory with a number of threads; pickled by name."""


def opener_with(opener: Callable[..., Captioner], memory: str | os.PathLike[str] | None) -> Opener | None:
    """What opens a model with a user's memory, if there is one."""
    return None if memory is None else _OpenerWith(opener, os.path.abspath(memory))


@dataclass(frozen=True)
class _OpenerWith:
    """Equal ones are one, so that `opened` finds what it has."""

    opener: Callable[..., Captioner]
    memory: str

    def __call__(self, address: str, threads: int) -> Captioner:
        return self.opener(address, threads, self.memory)


def opened(opener: Opener, address: str, threads: int) -> Captioner:
    """What a pickle becomes. `Pool.imap` pickles a captioner for every picture, so each process keeps the last few."""
    facts = os.stat(find_model(address))  # a directory that was replaced meanwhile is opened anew
    return _opened_once(opener, address, threads, (facts.st_ino, facts.st_ctime_ns))


@functools.lru_cache(maxsize=4)
def _opened_once(opener: Opener, address: str, threads: int, _: tuple[int, int]) -> Captioner:
    return opener(address, threads)
