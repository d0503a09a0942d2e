"""Two running servers that tests share, and the tiny model that they serve, here with an alignment as well."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("fastapi", reason="needs the extra `serve`")
httpx = pytest.importorskip("httpx")

from serving import TOKEN, Server, picture  # noqa: E402


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory whose captions follow the colour (red barn, green hummingbird, blue boat), and whose scores
    compare the colour with the mean token."""
    source = Path(__file__).parents[1] / "runtime" / "tiny_bundle.py"
    spec = importlib.util.spec_from_file_location("tiny_bundle_for_serve", source)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = module.write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")
    captioner = onnx.load(folder / "model.onnx")
    captioner.graph.node.extend(
        [
            helper.make_node("Add", ["colour", "step_float"], ["not_black"]),
            helper.make_node("LpNormalization", ["not_black"], ["image_vectors"], axis=1, p=2),
        ]
    )
    captioner.graph.initializer.append(numpy_helper.from_array(np.float32(1), "step_float"))
    captioner.graph.output.append(helper.make_tensor_value_info("image_vectors", TensorProto.FLOAT, ["B", 3]))
    onnx.save(captioner, folder / "model.onnx")
    text = text_graph().SerializeToString()
    (folder / "text.onnx").write_bytes(text)
    values = json.loads((folder / "model.json").read_text("utf-8"))
    values["alignment"] = {"scale": 5.0, "offset": 0.0}
    values["files"]["text.onnx"] = {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    module.sign(folder, values)
    return folder


def text_graph() -> onnx.ModelProto:
    """Text ids (1,T) to (1,3): their mean, 100 and 50, scaled to length 1."""
    nodes = [
        helper.make_node("Cast", ["text_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "axes"], ["mean"], keepdims=1),
        helper.make_node("Concat", ["mean", "beside"], ["three"], axis=1),
        helper.make_node("LpNormalization", ["three"], ["text_vectors"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info("text_ids", TensorProto.INT64, ["B", "T"])],
        [helper.make_tensor_value_info("text_vectors", TensorProto.FLOAT, ["B", 3])],
        [
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
            numpy_helper.from_array(np.array([[100.0, 50.0]], np.float32), "beside"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture
def start(tiny_bundle: Path) -> Iterator[Callable[..., Server]]:
    """Start a server with options; it is stopped after the test."""
    with ExitStack() as stack:

        def started(*options: str) -> Server:
            server = Server(tiny_bundle, *options)
            stack.callback(server.process.communicate)
            stack.callback(server.process.kill)
            return server

        yield started


@pytest.fixture(scope="session")
def server(tiny_bundle: Path) -> Iterator[Server]:
    """An ordinary server. Whatever tests do to it, it ends well and without a word."""
    server = Server(tiny_bundle, "--threads", "2", "--max-images", "4", "--max-pixels", "1000000")
    yield server
    server.terminate()
    assert server.wait() == (0, "")


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def strict_server(tiny_bundle: Path) -> Iterator[Server]:
    """A server that demands a token, reads 2 KiB, waits a second, and knows one origin and one host."""
    options = ("--max-bytes", "2048", "--timeout", "1", "--origin", "https://site.example", "--fetch-from", "127.0.0.1")
    server = Server(tiny_bundle, *options, FASTCAP_TOKEN=TOKEN)
    yield server
    server.terminate()
    assert server.wait() == (0, "")


@pytest.fixture
def strict_client(strict_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=strict_server.url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """One JPEG of each colour; the tiny model calls lime green."""
    return {"red": picture("red"), "green": picture("lime"), "blue": picture("blue")}
