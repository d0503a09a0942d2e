"""Many pictures: worker processes caption or examine them, and rows come back as they are finished.

A worker is a process with one thread for the network and one that decodes the next picture meanwhile. It writes
nothing to disk and speaks JSON over a pipe: it may be killed at any moment, by its parent, a user or a hostile picture.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, TypeAlias

from fastcap import errors
from fastcap.errors import ConfigError, FastcapError, ImageError, each
from fastcap.runtime.bundle import find_model
from fastcap.runtime.cores import usable_cores
from fastcap.runtime.options import Options
from fastcap.runtime.rows import Row, caption_row

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Unpack

    from fastcap.runtime.options import Keywords

    _Loaded = tuple[str, np.ndarray | ImageError, float]  # name, pixels or why there are none, milliseconds

__all__ = ["MAX_WORKERS", "CaptionWorker", "WorkerPool", "caption_files", "check_workers"]

Maker: TypeAlias = "Callable[..., CaptionWorker | Any]"
"""Makes, in the process of a worker, what has the method `rows` of `CaptionWorker`; pickled by name."""

MAX_WORKERS = 64

_GIVEN = 4  # pictures that a worker holds: one in the network, one being decoded, two so that it never waits for us
_STARTS = 3  # workers in a row that may end before they are ready; then the fault is not a passing one
_READY: Mapping[str, str] = {}  # a worker's first message
_log = logging.getLogger(__name__)


def caption_files(
    images: Iterable[str | os.PathLike[str]],
    options: Options | None = None,
    *,
    model: str | os.PathLike[str] = "fastcap-base",
    workers: int | None = None,
    image_column: str = "image",
    memory: str | os.PathLike[str] | None = None,
    **keywords: Unpack[Keywords],
) -> Generator[Row, None, None]:
    """Caption image files in `workers` processes; one row for each, in the order in which they are finished.

    `images`: paths, or names of pictures in shards as `fastcap.runtime.sources.find_pictures` gives them; read as they
    are needed, so there may be any number of them.
    `workers`: 1 to 64; as many as this process has cores by default, since a worker keeps one busy.
    `image_column`: the column of parquet tables that holds the pictures.
    `memory`: as in `Captioner.open`.
    `options`, or its fields as keywords: those of `Captioner.caption`, which gives the same captions.

    A picture that cannot be read is a row with an `error`. So is one on which a worker process died, and, tried alone,
    another; each death is logged as a warning. Closing the generator ends the workers.

    The calling script needs an `if __name__ == "__main__":`, as all that starts processes does.

    Raises ConfigError or ModelFileError, for `options` with the first row; FastcapError when workers cannot start.
    """
    paths = each(images, "paths", (str, os.PathLike))
    count, folder = check_workers(workers), find_model(model)
    pool = WorkerPool(count, CaptionWorker, folder, image_column, Options.of(options, keywords), memory)
    return _rows(pool, (os.fspath(path) for path in paths))


def _rows(pool: WorkerPool, images: Iterator[str]) -> Generator[Row, None, None]:
    try:
        yield from pool.rows(images)
    finally:
        pool.close()


def check_workers(workers: int | None) -> int:
    """The number of worker processes, None being the cores of this process. Raises ConfigError."""
    if workers is None:
        return min(usable_cores(), MAX_WORKERS)
    if type(workers) is not int or not 1 <= workers <= MAX_WORKERS:
        raise ConfigError(f"workers is {workers!r}; allowed are whole numbers from 1 to {MAX_WORKERS}")
    return workers


class WorkerPool:
    """At most `count` worker processes, in each of which `maker` is called with `settings`; they start when there is
    something to do and stay until `close`."""

    def __init__(self, count: int, maker: Maker, *settings: Any) -> None:
        self._count, self._settings = count, (maker, *settings)
        self._workers: list[_Worker] = []

    def rows(self, images: Iterator[str]) -> Iterator[Row]:
        """What `caption_files` gives. An iterator that was left before its end can only be followed by `close`."""
        todo, pool = _Todo(images), self._workers
        while True:
            for worker in pool:
                todo.feed(worker)
            while todo and len(pool) < self._count:
                pool.append(_Worker(*self._settings))
                todo.feed(pool[-1])
            if not any(worker.given for worker in pool):
                return
            answered = wait([worker.rows for worker in pool])
            for worker in [worker for worker in pool if worker.rows in answered]:
                try:
                    row = worker.receive()
                except (EOFError, OSError):
                    pool.remove(worker)
                    row = todo.take_back(worker)
                if row is not None:
                    yield row

    def close(self) -> None:
        """End the processes, whatever they do."""
        for worker in self._workers:
            worker.kill()


class _Todo:
    """The pictures that no worker holds. `suspects`: a worker died while it held them; tried alone, each tells."""

    def __init__(self, images: Iterator[str]) -> None:
        self._images = images
        self._backlog: deque[str] = deque()
        self._suspects: deque[str] = deque()
        self._failed_starts = 0

    def __bool__(self) -> bool:
        return bool(self._suspects or self._refilled())

    def feed(self, worker: _Worker) -> None:
        """Give a worker enough to do; a suspect only if it is idle, and then nothing else."""
        if not worker.given:
            worker.alone = bool(self._suspects)
            if worker.alone:
                worker.give(self._suspects.popleft())
        while not worker.alone and len(worker.given) < _GIVEN and self._refilled():
            worker.give(self._backlog.popleft())

    def take_back(self, worker: _Worker) -> Row | None:
        """What a dead worker held; the row of the picture that has killed its second one. Raises FastcapError."""
        cause = worker.cause_of_death()
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts == _STARTS:
                raise FastcapError(f"{_STARTS} worker processes ended before they could start, the last by {cause}")
            (self._suspects if worker.alone else self._backlog).extendleft(reversed(worker.given))
            return None
        self._failed_starts = 0
        _log.warning("a worker process died (%s); another takes its place", cause)
        if not worker.alone:
            self._suspects.extend(worker.given)
            return None
        image = worker.given[0]
        return {"image": image, "error": f"{image}: a worker process died on it, twice ({cause})"}

    def _refilled(self) -> deque[str]:
        if not self._backlog:
            self._backlog.extend(islice(self._images, 1))
        return self._backlog


class _Worker:
    """A worker's process, as its parent sees it. `settings`: a maker and what it is called with. `given`: pictures
    without an answer yet, in order; `alone`: the only one is a suspect."""

    def __init__(self, *settings: Any) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy our threads' locks
        # Two one-way pipes: one that goes both ways would be a pair of sockets, and we promise to open none.
        self.rows, rows_end = context.Pipe(duplex=False)
        tasks_end, self._tasks = context.Pipe(duplex=False)
        self.given: deque[str] = deque()
        self.alone = self.ready = False
        self._process = context.Process(target=_work, args=(tasks_end, rows_end, *settings), daemon=True)
        with _interrupts_held():
            self._process.start()
        for end in (tasks_end, rows_end):
            end.close()  # ours was a copy: now the pipe ends when the worker does

    def give(self, image: str) -> None:
        self.given.append(image)
        with contextlib.suppress(OSError):  # it died; `receive` will say so
            self._tasks.send_bytes(json.dumps(image).encode())

    def receive(self) -> Row | None:
        """Its next row, None for its first message. Raises EOFError or OSError if it died, its own FastcapErrors."""
        message: Row = json.loads(self.rows.recv_bytes())
        if "fatal" in message:
            raise getattr(errors, message["fatal"])(message["error"])
        if message == _READY:
            self.ready = True
            return None
        self.given.popleft()
        return message

    def cause_of_death(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit status {code}"

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C goes to every process of a terminal; what is started here is deaf to it from its first instruction, and we
    hear of it afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []  # by any thread of ours, which the mask of this one does not keep from it
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        with _interrupts_blocked():
            yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held:
        signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A mask that children inherit; on Windows there is none, and no need."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing would start it in there, and lift the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _work(tasks: Connection, rows: Connection, maker: Maker, *settings: Any) -> None:
    """A worker's life: names in, rows out, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # again: Windows inherits no mask
    warnings.filterwarnings("ignore", module=r"PIL\.")  # a damaged picture is a row, that is enough
    with contextlib.suppress(EOFError, ConnectionError):
        try:
            worker = maker(*settings)
            rows.send_bytes(json.dumps(_READY).encode())
            images = iter(lambda: json.loads(tasks.recv_bytes()), None)  # until the pipe ends, which raises
            for row in worker.rows(images, tasks.poll):
                rows.send_bytes(json.dumps(row).encode())
        except FastcapError as error:
            rows.send_bytes(json.dumps({"fatal": type(error).__name__, "error": str(error)}).encode())


class CaptionWorker:
    """What one worker does, in whatever process: one thread runs the network, another decodes the next picture.

    `model`: name or directory. `image_column`, `options` and `memory`: see `caption_files`. `urls`: whether
    pictures may be URLs.
    Raises ConfigError or ModelFileError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        image_column: str,
        options: Options,
        memory: str | os.PathLike[str] | None = None,
        urls: bool = False,
    ) -> None:
        from fastcap.runtime.captioner import Captioner
        from fastcap.runtime.sources import PictureReader

        self._captioner = Captioner.open(model, memory=memory)
        self._reader, self._options = PictureReader(image_column, urls), options
        preprocessing = self._captioner.bundle.preprocessing
        self._size = (preprocessing.width, preprocessing.height)
        self._captioner.check_options(options)  # now, not with the first picture

    def rows(self, images: Iterator[str], ready: Callable[[], bool] = lambda: True) -> Iterator[Row]:
        """A row for each picture, in order. `ready`: whether `images` has a next one without waiting for it."""
        loading: deque[Future[_Loaded]] = deque()
        with ThreadPoolExecutor(1) as loader:
            while True:
                while len(loading) < 2 and (not loading or ready()):
                    image = next(images, None)
                    if image is None:
                        break
                    loading.append(loader.submit(self._load, image))
                if not loading:
                    return
                yield self._caption(*loading.popleft().result())

    def _load(self, image: str) -> _Loaded:
        from fastcap.runtime.images import load_image

        started = time.perf_counter()
        try:
            result: np.ndarray | ImageError = load_image(self._reader.read(image), self._size)
        except ImageError as error:
            result = error
        return image, result, 1000 * (time.perf_counter() - started)

    def _caption(self, image: str, pixels: np.ndarray | ImageError, milliseconds: float) -> Row:
        if isinstance(pixels, ImageError):
            return caption_row(image, pixels)
        caption = self._captioner.caption_pixels(pixels[None], self._options)[0]
        caption = replace(caption, milliseconds=milliseconds + caption.milliseconds)
        return caption_row(image, caption, self._options.candidates)
