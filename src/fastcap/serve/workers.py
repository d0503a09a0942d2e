"""A bounded queue in front of a few threads.

A picture is a job of its own, and no batch is formed: the int8 graph runs one picture at a time (see
`Captioner._run`), so pictures taken together would only wait for one another. Threads suffice, as decoding a picture
and running the network both release the interpreter's lock; they share one session, and each runs it on its own core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from starlette.exceptions import HTTPException

__all__ = ["Workers"]

Result = TypeVar("Result")


class Workers:
    """`threads` threads that serve jobs in the order of their arrival; at most `queue` jobs are under way.

    Places are counted in the event loop's thread alone, so they need no lock.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self.taken = 0
        self._queue = queue
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="caption")

    @contextmanager
    def places(self, count: int) -> Iterator[None]:
        """Hold `count` places; 503 at once when fewer are free."""
        if self.taken + count > self._queue:
            free = self._queue - self.taken
            message = f"overloaded: {count} pictures for {free} free places of {self._queue}; try again later"
            raise HTTPException(503, message, headers={"Retry-After": "1"})
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count

    async def run(self, job: Callable[[], Result]) -> Result:
        """The job's result. Cancelled while it waits, the job is never run."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, job)

    def close(self) -> None:
        """Finish what has begun, drop what waits, end the threads."""
        self._pool.shutdown(cancel_futures=True)
