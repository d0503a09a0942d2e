"""A running `fastcap demo`, and fastcap.js in a browser that visits it."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from playwright.sync_api import Page

WEB = Path(__file__).parents[2] / "web"
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
                const {{ captioner, fastcap, images, text, neutral }} = modules;
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
