"""The benchmarks folder is no package; its scripts are loaded by path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def readme_table() -> ModuleType:
    return load_script("readme_table")


@pytest.fixture(scope="session")
def claims() -> ModuleType:
    return load_script("claims")


@pytest.fixture(scope="session")
def converters() -> ModuleType:
    return load_script("converters")


@pytest.fixture(scope="session")
def scan_scaling() -> ModuleType:
    return load_script("scan_scaling")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime's test model directory, a graph without weights."""
    spec = importlib.util.spec_from_file_location("tiny_bundle", ROOT / "tests" / "runtime" / "tiny_bundle.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def data_report() -> ModuleType:
    pytest.importorskip("psutil")
    return load_script("data_report")
