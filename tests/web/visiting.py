"""A running `fastcap demo`, the page in a browser that visits it, and fastcap.js there."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap.evaluation.speed import sample_photo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WEB = Path(__file__).parents[2] / "web"
OLDEST_NODE = (20, 16)  # web/package.json: the first with process.getBuiltinModule
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Demo:
    """`fastcap demo` on a free port."""

    def __init__(self, *options: str) -> None:
        line = [sys.executable, "-m", "fastcap", "demo", "--port", "0", *options]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout and self.process.stderr
        self.url = self.process.stdout.readline().rpartition(" ")[2].strip()
        assert self.url.startswith("http://127.0.0.1:"), self.process.stderr.read()

    def stop(self) -> str:
        """What was said on stderr."""
        self.process.kill()
        return self.process.communicate()[1]


class Module:
    """fastcap.js in a browser, with the bundled model loaded."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def run(self, body: str, **values: Any) -> Any:
        """The value of a function body, in which `values`, `captioner` and the exports of each file are known; bytes
        become Blobs."""
        sent = {
            name: {"blob": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
            for name, value in values.items()
        }
        return self._page.evaluate(
            f"""async (values) => {{
                const modules = window.modules;
                const {{ captioner, fastcap, images, text, tokenizer, neutral, photo: head }} = modules;
                const unpack = (value) => value?.blob === undefined
                    ? value : new Blob([Uint8Array.from(atob(value.blob), (letter) => letter.charCodeAt(0))]);
                {"".join(f"const {name} = unpack(values.{name});" for name in sent)}
                {body}
            }}""",
            sent,
        )

    def error(self, body: str, **values: Any) -> str:
        """What a function body throws."""
        caught = "catch (error) { return `${error.name}: ${error.message}`; }"
        return self.run(f"try {{ {body}; return 'nothing'; }} {caught}", **values)

    def pixels(self, picture: bytes, width: int = 224, height: int = 224) -> np.ndarray:
        """What loadImage gives, uint8 (height, width, 3)."""
        body = "return btoa([...await images.loadImage(picture, w, h)].map((v) => String.fromCharCode(v)).join(''))"
        packed = self.run(body, picture=picture, w=width, h=height)
        return np.frombuffer(base64.b64decode(packed), np.uint8).reshape(height, width, 3)


class Visit:
    """The page, the model loaded, and what it asked the network for."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(permissions=["clipboard-read", "clipboard-write", "camera"], **options)
        self.context.set_default_timeout(120_000)
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page = self.open()

    def open(self) -> Page:
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.faults.append(message.text))
        page.goto(self.url)
        page.locator("#status", has_text="Ready").wait_for()
        return page

    def add(self, *names: str) -> list[str]:
        """Choose pictures; their captions, all there are on the page."""
        files = [
            {"name": name, "mimeType": "image/jpeg", "buffer": sample_photo(640, 480, seed=seed)}
            for seed, name in enumerate(names)
        ]
        self.page.locator("#files").set_input_files(files)
        return self.captions(len(names))

    def captions(self, count: int) -> list[str]:
        cards = self.page.locator("#list > li[data-state=done]")
        cards.nth(count - 1).wait_for()
        return [cards.nth(at).locator("textarea").input_value() for at in range(cards.count())]

    def copied(self, press: Callable[[], object]) -> str:
        """What is in the clipboard after a button was pressed."""
        self.page.evaluate("navigator.clipboard.writeText('')")
        press()
        return self.page.evaluate(
            """async () => {
                for (;;) {
                    const text = await navigator.clipboard.readText();
                    if (text) return text;
                    await new Promise((done) => setTimeout(done, 20));
                }
            }"""
        )
