"""Fixtures of the runtime's tests: a tiny model directory, a captioner on it, and pictures of one colour."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from golden_models import unpack
from PIL import Image
from tiny_bundle import write_tiny_bundle

from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid model directory, shared: never change it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`KIND/model` and `KIND/checkpoint` of each kind, shared: never change them."""
    return unpack(tmp_path_factory.mktemp("golden"))


@pytest.fixture
def own_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the model directory that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "own"))


@pytest.fixture(scope="session")
def captioner(tiny_bundle: Path) -> Captioner:
    return Captioner(Bundle.open(tiny_bundle))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of a red and a blue picture, a text file, and a green picture one folder deeper."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    Image.new("RGB", (64, 48), "red").save(folder / "b_red.jpg")
    Image.new("RGB", (64, 48), "blue").save(folder / "a_blue.PNG", format="PNG")
    Image.new("RGB", (64, 48), "lime").save(folder / "deeper" / "green.webp")
    (folder / "notes.txt").write_text("not an image")
    (folder / "._b_red.jpg").write_bytes(b"resource fork")
    return folder
