"""Other runtimes than ONNX Runtime: what each converts is run by it, and captions as the model does.

Each test is skipped where its converter is not installed; docs/phones.md says how they are run.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
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
GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"
RUN_HERE = ("litert", *(["coreml"] if sys.platform == "darwin" else []))


@pytest.fixture(scope="module", params=["parallel", "autoregressive"])
def checkpoint(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    shutil.unpack_archive(GOLDEN / f"{request.param}.zip", folder)
    return folder / "checkpoint"


def needs(converter: str) -> None:
    if importlib.util.find_spec(CONVERTERS[converter].package) is None:
        pytest.skip(f"needs the extra `{CONVERTERS[converter].extra}`")


@pytest.mark.parametrize("converter", RUN_HERE)
def test_the_captions_of_fp32_are_those_of_the_model(converter, checkpoint, pictures, tmp_path):
    needs(converter)
    (folder,) = convert_all(checkpoint, tmp_path, {"here": converter}, "fp32")
    converted, model = open_converted(folder), checkpoint_captioner(checkpoint)
    for picture in pictures:
        one, other = converted.caption(picture), model.caption(picture)
        assert one.text == other.text
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


@pytest.mark.parametrize("converter", RUN_HERE)
def test_int8_is_smaller_and_says_how_sure_it_is_nearly_as_the_model_does(converter, checkpoint, pictures, tmp_path):
    needs(converter)
    small, whole = (convert_all(checkpoint, tmp_path / kind, {"here": converter}, kind)[0] for kind in ("int8", "fp32"))
    sizes = [
        sum(json.loads((each / MANIFEST).read_text())["files"][part["file"]]["bytes"] for part in parts(each))
        for each in (small, whole)
    ]
    assert sizes[0] < sizes[1]
    converted, model = open_converted(small), checkpoint_captioner(checkpoint)
    confidences = [[c.caption(picture).confidence for picture in pictures] for c in (converted, model)]
    np.testing.assert_allclose(*confidences, atol=0.1)


def parts(folder: Path) -> list[dict]:
    """The parts of a converted folder, one for each file."""
    found = json.loads((folder / MANIFEST).read_text())["parts"].values()
    return [*{part["file"]: part for part in found}.values()]


# --- Core ML, which runs on Apple's systems alone ---------------------------------------------------------------

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


def test_core_ml_names_the_operator_that_it_lacks_and_its_layer():
    needs("coreml")
    from fastcap.export.coreml import package

    with pytest.raises(
        ModelFileError, match=r"part 'encode' at aten\.special_zeta\.default of layer 'inner' \(test_run"
    ):
        package(Part("encode", Outer(), {"x": torch.ones(2)}, ("y",)), "fp32")
