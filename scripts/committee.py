"""Captions of a committee for every picture: what voices say, what judges think of it, and what is chosen.

    P="--pictures flickr8k DIR --pictures coco DIR --pictures coco_machine DIR --folder DIR/unlabelled"
    python scripts/committee.py speak --voice runs/a/best+runs/b/best --out committee/ab.jsonl $P
    python scripts/committee.py speak --voice fastcap-base --decode parallel --out committee/base.jsonl $P
    python scripts/committee.py judge --judge runs/a/best+runs/b/best --spoken committee/{ab,base}.jsonl \\
        --out committee/by-ab.jsonl
    python benchmarks/committee.py ... --out committee/weights.json        # the same for val, before
    python scripts/committee.py choose --weights committee/weights.json --spoken committee/{ab,base}.jsonl \\
        --scores committee/by-ab.jsonl --memory flickr8k DIR --memory coco DIR --out committee/captions.jsonl

Every step goes on where it stopped. A stage of training reads the result as a teacher: `{kind: sequences, names:
[committee/captions.jsonl]}`. Scores of any other judge are a file of the same form; see `fastcap.training.committee`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from fastcap.errors import FastcapError
from fastcap.runtime.words import PictureWords
from fastcap.training.committee import Committee, append_lines, gather, read_lines
from fastcap.training.neighbours import described, memory_of, pictures_in, vectors_of
from fastcap.training.teachers.voices import Checkpoints, open_voice

BATCH = 16


def main() -> int:
    """Do one step, print the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    speak = verbs.add_parser("speak", help="what a voice says of pictures")
    speak.add_argument("--voice", required=True, help="model, model directory, checkpoint, or checkpoints joined by +")
    speak.add_argument("--decode", default="beam", help="way of decoding (%(default)s)")
    speak.add_argument("--candidates", type=int, default=5, metavar="K", help="captions of a picture (%(default)s)")
    speak.add_argument("--every", type=int, default=1, metavar="N", help="every how many-th picture (%(default)s)")
    add_pictures(speak)
    judge = verbs.add_parser("judge", help="how likely checkpoints find what was said")
    judge.add_argument("--judge", required=True, help="checkpoint, or checkpoints joined by +")
    choose = verbs.add_parser("choose", help="the best of what was said")
    choose.add_argument("--weights", required=True, type=Path, help="as benchmarks/committee.py writes them")
    choose.add_argument("--keep", type=int, default=3, metavar="N", help="captions of a picture (%(default)s)")
    add_judges(choose)
    for verb in (judge, choose):
        verb.add_argument("--spoken", required=True, nargs="+", type=Path, help="what the voices say")
    for verb in (speak, judge, choose):
        verb.add_argument("--out", required=True, type=Path, help="file of JSON lines to write, or to go on with")
        verb.add_argument("--threads", type=int, default=1, help="%(default)s")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        {"speak": speak_of, "judge": judge_of, "choose": choose_of}[args.verb](args)
    except FastcapError as error:
        print(f"committee: error: {error}", file=sys.stderr)
        return 1
    print(args.out)
    return 0


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Declare which pictures."""
    pair = {"nargs": 2, "action": "append", "default": [], "metavar": ("NAME[:SPLIT]", "DIR")}
    parser.add_argument("--pictures", help="those of a data set (split: train); may be repeated", **pair)
    parser.add_argument("--folder", type=Path, action="append", default=[], help="those in a folder; may be repeated")


def add_judges(parser: argparse.ArgumentParser) -> None:
    """Declare what candidates are chosen by."""
    pair = {"nargs": 2, "action": "append", "default": [], "metavar": ("NAME[:SPLIT]", "DIR")}
    parser.add_argument("--scores", nargs="*", default=[], type=Path, help="what judges think; named by their files")
    parser.add_argument("--memory", help="captioned pictures to compare with; may be repeated", **pair)
    parser.add_argument("--words", type=Path, help="words.npz of the model of --vectors: likely words (default: none)")
    parser.add_argument("--vectors", default="fastcap-base", help="model whose vectors tell similar ones (%(default)s)")
    parser.add_argument("--cache", type=Path, default=Path("cache/committee"), help="folder of vectors (%(default)s)")


def speak_of(args: argparse.Namespace) -> None:
    """What a voice says."""
    voice = open_voice(args.voice, args.decode, args.candidates)
    images = pictures_in(args.pictures, args.folder)[:: args.every]
    shown(append_lines(args.out, images, "captions", voice.captions, BATCH), len(images), "pictures")


def judge_of(args: argparse.Namespace) -> None:
    """What a judge thinks."""
    judge, voices = Checkpoints(args.judge.split("+")), [read_lines(path, "captions") for path in args.spoken]
    images = list(voices[0])

    def scores(part: Sequence[Path]) -> list[dict[str, float]]:
        made = []
        for image in part:
            texts = gather(voices, image).texts
            made.append({text: round(p, 4) for text, p in zip(texts, judge.likelihoods(image, texts), strict=True)})
        return made

    shown(append_lines(args.out, images, "scores", scores), len(images), "pictures")


def choose_of(args: argparse.Namespace) -> None:
    """What is chosen."""
    voices = {path.stem: read_lines(path, "captions") for path in args.spoken}
    judges = {path.stem: read_lines(path, "scores") for path in args.scores}
    images = list(next(iter(voices.values())))
    known = described(args.memory)
    vectors = vectors_of(args.vectors, [*dict.fromkeys([*known, *images])], args.cache)
    likely = PictureWords.open(args.words) if args.words else None
    committee = Committee(voices, judges, memory_of(known, vectors), vectors, likely)
    weights = json.loads(args.weights.read_text("utf-8"))["weights"]

    def best(part: Sequence[Path]) -> list[list[str]]:
        return [committee.choose(image, weights, args.keep) for image in part]

    shown(append_lines(args.out, images, "captions", best), len(images), "pictures")


def shown(done: Iterator[int], total: int, title: str) -> None:
    """Run to the end, with a progress bar on stderr."""
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        for count in done:
            progress.update(task, completed=count)


if __name__ == "__main__":
    sys.exit(main())
