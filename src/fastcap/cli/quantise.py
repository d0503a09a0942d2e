"""The quantised graphs that `fastcap export` writes, with the bits that a file or a target size asks for."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

    from fastcap.export.autoregressive import AutoregressiveParts
    from fastcap.export.parallel import Parts
    from fastcap.model import CaptionModel
    from fastcap.quantization.scales import Layer

__all__ = [
    "add_arguments",
    "assembled_graph",
    "bits_under_size",
    "directory_size",
    "exported_layers",
    "exported_parts",
    "own_captions",
    "parse_size",
    "quantised_graph",
    "size_at_8_bits",
]

SENSITIVITY_IMAGES = 64  # of those that calibrate
UNITS = {"": 1, "kb": 10**3, "mb": 10**6}
MANIFEST = 2**12  # bytes, at most, of what a manifest gets once the model is measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that choose bits."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--target-size",
        type=parse_size,
        metavar="SIZE",
        help="most that the model directory may take, such as 9MB: layers get 4, 8 or 16 bits as their sensitivity "
        "asks for; DIR.bits.json, DIR.report.json and DIR.report.png say which, and why",
    )
    group.add_argument("--bits", type=Path, metavar="FILE", help="bits of layers, as DIR.bits.json has them")


def parse_size(text: str) -> int:
    """Bytes of a size such as 9MB, 9.5 MB, 900kB or 9000000; MB are 10^6 bytes.

    Raises:
        argparse.ArgumentTypeError: it is no size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|kb|mb)", text.strip().lower())
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; allowed: a number above 0 with kB or MB, such as 9MB")
    return int(float(found[1]) * UNITS[found[2]])


def exported_parts(model: CaptionModel, folder: Path) -> Parts | AutoregressiveParts:
    """Write the parts that the decoder's kind asks for as fp32 ONNX."""
    from fastcap.export.autoregressive import export_autoregressive
    from fastcap.export.parallel import export_parts

    return export_parts(model, folder) if model.config.parallel else export_autoregressive(model, folder)


def assembled_graph(parts: Parts | AutoregressiveParts, folder: Path, model: CaptionModel) -> Path:
    """Write the graphs of a model directory from their parts into a new folder; returns the path of that which writes
    the captions, `model.onnx` or `step.onnx`."""
    from fastcap.export.autoregressive import AutoregressiveParts, assemble_autoregressive
    from fastcap.export.causal import assemble_causal, assemble_text
    from fastcap.export.parallel import assemble

    folder.mkdir()
    if isinstance(parts, AutoregressiveParts):
        assemble_autoregressive(parts, folder)
        return folder / "step.onnx"
    graph = folder / "model.onnx"
    assemble(parts, model.config.generation.passes, graph)
    assemble_causal(parts, graph)
    assemble_text(parts, graph)
    return graph


def quantised_graph(
    parts: Parts | AutoregressiveParts,
    folder: Path,
    model: CaptionModel,
    pictures: np.ndarray,
    feeds: dict[str, np.ndarray],
    bits: Mapping[str, int],
    *,
    corrected: bool = True,
) -> Path:
    """As `assembled_graph`, from quantised copies of fp32 parts; arguments as in
    `fastcap.quantization.post_training.quantize`."""
    from fastcap.quantization.post_training import quantize

    with tempfile.TemporaryDirectory() as aside:
        encode, *others = (Path(shutil.copy(part, aside)) for part in vars(parts).values())
        quantize(encode, others, pictures, feeds, bits, corrected=corrected)
        return assembled_graph(type(parts)(encode, *others), folder, model)


def exported_layers(parts: Parts | AutoregressiveParts, model: CaptionModel) -> dict[str, Layer]:
    """The quantised layers that the parts hold."""
    import onnx

    from fastcap.quantization.scales import quantised_layers

    held = {tensor.name for part in vars(parts).values() for tensor in onnx.load(str(part)).graph.initializer}
    return {name: layer for name, layer in quantised_layers(model).items() if held.issuperset(layer.tensors)}


def size_at_8_bits(
    parts: Parts | AutoregressiveParts,
    model: CaptionModel,
    tokenizer: Tokenizer,
    pictures: np.ndarray,
    feeds: dict[str, np.ndarray],
) -> int:
    """Bytes of the model directory with 8 bits in every layer, which do not depend on what calibrates it."""
    from fastcap.export.writer import write_bundle

    with tempfile.TemporaryDirectory() as aside:
        graph = quantised_graph(parts, Path(aside) / "int8", model, pictures[:1], feeds, {}, corrected=False)
        bundle = Path(aside) / "bundle"
        write_bundle(bundle, graph.parent, tokenizer, model.config, name="", description="", quality={}, speed={})
        return directory_size(bundle) + MANIFEST


def directory_size(directory: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in directory.iterdir())


def own_captions(model: CaptionModel, tokenizer: Tokenizer, pictures: np.ndarray) -> list[str]:
    """What a model itself says of pictures (N, H, W, 3) uint8. Rounding can only take it away from that, while it may
    seem to bring a model that is surer than people are nearer to people's captions."""
    import torch

    from fastcap.data.tokenizer import decode

    with torch.no_grad():
        found = [model.search(model.encode(torch.from_numpy(each[None])), beams=1)[0] for each in pictures]
    return [decode(tokenizer, best.token_ids) for best, *_ in found]


def bits_under_size(
    args: argparse.Namespace,
    parts: Parts | AutoregressiveParts,
    model: CaptionModel,
    tokenizer: Tokenizer,
    pictures: np.ndarray,
    feeds: dict[str, np.ndarray],
    console: Any,
) -> dict[str, int]:
    """Measure the sensitivity of the exported layers, choose their bits so that the directory takes at most
    `args.target_size`, and write plan and report beside it.

    Args:
        pictures: (N, H, W, 3) uint8, N 16 or more.

    Raises:
        ConfigError: a target that is too small; the message names the smallest.
    """
    from rich.progress import track

    from fastcap.evaluation.machine import git_commit, now
    from fastcap.quantization.bits import choose_bits, options_of, write_report
    from fastcap.quantization.sensitivity import batches_of, measure_sensitivity

    layers = exported_layers(parts, model)
    fixed = size_at_8_bits(parts, model, tokenizer, pictures, feeds) - sum(layer.size(8) for layer in layers.values())
    smallest = fixed + sum(layer.smallest for layer in layers.values())
    if args.target_size < smallest:
        raise ConfigError(
            f"--target-size is {args.target_size} bytes; allowed: {smallest} or more, which is this model with 4 bits "
            "wherever they save space"
        )
    captions = own_captions(model, tokenizer, pictures[:SENSITIVITY_IMAGES])
    batches = batches_of(pictures[:SENSITIVITY_IMAGES], captions, tokenizer, model.config.max_length)
    bar = iter(track(range(len(layers)), "measuring the sensitivity of layers", console=console))
    sensitivity = measure_sensitivity(model, layers, batches, on_layer=lambda: next(bar))
    next(bar, None)
    bits = choose_bits(options_of(layers, sensitivity), args.target_size - fixed)
    facts = {
        "target_bytes": args.target_size,
        "smallest_bytes": smallest,
        "other_bytes": fixed,
        "images": sum(len(batch.lengths) for batch in batches),
        "command": shlex.join(["fastcap", *sys.argv[1:]]),
        "commit": git_commit(),
        "date": now(),
    }
    write_report(args.out, layers, sensitivity, bits, facts)
    counts = ", ".join(f"{list(bits.values()).count(each)} with {each}" for each in sorted(set(bits.values())))
    console.print(f"bits of {len(bits)} layers: {counts}; {args.out}.bits.json, {args.out}.report.png")
    return bits
