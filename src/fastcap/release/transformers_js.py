"""A model as a folder that transformers.js loads: of a prefix model, the graphs of `fastcap.export.llava` in four
precisions; of a model directory of a decoder of ours, its own graphs in the precision that they are stored in."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx

from fastcap.errors import FastcapError, ModelFileError
from fastcap.export.compare import compare_steps
from fastcap.export.image_to_text import wrap, write_image_to_text_files
from fastcap.export.llava import DECODER, EMBED, VISION, LlavaStepper, assemble_llava, export_llava
from fastcap.export.llava_files import write_files
from fastcap.quantization.blocks import quantize_blocks, store_convolutions
from fastcap.quantization.half import to_half
from fastcap.quantization.moments import input_moments
from fastcap.release.drawn import drawn, reading
from fastcap.runtime.encoding import encode

if TYPE_CHECKING:
    from fastcap.export.converters import Source

__all__ = ["DTYPES", "Dtype", "convert"]

ALL = "all"
COMPARED = 4  # drawn pictures on which the fp32 graphs have to be the model
FLOATS = 1
"""Activations are not rounded: what 8 bits of them leave out decides one caption in six (docs/transformers_js.md), and
differs from one program or processor to the next."""
MIN_EQUAL, LARGEST_DIFFERENCE = 0.95, 0.01


class Dtype(NamedTuple):
    """A precision: transformers.js's name of it, and how names of its files end."""

    name: str
    suffix: str


DTYPES = {
    "int4": Dtype("q4", "_q4"),
    "int8": Dtype("q8", "_quantized"),
    "fp16": Dtype("fp16", "_fp16"),
    "fp32": Dtype("fp32", ""),
}
"""By our names. int4 is what `fastcap export` makes of a prefix model: 4 bits where they harm least, 8 elsewhere; int8
has 8 everywhere."""


def convert(source: Source, folder: Path, precision: str) -> dict[str, Any]:
    """Write the graphs into `onnx/` of an empty folder, and the files that transformers.js wants beside it.

    Args:
        precision: one of `DTYPES`, or "all" for graphs in each, of which int4 is loaded where nothing is asked for; of
            a model directory, what its graphs are stored in.

    Returns:
        What the folder's manifest says of it, by key.

    Raises:
        ModelFileError: a model of another family, or one that is too large.
        FastcapError: the fp32 graphs are another model than the one in PyTorch.
    """
    model, tokenizer = source.model, source.tokenizer
    if model.config.kind != "prefix":
        return convert_own(source, folder, precision)
    chosen = list(DTYPES) if precision == ALL else [precision]
    graphs = folder / "onnx"
    graphs.mkdir()
    with tempfile.TemporaryDirectory() as aside:
        parts = Path(aside) / "parts"
        parts.mkdir()
        export_llava(model, parts)
        assemble_llava(parts, Path(aside))
        check(source, Path(aside))
        known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name in chosen:
            copies = shutil.copytree(parts, Path(aside) / name)
            if name in ("int4", "int8"):
                quantise(copies, source, name, known)
            elif name == "fp16":
                for part in (VISION, EMBED, DECODER):
                    to_half(copies / f"{part}.onnx")
            assemble_llava(copies, graphs, DTYPES[name].suffix)
    dtype = DTYPES[chosen[0]].name
    places = write_files(folder, model, tokenizer, source.manifest, dtype)
    dtypes = {DTYPES[name].name: DTYPES[name].suffix for name in chosen}
    facts = {"class": "LlavaForConditionalGeneration", "dtypes": dtypes, "image_places": places}
    return facts | {"parts": parts_in(graphs)}


def convert_own(source: Source, folder: Path, precision: str) -> dict[str, Any]:
    """`convert` of a model directory of a decoder of ours, whose graphs are taken as they are stored, in `precision`.

    Raises:
        ModelFileError: it is a checkpoint, or has no graphs of left-to-right decoding.
    """
    if not source.manifest.files:
        raise ModelFileError(
            f"{source.folder} is a checkpoint of the family {source.model.config.kind!r}; needed: a model directory "
            "(fastcap export), whose graphs transformers.js then runs as they are"
        )
    graphs = folder / "onnx"
    graphs.mkdir()
    dtype = DTYPES[precision]
    shape = wrap(source.folder, graphs, dtype.suffix)
    write_image_to_text_files(folder, source.manifest, source.tokenizer, shape, dtype.name)
    facts = {"class": "VisionEncoderDecoderModel", "dtypes": {dtype.name: dtype.suffix}}
    return facts | {"parts": parts_in(graphs)}


def parts_in(graphs: Path) -> dict[str, Any]:
    """The graphs as a manifest has parts, without their tensors, which are as transformers.js wants them."""
    return {path.stem: {"file": f"{graphs.name}/{path.name}"} for path in sorted(graphs.glob("*.onnx"))}


def check(source: Source, graphs: Path) -> None:
    """Compare the fp32 graphs with PyTorch on drawn pictures.

    Raises:
        FastcapError: captions or probabilities differ.
    """
    pictures = np.stack([drawn(seed, source.model.config.image_size) for seed in range(COMPARED)])
    agreement = compare_steps(source.model, LlavaStepper(graphs), pictures)
    if agreement.equal_captions < MIN_EQUAL or agreement.difference > LARGEST_DIFFERENCE:
        raise FastcapError(
            f"the graphs for transformers.js give the model's caption on {agreement.equal_captions:.0%} of {COMPARED} "
            f"drawn pictures, log-probabilities within {agreement.difference:.1e}; needed: {MIN_EQUAL:.0%} and "
            f"{LARGEST_DIFFERENCE}. Nothing was written"
        )


def quantise(parts: Path, source: Source, name: str, known: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Quantise parts in place; `known`: weights that were quantised before, by name and bits; filled."""
    model = source.model
    moments: dict[str, np.ndarray] = {}
    if name == "int4":
        moments = input_moments(
            model,
            *reading(
                partial(encode, source.tokenizer), model.config.image_size, model.config.max_length, model.config.asked
            ),
        )
    for part in (VISION, EMBED, DECODER):
        path = parts / f"{part}.onnx"
        held = (tensor.name for tensor in onnx.load(str(path)).graph.initializer)
        quantize_blocks(path, {} if name == "int4" else dict.fromkeys(held, 8), moments, known, FLOATS)
        store_convolutions(path)
