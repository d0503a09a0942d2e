"""The web page and its model as files by URL, for `fastcap demo` and `fastcap serve`. Needs no extra."""

from __future__ import annotations

import re
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import fastcap
from fastcap.errors import FastcapError
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.contract import MANIFEST, MEMORY, TEXT

__all__ = ["Answer", "PageError", "WebPage"]

_PACKAGE = Path(fastcap.__file__).resolve().parent
_FOLDERS = (_PACKAGE / "web", _PACKAGE.parents[1] / "web")  # installed; in a clone
_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm.gz")
_UNUSED = (TEXT.file, MEMORY)
"""Files of a model that the page does not read: it gives no scores, and asks no memory."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".json": "application/json",
    ".gz": "application/gzip",
    ".onnx": "application/octet-stream",
    ".npz": "application/octet-stream",
    ".data": "application/octet-stream",
}
_HEADERS = {
    # Nothing is loaded from or sent to another host; 'wasm-unsafe-eval' allows WebAssembly to compile, but no eval().
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'; style-src 'self'; img-src 'self' blob:; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    # Cross-origin isolation, which browsers require for threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageError(FastcapError):
    """The page cannot be served, because a part of it is not installed."""


class Answer(NamedTuple):
    """The response to one request; without `file`, its body is empty."""

    status: int
    headers: dict[str, str]
    file: Path | None = None


class WebPage:
    """The `files` of the page by address, and those of one model below `model/`. A path that is not among them is a
    404, so no path leads out of the folders.

    Raises PageError, saying what to run, where the page or ONNX Runtime Web is missing.
    """

    def __init__(self, bundle: Bundle) -> None:
        folder = next((folder for folder in _FOLDERS if (folder / "index.html").is_file()), None)
        if folder is None:
            raise PageError(f"the web page is not installed; it was looked for in {' and '.join(map(str, _FOLDERS))}")
        missing = [name for name in _RUNTIME if not (folder / "vendor" / name).is_file()]
        if missing:
            raise PageError(
                f"the web page lacks ONNX Runtime Web ({folder / 'vendor' / missing[0]}); fetch it once, with npm: "
                f"python {folder / 'fetch_runtime.py'}"
            )
        own = [path for path in folder.iterdir() if path.suffix in (".html", ".css", ".js", ".svg", ".webmanifest")]
        self.files = {
            "": folder / "index.html",
            **{path.name: path for path in own},
            **{f"vendor/{name}": folder / "vendor" / name for name in _RUNTIME},
            **{f"model/{name}": bundle.folder / name for name in (MANIFEST, *bundle.files) if name not in _UNUSED},
        }

    def answer(self, path: str, query: str = "", known: str | None = None, since: str | None = None) -> Answer:
        """`path` relative to the page, without a leading slash; `query` as in the URL; `known` is `If-None-Match`,
        `since` is `If-Modified-Since`, which counts where the former is missing."""
        file = self.files.get(path)
        if file is None:
            return Answer(404, _HEADERS)
        facts = file.stat()
        headers = {
            "Content-Type": _TYPES[file.suffix],
            "Content-Length": str(facts.st_size),
            "ETag": f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"',
            "Last-Modified": formatdate(facts.st_mtime, usegmt=True),
            # fastcap.js asks for the files of a model with their hash behind a question mark.
            "Cache-Control": "max-age=31536000, immutable" if query and path.startswith("model/") else "no-cache",
            **_HEADERS,
        }
        if is_known(headers["ETag"], known) if known else is_unchanged(facts.st_mtime, since):
            del headers["Content-Length"]
            return Answer(304, headers)
        return Answer(200, headers, file)


def is_known(tag: str, known: str) -> bool:
    """Whether `If-None-Match`, `*` or a list, names a tag. Weak tags count as well (RFC 9110, 13.1.2), and so do those
    to which a proxy that compresses has added how."""
    return known.strip() == "*" or tag.strip('"') in re.findall(
        r'"([^"]*?)(?:(?:--?|;)(?:gzip|br|zstd|deflate))?"', known
    )


def is_unchanged(modified: float, since: str | None) -> bool:
    """Whether a file is no newer than `If-Modified-Since` says; False for what is no date."""
    try:
        return since is not None and int(modified) <= parsedate_to_datetime(since).timestamp()
    except (ValueError, TypeError):
        return False
