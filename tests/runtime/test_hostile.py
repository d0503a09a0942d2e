"""Hostile input ends in a caption or in one clear error: never a crash, a hang, a socket or memory past the cap."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def exported(tiny_config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model directories by kind, as export writes them, and the checkpoints that they come from."""
    torch = pytest.importorskip("torch", reason="needs the extra `train`")
    pytest.importorskip("onnx", reason="needs the extra `export`")
    from fastcap.checkpoint import save_checkpoint
    from fastcap.config import ResNetViTConfig, RopeDecoderConfig
    from fastcap.data.tokenizer import train_tokenizer
    from fastcap.export.families import EXPORTS
    from fastcap.export.writer import write_bundle
    from fastcap.model import build_model

    resnet = ResNetViTConfig(widths=(8, 8, 12, 16), depths=(1, 1, 1, 1), n_layers=1, n_heads=4, d_hidden=48)
    rope = RopeDecoderConfig(n_layers=2, n_heads=4, d_hidden=64)
    tokenizer = train_tokenizer(["a red ball lies on the grass", "two dogs run along a beach"] * 3, 270)
    found = {}
    for kind, parts in (("parallel", {}), ("autoregressive", {"backbone": resnet, "decoder": rope})):
        folder = tmp_path_factory.mktemp(kind)
        torch.manual_seed(0)
        model = build_model(dataclasses.replace(tiny_config, vocab_size=tokenizer.get_vocab_size(), **parts)).eval()
        EXPORTS[kind].parts(model, folder)
        EXPORTS[kind].assemble(folder, folder / "graphs", model.config)
        found[kind] = folder / "bundle"
        write_bundle(found[kind], folder / "graphs", tokenizer, model.config, name=kind)
        found[f"{kind} checkpoint"] = folder / "checkpoint"
        save_checkpoint(folder / "checkpoint", model.config, model.state_dict(), tokenizer)
    return found


def fuzz(what: str, count: int, seed: int, model: Path, tmp_path: Path) -> dict[str, int]:
    """Accepted and refused inputs of one process; see fuzz.py."""
    line = [sys.executable, str(HERE / "fuzz.py"), what, str(count), str(seed), str(model)]
    with (tmp_path / "out").open("w+") as out, (tmp_path / "err").open("w+") as err:
        done = subprocess.run(line, stdout=out, stderr=err, timeout=1800, check=False)
    assert done.returncode == 0, (tmp_path / "out").read_text() + (tmp_path / "err").read_text()[-3000:]
    outcome = json.loads((tmp_path / "out").read_text())
    assert sum(outcome.values()) == count
    return outcome


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_changed_picture_files(tiny_bundle, tmp_path, count):
    outcome = fuzz("images", count, count, tiny_bundle, tmp_path)
    assert min(outcome.values()) > count / 20  # neither all harmless nor all hopeless


@pytest.mark.parametrize("count", [200, pytest.param(2_000, marks=pytest.mark.slow)])
def test_changed_model_directories(tiny_bundle, tmp_path, count):
    outcome = fuzz("models", count, count, tiny_bundle, tmp_path)
    assert min(outcome.values()) > count / 50


@pytest.mark.parametrize("kind", ["parallel", "autoregressive"])
@pytest.mark.parametrize("count", [60, pytest.param(2_000, marks=pytest.mark.slow)])
def test_changed_directories_of_every_graph(exported, tmp_path, kind, count):
    """In each way of decoding, and with scores."""
    outcome = fuzz("models", count, count, exported[kind], tmp_path)
    assert min(outcome.values()) > count / 50


@pytest.mark.parametrize("kind", ["parallel", "autoregressive"])
@pytest.mark.parametrize("count", [60, pytest.param(2_000, marks=pytest.mark.slow)])
def test_changed_checkpoints(exported, tmp_path, kind, count):
    outcome = fuzz("checkpoints", count, count, exported[f"{kind} checkpoint"], tmp_path)
    assert min(outcome.values()) > count / 50


def test_a_socket_would_be_noticed():
    code = "import sys, fuzz; sys.addaudithook(fuzz.refuse_sockets); import socket; socket.socket()"
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "opened a socket" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="looks where ONNX Runtime keeps its reports on Linux")
def test_onnx_runtime_keeps_no_reports_for_its_maker(tiny_bundle, photos, tmp_path):
    """It sends them from C++, where a watch over Python's sockets sees nothing."""
    home = tmp_path / "home"
    home.mkdir()
    code = "import sys, fastcap; fastcap.load_model(sys.argv[1]).caption(sys.argv[2])"
    kept = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    line = [sys.executable, "-c", code, str(tiny_bundle), str(photos / "b_red.jpg")]
    subprocess.run(line, env=kept | {"HOME": str(home)}, check=True, timeout=60)
    assert not list(home.iterdir())
