"""Write docs/samples.md: captions of validation pictures drawn by a fixed seed, good and bad alike.

`python benchmarks/samples.py --root data/flickr8k [--model NAME|DIR] [--count 10] [--seed 0]`
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from fastcap import load_model
from fastcap.data.readers import load_dataset
from fastcap.evaluation.metrics import score_captions

TARGET = Path(__file__).resolve().parent.parent / "docs" / "samples.md"


def main() -> None:
    """Caption, score against the references of the whole split, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="folder of Flickr8k")
    parser.add_argument("--model", default="fastcap-base", help="bundled model or model directory (%(default)s)")
    parser.add_argument("--count", type=int, default=10, help="pictures (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (%(default)s)")
    args = parser.parse_args()
    examples = load_dataset("flickr8k", args.root, "val")
    captioner = load_model(args.model)
    captions = captioner.caption([example.image for example in examples])
    scores = score_captions(
        {example.image_id: caption.text for example, caption in zip(examples, captions, strict=True)},
        {example.image_id: example.captions for example in examples},
    )
    drawn = random.Random(args.seed).sample(range(len(examples)), args.count)
    lines = [
        f"# {args.count} captions, drawn by seed {args.seed}",
        "",
        f"Pictures of the Flickr8k validation split, not chosen by anybody: `python benchmarks/samples.py --root ROOT "
        f"--model {args.model} --count {args.count} --seed {args.seed}`. The model never saw them in training. "
        f"CIDEr of the whole split is {scores.metrics['cider']:.1f}; that of a single caption stands beside it. "
        "The photographs belong to Flickr users and are not reproduced here.",
    ]
    for index in drawn:
        example, caption = examples[index], captions[index]
        lines += ["", f"## {example.image.stem}", "", f"**{caption.text}**", ""]
        lines += [f"CIDEr {scores.cider[example.image_id]:.0f}, confidence {caption.confidence:.2f}. People wrote:", ""]
        lines += [f"- {reference}" for reference in example.captions]
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(TARGET)


if __name__ == "__main__":
    main()
