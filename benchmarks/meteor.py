"""METEOR by the reference tool, METEOR 1.5 in Java, of a model directory's captions of Flickr8k.

    python benchmarks/meteor.py --jar meteor-1.5.jar --root data/flickr8k [--model fastcap-base] [--decode beam]
    python benchmarks/meteor.py --jar meteor-1.5.jar --golden data/metrics/coco_608_golden.json

`fastcap evaluate` needs no Java and gives a variant without synonyms and paraphrases (`fastcap.evaluation.meteor`).
The jar, with its data folder beside it, is in the wheel of pycocoevalcap. `--golden` scores the captions of a file that
says what the tool should give, to see that it was set up well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from fastcap.data.readers import load_dataset
from fastcap.evaluation.machine import git_commit
from fastcap.evaluation.meteor import meteor
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.runtime.captioner import Captioner

Pair = tuple[str, Sequence[str]]  # a caption and its references


def main() -> None:
    """Caption or read, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jar", required=True, type=Path, help="meteor-1.5.jar")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--root", type=Path, help="folder of Flickr8k")
    source.add_argument("--golden", type=Path, metavar="FILE", help="captions, references and what the tool gives")
    parser.add_argument("--model", default="fastcap-base", help="bundled model or model directory (%(default)s)")
    parser.add_argument("--split", default="val", help="%(default)s")
    parser.add_argument("--decode", choices=["parallel", "greedy", "beam"], help="the model's own way if not said")
    args = parser.parse_args()
    expected = {}
    if args.golden:
        golden = json.loads(args.golden.read_text("utf-8"))
        pairs = [(item["prediction"], item["references"]) for item in golden["items"]]
        expected = {"expected": round(100 * golden["scores"]["METEOR"], 2)}
    else:
        captioner = Captioner.open(args.model)
        examples = load_dataset("flickr8k", args.root, args.split)
        captions = [captioner.caption(example.image, decode=args.decode).text for example in track(examples)]
        pairs = [(caption, example.captions) for caption, example in zip(captions, examples, strict=True)]
    tokens = [(ptb_tokens(caption), [ptb_tokens(text) for text in references]) for caption, references in pairs]
    ours = meteor(
        {str(i): caption for i, (caption, _) in enumerate(tokens)},
        {str(i): texts for i, (_, texts) in enumerate(tokens)},
    )
    result = {
        "format": 1,
        "kind": "meteor",
        "commit": git_commit(),
        "captions": len(pairs),
        "meteor_1.5": round(100 * reference_meteor(args.jar, tokens), 2),
        **expected,
        "exact_and_stem": round(100 * ours, 2),
    }
    print(json.dumps(result, indent=1))


def reference_meteor(jar: Path, tokens: Sequence[tuple[list[str], list[list[str]]]]) -> float:
    """The corpus score of captions with their references, in words; the tool is asked as pycocoevalcap asks it."""
    asked = "".join(
        " ||| ".join(["SCORE", *(" ".join(text) for text in references), " ".join(caption)]) + "\n"
        for caption, references in tokens
    )
    command = ["java", "-Xmx2G", "-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]

    def ask(text: str) -> list[str]:
        done = subprocess.run(command, input=text, text=True, capture_output=True, check=True, cwd=jar.resolve().parent)
        return done.stdout.splitlines()

    return float(ask(" ||| ".join(["EVAL", *ask(asked)]) + "\n")[-1])


if __name__ == "__main__":
    main()
