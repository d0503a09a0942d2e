"""The graphs of left-to-right decoding of a model directory as those of a VisionEncoderDecoder of transformers.js.

`encode.onnx` and `step.onnx` stay as they are, in whatever precision; nodes around them bring tensors into the shapes
that transformers.js knows: `encoder_model` (`pixel_values` -> `last_hidden_state`) and `decoder_model_merged`
(`input_ids`, `encoder_hidden_states`, `past_key_values.N.key` and `.value` -> `logits`, `present.N.key` and `.value`).
The picture's state is many tensors there, and one here: all numbers of it, one behind the other. One picture and one
caption a run, one token a step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from fastcap.errors import ModelFileError
from fastcap.export.compare import open_graph, open_stepper
from fastcap.export.llava import Squash, cache_names
from fastcap.export.llava_files import marks_of, spelled_marks, write_json
from fastcap.export.surgery import write_graph
from fastcap.export.trace import trace
from fastcap.runtime.contract import ENCODE, LEFT_TO_RIGHT, STATE, STEP, Manifest

__all__ = ["ENCODER", "wrap", "write_image_to_text_files"]

ENCODER, DECODER = "encoder_model", "decoder_model_merged"
Tensors = list[onnx.ValueInfoProto]


def wrap(directory: Path, folder: Path, suffix: str) -> tuple[int, int, int]:
    """Write both graphs of a model directory into a folder; `suffix` stands at the end of their names.

    Returns:
        Layers, heads, and the width of a head.

    Raises:
        ModelFileError: the directory lacks the graphs of left-to-right decoding, its graphs are of an older version, or
            what was written differs from them.
    """
    for file in LEFT_TO_RIGHT:
        if not (directory / file).is_file():
            raise ModelFileError(
                f"{directory} has no {file}; needed: a model directory that decodes from left to right"
            )
    encode, step = (onnx.load(str(directory / file)) for file in (ENCODE.file, STEP.file))
    state = [value for value in encode.graph.output if value.name.startswith(STATE)]
    if not all(size for value in state for size in sizes(value)):
        raise ModelFileError(
            f"{directory}: {ENCODE.file} was exported by an older version, or not in int8; needed: fastcap export "
            "anew, in int8"
        )
    height, width = sizes(encode.graph.input[0])[1:3]
    if height != width:
        raise ModelFileError(f"{directory}: pictures have {width}x{height} pixels; allowed: as wide as high")
    write_graph(folder / f"{ENCODER}{suffix}.onnx", encoder(encode, state, height, folder))
    cache = next(value for value in step.graph.input if value.name == "cache")
    both, heads, _, _, width = sizes(cache)
    write_graph(folder / f"{DECODER}{suffix}.onnx", decoder(step, state, both, heads, width))
    check(directory, folder, suffix, height)
    return both // 2, heads, width


def sizes(value: onnx.ValueInfoProto) -> list[int]:
    """The shape of a tensor, 0 where it changes from run to run."""
    return [axis.dim_value for axis in value.type.tensor_type.shape.dim]


def constant(name: str, values: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def encoder(encode: onnx.ModelProto, state: Tensors, size: int, scratch: Path) -> onnx.ModelProto:
    """Pictures of any size are resized, as in `fastcap.export.llava`, and the state's tensors laid end to end."""
    path = scratch / "resize.onnx"
    axes = {"pixel_values": {2: "height", 3: "width"}}
    trace(Squash(size), (torch.zeros(1, 3, size + 9, size - 5),), path, axes, ["resized"], axes)
    resize = onnx.compose.add_prefix(onnx.load(str(path)), "r/", rename_inputs=False, rename_outputs=False)
    path.unlink()
    graph = encode.graph
    before = [
        helper.make_node("Cast", ["resized"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["bytes"], ["images"], perm=[0, 2, 3, 1]),
    ]
    after = []
    for value in state:
        name = value.name
        after.append(helper.make_node("Cast", [name], [f"{name}/float"], to=TensorProto.FLOAT))
        after.append(helper.make_node("Reshape", [f"{name}/float", "flat"], [f"{name}/flat"]))
    after.append(helper.make_node("Concat", [f"{value.name}/flat" for value in state], ["numbers"], axis=0))
    after.append(helper.make_node("Reshape", ["numbers", "one_each"], ["last_hidden_state"]))
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [1, "numbers", 1])
    made = helper.make_graph(
        [*resize.graph.node, *before, *graph.node, *after],
        "encoder",
        list(resize.graph.input),
        [output],
        [*resize.graph.initializer, *graph.initializer, constant("flat", [-1]), constant("one_each", [1, -1, 1])],
    )
    return helper.make_model(made, opset_imports=encode.opset_import, ir_version=encode.ir_version)


def decoder(step: onnx.ModelProto, state: Tensors, both: int, heads: int, width: int) -> onnx.ModelProto:
    """`step` with its state cut out of `encoder_hidden_states`, and its cache a tensor a layer and kind."""
    given = helper.make_tensor_value_info
    past, present = cache_names("past_key_values", both // 2), cache_names("present", both // 2)
    nodes = [
        helper.make_node("Reshape", ["input_ids", "flat"], ["token_ids"]),
        helper.make_node("Reshape", ["encoder_hidden_states", "flat"], ["numbers"]),
    ]
    held = [constant("flat", [-1]), constant("parents", [0]), constant("first", [0]), constant("second", [1])]
    start = 0
    for value in state:
        name, end = value.name, start + int(np.prod(sizes(value)))
        held += [constant(f"{name}/shape", sizes(value)), constant(f"{name}/start", [start])]
        held.append(constant(f"{name}/end", [end]))
        cut = ["numbers", f"{name}/start", f"{name}/end"]
        nodes.append(helper.make_node("Slice", cut, [f"{name}/flat"]))
        nodes.append(helper.make_node("Reshape", [f"{name}/flat", f"{name}/shape"], [f"{name}/float"]))
        nodes.append(helper.make_node("Cast", [f"{name}/float"], [name], to=value.type.tensor_type.elem_type))
        start = end
    for name in past:  # (1, N, T, D) to (1, N, 1, T, D)
        nodes.append(helper.make_node("Unsqueeze", [name, "between"], [f"{name}/one"]))
    held.append(constant("between", [2]))
    nodes.append(helper.make_node("Concat", [f"{name}/one" for name in past], ["cache"], axis=0))
    after = [
        helper.make_node("Unsqueeze", ["log_p", "second"], ["logits"]),
        helper.make_node("Split", ["new_cache"], [f"{name}/one" for name in present], axis=0),
        *(helper.make_node("Squeeze", [f"{name}/one", "between"], [name]) for name in present),
    ]
    ids = given("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    inputs = [ids, given("encoder_hidden_states", TensorProto.FLOAT, ["batch_size", "numbers", 1])]
    shape: list[str | int | None] = ["batch_size", heads, "past_sequence_length", width]
    inputs += [given(name, TensorProto.FLOAT, shape) for name in past]
    outputs = [given("logits", TensorProto.FLOAT, ["batch_size", 1, "words"])]
    outputs += [given(name, TensorProto.FLOAT, ["batch_size", heads, "total", width]) for name in present]
    made = helper.make_graph(
        [*nodes, *step.graph.node, *after], "decoder", inputs, outputs, [*step.graph.initializer, *held]
    )
    return helper.make_model(made, opset_imports=step.opset_import, ir_version=step.ir_version)


def check(directory: Path, folder: Path, suffix: str, size: int) -> None:
    """Let both graphs and those of the directory read a few tokens about a picture of noise.

    Raises:
        ModelFileError: they differ.
    """
    picture = np.random.RandomState(0).randint(0, 256, (1, size, size, 3), dtype=np.int64).astype(np.uint8)
    stepper, row = open_stepper(directory), np.arange(1)
    state = stepper.start(stepper.encode(picture), 1)
    encode, decode = (open_graph(folder / f"{name}{suffix}.onnx") for name in (ENCODER, DECODER))
    pixels = np.ascontiguousarray(picture.transpose(0, 3, 1, 2), np.float32)
    (hidden,) = encode.run(None, {"pixel_values": pixels})
    past = {each.name: np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32) for each in decode.get_inputs()[2:]}
    for token in (1, 7, 9):
        expected, state = stepper.step(np.array([token]), state, row)
        logits, *grown = decode.run(None, {"input_ids": np.array([[token]]), "encoder_hidden_states": hidden, **past})
        past = dict(zip(past, grown, strict=True))
        if (difference := np.abs(logits[:, -1] - expected).max()) > 1e-3:
            raise ModelFileError(f"{directory}: its graphs for transformers.js differ by {difference:.1e}, needed: 0")


def write_image_to_text_files(
    folder: Path, manifest: Manifest, tokenizer: Tokenizer, shape: tuple[int, int, int], dtype: str
) -> None:
    """Write what transformers.js reads beside the graphs in `onnx/`; `shape`: what `wrap` returned, `dtype`: which of
    the graphs are loaded where nothing else is asked for."""
    layers, heads, width = shape
    vocabulary, decoding = manifest.vocabulary, manifest.decoding
    marks = marks_of(vocabulary)
    write_json(
        folder,
        {
            "config.json": {
                "architectures": ["VisionEncoderDecoderModel"],
                "model_type": "vision-encoder-decoder",
                "is_encoder_decoder": True,
                "encoder": {"model_type": "vit"},
                # of transformers.js, which makes the empty cache by them
                "decoder": {"model_type": "gpt2", "n_layer": layers, "n_head": heads, "n_embd": heads * width},
                **marks,
                "decoder_start_token_id": vocabulary.bos_id,
                "transformers.js_config": {"dtype": dtype},
            },
            "generation_config.json": {
                **marks,
                "decoder_start_token_id": vocabulary.bos_id,
                "do_sample": False,
                "min_new_tokens": decoding.lengths["normal"][0],
                "max_new_tokens": decoding.max_length,
                "suppress_tokens": list(vocabulary.barred_in_search),
                "bad_words_ids": [[token, token] for token in range(vocabulary.size)],
            },
            "preprocessor_config.json": {
                "image_processor_type": "ViTImageProcessor",
                **dict.fromkeys(("do_resize", "do_rescale", "do_normalize"), False),  # the graph does
                "do_convert_rgb": True,
            },
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizer",
                "clean_up_tokenization_spaces": False,
                **spelled_marks(vocabulary, tokenizer),
            },
            "tokenizer.json": json.loads(tokenizer.to_str()),
        },
    )
