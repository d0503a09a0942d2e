"""What formats of a prefix model's language model cost: nats a token of people's captions against fp32, megabytes, and
the time of its products.

For quality, weights are rounded as the export rounds them, and multiplied in floats, so that what is measured is the
rounding alone. For time, the products of all layers stand one after another in a graph of random weights, and one
thread's processor time is taken for one row, for the three hypotheses of a beam, and for a prefix of 16; accuracy level
4 computes with activations of 8 bits, level 1 with floats.

`python benchmarks/prefix_formats.py --model runs/distilvit/best --root data/flickr8k [--pictures 64] [--save]`
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from fastcap.checkpoint import load_checkpoint
from fastcap.data.readers import load_dataset
from fastcap.decoder.lora import merge_adapters
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.speed import Timing
from fastcap.model import CaptionModel
from fastcap.quantization.blocks import input_moments, to_blocks
from fastcap.quantization.scales import block_size
from fastcap.release.drawn import reading
from fastcap.release.pipeline import load_pictures
from fastcap.runtime.encoding import clean_caption, encode

CONTRIB = "com.microsoft"
RESULTS = Path(__file__).parent / "results" / "prefix_formats.json"
READ = r"(?:gate_proj|up_proj|q_proj|k_proj)\."  # as `fastcap.quantization.blocks.COARSE`
FORMATS: dict[str, tuple[str, bool]] = {  # which matrices have 4 bits, and whether their rounding makes up for itself
    "8 bits": ("^$", False),
    "4 bits for what reads, plain": (READ, False),
    "4 bits for what reads": (READ, True),
    "4 bits, plain": ("", False),
}
"""The third is what is exported."""

KERNELS = {
    "DynamicQuantizeMatMul, 8 bits": None,
    "MatMulNBits, 8 bits": (8, 4),
    "MatMulNBits, 4 bits": (4, 4),
    "MatMulNBits, 4 bits, level 1": (4, 1),
}
"""How products may be computed: bits of the weights and accuracy level."""
ROWS = (1, 3, 16)

Tokens = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # images (B, H, W, 3), token ids (B, T) padded, lengths (B,)


@torch.no_grad()
def log_probabilities(model: CaptionModel, batches: list[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every token after every start of the captions, (N, V), and the tokens that came, (N,)."""
    found, came = [], []
    for images, ids, lengths in batches:
        decoder = model.decoder
        state = decoder.prepare(model.encode(images))
        hidden = decoder.hidden(decoder.inputs(ids), state, lengths=lengths + 1)
        real = torch.arange(hidden.shape[1]) <= lengths[:, None]
        found.append(decoder.project(hidden[real]).log_softmax(dim=-1))
        came.append(decoder.targets(ids, lengths)[real])
    return torch.cat(found), torch.cat(came)


def rounded(weight: torch.Tensor, bits: int, moments: np.ndarray | None) -> torch.Tensor:
    """A weight as it is read out of its blocks."""
    values, steps = to_blocks(weight.numpy(), bits, moments)
    if bits == 4:
        values = np.stack([values & 15, values >> 4], axis=-1)
    integers = values.reshape(len(weight), -1, block_size(weight.shape[1], bits)).astype(np.float32) - (1 << bits - 1)
    read = integers * steps.reshape(len(weight), -1, 1)
    return torch.from_numpy(read.reshape(len(weight), -1)[:, : weight.shape[1]].copy())


def products(shapes: list[tuple[int, int]], kernel: tuple[int, int] | None) -> bytes:
    """A graph of products x (R, K) W (K, N), for each of the shapes (N, K), whose outputs are summed."""
    rng = np.random.default_rng(0)
    nodes, tensors, ends = [], [], []
    for index, (n, k) in enumerate(shapes):
        w, steps, y, end = (f"{name}{index}" for name in ("w", "s", "y", "e"))
        x = f"x{k}"
        if kernel is None:
            tensors.append(numpy_helper.from_array(rng.integers(-63, 64, (k, n), dtype=np.int8), w))
            tensors.append(numpy_helper.from_array(np.full(n, 0.01, np.float32), steps))
            nodes.append(helper.make_node("DynamicQuantizeMatMul", [x, w, steps], [y], domain=CONTRIB))
        else:
            bits, level = kernel
            size = block_size(k, bits)
            tensors.append(
                numpy_helper.from_array(rng.integers(0, 256, (n, k // size, size * bits // 8), dtype=np.uint8), w)
            )
            tensors.append(numpy_helper.from_array(np.full(n * (k // size), 0.01, np.float32), steps))
            about = {"K": k, "N": n, "bits": bits, "block_size": size, "accuracy_level": level}
            nodes.append(helper.make_node("MatMulNBits", [x, w, steps], [y], domain=CONTRIB, **about))
        nodes.append(helper.make_node("ReduceMax", [y], [end], keepdims=0))
        ends.append(end)
    nodes.append(helper.make_node("Sum", ends, ["z"]))
    widths = sorted({k for _, k in shapes})
    inputs = [helper.make_tensor_value_info(f"x{k}", TensorProto.FLOAT, ["R", k]) for k in widths]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("z", TensorProto.FLOAT, [])], tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(CONTRIB, 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def product_times(shapes: list[tuple[int, int]], repeats: int = 12) -> dict[str, dict[str, float]]:
    """Milliseconds of one pass through all products, by kernel and rows."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    times = {}
    for name, kernel in KERNELS.items():
        session = onnxruntime.InferenceSession(products(shapes, kernel), options, providers=["CPUExecutionProvider"])
        times[name] = {}
        for rows in ROWS:
            rng = np.random.default_rng(rows)
            feed = {node.name: rng.standard_normal((rows, node.shape[1])).astype(np.float32)
                    for node in session.get_inputs()}  # fmt: skip
            spent = Timing.of(lambda s=session, f=feed: s.run(None, f), repeats, clock=time.process_time)
            times[name][f"{rows} rows"] = round(spent.percentile(50), 1)
        print(name, times[name], flush=True)
    return times


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint directory of a prefix model")
    parser.add_argument("--root", type=Path, required=True, help="folder of Flickr8k")
    parser.add_argument("--pictures", type=int, default=64, help="pictures of val, two captions each")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = load_checkpoint(args.model)
    size, longest = model.config.image_size, model.config.max_length
    moments = input_moments(model, *reading(partial(encode, tokenizer), size, longest))
    merge_adapters(model.decoder.language_model)
    examples = load_dataset("flickr8k", args.root, "val", decode_images=False)
    chosen = examples[:: max(1, len(examples) // args.pictures)][: args.pictures]
    images, batches = load_pictures(chosen, len(chosen), size), []
    for first in range(0, len(chosen), 8):
        texts = [encode(tokenizer, clean_caption(text))[:longest] for row in chosen[first : first + 8]
                 for text in row.captions[:2]]  # fmt: skip
        lengths = torch.tensor([len(text) for text in texts])
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
        batches.append((torch.from_numpy(images[first : first + 8]), ids, lengths))
    expected, came = log_probabilities(model, batches)
    body = model.decoder.language_model
    linear = {name: p.detach().clone() for name, p in body.named_parameters() if name.endswith("proj.weight")}

    times = product_times([(w.shape[0], w.shape[1]) for w in linear.values()])

    def measure(bits_of: Callable[[str], int], makes_up: bool) -> dict[str, float]:
        twin, count = copy.deepcopy(model), 0
        with torch.no_grad():
            for name, weight in linear.items():
                known = moments.get(f"model.decoder.language_model.{name}") if makes_up else None
                twin.decoder.language_model.get_parameter(name).copy_(rounded(weight, bits_of(name), known))
                blocks = weight.shape[0] * -(-weight.shape[1] // block_size(weight.shape[1], bits_of(name)))
                count += weight.numel() * bits_of(name) // 8 + 4 * blocks
        log_p, _ = log_probabilities(twin, batches)
        loss = -log_p.gather(1, came[:, None]).mean().item()
        divergence = (expected.exp() * (expected - log_p)).sum(dim=1).mean().item()
        return {"loss": round(loss, 4), "divergence": round(divergence, 4), "megabytes": round(count / 1e6, 1)}

    fp32 = -expected.gather(1, came[:, None]).mean().item()
    rows = {"fp32": {"loss": round(fp32, 4), "divergence": 0.0,
                     "megabytes": round(sum(4 * w.numel() for w in linear.values()) / 1e6, 1)}}  # fmt: skip
    print("fp32", rows["fp32"], flush=True)
    for name, (pattern, makes_up) in FORMATS.items():
        rows[name] = measure(lambda n, p=pattern: 4 if re.search(p, n) else 8, makes_up)
        print(name, rows[name], flush=True)
    if args.save:
        facts = {"pictures": len(chosen), "tokens": len(came), "threads": 1}
        about = {"date": now(), "commit": git_commit(), "machine": machine_facts(), "model": args.model.name, **facts}
        content = {"format": 1, "kind": "prefix_formats", **about, "rows": rows, "milliseconds": times}
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
