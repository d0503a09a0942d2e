"""What a server refuses, and that it loses nothing: limits, token, overload, deadline, stopping."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import FastAPI
from serving import TOKEN, SlowUpload, picture

from fastcap.cli import main
from fastcap.serve.server import serve


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused(strict_client, chunked):
    body = b"\xff" * 4096
    answer = strict_client.post("/v1/caption", content=iter([body]) if chunked else body)
    assert answer.status_code == 413
    assert answer.json()["error"].endswith("at most 2048 bytes are allowed")


def test_a_picture_of_many_pixels_is_refused_by_its_header(client):
    answer = client.post("/v1/caption", content=picture("red", "PNG", (2000, 1000)))
    assert answer.status_code == 422
    assert answer.json()["error"] == "body: 2000x1000 pixels (2 megapixels); at most 1 megapixels are allowed"


def test_too_many_pictures_are_refused(client, pictures):
    answer = client.post("/v1/caption", files=[("image", ("a.jpg", pictures["red"]))] * 5)
    assert (answer.status_code, answer.json()["error"]) == (400, "Too many files. Maximum number of files is 4.")


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/metrics", "/openapi.json", "/nothing"])
def test_the_token_is_asked_for_on_every_route(strict_server, path):
    refused = httpx.get(strict_server.url + path)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert refused.json() == {"error": "no token; send the header 'Authorization: Bearer TOKEN'"}
    wrong = httpx.get(strict_server.url + path, headers={"Authorization": "Bearer another"})
    assert (wrong.status_code, wrong.json()) == (401, {"error": "a wrong token"})
    right = httpx.get(strict_server.url + path, headers={"Authorization": f"Bearer {TOKEN}"})
    assert right.status_code == (404 if path == "/nothing" else 200)


def test_only_pages_of_an_allowed_origin_may_read_answers(strict_server):
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    url = f"{strict_server.url}/v1/caption"
    allowed = httpx.options(url, headers={"Origin": "https://site.example", **ask})
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://site.example"
    other = httpx.options(url, headers={"Origin": "https://other.example", **ask})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_a_request_that_takes_too_long_is_told_so(strict_server, pictures):
    late = SlowUpload(strict_server, pictures["red"], TOKEN)
    assert late.answer() == (504, {"error": "not done within 1 seconds, the longest time allowed"})


def test_a_client_that_goes_away_gives_its_place_back(server, pictures):
    gone = SlowUpload(server, pictures["red"])
    server.wait_until_taken(1)
    gone.leave()
    server.wait_until_taken(0)


def test_overload_is_told_at_once_and_those_inside_are_served(start, pictures):
    server = start("--threads", "1", "--queue", "2", "--max-images", "2")
    inside = [SlowUpload(server, pictures["red"]), SlowUpload(server, pictures["blue"])]
    server.wait_until_taken(2)
    with httpx.Client(base_url=server.url) as client:
        seconds = []
        for _ in range(5):
            refused = client.post("/v1/caption", content=pictures["green"])
            seconds.append(refused.elapsed.total_seconds())
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert refused.json() == {"error": "overloaded: 1 picture for 0 free places of 2; try again later"}
        assert min(seconds) < 0.1  # the least, as tests may share their machine
        answers = [upload.finish() for upload in inside]
        assert [status for status, _ in answers] == [200, 200]
        captions = [body["images"][0]["caption"] for _, body in answers]
        assert "barn" in captions[0]
        assert "boat" in captions[1]
        assert client.post("/v1/caption", content=pictures["green"]).status_code == 200


def test_stopping_loses_nothing(start, pictures):
    """Uploads under way are finished; clients that go on asking are served until the door is closed; status 0."""
    server = start("--threads", "2")
    uploads = [SlowUpload(server, pictures["red"]) for _ in range(4)]
    server.wait_until_taken(4)

    def keep_asking(_: int) -> int:
        served = 0
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while True:
                try:
                    answer = client.post("/v1/caption", content=pictures["blue"])
                except httpx.ConnectError:  # nobody listens any more; every other error is a lost request
                    return served
                assert answer.status_code == 200
                assert "boat" in answer.json()["images"][0]["caption"]
                served += 1

    def readiness() -> list[int]:
        seen = []
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while seen[-1:] != [503]:
                seen.append(client.get("/readyz").status_code)
        return seen

    with ThreadPoolExecutor(5) as pool:
        asking = [pool.submit(keep_asking, number) for number in range(4)]
        ready = pool.submit(readiness)
        time.sleep(0.5)
        stopped = time.perf_counter()
        server.terminate()
        assert set(ready.result()) == {200, 503}
        assert all([each.result() for each in asking])
        assert [upload.finish()[0] for upload in uploads] == [200] * 4
    assert server.wait() == (0, "")
    assert time.perf_counter() - stopped < 10


def test_an_answer_does_not_wait_for_an_acknowledgement(monkeypatch):
    """Nagle's algorithm would hold back the body of every answer on a kept connection for 40 ms."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
        serve(FastAPI(), listener)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("options", "told", "status"),
    [
        (["--queue", "4", "--max-images", "5"], "--max-images is 5; allowed are at most --queue, 4", 2),
        (["--threads", "0"], "--threads: got '0'; allowed are whole numbers from 1 to 64", 2),
        (["--model", "nothing"], "unknown model 'nothing'", 2),
        (["--host", "203.0.113.1"], "cannot listen on 203.0.113.1:0: not an address of this machine", 1),
        (["--token-file", "/nonexistent/token"], "/nonexistent/token: No such file or directory", 1),
        (["--token-file", "WEAK"], "allowed are 16 or more", 2),
        (["--token-file", "NO_UTF8"], "allowed are 16 or more", 2),
        (["--fetch-from", "http://x.org/"], "'http://x.org/' to fetch from; allowed are HOST and HOST:PORT", 2),
        (["--root-path", "captions"], "'captions' is no path of a server; allowed are /NAME, /NAME/NAME", 2),
        (["--root-path", "https://a.org/captions"], "'https://a.org/captions' is no path of a server", 2),
        (["--origin", "nonsense"], "'nonsense' is not an origin; allowed are SCHEME://HOST and SCHEME://HOST:PORT", 2),
        (["--origin", "https://a.org/"], "'https://a.org/' is not an origin", 2),
        (["--origin", "a b://c"], "'a b://c' is not an origin", 2),
    ],
)
def test_a_wrong_start_is_one_clear_line(options, told, status, tiny_bundle, tmp_path, capsys):
    (tmp_path / "weak").write_text("short\n", encoding="utf-8")
    (tmp_path / "no_utf8").write_bytes(b"\xff" * 20)
    files = {"WEAK": str(tmp_path / "weak"), "NO_UTF8": str(tmp_path / "no_utf8")}
    options = [files.get(option, option) for option in options]
    try:
        assert main(["serve", "--port", "0", "--model", str(tiny_bundle), *options]) == status
    except SystemExit as stop:
        assert stop.code == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert told in shown.err.splitlines()[-1]
