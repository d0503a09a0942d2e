"""A folder of pictures beside documents, and the tiny model, whose captions follow the colour."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fastcap.documents.mend import Mender, find_documents
from fastcap.runtime.captioner import Captioner


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = Path(__file__).parents[1] / "runtime" / "tiny_bundle.py"
    spec = importlib.util.spec_from_file_location("tiny_bundle_for_documents", source)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def captioner(tiny_bundle: Path) -> Captioner:
    return Captioner.open(tiny_bundle)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Red pictures under several names, a dot, and what is no picture."""
    site = tmp_path / "site"
    (site / "img").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "a b.jpg", "a(1).jpg", "img/c.jpg", "ä.jpg"):
        Image.new("RGB", (64, 48), "red").save(site / name)
    Image.new("RGB", (1, 1), "red").save(site / "dot.gif")
    (site / "notes.txt").write_text("no picture")
    (site / "cut.jpg").write_bytes((site / "a.jpg").read_bytes()[:300])
    return site


@pytest.fixture
def mender(captioner: Captioner) -> Callable[..., Mender]:
    return lambda **options: Mender(lambda: captioner, **options)


@pytest.fixture
def check(folder: Path, mender: Callable[..., Mender]) -> Callable[..., list[dict]]:
    """Check the documents of the folder."""
    return lambda **options: [
        row for path, top in find_documents(str(folder)) for row in mender(**options).check(path, top)
    ]


@pytest.fixture
def fix(folder: Path, mender: Callable[..., Mender]) -> Callable[..., list[dict]]:
    """Mend the documents of the folder."""
    return lambda **options: [
        row for path, top in find_documents(str(folder)) for row in mender(**options).fix(path, top)
    ]
