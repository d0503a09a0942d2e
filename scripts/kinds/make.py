"""Make the pictures, each from its own seed, at the size at which models see them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import common
import numpy as np
import photographs
from common import FAMILIES, Page, Random, chance, pick, random_of
from PIL import Image
from rich.progress import Progress

from fastcap.runtime.images import load_image

SEED = 19
SIZE = (224, 224)
PHOTOS = {
    False: ("flickr8k/Flickr_8k.trainImages.txt", "coco/captions_train.json", "coco/unlabelled"),
    True: ("flickr8k/Flickr_8k.valImages.txt", "coco/captions_val.json"),
}
"""Where photos are listed: to train on, and held out."""


def photos_of(data: Path, held_out: bool) -> list[Path]:
    """The photos of the splits, in order."""
    import json

    found: list[Path] = []
    for source in PHOTOS[held_out]:
        path = data / source
        if path.is_dir():
            found += sorted(path.iterdir())
        elif path.suffix == ".txt":
            found += [data / "flickr8k/images" / name for name in path.read_text().split()]
        else:
            listed = json.loads(path.read_text())["images"]
            found += [data / "coco/images" / image["file_name"] for image in listed]
    return [path if path.exists() else path.with_suffix(".webp") for path in found]


@contextlib.contextmanager
def browser() -> Iterator[Callable[[Page], Image.Image]]:
    """What renders pages. Raises RuntimeError without Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise RuntimeError("no Chromium; install your system's, for example: apt-get install chromium")
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        window = running.new_page()

        def render(page: Page) -> Image.Image:
            window.set_viewport_size({"width": page.width, "height": page.height})
            window.set_content(page.html)
            return Image.open(BytesIO(window.screenshot())).convert("RGB")

        yield render
        running.close()


def finished(random: Random, image: Image.Image) -> Image.Image:
    """At the model's size. Some went through a lossy format before, some after, as photos of data sets did: the head
    must not tell kinds by that."""
    if chance(random, 0.4):
        image = photographs.compressed(random, image)
    image = Image.fromarray(load_image(image, SIZE))
    return photographs.compressed(random, image, 60) if chance(random, 0.5) else image


def make_all(data: Path, out: Path, train: int, held_out: int) -> None:
    """Pictures of every family, and changed photos; those that are there already stay."""
    lists = {each: photos_of(data, each) for each in (False, True)}
    flat = [name for name, family in FAMILIES.items() if family.kind in ("text", "screen")]
    total = sum(held_out if family.held_out else train for family in FAMILIES.values())
    with browser() as render, Progress() as progress:
        task = progress.add_task("no photos", total=total)

        def made(name: str, random: Random) -> Image.Image:
            picture = FAMILIES[name].make(random)
            return render(picture) if isinstance(picture, Page) else picture

        for name, family in FAMILIES.items():
            common.PHOTOS[:] = lists[family.held_out]
            folder = out / ("held_out" if family.held_out else "train") / family.kind / name
            for index in range(held_out if family.held_out else train):
                path = folder / f"{index:04d}.png"
                random = random_of(SEED, name, index)
                _save(path, lambda random=random, name=name: finished(random, made(name, random)))
                progress.advance(task)
        changes = {False: photographs.CHANGES, True: photographs.CHANGES | photographs.HELD_OUT_CHANGES}
        task = progress.add_task(
            "photos", total=sum((len(changes[each]) + 2) * n for each, n in ((False, train), (True, held_out)))
        )
        for held in (False, True):
            common.PHOTOS[:] = lists[held]
            folder = out / ("held_out" if held else "train") / "photo"
            fitting = [name for name in flat if FAMILIES[name].held_out == held]
            for name in [*changes[held], "table", "screen"]:
                for index in range(held_out if held else train):
                    random = random_of(SEED + 1 + held, name, index)

                    def change(random: Random = random, name: str = name) -> Image.Image:
                        image = common.photo(random)
                        if name in changes[held]:
                            return finished(random, changes[held][name](random, image))
                        wanted = "text" if name == "table" else "screen"
                        sheet = made(pick(random, [each for each in fitting if FAMILIES[each].kind == wanted]), random)
                        return finished(random, photographs.on_a_table(random, image, sheet))

                    _save(folder / name / f"{index:04d}.png", change)
                    progress.advance(task)


def _save(path: Path, make: Callable[[], Image.Image]) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    make().save(aside, "PNG", compress_level=1)
    aside.rename(path)


_ = np
