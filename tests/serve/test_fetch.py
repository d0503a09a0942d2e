"""The policy for pictures by URL: only listed hosts, public addresses, one resolution, no redirect, capped."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fastcap.errors import ConfigError
from fastcap.serve import fetch
from fastcap.serve.fetch import Fetcher, FetchError, is_public

PICTURE = b"\xff\xd8\xff and more"


class Site(BaseHTTPRequestHandler):
    """A site with a picture, a redirect to it, and a page that never ends."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Host"]))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/picture")
            self.end_headers()
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while not self.server.closing.wait(0.05):
                    self.wfile.write(b"x" * 100)
            except OSError:
                pass
        elif self.path.startswith("/picture"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(PICTURE)))
            self.end_headers()
            self.wfile.write(PICTURE)
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.asked, server.closing = [], threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let every name have these addresses, one list a look-up; returns the names that were looked up."""

    def to(*answers: list[str]) -> list[str]:
        asked: list[str] = []

        async def getaddrinfo(_: object, host: str, port: int, **__: object) -> list[tuple]:
            addresses = [host]  # connecting to an address asks for it as well
            if not host.replace(".", "").isdecimal():
                asked.append(host)
                addresses = answers[min(len(asked), len(answers)) - 1]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
        return asked

    return to


def get(url: str, *hosts: str, max_bytes: int = 1000, seconds: float = 5.0) -> bytes:
    return asyncio.run(Fetcher(hosts, seconds).fetch(url, max_bytes))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::"),
    ],
)
def test_private_local_mapped_and_tunnelled_addresses_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_others_are(address):
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("file:///etc/passwd", "not an address"),
        ("ftp://good.example/a", "not an address"),
        ("//good.example/a", "not an address"),
        ("http:///a", "not an address"),
        ("http://good.example:x/", "not an address"),
        ("http://good.example/a b", "not an address"),
        ("http://good.example\\@evil.example/", "not an address"),
        ("http://good.example/\r\nHost: evil", "not an address"),
        ("http://gööd.example/", "not an address"),
        ("http://[::1", "not an address"),
        ("http://good.example@evil.example/", "holds a user name"),
        ("http://evil.example/", "evil.example is not on the list; allowed are good.example"),
        ("http://good.example.evil.example/", "is not on the list"),
        ("http://good.example:22/", "good.example:22 is not on the list"),
        ("http://2130706433/", "is not on the list"),
        ("http://0x7f.1/", "is not on the list"),
        ("http://[::ffff:127.0.0.1]/", "is not on the list"),
    ],
)
def test_only_http_to_listed_hosts(resolve, url, told):
    asked = resolve(["8.8.8.8"])
    with pytest.raises(FetchError, match=told):
        get(url, "good.example")
    assert asked == []


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("Images.Example.org", "https://images.example.org/a"),
        ("xn--gd-fka.example:8080", "http://xn--gd-fka.example:8080/a"),
        ("docker_host", "http://docker_host:80/a"),
        ("8.8.8.8:65535", "http://8.8.8.8:65535/a"),
        ("[2606:4700::1111]", "https://[2606:4700::1111]/a"),
        ("[2606:4700::1111]:8080", "http://[2606:4700::1111]:8080/a"),
    ],
)
def test_a_host_is_listed_as_addresses_name_it(host, url):
    assert Fetcher([host])._target(url).authority == host.lower()


def test_a_host_listed_with_a_usual_port_is_reached_at_that_port_alone():
    fetcher = Fetcher(["x.org:443"])
    assert fetcher._target("https://x.org/a") == fetcher._target("https://x.org:443/a")
    with pytest.raises(FetchError, match=r"x\.org is not on the list; allowed are x\.org:443"):
        fetcher._target("http://x.org/a")


@pytest.mark.parametrize(
    "host",
    [
        *("http://x.org/", "x.org/", "x.org/a", "user@x.org", "gööd.example", "a b", ""),
        *("x.org:", "x.org:0", "x.org:65536", "x.org:http", "2606:4700::1111", "[x.org]", "*"),
    ],
)
def test_a_host_of_another_form_cannot_be_listed(host):
    with pytest.raises(ConfigError) as error:
        Fetcher(["x.org", host])
    assert str(error.value) == (
        f"{host!r} to fetch from; allowed are HOST and HOST:PORT in ASCII, an IPv6 address in brackets"
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_a_listed_host_at_a_private_address_is_refused_all_the_same(site, host):
    port = site.server_address[1]
    listed = f"{host}:{port}"
    with pytest.raises(FetchError, match=r"allowed are public addresses|cannot be fetched"):
        get(f"http://{host}:{port}/picture", listed)
    assert site.asked == []


def test_one_private_address_among_public_ones_is_refused(resolve):
    resolve(["8.8.8.8", "10.0.0.1"])
    with pytest.raises(FetchError, match=r"good\.example is 10\.0\.0\.1; allowed are public addresses"):
        get("http://good.example/", "good.example")


@pytest.fixture
def reach(site, resolve, monkeypatch):
    """`good.example` on the site's port, whose address counts as public."""
    monkeypatch.setattr(fetch, "is_public", lambda address: address == "127.0.0.1")
    asked = resolve(["127.0.0.1"], ["10.0.0.1"])
    authority = f"good.example:{site.server_address[1]}"

    def reached(path: str, **options: float) -> bytes:
        return get(f"http://{authority}{path}", authority, **options)

    reached.asked, reached.authority = asked, authority
    return reached


def test_a_listed_picture_is_fetched_by_name_from_the_address_that_was_checked(site, reach):
    """The second look-up would give another address (rebinding): there is none."""
    assert reach("/picture?size=1") == PICTURE
    assert reach.asked == ["good.example"]
    assert site.asked == [("/picture?size=1", reach.authority)]


@pytest.mark.parametrize(
    ("path", "options", "told"),
    [
        ("/moved", {}, "answered 302; allowed is 200, and redirects are not followed"),
        ("/nothing", {}, "answered 404; allowed is 200"),
        ("/picture", {"max_bytes": 10}, f"has {len(PICTURE)} bytes; at most 10 are allowed"),
        ("/endless", {"max_bytes": 150}, "has more bytes than the 150 allowed"),
    ],
)
def test_redirects_failures_and_size(site, reach, path, options, told):
    with pytest.raises(FetchError) as error:
        reach(path, **options)
    assert told in str(error.value)
    assert len(site.asked) == 1


def test_what_takes_too_long_is_given_up(reach):
    """A busy machine may be late even with the request; the time counts from the start all the same."""
    with pytest.raises(FetchError, match=r"not there within 0\.3 seconds, the longest time allowed"):
        reach("/endless", max_bytes=10**6, seconds=0.3)


def test_a_name_or_a_site_that_is_not_there(resolve, monkeypatch):
    resolve(["127.0.0.1"])
    monkeypatch.setattr(fetch, "is_public", lambda _: True)
    with pytest.raises(FetchError, match="cannot be fetched"):
        get("http://good.example:1/", "good.example:1")


def test_the_server_fetches_from_listed_hosts_at_public_addresses(strict_client, pictures):
    urls = ["http://other.example/a.jpg", "http://127.0.0.1/a.jpg"]
    answer = strict_client.post("/v1/caption", params={"url": urls})
    assert answer.status_code == 422
    assert answer.json()["error"] == (
        "'http://other.example/a.jpg': other.example is not on the list; allowed are 127.0.0.1; "
        "http://127.0.0.1/a.jpg: 127.0.0.1 is 127.0.0.1; allowed are public addresses"
    )
    both = strict_client.post("/v1/caption", params={"url": urls}, content=pictures["red"])
    assert (both.status_code, both.json()) == (422, {"error": "both a body and the option url; allowed is one of them"})
