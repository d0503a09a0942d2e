"""Other runtimes than ONNX Runtime: what each converts is run by it, and captions as the model does.

Each test is skipped where its converter is not installed; docs/phones.md says how they are run.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fastcap.eager import checkpoint_captioner
from fastcap.errors import ModelFileError
from fastcap.export.converted import MANIFEST, open_converted
from fastcap.export.converters import Source, convert_all
from fastcap.export.portable import Part, parts_of
from fastcap.export.targets import CONVERTERS

pytestmark = pytest.mark.slow
REFUSED = {("executorch", "prefix", "int8")}
RUN_HERE = ("litert", "executorch", "openvino", *(["coreml"] if sys.platform == "darwin" else []))


def needs(converter: str) -> None:
    if importlib.util.find_spec(CONVERTERS[converter].package) is None:
        pytest.skip(f"needs the extra `{CONVERTERS[converter].extra}`")


@pytest.fixture(scope="module", params=RUN_HERE)
def converter(request) -> str:
    needs(request.param)
    return request.param


@pytest.fixture(scope="module")
def converted(converter, small_checkpoint, tmp_path_factory) -> dict[str, Path]:
    """Folders by precision: converting takes minutes, so that tests share them."""
    out, family = tmp_path_factory.mktemp(converter), Source.open(small_checkpoint).model.config.kind
    known = [each for each in ("fp32", "int8", "int4") if each in CONVERTERS[converter].precisions]
    kinds = [each for each in known if (converter, family, each) not in REFUSED]
    return {kind: convert_all(small_checkpoint, out / kind, {"here": converter}, kind)[0] for kind in kinds}


def test_a_language_model_that_a_converter_cannot_round_is_refused_by_its_name(converter, small_checkpoint, tmp_path):
    refused = (converter, Source.open(small_checkpoint).model.config.kind, "int8")
    if refused not in REFUSED:
        pytest.skip("the converter takes it")
    with pytest.raises(ModelFileError, match="refused the part 'language_model'"):
        convert_all(small_checkpoint, tmp_path / "out", {"here": converter}, "int8")
    assert not list(tmp_path.glob("out/*"))


def test_the_captions_of_fp32_are_those_of_the_model(converted, small_checkpoint, pictures):
    here, model = open_converted(converted["fp32"]), checkpoint_captioner(small_checkpoint)
    for picture in pictures:
        one, other = here.caption(picture), model.caption(picture)
        assert one.text == other.text
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)
    if model.bundle.questions:
        asked = ["is there a red ball?", "what runs over the blue grass in the dark?"]
        assert [each.text for each in here.ask(pictures[0], asked)] == [
            each.text for each in model.ask(pictures[0], asked)
        ]


@pytest.mark.parametrize(("precision", "larger", "apart"), [("int8", "fp32", 0.1), ("int4", "int8", 0.2)])
def test_fewer_bits_are_smaller_and_say_how_sure_they_are_nearly_as_the_model_does(
    precision, larger, apart, converted, small_checkpoint, pictures
):
    if precision not in converted:
        pytest.skip("the converter refuses it, or does not know it")
    sizes = [
        sum(weights_of(converted[kind] / part["file"]).stat().st_size for part in parts(converted[kind]))
        for kind in (precision, larger)
    ]
    assert sizes[0] < sizes[1]
    here, model = open_converted(converted[precision]), checkpoint_captioner(small_checkpoint)
    confidences = [[c.caption(picture).confidence for picture in pictures] for c in (here, model)]
    np.testing.assert_allclose(*confidences, atol=apart)


def test_openvino_tells_nobody_that_it_is_used():
    needs("openvino")
    code = "from fastcap.export.openvino import imported as i; i('nncf'); print(i('openvino.tools.ovc').telemetry)"
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert "telemetry_stub" in told.stdout


def parts(folder: Path) -> list[dict]:
    """The parts of a converted folder, one for each file."""
    found = json.loads((folder / MANIFEST).read_text())["parts"].values()
    return [*{part["file"]: part for part in found}.values()]


def weights_of(part: Path) -> Path:
    """The file with a part's weights: OpenVINO keeps them beside the graph, whose text outweighs so small a model."""
    return part.with_suffix(".bin") if part.suffix == ".xml" else part


# --- Core ML, which runs on Apple's systems alone ---------------------------------------------------------------


@pytest.fixture
def checkpoint(small_checkpoint):
    """Of the two families whose programs are computed by their specification."""
    if Source.open(small_checkpoint).model.config.kind not in UNREAD:
        pytest.skip("a prefix model has not been computed by the specification")
    return small_checkpoint


UNREAD: dict[str, tuple[str, ...]] = {"parallel": (), "autoregressive": ("backbone.pool.", "alignment.text.")}
"""Weights that no part reads: search from left to right needs no vector of a caption, and no summary of a picture."""


def test_programs_of_core_ml_have_the_tensors_and_weights_of_the_model_and_compute_its_captions(
    checkpoint, pictures, tmp_path, monkeypatch
):
    """They are read back, and computed by their specification (`mil.py`)."""
    needs("coreml")
    import mil

    from fastcap.export import coreml

    monkeypatch.setattr(coreml, "Runner", mil.Runner)
    (folder,) = convert_all(checkpoint, tmp_path, {"ios": "coreml"}, "fp32")
    manifest = json.loads((folder / MANIFEST).read_text())
    model, held = Source.open(checkpoint).model, []
    for part in parts_of(model):
        facts = manifest["parts"][part.name]
        program, spec = mil.read(folder / facts["file"])
        for which, told in (("input", facts["inputs"]), ("output", facts["outputs"])):
            read = {each.name: list(each.type.multiArrayType.shape) for each in getattr(spec.description, which)}
            assert read == {fact.get("as", name): fact["shape"] for name, fact in told.items()}
        held += mil.constants(program)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and not name.startswith(UNREAD[model.config.kind]):  # biases may be added to others
            assert mil.holds(held, parameter.detach().numpy()), name
    converted, model = open_converted(folder), checkpoint_captioner(checkpoint)
    for picture in pictures[:3]:
        one, other = converted.caption(picture), model.caption(picture)
        assert one.text == other.text
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


def test_core_ml_s_int8_is_smaller_and_sure_nearly_as_the_model_is(checkpoint, pictures, tmp_path, monkeypatch):
    needs("coreml")
    import mil

    from fastcap.export import coreml

    (folder,) = convert_all(checkpoint, tmp_path, {"ios": "coreml"}, "int8")
    if sys.platform != "darwin":
        with pytest.raises(ModelFileError, match="Core ML runs on Apple's systems alone"):
            open_converted(folder)
    monkeypatch.setattr(coreml, "Runner", mil.Runner)
    converted, model = open_converted(folder), checkpoint_captioner(checkpoint)
    kinds = [
        constant.dtype for program in converted.bundle.runner.programs.values() for constant in mil.constants(program)
    ]
    assert np.dtype("int8") in kinds
    confidences = [[c.caption(picture).confidence for picture in pictures[:3]] for c in (converted, model)]
    np.testing.assert_allclose(*confidences, atol=0.1)


class Inner(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.zeta(x, x)


class Outer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x + 1)


WRITES = {
    "litert": lambda module, part: module.written([part]),
    "executorch": lambda module, part: module.program(part, "fp32"),
    "openvino": lambda module, part: module.read(part),
    "coreml": lambda module, part: module.package(part, "fp32"),
}


@pytest.mark.parametrize("name", WRITES)
def test_an_operator_that_a_converter_lacks_is_named_with_its_layer(name):
    needs(name)
    module = importlib.import_module(CONVERTERS[name].module)
    with pytest.raises(
        ModelFileError, match=r"part 'encode' at aten\.special_zeta\.default of layer 'inner' \(test_run"
    ):
        WRITES[name](module, Part("encode", Outer(), {"x": torch.ones(2)}, ("y",)))
