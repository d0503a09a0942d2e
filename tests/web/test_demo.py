"""`fastcap demo` and the page of `fastcap serve`, without a browser: what is handed out, and what is not."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from email.message import Message
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from visiting import WEB, Demo

import fastcap.serve.page as page_module
from fastcap.cli import main
from fastcap.cli.demo import _Handler, _Server
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.serve.page import PageError, WebPage


@pytest.fixture
def bundle() -> Bundle:
    return Bundle.open(find_model("fastcap-base"))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page and stand-ins for ONNX Runtime Web, in place of the one that is installed."""
    for path in WEB.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "vendor").mkdir()
    for name in page_module._RUNTIME:
        (tmp_path / "vendor" / name).write_bytes(b"a stand-in")
    monkeypatch.setattr(page_module, "_FOLDERS", (tmp_path,))
    return tmp_path


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, Message, bytes]:
    request = urllib.request.Request(url, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_without_the_runtime_it_says_what_to_run(installed: Path, bundle: Bundle) -> None:
    (installed / "vendor" / "ort.wasm.min.mjs").unlink()
    with pytest.raises(PageError) as caught:
        WebPage(bundle)
    assert str(caught.value).endswith(f"fetch it once, with npm: python {installed / 'fetch_runtime.py'}")


def test_without_the_runtime_the_command_fails_in_one_line(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (installed / "vendor" / "ort.wasm.min.mjs").unlink()
    assert main(["demo"]) == 1
    assert capsys.readouterr().err.startswith("fastcap: error: the web page lacks ONNX Runtime Web")


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_out_of_range_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--port", port])
    assert caught.value.code == 2


def test_files_keep_to_themselves_and_speak_to_nobody_else(installed: Path, bundle: Bundle) -> None:
    for path in ("", "app.js", "sw.js", "vendor/ort.wasm.min.mjs", "model/model.onnx", "nothing"):
        _, headers, _ = WebPage(bundle).answer(path)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "connect-src 'self'" in headers["Content-Security-Policy"]
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_meta_tag_says_what_the_header_says(installed: Path, bundle: Bundle) -> None:
    header = WebPage(bundle).answer("").headers["Content-Security-Policy"]
    assert header.replace("; frame-ancestors 'none'", "") in (WEB / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    "path",
    [
        "../pyproject.toml",
        "vendor/../../pyproject.toml",
        "%2e%2e/pyproject.toml",
        "/etc/passwd",
        "fetch_runtime.py",
        "package.json",
        "vendor/",
        "model/text.onnx",
        "model/../__init__.py",
    ],
)
def test_no_path_leads_to_another_file(path: str, installed: Path, bundle: Bundle) -> None:
    assert WebPage(bundle).answer(path)[::2] == (404, None)


def test_the_graphs_of_a_search_are_handed_out(installed: Path, bundle: Bundle) -> None:
    page = WebPage(bundle)
    for name in ("model.onnx", "encode.onnx", "step.onnx"):
        assert page.answer(f"model/{name}").file == bundle.folder / name


def test_types_are_those_that_browsers_demand(installed: Path, bundle: Bundle) -> None:
    page = WebPage(bundle)
    assert page.answer("app.js").headers["Content-Type"].startswith("text/javascript")
    assert page.answer("vendor/ort.wasm.min.mjs").headers["Content-Type"].startswith("text/javascript")
    assert page.answer("").headers["Content-Type"].startswith("text/html")


def test_what_carries_its_hash_is_kept_and_all_else_is_asked_for_again(installed: Path, bundle: Bundle) -> None:
    page = WebPage(bundle)
    assert "immutable" in page.answer("model/model.onnx", "585278a3").headers["Cache-Control"]
    assert page.answer("model/model.onnx").headers["Cache-Control"] == "no-cache"
    first = page.answer("app.js")
    assert first.headers["Cache-Control"] == "no-cache"
    assert page.answer("app.js", known=first.headers["ETag"])[::2] == (304, None)


def test_the_command_answers(demo: Demo) -> None:
    status, headers, body = get(demo.url)
    assert (status, body) == (200, (WEB / "index.html").read_bytes())
    assert get(demo.url, "HEAD")[2] == b""
    for known in (headers["ETag"], f"W/{headers['ETag']}", f'"x", {headers["ETag"]}', "*"):
        assert get(demo.url, If_None_Match=known)[0] == 304
    assert get(demo.url, If_Modified_Since=headers["Last-Modified"])[0] == 304
    assert get(demo.url + "nothing")[0] == 404
    assert get(f"{demo.url}/app.js")[0] == 200  # a slash too many, as proxies make it
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        status, headers, body = get(demo.url, method)
        assert (status, headers["Allow"], body) == (405, "GET, HEAD", b"")
    with socket.create_connection(("127.0.0.1", urlsplit(demo.url).port)) as connection:
        connection.sendall(b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert demo.process.poll() is None


def test_a_file_does_not_wait_for_an_acknowledgement(installed: Path, bundle: Bundle) -> None:
    """Nagle's algorithm would hold back each file of a kept connection for 40 ms, once its headers were sent."""
    waits = []

    class Watched(_Handler):
        def end_headers(self) -> None:
            waits.append(not self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            super().end_headers()

    with _Server(("127.0.0.1", 0), partial(Watched, WebPage(bundle))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert get(f"http://127.0.0.1:{server.server_address[1]}/app.js")[0] == 200
        server.shutdown()
    assert waits == [False]


def test_it_ends_well_on_ctrl_c() -> None:
    if not (WEB / "vendor").is_dir():
        pytest.skip(f"no ONNX Runtime Web in {WEB / 'vendor'}; run `make web`")
    demo = Demo()
    demo.process.send_signal(2)
    assert demo.process.wait(30) == 0


def test_the_server_has_the_page_as_well(installed: Path, bundle: Bundle) -> None:
    pytest.importorskip("fastapi", reason="needs the extra `serve`")
    from fastapi.testclient import TestClient

    from fastcap.runtime.captioner import Captioner
    from fastcap.serve.app import create_app

    captioner = Captioner(bundle)
    with TestClient(create_app(captioner, page=WebPage(bundle))) as client:
        answer = client.get("/demo")  # led on to /demo/
        assert answer.content == (WEB / "index.html").read_bytes()
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert client.get("/demo/", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
        assert client.head("/demo/app.js").status_code == 200
        for path in ("/demo/nothing", "/demo/../healthz/x", "/demo/%2e%2e/pyproject.toml"):
            assert client.get(path).status_code == 404
        assert client.post("/demo/").status_code == 405
        assert not [path for path in client.get("/openapi.json").json()["paths"] if "demo" in path]
    with TestClient(create_app(captioner)) as client:
        assert client.get("/demo/").status_code == 404
    with TestClient(create_app(captioner, page=WebPage(bundle), token="a-token-of-enough-letters")) as client:
        assert client.get("/demo/").status_code == 401


def test_the_runtime_is_not_fetched_without_npm(tmp_path: Path) -> None:
    script = WEB / "fetch_runtime.py"
    done = subprocess.run([sys.executable, str(script)], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("npm is not installed")
