"""What each voice of a committee and each way to choose is worth on pictures that people described, as JSON; and the
weights of the choice.

    python benchmarks/committee.py --data flickr8k:val DIR --spoken committee/val/{ab,base}.jsonl \\
        --scores committee/val/by-ab.jsonl --memory flickr8k DIR --memory coco DIR --out committee/weights.json

The files are those of `scripts/committee.py speak` and `judge` for these pictures, all or every n-th. CIDEr of a choice
is crosswise: of each picture by weights fitted to four fifths of the pictures, of which it is none. The weights written
are fitted to all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.diversity import diversity
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.runtime.words import PictureWords
from fastcap.training.committee import ALWAYS, Committee, read_lines
from fastcap.training.neighbours import described, memory_of, vectors_of


def main() -> None:
    """Read, measure, fit, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pair = {"nargs": 2, "action": "append", "metavar": ("NAME[:SPLIT]", "DIR")}
    parser.add_argument("--data", required=True, help="data set with people's captions; may be repeated", **pair)
    parser.add_argument("--spoken", required=True, nargs="+", type=Path, help="what the voices say")
    parser.add_argument("--scores", nargs="*", default=[], type=Path, help="what judges think; named by their files")
    parser.add_argument("--memory", default=[], help="captioned pictures to compare with; may be repeated", **pair)
    parser.add_argument("--words", type=Path, help="words.npz of the model of --vectors: likely words (default: none)")
    parser.add_argument("--vectors", default="fastcap-base", help="model whose vectors tell similar pictures")
    parser.add_argument("--cache", type=Path, default=Path("cache/committee"), help="folder of vectors (%(default)s)")
    parser.add_argument("--used", nargs="+", metavar="NAME", help="what the weights may use (default: everything)")
    parser.add_argument("--out", type=Path, help="file of weights to write")
    args = parser.parse_args()
    voices = {path.stem: read_lines(path, "captions") for path in args.spoken}
    judges = {path.stem: read_lines(path, "scores") for path in args.scores}
    images, people, known = list(next(iter(voices.values()))), described(args.data), described(args.memory)
    if shared := known.keys() & set(images):
        parser.error(f"--memory has {len(shared)} of the pictures that are measured; allowed: others")
    vectors = vectors_of(args.vectors, [*known, *images], args.cache)
    likely = PictureWords.open(args.words) if args.words else None
    committee = Committee(voices, judges, memory_of(known, vectors), vectors, likely)
    references = {str(image): [ptb_tokens(text) for text in people[image]] for image in images}
    metric = CiderD(references)

    def cider(image: Path, text: str) -> float:
        return 100 * metric.score(ptb_tokens(text), str(image))

    result: dict[str, Any] = {
        "format": 1,
        "kind": "committee",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "pictures": len(images),
        "voices": {name: row({i: said[i][0] for i in images}, cider) for name, said in voices.items()},
    }
    if unknown := [name for name in args.used or () if name not in committee.names]:
        parser.error(f"--used has {', '.join(unknown)}; allowed: {', '.join(committee.names)}")
    pictures = [committee.judged(image, lambda text, image=image: cider(image, text)) for image in images]
    result["candidates_a_picture"] = round(float(np.mean([len(each.gains) for each in pictures])), 2)
    result["best_there_is"] = round(float(np.mean([each.gains.max() for each in pictures])), 2)
    everything = [*judges, *ALWAYS]
    ways = {
        "consensus": ["consensus"],
        "similarity": ["similarity"],
        "words": ["expected", "information"],
        "everything": everything,
    }
    ways |= {name: [name] for name in judges}
    if judges:
        ways |= {"judges": [*judges], "judges, similarity": [*judges, "similarity"]}
    ways |= {f"everything but {name}": [each for each in everything if each != name] for name in everything}
    result["choice"] = {name: mean(committee.crosswise(pictures, used)) for name, used in ways.items()}
    result["weights"] = committee.fit(pictures, args.used or everything)
    text = json.dumps(result, indent=1) + "\n"
    print(text, end="")
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def row(captions: dict[Path, str], cider: Any) -> dict[str, float]:
    """CIDEr, and how many different words and captions there are."""
    variety = diversity({str(image): ptb_tokens(text) for image, text in captions.items()})
    return {
        "cider": mean([cider(image, text) for image, text in captions.items()]),
        "words": int(variety["vocabulary"]),
        "captions": int(variety["distinct_captions"]),
    }


def mean(values: list[float]) -> float:
    """Rounded."""
    return round(float(np.mean(values)), 2)


if __name__ == "__main__":
    main()
