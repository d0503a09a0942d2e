"""`fastcap data rewrite`: captions made into neutral alternative text, by rules or by a language model."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.cli.options import one_reader, tell_bad_rows
from fastcap.cli.parser import Number
from fastcap.errors import ConfigError, DataError, counted

if TYPE_CHECKING:
    from fastcap.curation.endpoint import Endpoint
    from fastcap.curation.rewrite import Rewritten

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    told = "table of captions, .csv, .tsv or .jsonl; or folder of a data set"
    parser.add_argument("source", type=Path, metavar="FILE|DIR", help=told)
    told = "table to write, .csv, .tsv or .jsonl: the rows with 'original' and the checks beside"
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=told)
    told = "column of the captions (default: caption, comment or text)"
    parser.add_argument("--column", metavar="NAME", help=told)
    one_reader(parser)
    parser.add_argument("--split", default="train", metavar="NAME", help="which split of a folder")
    told = "what is left out, with commas between (default: all that a photograph does not tell)"
    parser.add_argument("--categories", metavar="NAME,...", help=told)
    asked = parser.add_argument_group("to ask a language model in place of rules")
    told = "address of an API that speaks OpenAI's chat, for instance http://localhost:11434/v1 (default: none)"
    asked.add_argument("--endpoint", metavar="URL", help=told)
    asked.add_argument("--model", metavar="NAME", help="the model's name there (default: none)")
    told = "environment variable that holds the key, if one is needed"
    asked.add_argument("--key-env", default="OPENAI_API_KEY", metavar="NAME", help=told)
    told = "file with the instructions (default: those of the package, docs/fighting_bias.md)"
    asked.add_argument("--prompt", type=Path, metavar="FILE", help=told)
    told = "where answers are kept, so that a job goes on (default: beside --out)"
    asked.add_argument("--cache", type=Path, metavar="FILE", help=told)
    for flag, low, high, default, told in (
        ("--batch", 1, 1000, 20, "captions of one request"),
        ("--retries", 0, 100, 5, "further tries of a request that may pass"),
        ("--timeout", 1, 3600, 60, "seconds for an answer"),
    ):
        kind = Number(int, low, high)
        asked.add_argument(flag, type=kind, default=default, metavar="N", help=told)
    price = Number(float, 0)
    told = "price of a million tokens that are asked; with a price, the cost is told"
    asked.add_argument("--price-in", type=price, default=0.0, metavar="N", help=told)
    asked.add_argument("--price-out", type=price, default=0.0, metavar="N", help="the same of those that are answered")
    told = "ask about captions that need no rewriting, too"
    asked.add_argument("--everything", action="store_true", help=told)
    asked.add_argument("--dry-run", action="store_true", help="say what asking would take, and ask nothing")


def run(args: argparse.Namespace) -> int:
    """Write the table and print what became of the captions; returns 1 if a model gave some no caption."""
    from fastcap.cli.progress import continuing, progress_bar
    from fastcap.curation.endpoint import Answers
    from fastcap.curation.rewrite import rewrite_captions, to_ask
    from fastcap.curation.rules import INVISIBLE, check_categories
    from fastcap.curation.tables import check_table_name, write_table

    categories = args.categories.split(",") if args.categories else list(INVISIBLE)
    check_categories(categories)
    check_table_name(args.out)
    if args.out.resolve() == args.source.resolve():
        raise ConfigError(f"--out is {args.out}, the file that is read; allowed: another one")
    rows, column = _rows(args)
    captions = [row[column] for row in rows]
    endpoint = _endpoint(args)
    answers = None
    if endpoint:
        answers = Answers(args.cache or args.out.with_name(f"{args.out.name}.answers.jsonl"), endpoint)
        asked = to_ask(captions, categories, answers, args.everything)
        if args.dry_run:
            would = endpoint.estimate(asked, args.batch)
            print(
                f"{len(asked)} of {len(captions)} captions in {would.requests} requests, about {_tokens(would, args)}"
            )
            return 0
    total = len(asked) if endpoint else len(captions)
    with continuing() if endpoint else nullcontext(), progress_bar(total) as advance:
        rewritten = rewrite_captions(
            captions,
            categories,
            endpoint=endpoint,
            answers=answers,
            batch=args.batch,
            everything=args.everything,
            on_caption=advance,
        )
    write_table(args.out, [_row(row, column, one) for row, one in zip(rows, rewritten, strict=True)])
    _print(rewritten, args.out)
    if endpoint:
        used = endpoint.usage
        print(f"{used.requests} requests, {used.retries} tries again, {_tokens(used, args)}")
    return int(any(one.problem for one in rewritten))


def _rows(args: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    from fastcap.curation.sources import find_reader, read_splits
    from fastcap.curation.tables import caption_column, read_table

    if args.source.is_dir():
        examples = read_splits(args.dataset or find_reader(args.source), args.source, [args.split])[args.split]
        tell_bad_rows(examples)
        rows = [
            {"image": _from(args.out.parent, one.image), "caption": text} for one in examples for text in one.captions
        ]
        return rows, "caption"
    if not args.source.is_file():
        raise DataError(f"{args.source}: no such file or folder")
    rows = read_table(args.source)
    if "original" in rows[0] and args.column != "original":
        raise ConfigError(
            f"{args.source} has a column 'original': it was rewritten before; --column original begins anew"
        )
    return rows, caption_column(args.source, rows, args.column)


def _from(folder: Path, image: Path) -> str:
    """An image's path from the folder of the table, so that it is a data set wherever it is written."""
    whole = os.path.join(os.path.realpath(image.parent), image.name)
    try:
        return Path(os.path.relpath(whole, os.path.realpath(folder))).as_posix()
    except ValueError:  # another drive of Windows
        return Path(whole).as_posix()


def _endpoint(args: argparse.Namespace) -> Endpoint | None:
    from fastcap.curation.endpoint import Endpoint

    if not args.endpoint:
        if args.model or args.dry_run or args.prompt or args.price_in or args.price_out:
            raise ConfigError("--model, --prompt, --price-in, --price-out and --dry-run need --endpoint")
        return None
    if not args.model:
        raise ConfigError("--endpoint needs --model, the model's name there")
    packaged = Path(__file__).parents[2] / "curation" / "prompts" / "rewrite.txt"
    prompt = (args.prompt or packaged).read_text(encoding="utf-8")
    key = os.environ.get(args.key_env, "")
    return Endpoint(args.endpoint, args.model, prompt, key, float(args.timeout), args.retries)


def _row(row: dict[str, Any], column: str, one: Rewritten) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in ("caption", "original")}
    kept[column if column != "original" else "caption"] = one.caption
    return {
        **kept,
        "original": one.original,
        "written_by": one.written_by,
        "mentions_left": list(one.mentions_left),
        "mentions_added": list(one.mentions_added),
        "lint": list(one.lint),
        "problem": one.problem,
    }


def _tokens(used: Any, args: argparse.Namespace) -> str:
    text = f"{used.prompt_tokens} tokens asked and {used.completion_tokens} answered"
    price = args.price_in, args.price_out
    return text + (f", cost {used.cost(price):.4f}" if any(price) else "")


def _print(rewritten: Sequence[Rewritten], out: Path) -> None:
    changed = sum(one.caption != one.original for one in rewritten)
    left, added = sum(bool(one.mentions_left) for one in rewritten), sum(bool(one.mentions_added) for one in rewritten)
    poor, failed = sum(bool(one.lint) for one in rewritten), sum(bool(one.problem) for one in rewritten)
    print(f"{counted(len(rewritten), 'caption')}, {changed} changed: {out}")
    print(f"{left} still mention what was to go, {added} mention something new, {poor} are poor alternative text")
    if failed:
        print(f"{failed} were not rewritten: the model's answers were no captions")
