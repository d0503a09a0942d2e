"""Quantised graphs run, are smaller, and stay close to the graph that they came from."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fastcap.errors import ConfigError
from fastcap.export.compare import open_graph
from fastcap.export.parallel import assemble_whole
from fastcap.quantization.convolutions import quantize_convolutions
from fastcap.quantization.integers import to_integers
from fastcap.runtime.contract import MODEL

NO_PENALTIES = np.zeros(300, np.float32)
FEEDS = {"length_range": np.array([2, 12]), "candidates": np.array([2]), "penalties": NO_PENALTIES}


def operators(path) -> set[str]:
    return {node.op_type for node in onnx.load(str(path)).graph.node}


def test_the_whole_graph_runs_is_smaller_and_keeps_its_promises(quantised, model, graph, pictures, tmp_path):
    assemble_whole(quantised, tmp_path / "int8.onnx", model.config.generation.passes)
    assert (tmp_path / "int8.onnx").stat().st_size < 0.7 * graph.stat().st_size
    session = open_graph(tmp_path / "int8.onnx")
    for limits, count in (((2, 12), 2), ((5, 5), 1), ((1, 12), 8)):
        feeds = {
            "images": pictures[:1],
            "length_range": np.array(limits),
            "candidates": np.array([count]),
            "penalties": NO_PENALTIES,
        }
        found = dict(zip(MODEL.outputs, session.run(list(MODEL.outputs), feeds), strict=True))
        assert found["token_ids"].shape[:2] == (1, count)
        assert ((found["lengths"] >= limits[0]) & (found["lengths"] <= limits[1])).all()
        inside = np.arange(found["token_ids"].shape[2]) < found["lengths"][..., None]
        assert (found["token_ids"][inside] >= 5).all()
        assert (found["token_ids"][~inside] == 0).all()
        assert ((found["confidences"] > 0) & (found["confidences"] <= 1)).all()


def test_convolutions_and_products_are_integers(quantised):
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators(quantised / "encode.onnx")
    for part in (quantised / "refine.onnx", quantised / "rank.onnx"):
        assert "DynamicQuantizeMatMul" in operators(part)


def test_the_first_convolution_reads_the_pictures_bytes(quantised):
    graph = onnx.load(str(quantised / "encode.onnx")).graph
    (turned,) = (node for node in graph.node if "images" in node.input)
    readers = [node for node in graph.node if turned.output[0] in node.input]
    assert [turned.op_type, *(node.op_type for node in readers)] == ["Transpose", "DequantizeLinear"]


def test_no_large_table_of_floats_is_left(quantised):
    for path in quantised.iterdir():
        for tensor in onnx.load(str(path)).graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                assert np.prod(tensor.dims) < 2**14, (path.name, tensor.name, tensor.dims)


def test_the_encoders_output_stays_close(quantised, exported, pictures):
    names = [value.name for value in onnx.load(str(exported / "encode.onnx")).graph.output]
    context = names[next(i for i, name in enumerate(names) if name.startswith("state"))]
    for picture in pictures[8:]:
        feeds = {"images": picture[None], **FEEDS}
        before = open_graph(exported / "encode.onnx").run([context], feeds)[0].ravel()
        after = open_graph(quantised / "encode.onnx").run([context], feeds)[0].ravel()
        assert before @ after / np.linalg.norm(before) / np.linalg.norm(after) > 0.97


def test_calibration_without_pictures_is_refused(exported):
    with pytest.raises(ConfigError, match="calibration needs at least 1 image, got 0"):
        quantize_convolutions(exported / "encode.onnx", np.zeros((0, 64, 64, 3), np.uint8), FEEDS, {})


def test_weights_keep_seven_bits_and_a_scale_a_column():
    weight = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    weight[:, 2] = 0
    values, scale = to_integers(weight, (0,), 63)
    assert values.dtype == np.int8
    assert scale.shape == (1, 5)
    assert np.abs(values).max() == 63
    assert (np.abs(values * scale - weight) <= scale / 2 + 1e-7).all()
