"""uvicorn, and how it stops: nothing that was sent is lost."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import socket
import struct
import sys
from collections.abc import Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

__all__ = ["listen", "serve"]

_BACKLOG = 2048  # connections that wait to be accepted
_GRACE = 0.5  # seconds in which everybody is served and told to go elsewhere
_LINGER = 0.3  # seconds for the requests of those who came just before the door was closed
_FINISH = 8  # seconds for what has been accepted; together they stay below 10
_SO_ATTACH_FILTER = 26  # Linux


class _Server(uvicorn.Server):
    """On SIGTERM or SIGINT `/readyz` says no and answers close their connections; then nobody new is let in; then what
    is under way is finished. A second signal does not wait for that. uvicorn alone would close connections on which a
    request is just arriving, and end by the signal instead of with status 0."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._state = app.state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.draining = True
        await asyncio.sleep(_GRACE)
        for listener in sockets or []:
            _let_nobody_in(listener)
        await asyncio.sleep(_LINGER)
        await super().shutdown(sockets)


def _let_nobody_in(listener: socket.socket) -> None:
    """Drop new connections, and keep those that the kernel has made but nobody has accepted yet: closing the socket
    resets them. A packet filter that keeps nothing does it, on Linux; elsewhere such a connection may be reset."""
    if sys.platform == "linux":
        keep_nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K, 0 bytes
        program = struct.pack("HL", 1, ctypes.addressof(keep_nothing))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """A socket bound to `host`, a name, an IPv4 or an IPv6 address, and its URL; port 0 is any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=_BACKLOG) as listener:
        name = f"[{host}]" if ":" in host else host
        yield listener, f"http://{name}:{listener.getsockname()[1]}"


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer on a bound socket until SIGTERM or SIGINT; comes back within 10 seconds of it."""
    # Accepted connections inherit it. asyncio would not set it, since `socket.create_server` names no protocol, and the
    # body of an answer would wait 40 ms for the client to acknowledge its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        lifespan="on",
        ws="none",
        log_level="error",  # strangers' malformed requests would fill the log with warnings
        access_log=False,  # addresses and URLs of users are nobody's business; /metrics counts
        server_header=False,
        timeout_graceful_shutdown=_FINISH,
    )
    _Server(app, config).run(sockets=[listener])
