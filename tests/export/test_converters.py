"""`fastcap convert`: what is refused before anything is written; parts with fixed shapes caption as the model does.

Converters of other runtimes have tests of their own, `test_litert.py` and so on.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import exported_converter
import numpy as np
import pytest
import torch

from fastcap.backbone.token_selection import TokenSelection
from fastcap.cli import main
from fastcap.eager import checkpoint_captioner
from fastcap.errors import ConfigError, ModelFileError
from fastcap.export.converted import MANIFEST, open_converted
from fastcap.export.converters import Source, convert_all
from fastcap.export.portable import Part, PooledFromRight, rounded
from fastcap.export.programs import exported as program_of
from fastcap.export.programs import refused
from fastcap.export.targets import CONVERTERS, PLATFORMS, PRECISIONS, Converter

ROOT = Path(__file__).parents[2]
ABSENT = {"absent": Converter("Nobody's", "fastcap.export.absent", "a_package_that_is_nowhere", "litert")}


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> str:
    """A converter whose package is not installed."""
    for name, converter in ABSENT.items():
        monkeypatch.setitem(CONVERTERS, name, converter)
    return "absent"


def test_every_platform_has_a_converter_and_every_converter_an_extra():
    assert set(PLATFORMS.values()) <= set(CONVERTERS)
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert {converter.extra for converter in CONVERTERS.values()} <= set(extras)
    assert {precision for converter in CONVERTERS.values() for precision in converter.precisions} == set(PRECISIONS)


def test_what_cannot_be_converted_to_is_said_before_anything_is_written(tmp_path, absent):
    with pytest.raises(ConfigError, match=r"unknown converter 'litertt' .did you mean 'litert'"):
        convert_all("fastcap-base", tmp_path / "out", {"phone": "litertt"})
    with pytest.raises(ConfigError, match=r"precision is 'int4'; litert writes int8 or fp32"):
        convert_all("fastcap-base", tmp_path / "out", {"ios": "litert"}, "int4")
    with pytest.raises(ModelFileError, match=r"needs a_package_that_is_nowhere: pip install .*\[litert\]"):
        convert_all("fastcap-base", tmp_path / "out", {"ios": absent})
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over_something_else(tmp_path, absent):
    (tmp_path / "out" / "ios").mkdir(parents=True)
    (tmp_path / "out" / "ios" / "photo.jpg").touch()
    with pytest.raises(ModelFileError, match="is there already and no converted model"):
        convert_all("fastcap-base", tmp_path / "out", {"ios": absent}, overwrite=True)
    (tmp_path / "out" / "ios" / MANIFEST).touch()
    with pytest.raises(ModelFileError, match=r"a converted model already"):
        convert_all("fastcap-base", tmp_path / "out", {"ios": absent})


@pytest.mark.parametrize("platform", ["ios", "android"])
def test_a_converter_that_is_not_installed_is_one_line_that_names_the_extra(platform, tmp_path, capsys):
    converter = CONVERTERS[PLATFORMS[platform]]
    if importlib.util.find_spec(converter.package) is not None:
        pytest.skip("its converter is installed")
    assert main(["convert", "--platform", platform, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    line = rf"converting for {platform} needs {converter.package}: pip install .*\[{converter.extra}\]\"\n"
    assert re.fullmatch(f"fastcap: error: {line}", said)


# --- what is converted captions as the model does ---------------------------------------------------------------


GOLDEN = ROOT / "tests" / "golden" / "0.1.0"


@pytest.fixture(autouse=True)
def exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The converter of `exported_converter.py`."""
    monkeypatch.setitem(
        CONVERTERS, "exported", Converter("PyTorch", "exported_converter", "torch", "export", ("fp32", "int8"))
    )


def test_parts_with_fixed_shapes_caption_and_answer_as_the_model_does(small_checkpoint, pictures, tmp_path):
    convert_all(small_checkpoint, tmp_path, {"here": "exported"}, "fp32")
    converted, model = open_converted(tmp_path / "here"), checkpoint_captioner(small_checkpoint)
    for options in ({}, {"decode": "beam", "beams": 5, "length": "short"}, {"decode": "sample", "candidates": 4}):
        if options.get("decode", "parallel") not in converted.bundle.decodes:
            continue
        for picture in pictures[:2]:
            one, other = converted.caption(picture, **options), model.caption(picture, **options)
            assert [each.text for each in one.candidates] == [each.text for each in other.candidates]
            assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
    if converted.bundle.questions:
        asked = ["is there a red ball?", "a dog?", "what runs over the blue grass in the dark?", "who?"]
        said = [
            [(each.text, round(each.confidence, 3)) for each in c.ask(pictures[0], asked)] for c in (converted, model)
        ]
        assert said[0] == said[1]


@pytest.fixture(scope="module")
def parallel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    shutil.unpack_archive(GOLDEN / "parallel.zip", folder)
    return folder


def test_a_model_directory_is_converted_and_its_folder_is_whole_or_refused(parallel, pictures, tmp_path):
    (folder,) = convert_all(parallel / "model", tmp_path, {"here": "exported"}, "int8")
    manifest = json.loads((folder / MANIFEST).read_text())
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], MANIFEST}
    assert manifest["model"]["preprocessing"]["width"] == manifest["parts"]["encode"]["inputs"]["images"]["shape"][2]
    captioner = open_converted(folder)
    assert captioner.caption(pictures[0]).text
    with pytest.raises(ConfigError, match=r"candidates is 4; allowed are .*1 to 2"):
        captioner.caption(pictures[0], candidates=4)
    with pytest.raises(ModelFileError, match="a converted model already"):
        convert_all(parallel / "model", tmp_path, {"here": "exported"})
    with (folder / "rank.pt2").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelFileError, match=r"rank\.pt2: its content has changed"):
        open_converted(folder)
    (folder / "rank.pt2").unlink()
    with pytest.raises(ModelFileError, match=r"rank\.pt2: missing"):
        open_converted(folder)
    with pytest.raises(ModelFileError, match="is not a converted model"):
        open_converted(parallel / "model")


def test_a_model_directory_is_converted_for_as_many_candidates_as_it_decodes(parallel, tmp_path):
    shutil.copytree(parallel / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    manifest = json.loads(path.read_text())
    assert manifest["architecture"]["generation"]["candidates"] == 2  # in training; a release may choose otherwise
    manifest["decoding"]["default_candidates"] = 3
    path.write_text(json.dumps(manifest))
    assert Source.open(tmp_path / "model").model.config.generation.candidates == 3


class Halves(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(3, 3), torch.nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


def test_an_operator_that_a_converter_lacks_is_named_with_its_layer():
    part = Part("encode", Halves(), {"x": torch.zeros(1, 3)}, ("y",))
    program = program_of(part)

    def convert(program):
        for node in program.graph.nodes:
            if node.name == "relu":
                raise NotImplementedError("no such operator\nand more")

    with pytest.raises(NotImplementedError) as failed:
        convert(program)
    said = str(refused("Somebody", part, program, failed.value))
    assert re.fullmatch(
        r"Somebody's converter refused the part 'encode' at aten\.relu\.default of layer 'second' "
        r"\(\w+\.py, line \d+\) \(no such operator\)",
        said,
    )


def test_what_is_interrupted_leaves_nothing(parallel, tmp_path, monkeypatch):
    def interrupted(source, folder, precision):
        (folder / "encode.pt2").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(exported_converter, "convert", interrupted)
    line = ["convert", "--model", str(parallel / "model"), "--converter", "exported", "--out", str(tmp_path / "out")]
    with pytest.raises(KeyboardInterrupt):
        convert_all(parallel / "model", tmp_path / "out", {"here": "exported"})
    assert list((tmp_path / "out").iterdir()) == []
    assert main(line) == 130
    assert list((tmp_path / "out").iterdir()) == []


def test_tables_are_rounded_to_half_a_step():
    weight = torch.randn(3, 8, 5)
    whole, steps = rounded(weight, 1)
    assert whole.dtype == torch.int8 and steps.shape == (3, 1, 5)
    assert bool(((whole * steps - weight).abs() <= steps / 2 + 1e-6).all())
    assert np.abs(whole.numpy()).max() == 127


def test_pooling_with_its_constant_on_the_right_is_the_same():
    pooling, tokens = TokenSelection(8, 49, 16), torch.randn(1, 49, 8)
    torch.testing.assert_close(PooledFromRight(pooling)(tokens), pooling(tokens))
