"""Where a server listens."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

from fastcap.errors import ConfigError, FastcapError

__all__ = ["AddressError", "binding", "listen"]

_BACKLOG = 2048  # connections that wait to be accepted


class AddressError(FastcapError):
    """Nothing can listen there: the port is taken or privileged, or the address is not one of this machine."""


@contextlib.contextmanager
def binding(host: str, port: int) -> Iterator[None]:
    """Turn what binding a socket raises into an AddressError, in one line."""
    try:
        yield
    except OSError as error:
        reasons: dict[int | None, str] = {
            errno.EADDRINUSE: "the port is taken; allowed are free ports, and 0 for any of them",
            errno.EACCES: "the port may be opened by the superuser alone; allowed are most from 1024 on",
            errno.EADDRNOTAVAIL: "not an address of this machine; allowed are its own, 127.0.0.1 and 0.0.0.0 for all",
        }
        told = reasons.get(error.errno) or str(error.strerror).partition(" (while")[0]
        raise AddressError(f"cannot listen on {host}:{port}: {told}") from None
    except UnicodeError:
        raise AddressError(f"cannot listen on {host!r}: not a host name") from None


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """A socket bound to `host`, a name, an IPv4 or an IPv6 address, and its URL; port 0 is any free one.

    Raises AddressError, and ConfigError for an empty host, which would be every address of the machine.
    """
    if not host:
        raise ConfigError("host is ''; allowed are a name or an address, 0.0.0.0 for all IPv4 addresses, :: for IPv6")
    host = host.removeprefix("[").removesuffix("]")
    name = f"[{host}]" if ":" in host else host
    with binding(name, port):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    with listener:
        yield listener, f"http://{name}:{listener.getsockname()[1]}"
