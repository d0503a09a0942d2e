"""A real server in a process of its own, and clients that behave badly."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from PIL import Image

TOKEN = "a-token-of-enough-letters"


class Server:
    """`fastcap serve` on a free port."""

    def __init__(self, model: Path, *options: str, **environment: str) -> None:
        line = [sys.executable, "-m", "fastcap", "serve", "--port", "0", "--model", str(model), *options]
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        assert self.process.stdout and self.process.stderr
        self.url = self.process.stdout.readline().rpartition(" ")[2].strip()
        assert self.url.startswith("http://127.0.0.1:"), self.process.stderr.read()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> tuple[int, str]:
        """Exit status, and what was said on stderr."""
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors

    def wait_until_taken(self, places: int) -> None:
        """Until so many places of the queue are taken."""
        for _ in range(250):
            if f"fastcap_queue_taken {places}.0" in httpx.get(f"{self.url}/metrics").text:
                return
            time.sleep(0.02)
        raise AssertionError(f"never were {places} places taken")


class SlowUpload:
    """A request whose body arrives in two parts; the second on demand."""

    def __init__(self, server: Server, body: bytes, token: str = "") -> None:
        head = f"POST /v1/caption HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}"
        host, _, port = server.url.removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._socket.sendall(head.encode() + b"\r\n\r\n" + body[:10])
        self._rest = body[10:]

    def finish(self) -> tuple[int, dict]:
        """Send the rest; the status and the JSON of the answer."""
        self._socket.sendall(self._rest)
        return self.answer()

    def leave(self) -> None:
        self._socket.close()

    def answer(self) -> tuple[int, dict]:
        data = b""
        while not data.endswith(b"}"):
            received = self._socket.recv(65536)
            assert received, f"the connection was closed after {data!r}"
            data += received
        self.leave()
        head, _, body = data.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


def picture(colour: str, kind: str = "JPEG", size: tuple[int, int] = (64, 48)) -> bytes:
    """A file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()
