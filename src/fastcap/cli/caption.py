"""`fastcap caption`: captions for files, folders, globs or stdin."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from fastcap.cli import bulk
from fastcap.cli.options import STDIN, add_captioner, add_memory, open_captioner, standard_input
from fastcap.cli.parser import print_error
from fastcap.cli.progress import progress_bar
from fastcap.errors import FastcapError, ImageError
from fastcap.runtime.options import Options
from fastcap.runtime.rows import caption_row
from fastcap.runtime.silence import why_silent

if TYPE_CHECKING:
    from fastcap.runtime.captioner import Caption, Captioner
    from fastcap.runtime.sources import PictureReader

__all__ = ["add_arguments", "run"]

PATHS = "image file, folder, glob pattern, or - for stdin"
_PROGRESS_FROM = 20  # images; fewer are captioned before a bar would be drawn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help=PATHS)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--recursive", action="store_true", help="look into the folders of a folder, too")
    add_captioner(parser)
    add_memory(parser)
    bulk.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Caption every image; one that fails does not stop the others. Returns 1 if any failed."""
    from fastcap.runtime.sources import PictureReader

    # For a damaged file Pillow warns as well as failing; one line, ours, is enough.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    is_bulk = bulk.wanted(args)
    captioner, options = open_captioner(args)
    items = [item for path in args.paths for item in _expand(path, args)]
    if is_bulk:
        return bulk.run(args, items, captioner.bundle, options)
    if sys.stdout is None:
        raise FastcapError("standard output is closed; --out writes captions to a file")
    show = _show_json if args.json else _show_text
    failures = 0
    with PictureReader(args.image_column) as reader, _progress(len(items)) as advance:
        for image, problem in items:
            result = problem or _caption(captioner, reader, image, options)
            failures += isinstance(result, ImageError)
            show(image, result, options, len(items))
            advance()
    return 1 if failures else 0


def _caption(captioner: Captioner, reader: PictureReader, image: str, options: Options) -> Caption | ImageError:
    try:
        source = standard_input("fastcap caption") if image == STDIN else reader.read(image)
        return captioner.caption(source, options)
    except ImageError as error:
        return error


def _expand(path: str, args: argparse.Namespace) -> Iterable[tuple[str, ImageError | None]]:
    """The images that one argument names, in a fixed order, or the reason why there are none."""
    from fastcap.runtime.archives import is_url
    from fastcap.runtime.sources import find_pictures

    if not path:  # of a variable that is not set
        return [(path, ImageError("'': an empty name; allowed: " + PATHS))]
    if path == STDIN or (args.engine == "local" and is_url(path)):  # fastcap itself never opens a connection
        return [(path, None)]
    return find_pictures(path, recursive=args.recursive, image_column=args.image_column)


def _show_json(image: str, result: Caption | ImageError, options: Options, total: int) -> None:
    print(json.dumps(caption_row(image, result, options.candidates), ensure_ascii=False), flush=True)


def _show_text(image: str, result: Caption | ImageError, options: Options, total: int) -> None:
    """A line for each wording; an empty one where there is none, so that lines still belong to pictures."""
    if isinstance(result, ImageError):
        print_error(result)
        return
    if not result.candidates:
        print(f"fastcap: {image}: {why_silent(result, options)}", file=sys.stderr)
    for candidate in result.candidates or (result,):
        columns = [image] if total > 1 else []
        columns += [f"{candidate.confidence:.2f}"] if options.candidates > 1 else []
        print("\t".join([*columns, candidate.text]), flush=True)


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], object]]:
    """A bar on stderr while captions go to a file; on a terminal the captions themselves show progress."""
    if total < _PROGRESS_FROM or not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda: None
        return
    with progress_bar(total) as advance:
        yield advance
