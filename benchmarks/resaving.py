"""How many captions change when a picture is re-saved as JPEG, and what that costs in CIDEr, as JSON.

    python benchmarks/resaving.py --model fastcap-base --root data/flickr8k [--every 8] [--decode beam] [--save]

Each picture is captioned as it is and re-saved, at two sizes: 224 pixels, the model's own, where nothing averages the
blocks of the compression away; and 640 pixels, as a picture of the web has. The data are of 224 pixels, so that for the
second both are enlarged before (bicubic), and what is shown is the compression of smooth pictures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.progress import track

from fastcap.data.readers import Example, load_dataset
from fastcap.data.resave import as_jpeg
from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.diversity import diversity
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.runtime.captioner import Captioner

RESULT = Path(__file__).parent / "results" / "resaving.json"
SIZES = (224, 640)  # pixels of a side
QUALITY = 75  # Pillow's default, and that of many programs


def main() -> None:
    """Caption all versions, compare, print or save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fastcap-base", help="model, model directory or checkpoint (%(default)s)")
    parser.add_argument("--root", required=True, type=Path, help="folder of Flickr8k")
    parser.add_argument("--every", default=8, type=int, metavar="N", help="every how many-th picture (%(default)s)")
    parser.add_argument("--quality", default=QUALITY, type=int, help="of JPEG (%(default)s)")
    parser.add_argument("--decode", help="way of decoding (default: the model's)")
    parser.add_argument("--show", default=0, type=int, metavar="N", help="as many changed captions as well")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.name} as well")
    args = parser.parse_args()
    examples = list(load_dataset("flickr8k", args.root, "val"))[:: args.every]
    captioner = opened(args.model)
    result = {
        "format": 1,
        "kind": "resaving",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "model": captioner.bundle.name,
        "decode": args.decode or captioner.bundle.decodes[0],
        "data": f"flickr8k val, {len(examples)} pictures, every {args.every}.",
        "quality": args.quality,
        **{str(size): compared(captioner, examples, size, args) for size in SIZES},
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text, end="")
    if args.save:
        RESULT.write_text(text, encoding="utf-8")


def opened(model: str) -> Captioner:
    """A captioner of a model directory, or of a checkpoint directory, which needs PyTorch."""
    if not (Path(model) / "model.safetensors").is_file():
        return Captioner.open(model)
    from fastcap.eager import checkpoint_captioner

    return checkpoint_captioner(model)


def compared(captioner: Captioner, examples: Sequence[Example], size: int, args: argparse.Namespace) -> dict[str, Any]:
    """What is said of pictures of a size, as they are and re-saved."""
    said: dict[str, list[str]] = {"as_it_is": [], "re_saved": []}
    settings = {"decode": args.decode} if args.decode else {}
    for example in track(examples, f"{size} pixels", console=Console(stderr=True)):
        with Image.open(example.image) as file:
            picture = file.convert("RGB")
        if picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BICUBIC)
        said["as_it_is"].append(captioner.caption(picture, **settings).text)
        said["re_saved"].append(captioner.caption(as_jpeg(picture, args.quality), **settings).text)
    changed = [pair for pair in zip(*said.values(), strict=True) if pair[0] != pair[1]]
    result: dict[str, Any] = {"changed": round(len(changed) / len(examples), 4)}
    for name, captions in said.items():
        result[name] = scores(captions, examples)
    return result | ({"examples": changed[: args.show]} if args.show else {})


def scores(captions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
    """CIDEr-D (times 100), and the numbers of different words and captions."""
    tokens = {str(i): ptb_tokens(text) for i, text in enumerate(captions)}
    scorer = CiderD({str(i): [ptb_tokens(text) for text in example.captions] for i, example in enumerate(examples)})
    variety = diversity(tokens)
    return {
        "cider": round(100 * scorer.corpus(tokens)[0], 2),
        "words": int(variety["vocabulary"]),
        "captions": int(variety["distinct_captions"]),
    }


if __name__ == "__main__":
    main()
