"""A model directory small enough to build in a test, that obeys the runtime's contract in full.

Its graph looks at the mean colour: whichever of red, green and blue is strongest chooses a row of words, and
a caption of length L is the first L tokens of that row. Shorter candidates are the more confident.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL_TOKENS = ["<pad>", "<bos>", "<eos>", "<mask>", "<unk>"]
MAX_LENGTH = 24
ROWS = {
    "red": "a red barn stands under some tall old trees while two small brown dogs run past "
    "its wide open door towards our quiet grey lake",
    # The tokenizer never saw hummingbird and foxgloves whole: here words and tokens differ in number.
    "green": "a green hummingbird hovers near purple foxgloves by my window in early morning light today "
    "again with us all watching from within here",
    "blue": "a blue boat floats on calm water below one very high white cliff where five "
    "women wave at it from far up there now",
}


def build_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        min_frequency=1,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    seen = [row.replace("hummingbird", "humming").replace("foxgloves", "foxglove") for row in ROWS.values()]
    tokenizer.train_from_iterator(seen, trainer)
    return tokenizer


def build_graph(tokenizer: Tokenizer) -> onnx.ModelProto:
    rows = np.array([tokenizer.encode(row).ids[:MAX_LENGTH] for row in ROWS.values()], np.int64)
    constants = {
        "rows": rows,
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "first": np.array(0, np.int64),
        "step": np.array(1, np.int64),
        "last_axis": np.array([1], np.int64),
        "space": np.array([1, 2], np.int64),
        "pad": np.array(0, np.int64),
        "decay": np.array(-0.02, np.float32),
        "nothing": np.array(0.0, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        node("ReduceMean", ["pixels", "space"], ["colour"], keepdims=0),  # (B,3)
        node("ArgMax", ["colour"], ["strongest"], axis=1, keepdims=0),  # (B,)
        node("Gather", ["rows", "strongest"], ["words"], axis=0),  # (B,24)
        node("Slice", ["length_range", "zero", "one"], ["low_1"]),
        node("Slice", ["length_range", "one", "two"], ["high_1"]),
        node("Squeeze", ["low_1"], ["low"]),
        node("Squeeze", ["high_1"], ["high"]),
        node("Add", ["high", "step"], ["stop"]),
        node("Range", ["low", "stop", "step"], ["every_length"]),
        node("Slice", ["every_length", "zero", "candidates"], ["chosen"]),  # (K,): never more than exist
        node("ReduceMax", ["chosen"], ["longest"], keepdims=0),
        node("Range", ["first", "longest", "step"], ["position"]),  # (T,)
        node("Unsqueeze", ["chosen", "last_axis"], ["chosen_column"]),
        node("Less", ["position", "chosen_column"], ["inside"]),  # (K,T)
        node("Unsqueeze", ["longest", "zero"], ["longest_1"]),
        node("Slice", ["words", "zero", "longest_1", "last_axis"], ["cut"]),  # (B,T)
        node("Unsqueeze", ["cut", "last_axis"], ["cut_3"]),  # (B,1,T)
        node("Where", ["inside", "cut_3", "pad"], ["token_ids"]),  # (B,K,T)
        node("Shape", ["strongest"], ["batch"]),
        node("Concat", ["batch", "candidates"], ["batch_k"], axis=0),
        node("Expand", ["chosen", "batch_k"], ["lengths"]),  # (B,K)
        node("Cast", ["lengths"], ["lengths_float"], to=TensorProto.FLOAT),
        node("Mul", ["lengths_float", "decay"], ["log_confidence"]),
        node("Exp", ["log_confidence"], ["confidences"]),
        node("Unsqueeze", ["confidences", "two"], ["confidences_3"]),
        node("Where", ["inside", "confidences_3", "nothing"], ["token_confidences"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs=[
            value("images", TensorProto.UINT8, ["B", 224, 224, 3]),
            value("length_range", TensorProto.INT64, [2]),
            value("candidates", TensorProto.INT64, [1]),
            value("penalties", TensorProto.FLOAT, ["V"]),
        ],
        outputs=[
            value("token_ids", TensorProto.INT64, ["B", "K", "T"]),
            value("lengths", TensorProto.INT64, ["B", "K"]),
            value("confidences", TensorProto.FLOAT, ["B", "K"]),
            value("token_confidences", TensorProto.FLOAT, ["B", "K", "T"]),
        ],
        initializer=[numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def manifest(vocabulary_size: int) -> dict:
    return {
        "format": 2,
        "kind": "parallel",
        "name": "tiny",
        "description": "Names the strongest colour.",
        "licence": "Apache-2.0",
        "preprocessing": {"width": 224, "height": 224, "resize": "squash", "resample": "bilinear"},
        "vocabulary": {
            "size": vocabulary_size,
            "pad_id": 0,
            "bos_id": 1,
            "eos_id": 2,
            "mask_id": 3,
            "unk_id": 4,
        },
        "decoding": {
            "passes": 3,
            "min_length": 4,
            "max_length": MAX_LENGTH,
            "max_candidates": 8,
            "default_candidates": 3,
            "lengths": {"short": [4, 8], "normal": [4, 24], "long": [13, 24]},
        },
        "calibration": {"scale": 1.0, "offset": 0.0},
        "files": {},
        "quality": {"cider": 45.25, "command": "fastcap evaluate"},
        "speed": {"milliseconds": {"p50": 9.5}},
    }


def sign(folder: Path, values: dict) -> None:
    """Write `model.json` with the sizes and hashes of the files as they are now."""
    for name in ("model.onnx", "tokenizer.json"):
        data = (folder / name).read_bytes()
        values["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "model.json").write_text(json.dumps(values), encoding="utf-8")


def write_tiny_bundle(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "model.onnx").write_bytes(build_graph(tokenizer).SerializeToString())
    sign(folder, manifest(tokenizer.get_vocab_size()))
    return folder
