"""uvicorn with a shutdown that loses no request."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
import struct
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

__all__ = ["serve"]

_GRACE = 0.5  # seconds in which requests are still served, and clients told to go elsewhere
_LINGER = 0.3  # seconds for requests on connections that were made just before new ones are dropped
_FINISH = 8  # seconds for requests that have been accepted; the three together stay below 10
_SO_ATTACH_FILTER = 26  # Linux


class _Server(uvicorn.Server):
    """On SIGTERM or SIGINT `/readyz` answers 503 and answers close their connections; then new connections are dropped;
    then requests under way are finished. A second signal ends the server at once. uvicorn alone would close connections
    on which a request is just arriving, and end by the signal instead of with status 0."""

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
            _drop_new_connections(listener)
        await asyncio.sleep(_LINGER)
        await super().shutdown(sockets)


def _drop_new_connections(listener: socket.socket) -> None:
    """Drop new connections, but keep those that the kernel has made and uvicorn has not accepted yet, which closing the
    socket would reset. On Linux a packet filter that drops everything does it; elsewhere they may be reset."""
    if sys.platform == "linux":
        drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K, 0 bytes
        program = struct.pack("HL", 1, ctypes.addressof(drop))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer on a bound socket until SIGTERM or SIGINT; returns within 10 seconds of it."""
    # Accepted connections inherit TCP_NODELAY. asyncio does not set it, since `socket.create_server` names no protocol;
    # without it the body of an answer waits 40 ms until the client has acknowledged its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        lifespan="on",
        http="h11",  # whichever else is installed: its limits are the ones that are tested
        ws="none",
        log_level="error",  # warnings about malformed requests would fill the log
        access_log=False,  # users' addresses and URLs are private; /metrics counts requests
        server_header=False,
        timeout_graceful_shutdown=_FINISH,
    )
    _Server(app, config).run(sockets=[listener])
