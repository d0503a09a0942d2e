"""The exported graph is the model: the same tokens, the same confidences, whatever is asked of it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fastcap.errors import FastcapError
from fastcap.export.compare import compare_parallel, open_graph
from fastcap.export.parallel import CARRIED, assemble_whole
from fastcap.export.surgery import fold_padding, shorten_names
from fastcap.export.weights import nodes
from fastcap.runtime.contract import IMAGE_VECTORS, MODEL
from invariants import assert_exported_equals_eager


@pytest.fixture(scope="module")
def session(graph) -> onnxruntime.InferenceSession:
    return open_graph(graph)


def captions(
    session, pixels: np.ndarray, limits: tuple[int, int], count: int, penalties: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    feeds = {
        "images": pixels,
        "length_range": np.array(limits),
        "candidates": np.array([count]),
        "penalties": np.zeros(300, np.float32) if penalties is None else penalties,
    }
    return dict(zip(MODEL.outputs, session.run(list(MODEL.outputs), feeds), strict=True))


@pytest.mark.parametrize(("limits", "count"), [((2, 12), 2), ((1, 1), 1), ((12, 12), 1), ((4, 8), 5), ((1, 12), 12)])
@torch.no_grad()
def test_the_graph_captions_as_the_model_does(model, session, pictures, limits, count):
    for picture in pictures[:6]:
        pixels = picture[None]
        expected = model(torch.from_numpy(pixels), torch.tensor(limits), torch.tensor([count]))
        found = captions(session, pixels, limits, count)
        assert_exported_equals_eager(found, expected._asdict())


@torch.no_grad()
def test_a_token_that_is_ruled_out_is_never_said(model, session, pictures):
    free = captions(session, pictures[:1], (4, 8), 5)
    said = np.unique(free["token_ids"][free["token_ids"] > 0])
    penalties = np.zeros(300, np.float32)
    penalties[said] = -1e9
    found = captions(session, pictures[:1], (4, 8), 5, penalties)
    assert not np.isin(found["token_ids"], said).any()
    expected = model(
        torch.from_numpy(pictures[:1]), torch.tensor([4, 8]), torch.tensor([5]), torch.from_numpy(penalties)
    )
    assert np.array_equal(found["token_ids"], expected.token_ids.numpy())


def test_the_graphs_inputs_and_outputs_are_the_contract(session):
    types = {
        "images": "tensor(uint8)",
        "length_range": "tensor(int64)",
        "candidates": "tensor(int64)",
        "penalties": "tensor(float)",
    }
    assert {value.name: value.type for value in session.get_inputs()} == types
    assert types == {name: tensor.type for name, tensor in MODEL.inputs.items()}
    floats = ("confidences", "token_confidences", *IMAGE_VECTORS)
    for value in session.get_outputs():
        assert value.type == ("tensor(float)" if value.name in floats else "tensor(int64)")
    assert [value.name for value in session.get_outputs()] == [*MODEL.outputs, *IMAGE_VECTORS]


@pytest.mark.parametrize("passes", [1, 2, 5])
@torch.no_grad()
def test_the_loop_runs_as_often_as_asked(model, exported, pictures, tmp_path, passes, monkeypatch):
    """The passes' schedule is part of the pass; here only its number changes, as in the model's own loop."""
    assemble_whole(exported, tmp_path / "graph.onnx", passes)
    found = captions(open_graph(tmp_path / "graph.onnx"), pictures[:1], (2, 12), 2)
    image = model.encode(torch.from_numpy(pictures[:1]))
    lengths, log_p = model.length_predictor.choose(image.pooled, torch.tensor([2, 12]), torch.tensor([2]))
    state = model.decoder.prepare(image)
    refined = model.refiner(model.decoder, state, lengths.reshape(-1), int(lengths.max()), passes=passes)
    expected = model.rank(state, refined, lengths, log_p, model.alignment.embed_image(image))
    assert np.array_equal(found["token_ids"], expected.token_ids.numpy())


def test_a_graph_has_no_padding_before_a_convolution(exported):
    graph = onnx.load(str(exported / "encode.onnx")).graph
    producers = {output: node for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 20
    for node in convolutions:
        source = producers.get(node.input[0])
        assert source is None or source.op_type != "Pad"
    padded = [next(a for a in node.attribute if a.name == "pads").ints for node in convolutions]
    assert [0, 0, 1, 1] in [list(pads) for pads in padded]  # TensorFlow's SAME of stride 2: right and bottom


def test_a_loop_repeats_only_what_changes_and_nothing_is_computed_twice(graph):
    main = onnx.load(str(graph)).graph
    (loop,) = (node for node in main.node if node.op_type == "Loop")
    body = loop.attribute[0].g
    changing = {value.name for value in body.input}
    for node in body.node:
        assert not changing.isdisjoint(node.input), node
        changing.update(node.output)
    work = [(node.op_type, tuple(node.input), *(a.SerializeToString() for a in node.attribute)) for node in main.node]
    assert len(set(work)) == len(work)


def test_every_node_has_a_short_name_of_its_own(graph):
    """ONNX Runtime 1.20 and 1.21 refuse a graph in which two nodes that they add are named after none."""
    found = list(nodes(onnx.load(str(graph)).graph))
    names = {node.name for node in found}
    assert len(names) == len(found) > 100
    assert all(1 < len(name) <= 5 for name in names)


def test_folding_padding_keeps_values_and_leaves_padded_channels_alone():
    weight = np.random.default_rng(0).standard_normal((3, 2, 3, 3)).astype(np.float32)

    def padded(amounts: list[int]) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Pad", ["x", "amounts"], ["padded"]),
            helper.make_node("Conv", ["padded", "weight"], ["y"], pads=[1, 0, 0, 0], strides=[2, 2]),
        ]
        channels = 2 - amounts[1] - amounts[5]
        graph = helper.make_graph(
            nodes,
            "padded",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [
                onnx.numpy_helper.from_array(np.array(amounts), "amounts"),
                onnx.numpy_helper.from_array(weight, "weight"),
            ],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def run(model: onnx.ModelProto, channels: int) -> np.ndarray:
        x = np.random.default_rng(1).standard_normal((1, channels, 8, 8)).astype(np.float32)
        return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]

    folded = padded([0, 0, 0, 0, 0, 0, 1, 1])
    fold_padding(folded)
    assert [node.op_type for node in folded.graph.node] == ["Conv"]
    np.testing.assert_allclose(run(folded, 2), run(padded([0, 0, 0, 0, 0, 0, 1, 1]), 2), atol=1e-5)
    channelwise = padded([0, 1, 0, 0, 0, 0, 0, 0])
    fold_padding(channelwise)
    assert [node.op_type for node in channelwise.graph.node] == ["Pad", "Conv"]


def test_a_comparison_counts_equal_captions_and_tells_another_model(model, session, pictures):
    agreement = compare_parallel(model, session, pictures)
    assert (agreement.decode, agreement.quantity, agreement.images) == ("parallel", "confidences", 12)
    assert agreement.equal_captions == 1
    assert agreement.difference < 1e-4
    bias = model.decoder.bias.data.clone()
    try:
        model.decoder.bias.data += torch.randn(300, generator=torch.Generator().manual_seed(0)) * 3
        assert compare_parallel(model, session, pictures).equal_captions < 0.5
    finally:
        model.decoder.bias.data = bias


def test_a_comparison_without_pictures_is_an_error(model, session):
    with pytest.raises(FastcapError, match="needs at least 1 image, got 0"):
        compare_parallel(model, session, np.zeros((0, 64, 64, 3), np.uint8))


@pytest.fixture(scope="module", params=["fp32", "int8"])
def passes(request, exported) -> tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession]:
    """The graphs that run before the loop and in it."""
    parts = exported if request.param == "fp32" else request.getfixturevalue("quantised")
    sessions = []
    for path in (parts / "encode.onnx", parts / "refine.onnx"):
        part = onnx.load(str(path))
        shorten_names(part)
        sessions.append(onnxruntime.InferenceSession(part.SerializeToString()))
    return tuple(sessions)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 11), st.integers(1, 12), st.integers(0, 10_000))
def test_the_kept_score_never_falls_from_pass_to_pass(passes, low, more, count, seed):
    encode, refine = passes
    limits = (low, min(low + more, 12))
    count = min(count, limits[1] - low + 1)
    asked = {
        "images": np.random.default_rng(seed).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8),
        "length_range": np.array(limits),
        "candidates": np.array([count]),
        "penalties": np.zeros(300, np.float32),
    }
    found = dict(zip([value.name for value in encode.get_outputs()], encode.run(None, asked), strict=True))
    lengths, row = found["rows_lengths"], found["rows_row"]
    assert len(set(lengths.tolist())) == count
    assert limits[0] <= lengths.min() <= lengths.max() <= limits[1]
    assert np.bincount(row).tolist() == lengths.tolist()
    for index in range(3):
        feeds = {value.name: found[value.name] for value in refine.get_inputs() if value.name != "index"}
        new = dict(zip(CARRIED, refine.run(None, {**feeds, "index": np.array(index)}), strict=True))
        assert (new["scores"] >= found["scores"]).all()
        np.testing.assert_allclose(new["scores"], np.bincount(row, np.log(new["probabilities"])) / lengths, atol=1e-4)
        found.update(new)
    assert not found["masked"].any()
    assert (found["token_ids"] >= 5).all()
