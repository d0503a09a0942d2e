"""`fastcap demo`: the web page, for this machine alone.

The standard library's server is enough for a dozen files and one visitor, so the page needs no extra.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import webbrowser
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from fastcap.cli.options import add_model, add_number
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.serve.address import binding
from fastcap.serve.page import WebPage

__all__ = ["add_arguments", "run"]

_HOST = "127.0.0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_model(parser)
    add_number(parser, "--port", 0, 65535, 8001, "port to listen on, 0 for any free one")
    parser.add_argument("--open", action="store_true", help="open it in the browser")


def run(args: argparse.Namespace) -> int:
    """Print the address, serve files until Ctrl-C."""
    bundle = Bundle.open(find_model(args.model))
    with binding(_HOST, args.port):
        server = _Server((_HOST, args.port), partial(_Handler, WebPage(bundle)))
    with server:
        address = f"http://{_HOST}:{server.server_address[1]}/"
        with contextlib.suppress(KeyboardInterrupt):
            print(f"{bundle.name} on {address}", flush=True)
            if args.open:
                webbrowser.open(address)
            server.serve_forever()
    return 0


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report every error but a client that closes its connection before the end of the answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fastcap", ""
    timeout = 60  # seconds that a connection may be idle
    disable_nagle_algorithm = True  # otherwise a file waits until its headers are acknowledged

    def __init__(self, page: WebPage, *connection: Any) -> None:
        self._page = page
        super().__init__(*connection)

    def do_GET(self) -> None:
        try:
            # Proxies send whole URLs, or double the slash, which would begin a host.
            url = urlsplit(f"http:///{self.path.lstrip('/')}" if self.path.startswith("/") else self.path)
        except ValueError:
            self.send_error(400)
            return
        known = ", ".join(self.headers.get_all("If-None-Match", []))
        since = self.headers.get("If-Modified-Since")
        status, headers, file = self._page.answer(url.path.lstrip("/"), url.query, known, since)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status == 404:
            self.send_header("Content-Length", "0")
        self.end_headers()
        if file and self.command == "GET":
            with file.open("rb") as source:
                shutil.copyfileobj(source, self.wfile)

    do_HEAD = do_GET

    def refuse(self) -> None:
        """Any other method."""
        self.send_response(405)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")  # a body may follow, which nobody reads
        self.end_headers()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = refuse

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: who looks at what is private."""
