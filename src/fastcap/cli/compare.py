"""`fastcap compare`: the captions of two models, or of two files, of the same pictures, as one page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fastcap.cli.evaluate import add_dataset, load_examples
from fastcap.cli.options import add_number, check_folder, open_captioner, write_json
from fastcap.cli.progress import progress_bar
from fastcap.errors import ConfigError, DataError

__all__ = ["add_arguments", "run"]

FILES = (".jsonl", ".csv")  # of captions; whatever else stands for a model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    told = "a model (name, directory or checkpoint), or a file of captions (.jsonl of 'fastcap caption --json', .csv)"
    parser.add_argument("before", metavar="BEFORE", help=told)
    parser.add_argument("after", metavar="AFTER", help="the same, after the change")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html", help="page to write")
    told = "pictures, folders or patterns (default: those of the data set, or of the file of captions)"
    parser.add_argument("--images", nargs="+", default=[], metavar="PATH", help=told)
    add_dataset(parser, required=False)
    add_number(parser, "--threads", 1, 64, 1, "CPU threads")
    told = "print the figures as JSON, or write them to a file (default: print a line)"
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help=told)


def run(args: argparse.Namespace) -> int:
    """Caption what has no captions yet, compare, and print how many changed."""
    from fastcap.evaluation.compare import compare_captions, render_comparison
    from fastcap.files import written_aside

    if args.dataset and args.images:
        raise ConfigError("--dataset and --images exclude each other; allowed is one of them")
    check_folder("--out", args.out)
    check_folder("--json", args.json)
    references = {str(row.image): row.captions for row in load_examples(args)[0]} if args.dataset else None
    images = list(references) if references else pictures_of(args)
    before, after = (captions_of(name, images, args.threads) for name in (args.before, args.after))
    comparison = compare_captions(before, after, references)
    page = render_comparison(comparison, args.before, args.after)
    with written_aside(args.out) as file:
        file.write_text(page, encoding="utf-8")
    facts = comparison.as_json()
    if not write_json(args.json, facts):
        changes = ", ".join(f"{count} {name}" for name, count in facts["changes"].items() if count)
        cider = comparison.figures.get("cider")
        told = f"; CIDEr {cider[0]:.1f} -> {cider[1]:.1f}" if cider else ""
        print(f"{len(comparison.rows)} pictures: {changes}{told}; {args.out}")
    return 0


def pictures_of(args: argparse.Namespace) -> list[str]:
    """The pictures that the command line names, or those of a file of captions.

    Raises:
        ConfigError: nothing names any.
        ImageError: a path names none.
        DataError: the pictures of a file are not here.
    """
    from fastcap.runtime.sources import find_pictures

    if args.images:
        found = [item for path in args.images for item in find_pictures(path)]
        for _, problem in found:
            if problem:
                raise problem
        return [image for image, _ in found]
    file = next((Path(name) for name in (args.before, args.after) if name.endswith(FILES)), None)
    if file is None:
        raise ConfigError("--images or --dataset is missing: the pictures that both models caption")
    from fastcap.evaluation.compare import read_captions

    images = []
    for image in read_captions(file):
        here = next((path for path in (Path(image), file.parent / image) if path.is_file()), None)
        if here is None:
            raise DataError(f"{file}: picture {image} is not here; --images says where the pictures are")
        images.append(str(here))
    return images


def captions_of(name: str, images: Sequence[str], threads: int) -> dict[str, str]:
    """The captions of a file, or those that a model gives now, by picture."""
    if name.endswith(FILES):
        from fastcap.evaluation.compare import read_captions, same_pictures

        return same_pictures(read_captions(Path(name)), images, name)
    captioner, options = open_captioner(argparse.Namespace(model=name, threads=threads))
    captions = {}
    with progress_bar(len(images)) as advance:
        for image in images:
            captions[image] = captioner.caption(image, options).text
            advance()
    return captions
