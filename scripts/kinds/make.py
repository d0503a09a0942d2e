"""Make the pictures, each from its own seed, at the size at which models see them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import common
import photographs
from common import FAMILIES, Family, Page, Random, chance, pick, random_of
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


def _finished(random: Random, make: Maker) -> Image.Image:
    """A picture at the model's size. Some went through a lossy format before, some after, as photos of data sets did:
    the head must not tell kinds by that."""
    image = make(random)
    if chance(random, 0.4):
        image = photographs.compressed(random, image)
    image = Image.fromarray(load_image(image, SIZE))
    return photographs.compressed(random, image, 60) if chance(random, 0.5) else image


def make_all(data: Path, out: Path, train: int, held_out: int) -> None:
    """Pictures of every family, and changed photos; those that are there already stay.

    `train`, `held_out`: pictures of each family.
    """
    with browser() as render, Progress() as progress:
        for held in (False, True):
            common.PHOTOS[:] = photos_of(data, held)
            folder, count = out / ("held_out" if held else "train"), held_out if held else train
            makers = {**no_photos(held, render), **changed_photos(held, render)}
            task = progress.add_task(folder.name, total=len(makers) * count)
            for (kind, name), made in makers.items():
                for index in range(count):
                    random = random_of(SEED + (kind == "photo") * (1 + held), name, index)
                    _save(folder / kind / name / f"{index:04d}.png", partial(_finished, random, made))
                    progress.advance(task)


PHOTOGRAPHED = {"table": "text", "screen": "screen"}
"""Photos of what is no photo, and the kind of that."""

Maker: TypeAlias = Callable[[Random], Image.Image]


def no_photos(held: bool, render: Callable[[Page], Image.Image]) -> dict[tuple[str, str], Maker]:
    """What makes pictures of each family, by kind and name."""

    def made(family: Family, random: Random) -> Image.Image:
        picture = family.make(random)
        return render(picture) if isinstance(picture, Page) else picture

    chosen = {name: family for name, family in FAMILIES.items() if family.held_out == held}
    return {(family.kind, name): partial(made, family) for name, family in chosen.items()}


def changed_photos(held: bool, render: Callable[[Page], Image.Image]) -> dict[tuple[str, str], Maker]:
    """What makes changed photos, by the name of the change; pages and screens that were photographed among them."""
    flat = no_photos(held, render)

    def changed(change: photographs.Change, random: Random) -> Image.Image:
        return change(random, common.photo(random))

    def photographed(kind: str, random: Random) -> Image.Image:
        image = common.photo(random)
        sheet = flat[pick(random, [each for each in flat if each[0] == kind])](random)
        return photographs.on_a_table(random, image, sheet)

    changes = photographs.CHANGES | (photographs.HELD_OUT_CHANGES if held else {})
    makers = {("photo", name): partial(changed, change) for name, change in changes.items()}
    return makers | {("photo", name): partial(photographed, kind) for name, kind in PHOTOGRAPHED.items()}


def _save(path: Path, make: Callable[[], Image.Image]) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    make().save(aside, "PNG", compress_level=1)
    aside.rename(path)
