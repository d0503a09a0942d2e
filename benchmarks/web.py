"""Does the web page caption as Python does, how soon and how fast, and how much does it load?

    python benchmarks/web.py --images DIR                # writes benchmarks/results/web.json and docs/web_*.jpg
    python benchmarks/web.py --images DIR --count 5 --json - --screenshots none
    python benchmarks/web.py                             # docs/web_*.jpg alone

Headless Chromium visits `fastcap demo`. Each photo is enlarged to 640x480, as cameras and web sites have it. Besides
wall times there is the processor time of the browser's processes, which other programs on the machine falsify less.
Pixels are compared as well as captions; what is left is arithmetic, and to tell how much that does, the same graph runs
in Python with ONNX Runtime's optimisations switched off.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Browser, Page, sync_playwright

from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.speed import sample_photo
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import MODEL
from fastcap.runtime.engine import ParallelEngine
from fastcap.runtime.images import load_image
from fastcap.runtime.signatures import IMAGE_SUFFIXES

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "web.json"
MARKS = {"first_caption_s": 3.0, "caption_ms": 150.0, "transferred_mb": 16.0}
WARM_UP = 5


@contextmanager
def demo(model: str) -> Iterator[str]:
    """The address of a running `fastcap demo`."""
    line = [sys.executable, "-m", "fastcap", "demo", "--port", "0", "--model", model]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = process.stdout.readline().rpartition(" ")[2].strip()
        if not address:
            sys.exit(process.wait())
        try:
            yield address
        finally:
            process.terminate()


def processor_seconds() -> float:
    """Processor time of all browser processes that live."""
    spent = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            if "chrom" in process.name():
                times = process.cpu_times()
                spent += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return spent


def first_visit(launch: Callable[[], Browser], address: str) -> dict[str, float]:
    """Seconds from opening the page in a new browser to the first caption, and what was transferred for it."""
    browser = launch()
    page = browser.new_page()
    page.set_default_timeout(120_000)
    finished: list[Any] = []
    page.on("requestfinished", lambda request: finished.append(request))
    before, started = processor_seconds(), time.perf_counter()
    page.goto(address)
    photo = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": sample_photo(640, 480, seed=0)}
    page.locator("#files").set_input_files(photo)
    page.locator("#list > li[data-state=done]").wait_for()
    seconds, processor = time.perf_counter() - started, processor_seconds() - before
    loaded = sum(request.sizes()["responseBodySize"] for request in finished if request.url.startswith(address))
    browser.close()
    return {"seconds": seconds, "processor_seconds": processor, "megabytes": loaded / 1e6}


def photos(folder: Path, count: int) -> list[bytes]:
    """`count` pictures of a folder, evenly drawn, as JPEG files of 640x480."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if len(paths) < count:
        sys.exit(f"{folder} holds {len(paths)} pictures; {count} are needed")
    files = []
    for path in paths[:: len(paths) // count][:count]:
        file = io.BytesIO()
        Image.open(path).convert("RGB").resize((640, 480), Image.Resampling.LANCZOS).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def plain_captioner(model: str) -> Captioner:
    """The same model in Python without ONNX Runtime's optimisations of the graph: other kernels, other rounding."""
    bundle = Bundle.open(find_model(model))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    path = bundle.folder / MODEL.file
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    engine = ParallelEngine(bundle, threads=1)
    engine.session = session
    return Captioner(bundle, engine=engine)


def open_module(browser: Browser, address: str, threads: int | None = None) -> Page:
    """A page of the demo's origin that runs nothing but fastcap.js, with as many threads as the demo, or `threads`:
    `captioner` and `images` are global."""
    page = browser.new_page(service_workers="block")
    page.set_default_timeout(120_000)
    page.goto(f"{address}style.css")
    page.evaluate(
        """async (options) => {
            window.images = await import('/images.js');
            window.captioner = await (await import('/fastcap.js')).load('model', options);
        }""",
        {} if threads is None else {"threads": threads},
    )
    return page


def caption_in_browser(page: Page, photo: bytes) -> dict[str, Any]:
    """{text, milliseconds, those of them until the network runs, sha256 of the pixels} of one photo."""
    return page.evaluate(
        """async (packed) => {
            const photo = new Blob([Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0))]);
            const [{ text, milliseconds }] = await captioner.caption(photo);
            const { width, height } = captioner.manifest.preprocessing;
            const started = performance.now();
            const pixels = await images.loadImage(photo, width, height);
            const loading = performance.now() - started;
            const digest = await crypto.subtle.digest('SHA-256', pixels);
            const sha256 = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
            return { text, milliseconds, loading, sha256 };
        }""",
        base64.b64encode(photo).decode(),
    )


def compare(page: Page, model: str, files: list[bytes]) -> dict[str, Any]:
    """How many captions and pixels are those of Python."""
    captioner, plain = Captioner.open(model), plain_captioner(model)
    size = (captioner.bundle.preprocessing.width, captioner.bundle.preprocessing.height)
    counts = {"captions_equal": 0, "pixels_equal": 0, "captions_of_python_without_optimisations_equal": 0}
    differing = []
    for photo in files:
        found, expected = caption_in_browser(page, photo), captioner.caption(photo).text
        counts["captions_equal"] += found["text"] == expected
        counts["pixels_equal"] += found["sha256"] == hashlib.sha256(load_image(photo, size).tobytes()).hexdigest()
        counts["captions_of_python_without_optimisations_equal"] += plain.caption(photo).text == expected
        if found["text"] != expected:
            differing.append({"browser": found["text"], "python": expected})
    return {"photos": len(files), **counts, "differing": differing}


def speed(page: Page, single: Page, model: str, files: list[bytes]) -> dict[str, Any]:
    """Milliseconds a caption from the JPEG file to the text, with the threads of the demo, and with one in the page
    `single` and in Python, in the same minute."""
    captioner = Captioner.open(model)
    for photo in files[:WARM_UP]:
        caption_in_browser(page, photo)
        caption_in_browser(single, photo)
        captioner.caption(photo)
    found, alone, native = [], [], []
    for photo in files:
        found.append(caption_in_browser(page, photo))
        alone.append(caption_in_browser(single, photo)["milliseconds"])
        native.append(captioner.caption(photo).milliseconds)
    packed = [base64.b64encode(photo).decode() for photo in files]
    started = processor_seconds()
    page.evaluate(
        """async (list) => {
            for (const packed of list) {
                await captioner.caption(new Blob([Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0))]));
            }
        }""",
        packed,
    )
    processor = 1000 * (processor_seconds() - started) / len(files)

    def spread(milliseconds: list[float]) -> dict[str, float]:
        return {f"p{rank}": round(float(np.percentile(milliseconds, rank)), 1) for rank in (50, 95)}

    return {
        "caption_ms": spread([each["milliseconds"] for each in found]),
        "caption_loading_ms": spread([each["loading"] for each in found]),
        "caption_processor_ms": round(processor, 1),
        "caption_one_thread_ms": spread(alone),
        "python_ms": spread(native),
    }


def measure(launch: Callable[[], Browser], address: str, model: str, files: list[bytes]) -> dict[str, Any]:
    visits = [first_visit(launch, address) for _ in range(3)]
    browser = launch()
    best = min(visits, key=lambda visit: visit["seconds"])
    page = open_module(browser, address)
    timed = speed(page, open_module(browser, address, threads=1), model, files)
    compared = compare(page, model, files)
    measured = {
        "first_caption_s": round(best["seconds"], 2),
        "caption_ms": timed["caption_ms"]["p50"],
        "transferred_mb": round(best["megabytes"], 2),
    }
    return {
        "format": 1,
        "kind": "web",
        "date": now(),
        "commit": git_commit(),
        "command": f"python benchmarks/web.py --images DIR --count {len(files)} --model {model}",
        "machine": machine_facts(),
        "browser": f"Chromium {browser.version}",
        "first_visits": [{name: round(value, 2) for name, value in visit.items()} for visit in visits],
        **timed,
        **compared,
        "marks": {
            name: {"wanted": f"<= {limit:g}", "measured": measured[name], "reached": measured[name] <= limit}
            for name, limit in MARKS.items()
        },
    }


def drawings() -> dict[str, bytes]:
    """Three pictures of our own, by name, as JPEG files."""
    size = (640, 480)

    def sky(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Image.Image:
        share = np.linspace(0, 1, size[1])[:, None, None]
        rows = (1 - share) * np.array(top) + share * np.array(bottom)
        return Image.fromarray(np.broadcast_to(rows, (size[1], size[0], 3)).astype(np.uint8))

    mountain = sky((90, 150, 220), (190, 215, 240))
    beach = sky((120, 180, 235), (235, 220, 190))
    meadow = sky((150, 195, 235), (205, 225, 235))
    draw = ImageDraw.Draw(mountain)
    draw.polygon([(0, 300), (150, 120), (260, 230), (400, 70), (640, 290), (640, 480), (0, 480)], fill=(225, 232, 240))
    draw.polygon([(0, 330), (640, 390), (640, 480), (0, 480)], fill=(248, 250, 252))
    draw.ellipse((310, 300, 330, 320), fill=(40, 30, 30))
    draw.polygon([(305, 320), (335, 320), (345, 370), (300, 370)], fill=(200, 30, 40))
    draw.line([(305, 370), (290, 410)], fill=(20, 20, 40), width=9)
    draw.line([(338, 370), (352, 408)], fill=(20, 20, 40), width=9)
    draw.line([(270, 412), (385, 412)], fill=(240, 200, 40), width=6)
    draw = ImageDraw.Draw(beach)
    draw.rectangle((0, 210, 640, 330), fill=(40, 110, 160))
    draw.polygon([(0, 320), (640, 300), (640, 480), (0, 480)], fill=(222, 196, 150))
    draw.ellipse((500, 60, 560, 120), fill=(255, 240, 190))
    draw.ellipse((300, 255, 318, 275), fill=(60, 40, 30))
    draw.polygon([(295, 275), (323, 275), (326, 340), (292, 340)], fill=(30, 60, 120))
    draw.line([(300, 340), (296, 400)], fill=(60, 40, 30), width=8)
    draw.line([(318, 340), (322, 400)], fill=(60, 40, 30), width=8)
    draw = ImageDraw.Draw(meadow)
    draw.rectangle((0, 220, 640, 480), fill=(80, 140, 60))
    coat = (110, 70, 35)
    draw.ellipse((220, 250, 420, 350), fill=coat)
    draw.ellipse((390, 200, 470, 275), fill=coat)
    draw.polygon([(460, 235), (500, 250), (460, 262)], fill=coat)
    draw.line([(225, 280), (180, 230)], fill=coat, width=12)
    for x in (245, 285, 365, 400):
        draw.line([(x, 330), (x - 12, 410)], fill=coat, width=18)
    files = {}
    for name, picture in {"mountain": mountain, "beach": beach, "meadow": meadow}.items():
        file = io.BytesIO()
        picture.filter(ImageFilter.GaussianBlur(1)).save(file, "JPEG", quality=90)
        files[f"{name}.jpg"] = file.getvalue()
    return files


def take_screenshots(browser: Browser, address: str, folder: Path) -> None:
    """`web_light.jpg`, a desktop, and `web_dark.jpg`, a phone."""
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "is_mobile": True, "has_touch": True}
    desktop = {"viewport": {"width": 1000, "height": 1040}}
    pictures = [{"name": name, "mimeType": "image/jpeg", "buffer": data} for name, data in drawings().items()]
    for name, look, shown in (("light", desktop, pictures), ("dark", phone, pictures[:1])):
        context = browser.new_context(**look)
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(address)
        for is_warm in (False, True):
            page.locator("#files").set_input_files(shown)
            page.locator("#list > li[data-state=done]").nth(len(shown) - 1).wait_for()
            if not is_warm:
                page.locator("#clear").click()
        if shown is not pictures:
            page.locator("summary").first.click()
            page.evaluate("document.querySelector('#list').scrollIntoView()")
        page.wait_for_timeout(500)
        page.screenshot(path=folder / f"web_{name}.jpg", type="jpeg", quality=80, full_page=shown is pictures)
        context.close()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of photos; without it nothing is measured")
    parser.add_argument("--count", type=int, default=50, help="photos, at least 5 (%(default)s)")
    parser.add_argument("--model", default="fastcap-base", help="bundled model or model directory (%(default)s)")
    parser.add_argument("--browser", default=shutil.which("chromium"), metavar="FILE", help="Chromium (%(default)s)")
    parser.add_argument("--json", default=str(RESULT), metavar="FILE", help="%(default)s; - prints only")
    parser.add_argument("--screenshots", default=str(ROOT / "docs"), metavar="DIR", help="%(default)s; none takes none")
    args = parser.parse_args()
    if args.count < WARM_UP:
        parser.error(f"--count is {args.count}; at least {WARM_UP} are needed")
    if args.browser is None:
        parser.error("no chromium on the PATH; --browser names another")
    if args.images is None and args.screenshots == "none":
        parser.error("without --images and --screenshots there is nothing to do")
    files = photos(args.images, args.count) if args.images else []
    with demo(args.model) as address, sync_playwright() as driver:
        launch = partial(driver.chromium.launch, executable_path=args.browser, args=["--no-sandbox"])
        result = measure(launch, address, args.model, files) if files else None
        if args.screenshots != "none":
            take_screenshots(launch(), address, Path(args.screenshots))
    if result is None:
        return
    text = json.dumps(result, indent=1)
    print(text)
    if args.json != "-":
        Path(args.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
