"""A server on this machine that answers as the hub does, as far as a merge asks it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeHub:
    """Data sets as tables (`tables`: OWNER/NAME -> split -> content of each), and what was uploaded (`files`).

    `refusals`: statuses with which the next requests are answered. `asked`: the paths of all requests, and `tokens`
    what they were authorised by. `elsewhere`: another address for the tables.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, list[bytes]]] = {}
        self.files: dict[str, bytes] = {}
        self.private: bool | None = None
        self.refusals: list[int] = []
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        self.url = self.elsewhere = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if self.refusals:
            return self.refusals.pop(0), {"error": "refused"}
        if method == "GET" and path.endswith("/parquet"):
            name = path.removeprefix("/api/datasets/").removesuffix("/parquet")
            if name not in self.tables:
                return 404, {"error": "no such data set"}
            parts = self.tables[name].items()
            urls = {
                s: [f"{self.elsewhere or self.url}/tables/{name}/{s}/{n}" for n in range(len(tables))]
                for s, tables in parts
            }
            return 200, {"default": urls}
        if method == "GET" and path.startswith("/tables/"):
            _, _, owner, name, split, number = path.split("/")
            return 200, self.tables[f"{owner}/{name}"][split][int(number)]
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.private = asked.get("private", asked.get("visibility") == "private")
            return 200, {"url": f"{self.url}/datasets/{asked['organization']}/{asked['name']}"}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            return 200, {"files": modes}
        if "/commit/" in path:
            for line in filter(None, body.split(b"\n")):
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            return 200, {
                "commitOid": "0" * 40,
                "commitUrl": f"{self.url}/datasets/own/merged/commit/0",
                "success": True,
            }
        return 200, {"sha": "0" * 40, "id": "own/merged", "siblings": [], "private": True}


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub that listens until the end."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            hub.asked.append(path)
            hub.tokens.append(self.headers.get("Authorization"))
            status, content = hub.answer(self.command, path, body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_HEAD = do_PUT = respond

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
