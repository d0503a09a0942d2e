"""Ctrl-C and requests to terminate, held back while they would do harm."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["held_signals", "uninterrupted"]


@contextlib.contextmanager
def held_signals() -> Iterator[list[int]]:
    """A context in which these signals are appended to a list, and do nothing else."""
    held: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield held  # signals go to the main thread alone
        return
    before = {number: signal.signal(number, lambda n, _: held.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield held
    finally:
        for interrupt, handler in before.items():
            signal.signal(interrupt, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals back to the end of the block: half an update could not be resumed exactly."""
    with held_signals() as held:
        yield
    for number in held:
        signal.raise_signal(number)
