"""`fastcap alt`: find, check and mend the alternative texts of documents."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.cli.options import add_model
from fastcap.cli.parser import Number, print_error
from fastcap.cli.progress import progress_bar
from fastcap.errors import FastcapError

if TYPE_CHECKING:
    from fastcap.documents.mend import Mender, Row
    from fastcap.runtime.captioner import Captioner

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    told = "Markdown, HTML, EPUB, reStructuredText or AsciiDoc, or a folder with such documents"
    parser.add_argument("paths", nargs="+", metavar="PATH", help=told)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="report alone, with exit status 1 if anything is (default)")
    mode.add_argument("--fix", action="store_true", help="write captions where words are missing or say nothing")
    parser.add_argument("--dry-run", action="store_true", help="show what --fix would change, and change nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object a picture that is reported")
    parser.add_argument("--neutral", action="store_true", help="say nothing of anybody's gender; report texts that do")
    parser.add_argument(
        "--min-confidence",
        type=Number(float, 0, 1),
        default=0.0,
        metavar="P",
        help="write no caption whose confidence is lower",
    )
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="folder at which addresses like /a.jpg begin; may be repeated (default: the folder PATH)",
    )
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    """Look at every document; one that cannot be read does not stop the others. Returns 1 if anything is left to do."""
    from fastcap.documents.mend import Mender, find_documents
    from fastcap.errors import ConfigError

    if args.check and args.dry_run:
        raise ConfigError("--check and --dry-run exclude each other; --dry-run shows what --fix would change")

    def open_captioner() -> Captioner:
        from fastcap.runtime.captioner import Captioner

        return Captioner.open(args.model)

    found = dict(item for path in args.paths for item in find_documents(path))
    show = (lambda text: None if args.json else print(text, end="")) if args.dry_run else None
    mender = Mender(open_captioner, args.neutral, args.min_confidence, args.root, show)
    writes = args.fix or args.dry_run
    reported = written = failed = 0
    with _progress(len(found) if writes else 0) as advance:
        for path, top in found.items():
            for row in _rows(mender, path, top, writes):
                failed += "error" in row
                reported += "error" not in row
                written += row.get("written", False)
                _print(row, args)
            advance()
    if not args.json:
        _print_summary(len(found), reported, written, args.fix and not args.dry_run)
    return 1 if failed or reported > written else 0


def _rows(mender: Mender, path: Path, top: Path | FastcapError, writes: bool) -> Iterator[Row]:
    try:
        if isinstance(top, FastcapError):
            raise top
        rows = mender.fix(path, top) if writes else mender.check(path, top)
        held = list(rows)  # nothing is said to be written before it is
    except (FastcapError, OSError) as error:
        told = str(error) if isinstance(error, FastcapError) else f"{path}: {error.strerror or error}"
        held = [{"file": str(path), "error": told}]
    yield from held


def _progress(total: int) -> Any:
    """A bar while captions are written, unless their lines go to the same terminal."""
    import contextlib

    shown = total > 1 and sys.stdout is not None and not sys.stdout.isatty()
    return progress_bar(total) if shown else contextlib.nullcontext(lambda: None)


def _print(row: Row, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(row, ensure_ascii=False), flush=True)
    elif "error" in row:
        print_error(row["error"])
    elif not args.dry_run:
        place = f"{row['file']}: {row['member']}" if "member" in row else row["file"]
        target = row["target"] if len(row["target"]) <= 100 else f"{row['target'][:97]}..."
        rule = f"{row['rule']} ({', '.join(row['findings'])})" if row["findings"] else row["rule"]
        told = f"written: {row['text']}" if row.get("written") else row["told"]
        print(f"{place}:{row['line']}: {rule}: {target}: {told}".replace("\n", "\\n"), flush=True)


def _print_summary(documents: int, reported: int, written: int, fixed: bool) -> None:
    parts = [f"{documents} document{'s' * (documents != 1)}", f"{reported} picture{'s' * (reported != 1)} reported"]
    parts += [f"{written} captions written"] if fixed else []
    print(", ".join(parts), file=sys.stderr)
