"""How converted models caption, beside ONNX Runtime's int8 and PyTorch's fp32, on real pictures.

    python benchmarks/converters.py FOLDER ... --root data/flickr8k     # adds a row a folder of `fastcap convert`
    python benchmarks/converters.py --page                              # rewrites the tables of docs/phones.md

    python benchmarks/converters.py FOLDER --model CHECKPOINT --beside DIR --root data/flickr8k     # of a prefix model

ONNX Runtime's int8 has a row of its own. Folders for transformers.js are run in Node, greedily, since it has no other
way of decoding a bundled model, and are compared with greedy captions; they are given alone.

A folder is compared with the same weights in PyTorch, in fp32, and with the int8 model directory that it was converted
from, on pictures spread over the split; so is that directory with PyTorch. A prefix model is converted from its
checkpoint, and `--beside` is its model directory. Where nothing here runs what a converter makes, a row has sizes
alone. A row of the same converter, precision and model is replaced. Each converter has its own environment, so the
command is run once in each.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from fastcap.data.readers import load_dataset
from fastcap.eager import TorchEngine, checkpoint_captioner
from fastcap.errors import ModelFileError
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.export.converted import MANIFEST, open_converted
from fastcap.export.converters import Source
from fastcap.export.targets import CONVERTERS
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.encoding import decode
from fastcap.runtime.images import load_image
from fastcap.runtime.text import sentence

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "recorded" / "converters.json"
PAGE = ROOT / "docs" / "phones.md"
BESIDE = (
    ROOT / "benchmarks" / "results" / "beside.json"
)  # of `fastcap bench --model fastcap-base --beside DIR ... --json`
TABLE = re.compile(r"(?<=<!-- begin: converters -->\n).*?(?=\n<!-- end: converters -->)", re.DOTALL)
ARTEFACTS = re.compile(r"(?<=<!-- begin: beside -->\n).*?(?=\n<!-- end: beside -->)", re.DOTALL)
PACKAGES = {
    "onnxruntime": ("onnxruntime",),
    "litert": ("litert-torch", "ai-edge-litert", "ai-edge-quantizer"),
    "executorch": ("executorch", "torch", "torchao"),
    "openvino": ("openvino", "nncf"),
    "coreml": ("coremltools",),
    "transformers.js": (),
}
RUNTIMES = {"onnxruntime": "ONNX Runtime", **{name: converter.runtime for name, converter in CONVERTERS.items()}}
GREEDY: dict[str, Any] = {"decode": "greedy", "candidates": 1}
SHOWN = 5  # captions that differ


def captions(captioner: Captioner, pixels: list[np.ndarray], options: dict[str, Any]) -> tuple[list[str], list[float]]:
    """The caption of each picture, and its time in milliseconds; the first picture warms up."""
    captioner.caption_pixels(pixels[0], **options)
    texts, times = [], []
    for each in pixels:
        started = time.perf_counter()
        texts.append(captioner.caption_pixels(each, **options)[0].text)
        times.append(1000 * (time.perf_counter() - started))
    return texts, times


def references(model: str, beside: Path | None) -> dict[str, Captioner]:
    """What a converted model is compared with. `beside`: the int8 model directory of a checkpoint."""
    if (Path(model) / "model.safetensors").is_file():
        int8 = {} if beside is None else {"ONNX Runtime int8": Captioner.open(beside)}
        return {"PyTorch fp32": checkpoint_captioner(model), **int8}
    source, directory = Source.open(model), Captioner.open(model)
    return {
        "PyTorch fp32": Captioner(directory.bundle, engine=TorchEngine(source.model)),
        "ONNX Runtime int8": directory,
    }


def in_node(folder: Path, dtype: str, pictures: list[Path], packages: Path | None) -> tuple[list[str], list[float]]:
    """As `captions`, by transformers.js."""
    from transformers_js import PACKAGES, of_transformers_js  # beside this file

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = of_transformers_js(folder, dtype, pictures, packages or PACKAGES)
    return [sentence(decode(tokenizer, each["ids"])) for each in found], [each["milliseconds"] for each in found]


def in_packages(packages: Path | None) -> dict[str, str]:
    """The version of transformers.js."""
    from transformers_js import PACKAGES

    name = "@huggingface/transformers"
    return {name: json.loads(((packages or PACKAGES) / name / "package.json").read_text(encoding="utf-8"))["version"]}


def said(captioners: dict[str, Captioner], pixels: list[np.ndarray], options: dict[str, Any]) -> Said:
    """Captions by each of them, and the median of their times."""
    found = {name: captions(captioner, pixels, options) for name, captioner in captioners.items()}
    return {name: (texts, round(statistics.median(times), 1)) for name, (texts, times) in found.items()}


def same(one: list[str], other: list[str]) -> int:
    return sum(text == beside for text, beside in zip(one, other, strict=True))


def about(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """What a row says of a folder, whether it is run or not."""
    files = {name: fact["bytes"] for name, fact in manifest["files"].items()}
    parts = {part["file"] for part in manifest["parts"].values()}
    return {
        "converter": manifest["converter"],
        "precision": manifest["precision"],
        "model": manifest["model"]["name"],
        "bytes": sum(files.values()),
        "parts": {part: sum(size for name, size in files.items() if belongs(name, part)) for part in sorted(parts)},
        "versions": {name: found for name in PACKAGES[manifest["converter"]] if (found := installed(name))},
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
    }


def belongs(name: str, part: str) -> bool:
    """Whether a file is one of a part's, of which the manifest names one: `encode.xml` has `encode.bin` beside it."""
    return name.startswith(f"{Path(part).with_suffix('').as_posix()}.")


def about_directory(folder: Path) -> dict[str, Any]:
    """The same of an int8 model directory."""
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    parts = {name: {"file": name} for name in files if name.endswith(".onnx") and name != "text.onnx"}
    told = {"converter": "onnxruntime", "precision": "int8", "model": {"name": Bundle.open(folder).name}}
    return about(folder, told | {"files": {name: {"bytes": size} for name, size in files.items()}, "parts": parts})


Said = dict[str, tuple[list[str], float]]


def compared(got: list[str], times: list[float], beside: Said, data: str) -> dict[str, Any]:
    """What a row says of a folder that was run."""
    different = [
        {"converted": text, **{name: texts[place] for name, (texts, _) in beside.items()}}
        for place, text in enumerate(got)
        if any(texts[place] != text for texts, _ in beside.values())
    ]
    plain = beside["PyTorch fp32"][0]
    return {
        "executed": True,
        "data": data,
        "pictures": len(got),
        "equal": {name: same(got, texts) for name, (texts, _) in beside.items()},
        "references_equal": {name: same(plain, texts) for name, (texts, _) in beside.items()},
        "p50_ms": round(statistics.median(times), 1),
        "references_p50_ms": {name: milliseconds for name, (_, milliseconds) in beside.items()},
        "threads": 1,
        "different": different[:SHOWN],
    }


def rows_of(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Those of the folders of the command line, and of the directory that they were converted from."""
    examples = load_dataset("flickr8k", args.root, args.split)
    places = np.linspace(0, len(examples) - 1, args.pictures).round().astype(int)
    pictures = [examples[place].image for place in places]
    data = f"flickr8k {args.split}, {len(pictures)} pictures spread over it"
    manifests = {folder: json.loads((folder / MANIFEST).read_text(encoding="utf-8")) for folder in args.folders}
    in_javascript = {"transformers.js"} == {manifest["converter"] for manifest in manifests.values()}
    options = GREEDY if in_javascript else {}
    captioners = references(args.model, args.beside)
    size = captioners["PyTorch fp32"].bundle.preprocessing
    pixels = [load_image(picture, (size.width, size.height))[None] for picture in pictures]
    beside = said(captioners, pixels, options)
    if int8 := beside.get("ONNX Runtime int8") if not in_javascript else None:
        yield about_directory(args.beside or find_model(args.model)) | compared(int8[0], [int8[1]], beside, data)
    for folder, manifest in manifests.items():
        row = about(folder, manifest)
        try:
            if in_javascript:
                dtype = next(iter(manifest["dtypes"]))
                result = in_node(folder, dtype, [Path(picture) for picture in pictures], args.node_modules)
                row["versions"] = in_packages(args.node_modules)
            else:
                result = captions(open_converted(folder), pixels, options)
            yield row | compared(*result, beside, data) | ({"decode": "greedy"} if options else {})
        except ModelFileError as error:
            yield row | {"executed": False, "why": str(error).removeprefix(f"{folder.resolve()}: ")}


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| runtime | precision | model | parts, MB | executed here | as PyTorch in fp32 | as ONNX Runtime in int8 | "
        "ms (PyTorch, ONNX Runtime) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        parts = ", ".join(f"`{name}` {size / 1e6:.1f}" for name, size in row["parts"].items())
        cells = [RUNTIMES[row["converter"]], row["precision"], row["model"], parts]
        if row["executed"]:
            versions = ", ".join(f"{name} {number}" for name, number in row["versions"].items())
            cells.append(versions + (f"; {row['decode']}" if "decode" in row else ""))
            equal = (row["equal"].get(name) for name in ("PyTorch fp32", "ONNX Runtime int8"))
            cells += ["-" if count is None else f"{count} of {row['pictures']}" for count in equal]
            beside = ", ".join(f"{milliseconds:.0f}" for milliseconds in row["references_p50_ms"].values())
            cells.append(f"{row['p50_ms']:.0f} ({beside})")
        else:
            cells += ["no", "-", "-", "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def artefacts(measured: dict[str, Any]) -> str:
    """What `fastcap bench --beside` measured, as Markdown."""
    lines = [
        "| model | runtime | precision | MB | peak memory, MB | ms from photo to text |",
        "|---|---|---|---|---|---|",
    ]
    for row in measured["beside"]:
        told = [row["name"], row["runtime"], row["precision"] or "as built", f"{row['bytes'] / 1e6:.1f}"]
        ran = "why" not in row
        told += [f"{row['peak_memory_mb']:.0f}", f"{row['p50_ms']:.1f}"] if ran else ["-", "not run here"]
        lines.append(f"| {' | '.join(told)} |")
    machine, made = measured["machine"], f"{measured['date'][:10]}, commit {measured['commit']}"
    return "\n".join([*lines, "", f"{machine['cpu']}, {machine['cores']} cores, one thread, {made}."])


def write_page() -> None:
    """Rewrite the tables."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    text = TABLE.sub(lambda _: table(rows), PAGE.read_text(encoding="utf-8"))
    measured = json.loads(BESIDE.read_text(encoding="utf-8"))
    PAGE.write_text(ARTEFACTS.sub(lambda _: artefacts(measured), text), encoding="utf-8")


def main() -> int:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="folder of `fastcap convert`")
    parser.add_argument("--model", default="fastcap-base", help="what it was converted from (%(default)s)")
    parser.add_argument("--beside", type=Path, metavar="DIR", help="int8 model directory of the checkpoint --model")
    parser.add_argument("--root", type=Path, help="folder of Flickr8k")
    parser.add_argument("--split", default="val", help="%(default)s")
    parser.add_argument("--pictures", type=int, default=50, help="%(default)s")
    parser.add_argument("--node-modules", type=Path, help="where transformers.js is installed")
    parser.add_argument("--page", action="store_true", help="rewrite the tables of docs/phones.md")
    args = parser.parse_args()
    if args.folders:
        found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
        rows = {(row["converter"], row["precision"], row["model"]): row for row in found.get("rows", ())}
        for row in rows_of(args):
            rows[row["converter"], row["precision"], row["model"]] = row
            shown = {key: value for key, value in row.items() if key not in ("machine", "versions")}
            print(json.dumps(shown, indent=1, ensure_ascii=False), flush=True)
        command = "python benchmarks/converters.py FOLDER --root data/flickr8k"
        names = [*RUNTIMES]
        ordered = sorted(rows.values(), key=lambda row: (row["model"], names.index(row["converter"]), row["precision"]))
        results = {"format": 1, "kind": "recorded", "command": command, "seed": None, "rows": ordered}
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if args.page:
        write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())
