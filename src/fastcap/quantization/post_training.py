"""Post-training quantisation of an exported graph, one recipe for each kind of layer.

- Convolutions (`convolutions.py`): static, activations u8 calibrated on real images, weights s8 a channel. Dynamic
  quantisation of convolutions is several times slower than fp32 in ONNX Runtime.
- Matrix products with constant weights (`products.py`): activations quantised as they come (a caption has few rows, so
  measuring their range costs nothing and follows every refinement pass), weights s8 a column.
- Experts (`products.py`): the same arithmetic on the gathered weights, which ONNX Runtime's own quantiser leaves alone,
  since they are not constant.
- The token embedding and the output matrix are each other's transpose: stored once.

That is 8 bits, of which weights use 7 wherever x86 would saturate (`largest_integer`): a model must give the same
captions on every machine. A tensor of 4 bits computes in the same way, with values from -7 to 7, and is stored two to a
byte; one of 16 is a half-precision float that computes in fp32. ONNX Runtime unpacks both when it loads the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fastcap.quantization.blocks import quantize_blocks, store_convolutions
from fastcap.quantization.convolutions import quantize_convolutions
from fastcap.quantization.integers import rewrite
from fastcap.quantization.products import quantize_products

__all__ = ["pack", "quantize", "quantize_prefix"]

INTEGERS = ("_int8", "_table", "_quantized")  # what follows a weight's name in that of its integers
PAIRS = "pairs_of_4_bits"  # table from a byte to two integers


def quantize(
    parts: Path,
    images: np.ndarray,
    feeds: Mapping[str, np.ndarray],
    bits: Mapping[str, int],
    corrected: bool = True,
) -> None:
    """Quantise the ONNX parts of a model in place.

    Args:
        parts: their folder; `encode.onnx` is the part that reads pictures.
        images: calibration pictures (N, H, W, 3) uint8; one or two hundred of the training set.
        feeds: values of the inputs of `encode.onnx` beside `images`.
        bits: of tensors by name, 4, 8 or 16; those left out have 8.
        corrected: whether biases are corrected; without, the graphs have the same size and are made sooner.

    Raises:
        ConfigError: no calibration images.
    """
    paths = sorted(parts.glob("*.onnx"))
    for path in paths:
        quantize_products(path, bits)
    quantize_convolutions(parts / "encode.onnx", images, feeds, bits, corrected)
    for path in paths:
        pack(path, bits)


def quantize_prefix(parts: Path, moments: Mapping[str, np.ndarray], bits: Mapping[str, int]) -> None:
    """Quantise the ONNX parts of a prefix model in place: blocks for products and tables, convolutions that are stored
    in 8 bits and compute in floats, and what has 16 bits as half-precision floats that do so, too; arguments as in
    `fastcap.quantization.blocks.quantize_blocks`."""
    known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for path in sorted(parts.glob("*.onnx")):
        quantize_blocks(path, bits, moments, known)
        store_convolutions(path, bits)
        if 16 in bits.values():
            pack(path, {name: chosen for name, chosen in bits.items() if chosen == 16})


def pack(path: Path, bits: Mapping[str, int]) -> None:
    """Store a quantised graph's tensors of 4 and 16 bits as such, in place. Nodes at its beginning unpack them; since
    these depend on nothing else, they run once, when the graph is loaded."""
    model = onnx.load(str(path))
    byte = np.arange(256)
    pairs = np.stack([byte & 15, byte >> 4], axis=1) - 8
    tensors = [numpy_helper.from_array(pairs.astype(np.int8), PAIRS)]
    nodes: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        name, values = tensor.name, numpy_helper.to_array(tensor)
        chosen = bits.get(next((name.removesuffix(end) for end in INTEGERS if name.endswith(end)), name), 8)
        if chosen == 16 and values.dtype == np.float32:
            tensors.append(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
            nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        elif chosen == 4 and values.dtype == np.int8 and values.size % 2 == 0:
            low, high = (values.reshape(-1, 2) + 8).astype(np.uint8).T
            tensors.append(numpy_helper.from_array(low | high << 4, f"{name}_packed"))
            tensors.append(numpy_helper.from_array(np.array(values.shape), f"{name}_shape"))
            nodes += [
                helper.make_node("Cast", [f"{name}_packed"], [f"{name}_bytes"], to=TensorProto.INT32),
                helper.make_node("Gather", [PAIRS, f"{name}_bytes"], [f"{name}_pairs"], axis=0),
                helper.make_node("Reshape", [f"{name}_pairs", f"{name}_shape"], [name]),
            ]
        else:
            tensors.append(tensor)
    unpacked = [*nodes, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(tensors)
    model.graph.node.extend(unpacked)
    rewrite(model.graph, {}, [])  # drops the table of pairs where no tensor has 4 bits
    onnx.save(model, str(path))
