"""Whether fastcap.js says of pictures what Python says, with a model directory whose weights have 4 and 8 bits.

python benchmarks/web_prefix.py --model models/distilvit --root data/flickr8k

ONNX Runtime Web has no kernels for such weights that compute in integers, as `onnxruntime-node` and Python have: it
computes in floats, so that near ties may turn. Both are run in Node, which needs what `make test-web` fetches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import fastcap
from fastcap.data.readers import load_dataset
from fastcap.evaluation.machine import git_commit, machine_facts, now

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tests" / "web" / "vendor" / "node_modules" / "onnxruntime-node" / "dist" / "index.js"
RUNTIMES = {"onnxruntime-node": PACKAGE.as_uri(), "onnxruntime-web": None}
QUESTIONS = ["Is there a dog?", "What is the man doing?"]


def of_javascript(model: Path, ort: str | None, pictures: list[np.ndarray], scratch: Path) -> list[dict[str, Any]]:
    """Texts and milliseconds of each picture, uint8 RGBA (H,W,4)."""
    sent = []
    for place, picture in enumerate(pictures):
        picture.tofile(scratch / f"{place}.rgba")
        sent.append(
            {"file": str(scratch / f"{place}.rgba"), "width": picture.shape[1], "height": picture.shape[0]},
        )
    module = (ROOT / "web" / "fastcap.js").as_uri()
    asked = {"module": module, "ort": ort, "folder": str(model.resolve()), "questions": QUESTIONS, "pictures": sent}
    line = ["node", Path(__file__).with_suffix(".mjs")]
    done = subprocess.run(line, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(row) for row in done.stdout.splitlines()]


def compare(found: list[dict[str, Any]], captions: list[str], answers: list[list[str]]) -> dict[str, Any]:
    """How many captions and answers are Python's, and the medians of milliseconds of processor time."""
    said = [answer for row in found for answer in row["answers"]]
    wanted = [answer for row in answers for answer in row]
    return {
        "equal_captions": sum(row["text"] == caption for row, caption in zip(found, captions, strict=True)),
        "answers": len(wanted),
        "equal_answers": sum(one == other for one, other in zip(said, wanted, strict=True)),
        "load_ms": found[0]["loading"],
        "encode_ms": statistics.median(row["encoding"] for row in found),
        "caption_ms": statistics.median(row["captioning"] for row in found),
        "answer_ms": statistics.median(each for row in found for each in row["asking"]) if wanted else None,
        "peak_megabytes": found[-1]["megabytes"],
        "different": [[row["text"], own] for row, own in zip(found, captions, strict=True) if row["text"] != own],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="directory of a prefix model")
    parser.add_argument("--root", type=Path, required=True, help="folder of Flickr8k")
    parser.add_argument("--pictures", type=int, default=10, help="of its val split, spread evenly")
    parser.add_argument("--json", type=Path, help="file to write; else it is printed")
    args = parser.parse_args()
    examples = load_dataset("flickr8k", args.root, "val")
    chosen = [examples[index].image for index in np.linspace(0, len(examples) - 1, args.pictures).astype(int)]
    pictures = [np.array(ImageOps.exif_transpose(Image.open(path)).convert("RGBA")) for path in chosen]
    captioner = fastcap.load_model(args.model)
    encoded = [captioner.encode(picture[..., :3]) for picture in pictures]
    captions = [captioner.caption(each).text for each in encoded]
    asks = QUESTIONS if captioner.bundle.questions else []
    answers = [[captioner.ask(each, question).text for question in asks] for each in encoded]
    with tempfile.TemporaryDirectory() as scratch:
        found = {
            name: compare(of_javascript(args.model, ort, pictures, Path(scratch)), captions, answers)
            for name, ort in RUNTIMES.items()
        }
    facts = {
        "data": f"flickr8k val, {args.pictures} pictures spread evenly",
        "threads": 1,
        "machine": machine_facts(),
        "commit": git_commit(),
        "date": now(),
    }
    text = json.dumps({"model": captioner.bundle.name, "runtimes": found, **facts}, indent=1)
    args.json.write_text(text + "\n", encoding="utf-8") if args.json else print(text)


if __name__ == "__main__":
    main()
