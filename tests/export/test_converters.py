"""`fastcap convert`: what is refused before anything is written."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from fastcap.cli import main
from fastcap.errors import ConfigError, ModelFileError
from fastcap.export.converters import MANIFEST, convert_all
from fastcap.export.targets import CONVERTERS, PLATFORMS, PRECISIONS, Converter

ROOT = Path(__file__).parents[2]
ABSENT = {"absent": Converter("fastcap.export.absent", "a_package_that_is_nowhere", "coreml")}


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
    with pytest.raises(ConfigError, match=r"precision is 'int4'; coreml writes int8 or fp32"):
        convert_all("fastcap-base", tmp_path / "out", {"ios": "coreml"}, "int4")
    with pytest.raises(ModelFileError, match=r"needs a_package_that_is_nowhere: pip install .*\[coreml\]"):
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


@pytest.mark.skipif(importlib.util.find_spec("coremltools") is not None, reason="its converter is installed")
def test_a_converter_that_is_not_installed_is_one_line_that_names_the_extra(tmp_path, capsys):
    assert main(["convert", "--platform", "ios", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"fastcap: error: converting for ios needs coremltools: pip install .*\[coreml\]\"\n", said)
