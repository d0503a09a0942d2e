"""The site as `make site` builds it: strict, complete, and of one piece with its demo."""

from __future__ import annotations

import contextlib
import functools
import http.server
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fastcap
from fastcap.evaluation.speed import sample_photo

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a page that is left out and a dead link or anchor stop it."""
    if importlib.util.find_spec("material") is None:
        pytest.skip("needs the extra `site`")
    if not (ROOT / "web/vendor/ort.wasm.min.mjs").is_file():
        pytest.skip("needs ONNX Runtime Web: make web")
    out = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(Path(fastcap.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?([^\"' >]+)", text)
        assert [address for address in loaded if re.match(r"(?:\w+:)?//", address)] == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(?:\w+:)?//", style.read_text("utf-8")), style


def test_the_demo_captions_in_the_page_and_asks_nobody_else(site: Path, browser: Browser) -> None:
    with serving(site) as url:
        context = browser.new_context()
        context.set_default_timeout(120_000)
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.goto(f"{url}/demo.html")
        frame = page.frame_locator("iframe")
        frame.locator("#status", has_text="Ready").wait_for()
        photo = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": sample_photo(640, 480, seed=1)}
        frame.locator("#files").set_input_files([photo])
        card = frame.locator("#list > li[data-state=done]").first
        card.wait_for()
        assert card.locator("textarea").input_value().endswith(".")
        assert [address for address in asked if not address.startswith((url, f"blob:{url}", "data:"))] == []
        context.close()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A plain static host, which sends none of the headers that `fastcap demo` does."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
