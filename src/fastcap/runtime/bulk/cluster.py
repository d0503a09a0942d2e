"""The same bulk job on a cluster: Ray Data hands the pictures to actors, and each has a worker of the local engine.

Ray only computes. What is left to do is found, and rows are written, by the one process that asked, as in a job on one
machine; so whatever dies, every picture has one row.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.errors import ConfigError, FastcapError, listed, needs
from fastcap.runtime.bulk.pool import CaptionWorker, WorkerPool, check_workers
from fastcap.runtime.bundle import available_models
from fastcap.runtime.options import Options
from fastcap.runtime.rows import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastcap.runtime.options import Keywords

__all__ = ["caption_on_cluster", "check_address"]

_BLOCK = 16  # pictures that an actor answers together: less than a second of work, which is what a kill costs
_OBJECT_STORE = 80 * 2**20  # bytes, about the least that Ray takes: names go in and rows come out, no pictures
_CONNECT_SECONDS = 5.0


def caption_on_cluster(
    images: Iterable[str | os.PathLike[str]],
    options: Options | None = None,
    *,
    model: str | os.PathLike[str] = "fastcap-base",
    address: str | None = None,
    workers: int | None = None,
    image_column: str = "image",
    memory: str | os.PathLike[str] | None = None,
    **keywords: Unpack[Keywords],
) -> Generator[Row, None, None]:
    """Caption pictures by actors of Ray; one row for each, in the order in which blocks of 16 are finished.

    `images`, `image_column`, `options`, `memory`: as in `caption_files`, which gives the same rows. Every node of the
    cluster needs the extra `ray` and finds pictures, model and memory under the same names; pictures may be URLs for
    fsspec.
    `address`: `HOST:PORT` of a cluster, or "auto" for the one that runs here; by default that of RAY_ADDRESS, and if
    there is none a cluster that is started on this machine, reachable from it alone, and stopped at the end. A
    connection that the caller has made already is used, and kept.
    `workers`: actors, 1 to 64, each with one CPU; by default as many as the cluster has CPUs.

    A picture that kills the process that looks at it is an error as in `caption_files`; what was given to a machine
    that was lost is given to another.

    Raises ConfigError or ModelFileError, for `options` with the first row; FastcapError when Ray is missing, cannot be
    reached, or fails.
    """
    check_address(address)
    if workers is not None:
        check_workers(workers)
    name = os.fspath(model)
    # Installed models lie elsewhere on another node, but have the same name.
    place = name if name in available_models() else str(Path(name).absolute())
    asked = Options.of(options, keywords)
    paths = listed(images, "paths", (str, os.PathLike))
    settings = place, image_column, asked, None if memory is None else os.path.abspath(memory)
    return _rows([os.fspath(path) for path in paths], address, workers, settings)


def check_address(address: str | None) -> None:
    """Raises ConfigError for what cannot be the address of a cluster."""
    if address is not None and not re.fullmatch(r"auto|[^\s:/]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", address):
        raise ConfigError(f"the address of Ray is {address!r}; allowed are HOST:PORT and auto")


def _rows(
    images: list[str], address: str | None, workers: int | None, settings: tuple[str, str, Options, str | None]
) -> Generator[Row, None, None]:
    if not images:
        return
    CaptionWorker(*settings)  # refuses a bad model or option here, in one line
    with _connected(address, workers) as ray:
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if cpus < 1:
            raise FastcapError("the Ray cluster has no CPUs; its nodes need some to caption")
        import pyarrow as pa

        names = list(map(json.dumps, images))  # a file name that is no valid Unicode is no string for Arrow
        blocks = [pa.table({"image": names[start : start + _BLOCK]}) for start in range(0, len(names), _BLOCK)]
        pictures = ray.data.from_blocks(blocks)
        pictures.context.enable_progress_bars = False
        pictures.context.print_on_execution_start = False
        answers = pictures.map_batches(
            _Actor,
            fn_constructor_args=(os.getcwd(), *settings),
            batch_size=None,  # a block
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(workers or cpus, len(blocks))),
            num_cpus=1,
        )
        try:
            for answer in answers.iter_rows():
                yield json.loads(answer["row"])
        except ray.exceptions.RayError as error:
            raise FastcapError(f"Ray failed: {_first_line(getattr(error, 'cause', error))}") from error


@contextlib.contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[Any]:
    """The module ray, connected to a cluster; until the end of the context if it was not connected before."""
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        # Its name notwithstanding: a cluster of this machine listens on the loopback address only.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    elif address != "auto":
        _reach(address)
    # Ray reports its use to its makers unless it finds this when it starts. Nothing may leave the machine.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes back as rows and errors
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise FastcapError(f"the engine ray {needs(error.name or 'ray', 'ray')}") from None
    if ray.is_initialized():
        yield ray
        return
    settings: dict[str, Any] = {"address": address}
    if address is None:
        settings = {
            "address": "local",
            "num_cpus": check_workers(workers),
            "object_store_memory": _OBJECT_STORE,
            "include_dashboard": False,
        }
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        raise FastcapError(f"{address or 'Ray'}: cannot connect: {_first_line(error)}") from error
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Ray itself would try for a minute before it says that nobody answers."""
    check_address(address)
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise FastcapError(f"{address}: no Ray cluster can be reached: {error}") from None


class _Actor:
    """A worker process, and the process of Ray's that speaks for it and outlives every picture. `folder`: where
    relative paths begin."""

    def __init__(self, folder: str, *settings: Any) -> None:
        with contextlib.suppress(OSError):  # another machine need not have it; absolute paths and URLs do without
            os.chdir(folder)
        self._pool = WorkerPool(1, CaptionWorker, *settings, True)  # pictures may be URLs

    def __call__(self, block: dict[str, Any]) -> dict[str, list[str]]:
        return {"row": list(map(json.dumps, self._pool.rows(map(json.loads, block["image"]))))}


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
