"""Other runtimes than ONNX Runtime: what each converts is run by it, and captions as the model does.

Each test is skipped where its converter is not installed; docs/phones.md says how they are run.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastcap.eager import checkpoint_captioner
from fastcap.export.converted import MANIFEST, open_converted
from fastcap.export.converters import convert_all
from fastcap.export.targets import CONVERTERS

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"
RUN_HERE = ("litert",)


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
