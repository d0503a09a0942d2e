"""Pictures from the web, without giving strangers access to the server's own network.

Only http and https, only hosts on a list, only public addresses; the server connects to the very address that it
checked, so a name that resolves differently a moment later (DNS rebinding) changes nothing; redirects are not followed;
size and time are capped. CVE-2025-6242 and its relatives show why.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

from fastcap.errors import ConfigError, FastcapError, listed

__all__ = ["FetchError", "Fetcher", "is_authority", "is_public"]

_PORTS = {"http": 80, "https": 443}
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")  # unicast; leaves out mapped, translated (NAT64) and local addresses
_AUTHORITY = re.compile(r"(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?")
_CHUNK = 2**16


class FetchError(FastcapError):
    """A picture was not fetched: forbidden, unreachable, too large, too slow, or not there."""


class _Target(NamedTuple):
    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As in URLs: an IPv6 address in brackets, the port unless it is the scheme's default."""
        return self.with_port.rpartition(":")[0] if self.port == _PORTS[self.scheme] else self.with_port

    @property
    def with_port(self) -> str:
        """The same, always with the port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Fetcher:
    """Fetches from `hosts` alone: "example.org" means the scheme's default port, "example.org:8080" that one; an IPv6
    address is written in brackets.

    `seconds`: the time limit, from resolving the name to the last byte.

    Raises ConfigError for a host of another form.
    """

    def __init__(self, hosts: Collection[str], seconds: float = 5.0) -> None:
        hosts = listed(hosts, "hosts")
        for host in hosts:
            if not is_authority(host):
                raise ConfigError(
                    f"{host!r} to fetch from; allowed are HOST and HOST:PORT in ASCII, an IPv6 address in brackets"
                )
        self.hosts = frozenset(host.lower() for host in hosts)
        self.seconds = seconds

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        """The body of a response with status 200. Raises FetchError, which names the URL, for everything else."""
        target = self._target(url)
        try:
            return await asyncio.wait_for(_get(target, max_bytes), self.seconds)
        except FetchError as error:
            raise FetchError(f"{url}: {error}") from None
        except asyncio.TimeoutError:
            raise FetchError(f"{url}: not there within {self.seconds:g} seconds, the longest time allowed") from None
        except (OSError, h11.RemoteProtocolError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise FetchError(f"{url}: cannot be fetched ({reason})") from error

    def _target(self, url: str) -> _Target:
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError as error:
            raise FetchError(f"{url!r}: not an address ({error})") from None
        if not (url.isascii() and url.isprintable()) or set(url) & set(' \\<>"') or scheme not in _PORTS or not host:
            raise FetchError(f"{url!r}: not an address; allowed are http:// and https:// with a host, in plain ASCII")
        if parts.username is not None or parts.password is not None:
            raise FetchError(f"{url!r}: holds a user name; allowed are addresses without one")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        target = _Target(scheme, host, _PORTS[scheme] if port is None else port, path)
        if self.hosts.isdisjoint((target.authority, target.with_port)):
            allowed = ", ".join(sorted(self.hosts))
            raise FetchError(f"{url!r}: {target.authority} is not on the list; allowed are {allowed}")
        return target


def is_authority(text: str) -> bool:
    """Whether it is HOST or HOST:PORT in ASCII, an IPv6 address in brackets."""
    match = _AUTHORITY.fullmatch(text.lower())
    return match is not None and int(match[1] or 0) < 2**16


def is_public(address: str) -> bool:
    """Whether an IP address is public: not private, local, shared, mapped or tunnelled."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if not ip.is_global or ip.is_multicast:
        return False
    return ip.version == 4 or (ip in _GLOBAL_V6 and ip.sixtofour is None and ip.teredo is None)


async def _get(target: _Target, max_bytes: int) -> bytes:
    address = await _resolve(target.host, target.port)
    tls = ssl.create_default_context() if target.scheme == "https" else None
    name = target.host if tls else None
    reader, writer = await asyncio.open_connection(address, target.port, ssl=tls, server_hostname=name)
    try:
        return await _exchange(reader, writer, target, max_bytes)
    finally:
        writer.transport.abort()


async def _resolve(host: str, port: int) -> str:
    """The address to connect to. Raises FetchError if any address of the host is not public."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]) for info in infos]
    for address in addresses:
        if not is_public(address):
            raise FetchError(f"{host} is {address}; allowed are public addresses")
    return addresses[0]


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: _Target, max_bytes: int
) -> bytes:
    """One GET over an open connection."""
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", target.authority), ("Accept", "image/*"), ("User-Agent", "fastcap"), ("Connection", "close")]
    request = connection.send(h11.Request(method="GET", target=target.path, headers=headers))
    writer.write((request or b"") + (connection.send(h11.EndOfMessage()) or b""))
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            _check_answer(event, max_bytes)
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > max_bytes:
                raise FetchError(f"has more bytes than the {max_bytes} allowed")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)


def _check_answer(answer: h11.Response, max_bytes: int) -> None:
    if answer.status_code != 200:
        followed = ", and redirects are not followed" if 300 <= answer.status_code < 400 else ""
        raise FetchError(f"answered {answer.status_code}; allowed is 200{followed}")
    length = dict(answer.headers).get(b"content-length", b"0")
    if int(length) > max_bytes:
        raise FetchError(f"has {length.decode()} bytes; at most {max_bytes} are allowed")
