"""Fixtures of the web page's tests. They skip, saying why, where Chromium, Playwright or ONNX Runtime Web is missing;
`make test-web` gets the latter two."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from visiting import CHROMIUM, OLDEST_NODE, WEB, Demo, Module, Visit

import fastcap

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    if not (WEB / "vendor").is_dir():
        pytest.skip(f"no ONNX Runtime Web in {WEB / 'vendor'}; run `make web`")
    demo = Demo()
    yield demo
    assert demo.stop() == ""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright; run `make test-web`")
    if CHROMIUM is None:
        pytest.skip("no Chromium; install your system's, for example: apt-get install chromium")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, demo: Demo) -> Iterator[Visit]:
    visit = Visit(browser, demo.url)
    yield visit
    assert visit.faults == []
    assert {url for url in visit.requests if not url.startswith((demo.url, f"blob:{demo.url}"))} == set()
    visit.context.close()


@pytest.fixture(scope="session")
def module(demo: Demo, browser: Browser) -> Module:
    page = browser.new_page(service_workers="block")
    page.set_default_timeout(120_000)
    page.goto(f"{demo.url}style.css")  # a page of the same origin that runs nothing
    page.evaluate(
        """async () => {
            const names = ['fastcap', 'images', 'text', 'tokenizer', 'neutral', 'photo'];
            const found = await Promise.all(names.map((name) => import(`/${name}.js`)));
            window.modules = Object.fromEntries(names.map((name, at) => [name, found[at]]));
            window.modules.captioner = await window.modules.fastcap.load('model');
        }"""
    )
    return Module(page)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory whose captions follow the colour and nothing else, on every machine."""
    source = Path(__file__).parents[1] / "runtime" / "tiny_bundle.py"
    spec = importlib.util.spec_from_file_location("tiny_bundle_for_web", source)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def captioner() -> fastcap.Captioner:
    return fastcap.load_model()


@pytest.fixture(scope="session")
def program() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node.js; install your system's, for example: apt-get install nodejs")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, version[1:].split(".")[:2])) < OLDEST_NODE:
        pytest.skip(f"Node.js is {version}; fastcap.js needs {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer")
    return found
