"""`fastcap caption --out`, `--sidecar`, `--write`: many pictures, several processes, as many runs as it takes."""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import os
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.cli.parser import Number, one_of, print_error
from fastcap.cli.progress import continuing, progress_bar
from fastcap.errors import ConfigError, DataError, ImageError, counted
from fastcap.runtime.bulk.journal import TABLES, Journal, check_output
from fastcap.runtime.bulk.photos import WRITES, has_text, made_by, write_text
from fastcap.runtime.bulk.sidecar import SIDECARS, sidecar_path, write_sidecar
from fastcap.runtime.options import Options
from fastcap.runtime.rows import Row, caption_row

if TYPE_CHECKING:
    from fastcap.runtime.bundle import Bundle

__all__ = ["add_arguments", "run", "wanted"]

ENGINES = ("local", "ray")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that make a run a bulk job, and those that need one."""
    group = parser.add_argument_group("many pictures (see docs/bulk.md)")
    group.add_argument(
        "--out",
        type=Path,
        metavar=f"FILE.jsonl|{'|'.join(TABLES)}",
        help="write rows to this file; a second run continues (default: print them)",
    )
    group.add_argument(
        "--sidecar",
        **one_of(SIDECARS),
        help="write a small file of this kind beside every picture (default: none)",
    )
    group.add_argument(
        "--write",
        **one_of(WRITES),
        help="write captions into the photos' metadata, or merge them into an .xmp beside them (default: none)",
    )
    existing = group.add_mutually_exclusive_group()
    existing.add_argument(
        "--skip-existing", action="store_true", help="leave out pictures that have the sidecar or text"
    )
    existing.add_argument("--overwrite", action="store_true", help="replace sidecars and texts that exist")
    told = "processes (default: as many as there are cores)"
    group.add_argument("--workers", type=Number(int, 1, 64), metavar="N", help=told)
    group.add_argument(
        "--engine",
        **one_of(ENGINES),
        default="local",
        help="processes of this machine, or actors of Ray",
    )
    group.add_argument(
        "--ray-address",
        metavar="HOST:PORT|auto",
        help="cluster of --engine ray (default: RAY_ADDRESS if set, else one on this machine)",
    )
    told = "column of parquet tables that holds pictures"
    group.add_argument("--image-column", default="image", metavar="NAME", help=told)


def wanted(args: argparse.Namespace) -> bool:
    """Whether the command line asks for a bulk job. Raises ConfigError if its options contradict one another."""
    if args.ray_address and args.engine != "ray":
        raise ConfigError("--ray-address needs --engine ray")
    if not (args.out or args.sidecar or args.write):
        if args.workers is not None or args.skip_existing or args.overwrite:
            raise ConfigError("--workers, --skip-existing and --overwrite need --out, --sidecar or --write")
        if args.engine != "local":
            raise ConfigError("--engine ray needs --out, --sidecar or --write")
        return False
    if args.sidecar and args.write:
        raise ConfigError("--sidecar and --write exclude each other; --write sidecar keeps what an .xmp holds")
    if args.overwrite and not (args.sidecar or args.write):
        raise ConfigError("--overwrite replaces sidecars or texts: it needs --sidecar or --write; rows stay")
    if args.json:
        raise ConfigError("--json prints; with --out FILE.jsonl the rows are JSON, too")
    if args.threads != 1:
        raise ConfigError("--threads: a bulk job has one thread a worker; use --workers")
    if "-" in args.paths:
        raise ConfigError("-: a bulk job takes files and folders only")
    from fastcap.runtime.bulk.cluster import check_address
    from fastcap.runtime.bulk.pool import check_workers

    check_workers(args.workers)
    check_address(args.ray_address)
    if args.out:
        check_output(args.out)
    return True


def run(
    args: argparse.Namespace, items: Iterable[tuple[str, ImageError | None]], bundle: Bundle, options: Options
) -> int:
    """Caption the pictures that have no row yet. Returns 1 if any picture failed, now or in an earlier run.

    `items`: pictures, or arguments that name none, each with the reason.
    """
    from fastcap.runtime.archives import is_url
    from fastcap.runtime.sources import inside_shard

    pictures = dict(items)
    for image in pictures if args.sidecar or args.write else ():
        if inside_shard(image) or is_url(image):
            flag = "--sidecar" if args.sidecar else "--write"
            raise ConfigError(f"{flag}: {image} does not lie in a folder; allowed is --out alone")
    # The identity of the job: an output that was begun with another model or other options is not continued.
    made_with = " ".join([bundle.name, *(f"{name}={value}" for name, value in options.changed(bundle).items())])
    if args.memory:
        made_with += f" memory={hashlib.sha256(Path(args.memory).read_bytes()).hexdigest()[:8]}"
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(Journal(check_output(args.out), made_with)) if args.out else None
        job = _Job(args, journal, made_by(bundle))
        todo = job.sort_out(pictures)
        rows = _captioned(todo, args, options)
        advance = stack.enter_context(progress_bar(job.total, job.total - len(todo)))
        started = time.monotonic()
        with continuing(), contextlib.closing(rows):
            for row in rows:
                job.record(row)
                advance()
        seconds = time.monotonic() - started
        if journal and args.out != journal.path:
            journal.write_table(args.out)
    print(job.summary(len(todo) / seconds if todo else None), file=sys.stderr)
    return 1 if job.failed else 0


def _captioned(images: list[str], args: argparse.Namespace, options: Options) -> Generator[Row, None, None]:
    """A row for each picture, from the engine that `args` names."""
    from fastcap.runtime.bulk.cluster import caption_on_cluster
    from fastcap.runtime.bulk.pool import caption_files

    settings: dict[str, Any] = {
        "model": args.model,
        "workers": args.workers,
        "image_column": args.image_column,
        "memory": args.memory,
    }
    if args.engine == "ray":
        return caption_on_cluster(images, options, address=args.ray_address, **settings)
    return caption_files(images, options, **settings)


class _Job:
    """What is to be done with each picture, and counts of the outcomes."""

    def __init__(self, args: argparse.Namespace, journal: Journal | None, maker: str) -> None:
        self.sidecar: str | None = args.sidecar
        self.write: str | None = args.write
        self.maker = maker
        self.skip_existing: bool = args.skip_existing
        self.overwrite: bool = args.overwrite
        self.journal = journal
        self.total = self.captioned = self.silent = self.failed = self.before = self.left_out = 0

    def sort_out(self, pictures: Mapping[str, ImageError | None]) -> list[str]:
        """The pictures to caption. Those that need no caption, or can have none, are counted and recorded here."""
        todo: list[str] = []
        owners: dict[str, str] = {}
        done = self.journal.done if self.journal else {}
        self.total = len(pictures)
        for image, problem in pictures.items():
            if self.sidecar and not problem:
                path = sidecar_path(image, self.sidecar)
                owner = owners.setdefault(path, image)
                if owner != image:
                    problem = ImageError(f"{image}: its sidecar {path} is that of {owner}")
            if image in done:
                self.before += 1
                self.failed += done[image]
            elif problem:
                self.record(caption_row(image, problem))
            # If no rows are written, a picture that has its sidecar or text is done.
            elif (self.skip_existing or not self.journal) and self._has_place_taken(image):
                self.left_out += 1
            else:
                todo.append(image)
        return todo

    def record(self, row: Row) -> None:
        """Write the sidecar or the text, then the row: a picture that has a row is done."""
        if "caption" in row:
            silent = not row["caption"]  # below --min-confidence: no text is better than an empty one
            try:
                if self.write:
                    if not silent:
                        write_text(row["image"], row["caption"], self.write, self.maker, self.overwrite)
                elif (
                    self.sidecar and not (silent and self.sidecar != "json") and not self._has_place_taken(row["image"])
                ):
                    write_sidecar(row, self.sidecar)
            except DataError as error:
                row = {"image": row["image"], "error": f"{row['image']}: {error}"}
            except OSError as error:
                if error.errno in _FULL:  # not this picture's fault: the next run shall write it
                    raise
                name = error.filename or row["image"]
                row = {"image": row["image"], "error": f"{name}: cannot be written: {error.strerror}"}
        if self.journal:
            self.journal.append(row)
        elif "error" in row:
            print_error(row["error"])
        self.failed += "error" in row
        self.captioned += bool(row.get("caption"))
        self.silent += row.get("caption") == ""

    def summary(self, rate: float | None) -> str:
        parts = [f"{self.captioned} captioned" + (f" ({rate:.1f} pictures a second)" if rate else "")]
        parts += [f"{self.silent} too uncertain for a caption"] if self.silent else []
        parts += [f"{self.before} done before"] if self.before else []
        parts += [f"{self.left_out} have a {'text' if self.write else 'sidecar'}"] if self.left_out else []
        parts += [f"{self.failed} failed"] if self.failed else []
        return f"{counted(self.total, 'picture')}: {', '.join(parts)}"

    def _has_place_taken(self, image: str) -> bool:
        """Whether there is a sidecar or a text already, which stays."""
        if self.overwrite:
            return False
        if self.write:
            return has_text(image, self.write)
        return self.sidecar is not None and os.path.lexists(sidecar_path(image, self.sidecar))
