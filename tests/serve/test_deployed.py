"""HTTP as it is deployed: behind proxies, load balancers and monitors, asked by browsers, programs and mistake."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from serving import TOKEN, Server, picture

import fastcap.serve.page as page_module
from fastcap.cli import main
from fastcap.errors import ConfigError
from fastcap.runtime.captioner import Captioner
from fastcap.serve.address import AddressError, listen
from fastcap.serve.app import create_app
from fastcap.serve.body import picture_types
from fastcap.serve.index import prefers_html
from fastcap.serve.page import WebPage, is_known, is_unchanged

FACTS = ["/", "/healthz", "/readyz", "/metrics", "/v1/models", "/openapi.json"]
PAGE = ["/demo", "/demo/", "/demo/style.css", "/demo/model/model.json"]


@pytest.fixture(scope="module")
def captioner(tiny_bundle: Path) -> Captioner:
    return Captioner.open(tiny_bundle)


@pytest.fixture
def page(captioner: Captioner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WebPage:
    """The page, with stand-ins for ONNX Runtime Web."""
    web = Path(__file__).parents[2] / "web"
    (tmp_path / "vendor").mkdir()
    for path in filter(Path.is_file, web.iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for name in page_module._RUNTIME:
        (tmp_path / "vendor" / name).write_bytes(b"a stand-in")
    monkeypatch.setattr(page_module, "_FOLDERS", (tmp_path,))
    return WebPage(captioner.bundle)


@pytest.fixture
def local(captioner: Captioner, page: WebPage) -> TestClient:
    """The application without a network."""
    with TestClient(create_app(captioner, page=page), follow_redirects=False) as client:
        yield client


def raw(server: Server, request: bytes) -> bytes:
    """The answer to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port), timeout=30) as connection:
        connection.sendall(request)
        received = b""
        while more := connection.recv(65536):
            received += more
    return received


# HEAD


@pytest.mark.parametrize("path", [*FACTS, *PAGE])
def test_head_is_get_without_the_body(local, path):
    got, head = local.get(path), local.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    vary = {"date", "content-length"} if path == "/metrics" else {"date"}
    assert {k: v for k, v in head.headers.items() if k not in vary} == {
        k: v for k, v in got.headers.items() if k not in vary
    }


@pytest.mark.parametrize("path", FACTS)
def test_head_has_no_body_on_the_wire_either(server, path):
    answer = raw(server, f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


# Methods


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        *((path, "GET, HEAD, OPTIONS") for path in [*FACTS, *PAGE]),
        ("/v1/caption", "POST, OPTIONS"),
        ("/v1/score", "POST, OPTIONS"),
    ],
)
def test_options_and_wrong_methods_name_the_right_ones(local, path, allowed):
    answer = local.options(path)
    assert (answer.status_code, answer.content, answer.headers["Allow"]) == (204, b"", allowed)
    for method in {"GET", "DELETE", "PUT", "PROPFIND"} - set(allowed.split(", ")):
        answer = local.request(method, path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
        assert answer.json()["error"].startswith(f"{method} {path}: allowed ")


# Entity tags

TAG = '"18bd-2f0"'


@pytest.mark.parametrize(
    ("known", "is_match"),
    [
        (TAG, True),
        (f"W/{TAG}", True),
        (f'"x", {TAG}', True),
        (f'W/"x",W/{TAG} , "y"', True),
        ("*", True),
        (" * ", True),
        ('"18bd-2f0-gzip"', True),
        ('W/"18bd-2f0-br"', True),
        ('"18bd-2f0--gzip"', True),
        ('"18bd-2f0;gzip"', True),
        ('W/"x", W/"18bd-2f0;br"', True),
        ('"18bd-2f0;x"', False),
        ('"18bd-2f0gzip"', False),
        ('"x"', False),
        ("", False),
        ("18bd-2f0", False),
        ('"18bd-2f"', False),
        ('"a, 18bd-2f0"', False),
        ('"x*"', False),
        ('W/""', False),
        ('"' * 5000, False),
    ],
)
def test_a_tag_is_known_in_a_list_weak_or_as_a_star(known, is_match):
    assert is_known(TAG, known) is is_match


@pytest.mark.parametrize(
    ("since", "is_old"),
    [
        ("Thu, 01 Jan 1970 00:16:40 GMT", True),
        ("Thu, 01 Jan 1970 00:16:41 GMT", True),
        ("Thu, 01 Jan 1970 00:16:39 GMT", False),
        ("Thursday, 01-Jan-70 00:16:40 GMT", True),
        ("yesterday", False),
        ("", False),
        (None, False),
    ],
)
def test_a_file_is_unchanged_since_its_own_second(since, is_old):
    assert is_unchanged(1000.7, since) is is_old


def test_a_file_that_the_client_has_is_not_sent_again(local):
    first = local.get("/demo/style.css")
    tag, modified = first.headers["ETag"], first.headers["Last-Modified"]
    for headers in (
        [("If-None-Match", f"W/{tag}")],
        [("If-None-Match", '"x"'), ("If-None-Match", tag)],
        [("If-None-Match", "*")],
        [("If-Modified-Since", modified)],
    ):
        again = local.get("/demo/style.css", headers=headers)
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert local.head("/demo/style.css", headers=headers).status_code == 304
    stale = [("If-None-Match", '"x"'), ("If-Modified-Since", modified)]
    assert local.get("/demo/style.css", headers=stale).content == first.content  # the tag counts


@pytest.mark.parametrize(
    ("asked", "status", "size"), [("bytes=0-9", 206, 10), ("bytes=-5", 206, 5), ("lines=1", 400, None)]
)
def test_a_part_of_a_file_can_be_asked_for(local, asked, status, size):
    answer = local.get("/demo/style.css", headers={"Range": asked})
    assert answer.status_code == status
    assert size is None or len(answer.content) == size


# Paths and prefixes


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz/", 200),
        ("//healthz", 200),
        ("/v1//models/", 200),
        ("/readyz///", 200),
        ("http://elsewhere.example/healthz", 200),
        ("HTTPS://elsewhere.example:8443/v1/models", 200),
        ("http://elsewhere.example", 200),
        ("/healthz?probe=1", 200),
        ("/healthz/x", 404),
        ("/Healthz", 404),
        ("/%2e%2e/etc/passwd", 404),
        ("/" + "a" * 30_000, 404),
        ("/healthz?" + "a" * 30_000, 200),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_path_is_served_as_clients_and_proxies_spell_it(server, path, status):
    answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"location" not in head.lower()
    assert status == 200 or len(body) < 300


def test_a_url_of_any_length_costs_no_more_than_its_connection(server):
    with contextlib.suppress(ConnectionError):  # it is closed before all was sent
        answer = raw(server, b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400")
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_picture_may_be_sent_to_a_path_with_a_slash(client, pictures):
    answer = client.post("/v1/caption/", content=pictures["red"])
    assert "barn" in answer.json()["images"][0]["caption"]


@pytest.mark.parametrize(
    "host", ["elsewhere.example", "[", "[::1", "x:99999999", "evil host", '"><script>', "", "localhost:1"]
)
def test_no_host_header_changes_an_answer(server, host):
    for path, status in (("/healthz", 200), ("/nothing", 404), ("/openapi.json", 200), ("/", 200)):
        answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert int(answer.split()[1]) in (status, 400)  # 400: of the HTTP library, for what is no host at all
        assert not host or host.encode() not in answer or host in "[::1"


def test_the_way_to_the_page_stays_below_a_prefix(local):
    answer = local.get("/demo")
    assert (answer.status_code, answer.headers["Location"]) == (307, "demo/")
    assert httpx.URL("https://a.example/captions/demo").join(answer.headers["Location"]).path == "/captions/demo/"


@pytest.mark.parametrize("prefix", ["/captions", "/a/b-c"])
def test_a_prefix_may_be_stripped_or_left(captioner, page, pictures, prefix):
    with TestClient(create_app(captioner, page=page, prefix=prefix), follow_redirects=False) as client:
        for path in ("/healthz", "/v1/models", "/demo/style.css", "/", "/openapi.json"):
            assert client.get(path).status_code == client.get(prefix + path).status_code == 200
        assert client.get(prefix).status_code == 200
        assert client.get(f"{prefix}x/healthz").status_code == 404
        assert client.post(f"{prefix}/v1/caption", content=pictures["red"]).status_code == 200
        assert client.get(f"{prefix}/demo").headers["Location"] == "demo/"
        for path in ("/openapi.json", f"{prefix}/openapi.json"):
            assert client.get(path).json()["servers"] == [{"url": prefix}]


@pytest.mark.parametrize("prefix", ["captions", "/captions/", "//", "/a b", "https://x.org/captions", "/é"])
def test_a_prefix_of_another_form_is_refused(captioner, prefix):
    with pytest.raises(ConfigError, match="allowed are '' and /NAME"):
        create_app(captioner, prefix=prefix)


# What is here


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html", True),
        ("TEXT/HTML ; q=0.5", True),
        ("text/*", True),
        ("application/json;q=0.2, text/html;q=0.7", True),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
        ("image/avif,image/webp", False),
        (";;,,;q=", False),
    ],
)
def test_browsers_get_a_page_and_programs_json(local, accept, is_page):
    assert prefers_html(accept) is is_page
    answer = local.get("/", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith("text/html" if is_page else "application/json")
    assert answer.headers["Vary"] == "Accept"


def test_all_that_it_names_is_there_and_named_relative_to_it(local, captioner):
    told = local.get("/").json()
    assert told["model"] == captioner.bundle.name
    links = re.findall(r'href="([^"]*)"', local.get("/", headers={"Accept": "text/html"}).text)
    assert links == list(told["paths"])
    for path in links:
        assert not path.startswith("/")
        assert local.get(f"/{path}").status_code in (200, 405)  # 405: those that take a POST
    described = set(local.get("/openapi.json").json()["paths"])
    assert {f"/{path}" for path in links} == described | {"/demo/", "/openapi.json"}


def test_without_a_page_none_is_named(captioner):
    with TestClient(create_app(captioner)) as client:
        assert "demo/" not in client.get("/").json()["paths"]
        assert "demo" not in client.get("/", headers={"Accept": "text/html"}).text


def test_a_token_is_demanded_here_as_well(captioner):
    with TestClient(create_app(captioner, token=TOKEN)) as client:
        assert client.head("/").status_code == client.options("/healthz").status_code == 401


# Bodies

FORM, JPEG = "multipart/form-data", "image/jpeg"


@pytest.mark.parametrize(
    ("path", "kind", "body", "status", "told"),
    [
        ("/v1/caption", "application/json", b'{"image": "aGVsbG8="}', 415, [FORM, JPEG, "application/octet-stream"]),
        ("/v1/caption", "text/plain", b"hello", 415, [FORM, JPEG]),
        ("/v1/caption", "application/x-www-form-urlencoded", b"url=http%3A%2F%2Fx.org%2F", 415, [FORM, JPEG]),
        ("/v1/caption", "multipart/mixed; boundary=x", b"--x--\r\n", 415, ["'multipart/mixed'", FORM]),
        ("/v1/caption", "application/pdf", b"%PDF-1.7\n", 422, ["PDF"]),
        ("/v1/caption", "nonsense", b"hello", 415, ["'nonsense'", FORM]),
        ("/v1/caption", "x/" + "y" * 9000, b"hello", 415, ["'x/yyy", FORM]),
        ("/v1/caption", JPEG, b"hello", 422, ["holds text, not an image"]),
        ("/v1/caption", "", b"hello", 422, ["holds text, not an image"]),
        ("/v1/caption", "application/octet-stream", b"\0\1\2", 422, ["not an image"]),
        ("/v1/score", JPEG, picture("red"), 415, ["'image/jpeg'", FORM, "'image'", "'text'"]),
        ("/v1/score", "application/json", b"{}", 415, ["'application/json'", FORM]),
        ("/v1/score", "", b"", 415, ["without a type", FORM]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_media_type_is_named_with_the_right_ones(client, path, kind, body, status, told):
    answer = client.post(path, content=body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == status
    for words in told:
        assert words in answer.json()["error"]
    assert len(answer.content) < 500


@pytest.mark.parametrize(
    ("absent", "read", "others"),
    [
        ((), "image/tiff, image/avif, image/heic, image/heif, application/octet-stream", ""),
        (("pillow_heif",), "image/tiff, image/avif, application", "image/heic or image/heif needs pillow-heif"),
        (("PIL.AvifImagePlugin",), "image/tiff, image/heic, image/heif, application", "image/avif needs Pillow 11.3"),
    ],
)  # fmt: skip
def test_media_types_are_those_that_are_read_here_and_others_say_what_they_need(monkeypatch, absent, read, others):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: module not in absent)
    allowed, needed = picture_types()
    assert read in ", ".join([*allowed, "application/octet-stream"])
    assert others in "; ".join(needed)
    assert bool(others) == bool(needed)


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", "image/png", ""]
)
def test_a_picture_is_one_whatever_its_type_is_said_to_be(client, pictures, kind):
    """`curl --data-binary @photo.jpg` says application/x-www-form-urlencoded."""
    answer = client.post("/v1/caption", content=pictures["red"], headers={"Content-Type": kind} if kind else {})
    assert "barn" in answer.json()["images"][0]["caption"]


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "x" * 5000])
def test_a_compressed_body_is_refused_by_name(client, pictures, encoding):
    for path in ("/v1/caption", "/v1/score"):
        answer = client.post(path, content=pictures["red"], headers={"Content-Encoding": encoding})
        assert answer.status_code == 415
        assert answer.json()["error"].startswith(f"a body with Content-Encoding '{encoding[:20]}")
        assert len(answer.content) < 300


SECRET = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/v1/caption", {"content": SECRET.encode()}),
        ("POST", "/v1/caption", {"json": {"image": SECRET}}),
        ("POST", "/v1/caption", {"data": {"image": SECRET}}),
        ("POST", "/v1/caption", {"files": [("image", ("a.jpg", SECRET.encode()))]}),
        ("POST", "/v1/caption", {"files": [("image", (None, SECRET.encode()))]}),
        ("POST", "/v1/caption", {"files": [("other", ("a.jpg", SECRET.encode()))]}),
        ("POST", "/v1/score", {"json": {"text": SECRET}}),
        ("POST", "/v1/score", {"files": [("text", (None, SECRET.encode()))]}),
        ("PUT", "/v1/caption", {"content": SECRET.encode()}),
        ("POST", "/healthz", {"content": SECRET.encode()}),
        ("POST", "/nothing", {"content": SECRET.encode()}),
        ("POST", "/v1/caption?length=" + "x" * 9000, {"content": b"hello"}),
        ("POST", "/v1/caption?" + "x" * 9000 + "=1", {"content": b"hello"}),
        ("GET", "/" + "x" * 9000, {}),
        ("POST", "/v1/caption", {"files": [("x" * 4000, ("a.jpg", b"hello"))]}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_no_error_repeats_a_body_or_is_long(client, method, path, sent):
    answer = client.request(method, path, **sent)
    assert 400 <= answer.status_code < 500
    assert SECRET not in answer.text
    assert "x" * 150 not in answer.text
    assert set(answer.json()) == {"error"}


def test_what_changes_is_kept_by_no_cache(local, pictures):
    for path in FACTS:
        assert local.get(path).headers["Cache-Control"] == "no-store"
    assert local.post("/v1/caption", content=pictures["red"]).headers["Cache-Control"] == "no-store"
    assert local.get("/nothing").headers["Cache-Control"] == "no-store"
    assert local.get("/demo/style.css").headers["Cache-Control"] == "no-cache"


# Where it listens


@pytest.mark.parametrize("verb", ["serve", "demo"])
def test_a_port_that_is_taken_is_one_line(verb, tiny_bundle, page, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main([verb, "--port", str(port), "--model", str(tiny_bundle)]) == 1
    told = f"fastcap: error: cannot listen on 127.0.0.1:{port}: the port is taken; allowed are free ports, and 0"
    assert capsys.readouterr().err.startswith(told)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EACCES, "Permission denied"), "127.0.0.1:80: the port may be opened by the superuser alone"),
        (OSError(errno.EADDRINUSE, "Address already in use"), "127.0.0.1:80: the port is taken"),
        (socket.gaierror(-2, "Name or service not known"), "127.0.0.1:80: Name or service not known"),
    ],
)
def test_what_the_system_refuses_is_said_in_words(error, told, monkeypatch):
    def refuse(*_: object, **__: object) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(AddressError, match=f"^cannot listen on {re.escape(told)}[^\n]*$"), listen("127.0.0.1", 80):
        pass


@pytest.mark.parametrize(
    ("host", "error", "told"),
    [
        ("", ConfigError, "host is ''; allowed are a name or an address"),
        ("no.such.host.invalid", AddressError, "cannot listen on no.such.host.invalid:0: "),
        ("a" * 300, AddressError, "cannot listen on aaa"),
        ("a..b", AddressError, "cannot listen on "),
        ("203.0.113.1", AddressError, "not an address of this machine"),
    ],
)
def test_an_address_that_is_none_is_refused(host, error, told):
    with pytest.raises(error, match=re.escape(told)), listen(host, 0):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_the_url_is_one_that_can_be_opened(host):
    try:
        with listen(host, 0) as (listener, url):
            assert url == f"http://{'[::1]' if '::1' in host else host}:{listener.getsockname()[1]}"
            assert urlsplit(url).port
    except AddressError:
        assert "::1" in host  # a machine without IPv6
