"""Whether transformers.js, unmodified and in Node, says what our runtime says of the same pictures.

python benchmarks/transformers_js.py --layout web --runtime fp32=models/mine-fp32 q4=models/mine --root data/flickr8k

`fastcap convert --converter transformers.js` makes the layout, `fastcap export` the model directories, of one
checkpoint. Where two captions differ, the runtime is asked how much likelier it finds its own word at the first place
where they do: a gap of rounding's size is a near tie, a larger one another model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from fastcap.data.readers import load_dataset
from fastcap.errors import ConfigError
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.export.compare import open_stepper
from fastcap.export.llava import LlavaStepper
from fastcap.generation.autoregressive import greedy_search
from fastcap.release.transformers_js import DTYPES
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.encoding import decode
from fastcap.runtime.images import load_image

PACKAGES = Path(__file__).parents[1] / "tests" / "web" / "vendor" / "node_modules"
PROGRAM = Path(__file__).with_suffix(".mjs")


def of_transformers_js(folder: Path, dtype: str, pictures: list[Path], packages: Path) -> list[dict[str, Any]]:
    """Token ids and milliseconds of each picture."""
    program = packages.parent / PROGRAM.name  # Node looks for packages beside the program
    program.write_bytes(PROGRAM.read_bytes())
    asked = {
        "folder": str(folder.resolve()),
        "dtype": dtype,
        "threads": 1,
        "pictures": [str(picture.resolve()) for picture in pictures],
    }
    done = subprocess.run(
        ["node", program], input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True, cwd=packages.parent
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def compare(folder: Path, dtype: str, directory: Path, pictures: list[Path], packages: Path) -> dict[str, Any]:
    """How many captions are equal, and of each other one the texts and the runtime's gap between their words."""
    theirs = of_transformers_js(folder, dtype, pictures, packages)
    bundle = Bundle.open(directory)
    suffix = next(each.suffix for each in DTYPES.values() if each.name == dtype)
    layout: Any = LlavaStepper(folder / "onnx", suffix) if bundle.kind == "prefix" else None
    stepper, tokenizer, vocabulary = open_stepper(directory, bundle.kind), bundle.tokenizer(), bundle.vocabulary
    low, high = bundle.decoding.lengths["normal"]
    same_files, different = 0, []
    for picture, found in zip(track(pictures, dtype), theirs, strict=True):
        size = bundle.preprocessing.width, bundle.preprocessing.height
        image = load_image(picture, size)[None]
        state = stepper.encode(image)
        limits = {"bos_id": vocabulary.bos_id, "eos_id": vocabulary.eos_id, "forbidden": vocabulary.barred_in_search}
        (own,) = greedy_search(stepper, state, 1, min_length=low, max_length=high, **limits)
        ids, ours = [token for token in found["ids"] if token != vocabulary.eos_id], own.token_ids
        if layout is not None:
            (beside,) = greedy_search(layout, layout.encode(image), 1, min_length=low, max_length=high, **limits)
            same_files += beside.token_ids == ids
        if ids == ours:
            continue
        place = next(i for i, (a, b) in enumerate(zip([*ids, -1], [*ours, -1], strict=False)) if a != b)
        *read, newest = vocabulary.bos_id, *ours[:place]
        (log_p,), _ = stepper.step(np.array([newest]), stepper.start(state, 1, read), np.array([0]))
        words = [each[place] if place < len(each) else vocabulary.eos_id for each in (ours, ids)]
        gap = float(log_p[words[0]] - log_p[words[1]])
        texts = {"runtime": decode(tokenizer, ours), "transformers_js": decode(tokenizer, ids)}
        different.append({"picture": picture.name, **texts, "gap_nats": round(gap, 3)})
    return {
        "pictures": len(pictures),
        **({"equal_share_of_the_same_files_in_python": round(same_files / len(pictures), 4)} if layout else {}),
        "equal_share": round(1 - len(different) / len(pictures), 4),
        "largest_gap_nats": max((abs(each["gap_nats"]) for each in different), default=0.0),
        "milliseconds_after_decoding_the_file": round(statistics.median(each["milliseconds"] for each in theirs)),
        "bytes": sum(path.stat().st_size for path in (folder / "onnx").glob("*.onnx") if ends(path) == suffix),
        "different": different,
    }


def ends(path: Path) -> str:
    """Which suffix a graph's file name has."""
    return max((each.suffix for each in DTYPES.values() if path.stem.endswith(each.suffix)), key=len)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layout", type=Path, required=True, help="what `fastcap convert` made for transformers.js")
    parser.add_argument("--runtime", nargs="+", required=True, metavar="DTYPE=DIR", help="model directory beside each")
    parser.add_argument("--root", type=Path, required=True, help="folder of Flickr8k")
    parser.add_argument("--pictures", type=int, default=50, help="of its val split, spread evenly")
    parser.add_argument("--node-modules", type=Path, default=PACKAGES, help="where the package is installed")
    parser.add_argument("--json", type=Path, help="file to write; else it is printed")
    args = parser.parse_args()
    package = args.node_modules / "@huggingface" / "transformers" / "package.json"
    if not package.is_file():
        raise ConfigError(f"no {package.parent}; run `make test-web`, or name another folder with --node-modules")
    examples = load_dataset("flickr8k", args.root, "val")
    chosen = np.linspace(0, len(examples) - 1, args.pictures).astype(int)
    pictures = [Path(examples[index].image) for index in chosen]
    pairs = [pair.split("=", 1) for pair in args.runtime]
    found = {
        dtype: compare(args.layout, dtype, Path(directory), pictures, args.node_modules) for dtype, directory in pairs
    }
    facts = {
        "package": f"@huggingface/transformers {json.loads(package.read_text())['version']}",
        "data": f"flickr8k val, {args.pictures} pictures spread evenly",
        "threads": 1,
        "machine": machine_facts(),
        "commit": git_commit(),
        "date": now(),
    }
    text = json.dumps({"dtypes": found, **facts}, indent=1)
    args.json.write_text(text + "\n", encoding="utf-8") if args.json else print(text)


if __name__ == "__main__":
    main()
