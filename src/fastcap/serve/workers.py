"""A bounded queue in front of a few threads.

Each picture is a job of its own, without batches: the graph runs one picture at a time (see `Captioner`), so pictures
of a batch would only wait for one another. Threads suffice, since decoding a picture and running the network both
release the interpreter's lock; they share one session, and each runs it on its own core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from starlette.exceptions import HTTPException

from fastcap.errors import counted

__all__ = ["Workers"]

Result = TypeVar("Result")


class Workers:
    """`threads` threads that run jobs in the order of their arrival; at most `queue` jobs are under way.

    Only the event loop's thread counts places, so the count needs no lock.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self.taken = 0
        self._queue = queue
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="caption")

    @contextmanager
    def places(self, count: int) -> Iterator[None]:
        """Hold `count` places. Raises HTTPException 503 at once if fewer are free."""
        if self.taken + count > self._queue:
            free = self._queue - self.taken
            got = f"{counted(count, 'picture')} for {counted(free, 'free place')} of {self._queue}"
            message = f"overloaded: {got}; try again later"
            raise HTTPException(503, message, headers={"Retry-After": "1"})
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count

    async def run(self, job: Callable[[], Result]) -> Result:
        """The job's result. A job that is cancelled while it waits never runs."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, job)

    def close(self) -> None:
        """Finish jobs that have begun, drop those that wait, end the threads."""
        self._pool.shutdown(cancel_futures=True)
