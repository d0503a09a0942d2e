"""What `fastcap.runtime.contract` says of model directories holds for those that exist, and for what reads and writes
them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from golden_models import KINDS as GOLDEN_KINDS

from fastcap.errors import ModelFileError
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.contract import (
    DECODES,
    ENCODE,
    GRAPHS,
    IMAGE_VECTORS,
    KINDS,
    LEFT_TO_RIGHT,
    MODEL,
    STATE,
    STEP,
    TEXT,
    decodes,
    named_lengths,
)
from fastcap.runtime.manifest import read_manifest


@pytest.fixture(params=[*GOLDEN_KINDS, "bundled"])
def directory(request: pytest.FixtureRequest, golden: Path) -> Path:
    """A model directory of each kind, and the one that ships."""
    return find_model("fastcap-base") if request.param == "bundled" else golden / request.param / "model"


def test_every_graph_has_the_tensors_that_the_contract_names(directory):
    bundle = Bundle.open(directory)
    for graph in (GRAPHS[name] for name in bundle.files if name in GRAPHS):
        session = bundle.open_graph(graph)
        inputs, outputs = ([node.name for node in nodes] for nodes in (session.get_inputs(), session.get_outputs()))
        assert [name for name in inputs if not name.startswith(STATE)] == [*graph.inputs]
        given = sorted(name for name in outputs if not name.startswith(STATE))
        vectors = [*IMAGE_VECTORS] if KINDS[bundle.kind].vectors == graph.file else []
        allowed = [*IMAGE_VECTORS] if graph.gives_vectors else vectors
        assert given in (sorted([*graph.outputs, *vectors]), sorted([*graph.outputs, *allowed]))
        assert any(name.startswith(STATE) for name in inputs) == graph.reads_state
        assert any(name.startswith(STATE) for name in outputs) == graph.gives_state


def test_a_manifest_that_is_read_and_written_is_the_same(directory):
    written = json.loads((directory / "model.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(read_manifest(directory).as_json())) == written


def test_a_directory_decodes_as_its_graphs_allow():
    assert decodes("parallel", [MODEL.file]) == ("parallel",)
    assert decodes("parallel", [MODEL.file, *LEFT_TO_RIGHT]) == DECODES
    assert decodes("autoregressive", LEFT_TO_RIGHT) == ("beam", "greedy", "sample")


def test_named_lengths_are_ranges_within_the_models_own():
    assert named_lengths(5, 20) == {"short": (5, 7), "normal": (5, 20), "long": (13, 20)}
    assert named_lengths(2, 6) == {"short": (2, 6), "normal": (2, 6), "long": (6, 6)}
    assert named_lengths(11, 20)["short"] == (11, 11)


@pytest.mark.parametrize("graph", [MODEL, ENCODE, STEP, TEXT], ids=lambda graph: graph.file)
def test_a_graph_in_the_place_of_another_is_refused(golden, graph):
    """Whichever it is, when it is opened: not when it first runs."""
    other = TEXT if graph is not TEXT else ENCODE
    bundle = Bundle.open(golden / "parallel" / "model")
    with pytest.raises(ModelFileError, match=rf"{other.file}: inputs are .*; expected .*{next(iter(graph.inputs))}"):
        bundle.open_graph(graph._replace(file=other.file))


def test_a_vocabulary_of_another_size_is_refused(golden, tmp_path):
    own = Path(shutil.copytree(golden / "autoregressive" / "model", tmp_path / "own"))
    values = json.loads((own / "model.json").read_text())
    values["vocabulary"]["size"] += 1
    (own / "model.json").write_text(json.dumps(values))
    with pytest.raises(ModelFileError, match=r"step\.onnx: the shape of log_p is .*, \d+\]; expected \['R', \d+\]"):
        Bundle.open(own).open_graph(STEP)
