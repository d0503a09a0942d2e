"""`fastcap data bias`: who is mentioned in captions, what is said of men and women, and what a model adds to it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.cli.options import add_number, one_reader, tell_bad_rows, write_json

if TYPE_CHECKING:
    from fastcap.curation.leakage import Leakage
    from fastcap.curation.measures import Association, Mentioned
    from fastcap.data.readers import Example

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    told = "folder of a data set; or a table that 'fastcap data rewrite' wrote, to see what changed"
    parser.add_argument("source", type=Path, metavar="DIR|FILE", help=told)
    one_reader(parser)
    parser.add_argument("--split", default="val", metavar="NAME", help="which split of a folder")
    told = "compare with this model's captions: bundled model or model directory (default: none)"
    parser.add_argument("--model", metavar="NAME|DIR", help=told)
    told = (
        "compare with the captions in this file, which has columns 'image' and 'caption', of any model (default: none)"
    )
    parser.add_argument("--captions", type=Path, metavar="FILE", help=told)
    add_number(parser, "--minimum", 1, 1_000_000, 10, "pictures that a word must be said of")
    add_number(parser, "--top", 1, 10_000, 20, "words to list")
    add_number(parser, "--seeds", 1, 1000, 10, "drawings of captions and folds, of which the mean is given")
    add_number(parser, "--threads", 1, 64, 1, "CPU threads of the model")
    parser.add_argument(
        "--json", metavar="FILE", help="write all figures to this file; - prints them instead (default: print a table)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the figures."""
    from fastcap.errors import ConfigError

    if args.model and args.captions:
        raise ConfigError("--model and --captions exclude each other; allowed is one of them")
    if args.source.is_file():
        if args.model or args.captions:
            raise ConfigError(f"{args.source} is a file, which says what changed; --model and --captions need a folder")
        return _changes(args)
    return _data_set(args)


def _changes(args: argparse.Namespace) -> int:
    from fastcap.curation.measures import as_json, change
    from fastcap.curation.tables import caption_column, read_table

    rows = read_table(args.source)
    original, caption = caption_column(args.source, rows, "original"), caption_column(args.source, rows, "caption")
    changes = change([row[original] for row in rows], [row[caption] for row in rows])
    if write_json(args.json, {"captions": len(rows), "changes": as_json(changes)}):
        return 0
    print(f"{len(rows)} captions; of them with a mention before and after, mentions removed and added\n")
    print(f"{'':20}{'before':>8}{'after':>8}{'removed':>9}{'added':>7}")
    for category, one in changes.items():
        print(f"{category:20}{one.before:8}{one.after:8}{one.removed:9}{one.added:7}")
    return 0


def _data_set(args: argparse.Namespace) -> int:
    from fastcap.curation.bias import mentions
    from fastcap.curation.leakage import FEWEST, leakage
    from fastcap.curation.measures import as_json, associations, mentioned, pictures_by_gender, said_of
    from fastcap.curation.sources import find_reader, read_splits

    name = args.dataset or find_reader(args.source)
    examples = read_splits(name, args.source, [args.split])[args.split]
    tell_bad_rows(examples)
    captions = [example.captions for example in examples]
    genders = pictures_by_gender(captions)
    shares = mentioned([mentions(caption) for texts in captions for caption in texts])
    words = associations(captions, genders, args.minimum)
    generated = _generated(args, examples)
    women, men = genders.count("woman"), genders.count("man")
    enough = generated and min(women, men) >= FEWEST
    leaked = leakage(captions, generated, genders, seeds=args.seeds) if enough else None
    model_shares = mentioned([mentions(text) for text in generated]) if generated else None
    figures: dict[str, Any] = {
        "dataset": name,
        "split": args.split,
        "pictures": len(examples),
        "women": women,
        "men": men,
        "mentioned": as_json(shares),
        "associations": as_json(words),
        "model": args.model or (args.captions and str(args.captions)),
        "mentioned_by_model": as_json(model_shares),
        "said_by_model": as_json(said_of(genders, generated)) if generated else None,
        "leakage": as_json(leaked),
        "seeds": args.seeds,
    }
    if write_json(args.json, figures):
        return 0
    print(f"{len(examples)} pictures of {name} {args.split}, {sum(map(len, captions))} captions by people\n")
    _print_shares(shares)
    if model_shares:
        print("\ncaptions by the model\n")
        _print_shares(model_shares)
    _print_words(words[: args.top], women, men)
    if generated:
        print("\nwhat the model says where people's captions agree\n")
        for gender, one in said_of(genders, generated).items():
            same, other, none = (100 * n / max(1, one.pictures) for n in (one.same, one.other, one.none))
            told = f"the same {same:.1f} %, the other {other:.1f} %, neither or both {none:.1f} %"
            print(f"{one.pictures} of a {gender}: {told}")
        if leaked:
            _print_leakage(leaked)
        else:
            print(f"\nLIC is not measured: {women} pictures of women and {men} of men; needed: {FEWEST} of each")
    return 0


def _generated(args: argparse.Namespace, examples: Sequence[Example]) -> list[str]:
    """A caption by the model for each picture; none if no model was named."""
    from fastcap.cli.progress import progress_bar
    from fastcap.errors import DataError

    if args.captions:
        from fastcap.curation.tables import caption_column, read_table

        rows = read_table(args.captions)
        column, image = caption_column(args.captions, rows), caption_column(args.captions, rows, "image")
        said = {Path(row[image]).name: row[column] for row in rows}
        if missing := [example.image.name for example in examples if example.image.name not in said]:
            raise DataError(f"{args.captions}: no caption of {len(missing)} pictures, the first {missing[0]}")
        return [said[example.image.name] for example in examples]
    if not args.model:
        return []
    from fastcap.runtime.captioner import Captioner

    captioner = Captioner.open(args.model, args.threads)
    captions = []
    with progress_bar(len(examples)) as advance:
        for example in examples:
            captions.append(captioner.caption(example.image).text)
            advance()
    return captions


def _print_shares(shares: dict[str, Mentioned]) -> None:
    for category, one in shares.items():
        phrases = ", ".join(f"{phrase} {n}" for phrase, n in one.phrases[:6])
        print(f"{category:20}{one.captions:7} captions {100 * one.share:6.2f} %  {phrases}")


def _print_words(words: Sequence[Association], women: int, men: int) -> None:
    print(
        f"\nsaid of {women} pictures of women and {men} of men: ratio of shares, women to men, and its 95 % interval\n"
    )
    for one in words:
        print(f"{one.word:20}{one.women:6}{one.men:6}{one.ratio:9.2f}   {one.low:.2f} to {one.high:.2f}")


def _print_leakage(leaked: Leakage) -> None:
    print("\ngender guessed from captions without gendered words (LIC; right guesses, chance 50 %)\n")
    print(f"people's captions   {100 * leaked.people:6.1f}   {100 * leaked.people_accuracy:.1f} %")
    print(f"the model's         {100 * leaked.model:6.1f}   {100 * leaked.model_accuracy:.1f} %")
    interval = f"95 % interval {100 * leaked.low:+.1f} to {100 * leaked.high:+.1f}"
    print(f"amplification       {100 * leaked.amplification:+6.1f}   {interval}")
