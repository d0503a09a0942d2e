"""Photos as people have them: dark, blurred, grey, cropped, framed, of paper and screens. All of them are photos."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
from common import Random, between, chance, colour, pick
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

__all__ = ["CHANGES", "HELD_OUT_CHANGES", "compressed", "on_a_table"]


def compressed(random: Random, image: Image.Image, low: int = 30) -> Image.Image:
    """As a file of a lossy format gives it back."""
    file = BytesIO()
    image.save(file, pick(random, ["JPEG", "JPEG", "WEBP"]), quality=between(random, low, 95))
    return Image.open(BytesIO(file.getvalue())).convert("RGB")


def _scaled(image: Image.Image, gain: float, lift: float = 0.0, gamma: float = 1.0) -> Image.Image:
    pixels = 255 * (np.asarray(image, np.float32) / 255) ** gamma
    return Image.fromarray(np.clip(pixels * gain + lift, 0, 255).astype(np.uint8))


def _noisy(random: Random, image: Image.Image, most: float) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    return Image.fromarray(np.clip(pixels + random.normal(0, most, pixels.shape), 0, 255).astype(np.uint8))


def plain(random: Random, image: Image.Image) -> Image.Image:
    return image


def grey(random: Random, image: Image.Image) -> Image.Image:
    image = image.convert("L").convert("RGB")
    return ImageEnhance.Contrast(image).enhance(0.6 + random.random()) if chance(random, 0.5) else image


def sepia(random: Random, image: Image.Image) -> Image.Image:
    return ImageOps.colorize(image.convert("L"), colour(random, 0, 60), colour(random, 200, 255))


def dark(random: Random, image: Image.Image) -> Image.Image:
    return _noisy(random, _scaled(image, 0.12 + 0.35 * random.random()), 4 * random.random())


def night(random: Random, image: Image.Image) -> Image.Image:
    """Nearly black but for what shines."""
    return _noisy(random, _scaled(image, 0.9, gamma=2.5 + 2 * random.random()), 5 * random.random())


def bright(random: Random, image: Image.Image) -> Image.Image:
    return _scaled(image, 1.2 + 0.7 * random.random(), 40 * random.random())


def faint(random: Random, image: Image.Image) -> Image.Image:
    share, level = 0.15 + 0.4 * random.random(), between(random, 60, 200)
    return _scaled(image, share, level * (1 - share))


def fog(random: Random, image: Image.Image) -> Image.Image:
    share = 0.12 + 0.3 * random.random()
    return _scaled(image, share, 255 * (1 - share) - 20 * random.random())


def blurred(random: Random, image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(0.8 + 5 * random.random() ** 2))


def grainy(random: Random, image: Image.Image) -> Image.Image:
    return _noisy(random, image, 5 + 25 * random.random())


def sharpened(random: Random, image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.UnsharpMask(1 + random.random(), between(random, 60, 250), 1))


def squeezed(random: Random, image: Image.Image) -> Image.Image:
    side = between(random, 60, 180)
    return image.resize((side, between(random, 60, 180)), Image.Resampling.BILINEAR)


def badly_compressed(random: Random, image: Image.Image) -> Image.Image:
    return compressed(random, image, 5)


def cropped(random: Random, image: Image.Image) -> Image.Image:
    share = 0.35 + 0.5 * random.random()
    width, height = int(image.width * share), int(image.height * share)
    x, y = between(random, 0, image.width - width), between(random, 0, image.height - height)
    return image.crop((x, y, x + width, y + height))


def close(random: Random, image: Image.Image) -> Image.Image:
    """A small part, as soft as a macro photo."""
    width = height = between(random, 40, 80)
    x, y = between(random, 0, image.width - width), between(random, 0, image.height - height)
    return image.crop((x, y, x + width, y + height)).resize((400, 400), Image.Resampling.BICUBIC)


def flattest(random: Random, image: Image.Image) -> Image.Image:
    """The part in which least happens: sky, snow, a wall, water."""
    side = between(random, 60, 120)
    places = [(between(random, 0, image.width - side), between(random, 0, image.height - side)) for _ in range(12)]
    parts = [image.crop((x, y, x + side, y + side)) for x, y in places]
    return min(parts, key=lambda part: abs(float(np.asarray(part.convert("L"), np.float32).std()) - 5))


def mirrored(random: Random, image: Image.Image) -> Image.Image:
    return ImageOps.mirror(image)


def turned(random: Random, image: Image.Image) -> Image.Image:
    return image.transpose(
        pick(random, [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270])
    )


def tinted(random: Random, image: Image.Image) -> Image.Image:
    gains = 1 + random.normal(0, 0.2, 3)
    return Image.fromarray(np.clip(np.asarray(image, np.float32) * gains, 0, 255).astype(np.uint8))


def vivid(random: Random, image: Image.Image) -> Image.Image:
    return ImageEnhance.Contrast(ImageEnhance.Color(image).enhance(1 + 1.5 * random.random())).enhance(
        1 + random.random()
    )


def framed(random: Random, image: Image.Image) -> Image.Image:
    """With bars above and below, or a border."""
    shade = pick(random, [(0, 0, 0), (255, 255, 255), (255, 255, 255), colour(random)])
    return ImageOps.expand(image, (between(random, 0, 25), between(random, 0, 40)), shade)


def instant(random: Random, image: Image.Image) -> Image.Image:
    """On the card of an instant camera: a white rim, broad at the bottom."""
    card = Image.new("RGB", (image.width + 40, image.height + 100), (between(random, 235, 255),) * 3)
    card.paste(image, (20, 20))
    return card


def barred(random: Random, image: Image.Image) -> Image.Image:
    """Wide or tall, filled up with black, white or a blurred copy to another aspect."""
    size = pick(random, [(420, 224), (224, 420), (340, 224), (300, 224)])
    filled = [Image.new("RGB", size), Image.new("RGB", size, "white")]
    filled.append(image.resize(size).filter(ImageFilter.GaussianBlur(18)))
    ground = pick(random, filled)
    ground.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return ground


def collage(random: Random, image: Image.Image) -> Image.Image:
    """Several photos side by side, with or without a gap."""
    from common import photo

    columns, rows, gap = between(random, 1, 3), between(random, 1, 2), pick(random, [0, 0, 4, 10])
    sheet = Image.new("RGB", (columns * (224 + gap), rows * (224 + gap)), pick(random, [(255, 255, 255), (0, 0, 0)]))
    for column in range(columns):
        for row in range(rows):
            sheet.paste(
                (photo(random) if column or row else image).resize((224, 224)),
                (column * (224 + gap), row * (224 + gap)),
            )
    return sheet


def cut_out(random: Random, image: Image.Image) -> Image.Image:
    """On white, as goods are shown; the rim is soft or hard."""
    mask = Image.new("L", image.size)
    inset = between(random, 10, 50)
    ImageDraw.Draw(mask).ellipse(
        [inset, inset * random.random(), image.width - inset, image.height - inset * random.random()], 255
    )
    mask = mask.filter(ImageFilter.GaussianBlur(between(random, 0, 12)))
    return Image.composite(image, Image.new("RGB", image.size, (255, 255, 255)), mask)


def shallow(random: Random, image: Image.Image) -> Image.Image:
    """Sharp in the middle alone."""
    mask = Image.new("L", image.size)
    x, y, size = between(random, 60, 160), between(random, 60, 160), between(random, 30, 80)
    ImageDraw.Draw(mask).ellipse([x - size, y - size, x + size, y + size], 255)
    return Image.composite(
        image, image.filter(ImageFilter.GaussianBlur(between(random, 3, 8))), mask.filter(ImageFilter.GaussianBlur(20))
    )


def dated(random: Random, image: Image.Image) -> Image.Image:
    """With the date in a corner, or a mark of its owner."""
    from common import font, word

    image = image.resize((600, 600), Image.Resampling.BICUBIC)
    text = (
        f"{between(random, 1, 31)}/{between(random, 1, 12)}/20{between(random, 10, 26)}"
        if chance(random, 0.5)
        else word(random)
    )
    ImageDraw.Draw(image).text(
        (between(random, 10, 380), pick(random, [20, 550])),
        text,
        pick(random, [(255, 140, 0), (255, 255, 255)]),
        font(random, between(random, 20, 40)),
    )
    return image


def on_a_table(random: Random, image: Image.Image, flat: Image.Image) -> Image.Image:
    """A page or screen that somebody photographed: seen aslant, with light and shadow, on what `image` shows."""
    ground = image.resize((500, 500), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(random.random() * 3))
    reach = 40 + random.random(8) * 110
    corners = np.array([[0, 0], [500, 0], [500, 500], [0, 500]]) + reach.reshape(4, 2) * [
        [1, 1],
        [-1, 1],
        [-1, -1],
        [1, -1],
    ]
    source = np.array([[0, 0], [flat.width, 0], [flat.width, flat.height], [0, flat.height]], float)
    rows = []
    for (x, y), (u, v) in zip(corners.tolist(), source.tolist(), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y, u], [0, 0, 0, x, y, 1, -v * x, -v * y, v]]
    table = np.array(rows)
    way = tuple(np.linalg.solve(table[:, :8], table[:, 8]).tolist())
    sheet = flat.transform((500, 500), Image.Transform.PERSPECTIVE, way, Image.Resampling.BILINEAR)
    mask = Image.new("L", flat.size, 255).transform(
        (500, 500), Image.Transform.PERSPECTIVE, way, Image.Resampling.BILINEAR
    )
    light = np.linspace(0.55 + 0.4 * random.random(), 0.95, 500)[:: pick(random, [1, -1])]
    light = light[:, None, None] if chance(random, 0.5) else light[None, :, None]
    lit = np.asarray(sheet, np.float32) * light * (1 + random.normal(0, 0.05, 3))
    ground.paste(Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8)), (0, 0), mask)
    return _noisy(random, ground.filter(ImageFilter.GaussianBlur(0.4 + random.random())), 1 + 5 * random.random())


def swirled(random: Random, image: Image.Image) -> Image.Image:
    """Bent outwards, as by a wide lens."""
    y, x = np.mgrid[-1:1:224j, -1:1:224j]
    bend = 1 - 0.35 * random.random() * (1 - (x**2 + y**2) / 2)
    pixels = np.asarray(image.resize((224, 224)))
    return Image.fromarray(pixels[((y * bend + 1) * 111.5).astype(int), ((x * bend + 1) * 111.5).astype(int)])


def moved(random: Random, image: Image.Image) -> Image.Image:
    """Shaken while the shutter was open."""
    pixels, steps = np.asarray(image, np.float32), between(random, 4, 18)
    across = chance(random, 0.5)
    return Image.fromarray((sum(np.roll(pixels, step, int(across)) for step in range(steps)) / steps).astype(np.uint8))


def two_tones(random: Random, image: Image.Image) -> Image.Image:
    return ImageOps.colorize(image.convert("L"), colour(random, 0, 110), colour(random, 150, 255))


def against_the_light(random: Random, image: Image.Image) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 1, image.width), np.linspace(0, 1, image.height))
    glare = np.exp(-8 * ((x - random.random()) ** 2 + (y - 0.4 * random.random()) ** 2))[..., None]
    return Image.fromarray(np.clip(np.asarray(image, np.float32) * 0.7 + 220 * glare, 0, 255).astype(np.uint8))


def halved_light(random: Random, image: Image.Image) -> Image.Image:
    """Dusk: half as bright and blue."""
    return Image.fromarray(
        np.clip(np.asarray(image, np.float32) * np.array([0.3, 0.36, 0.55]), 0, 255).astype(np.uint8)
    )


def upper_third(random: Random, image: Image.Image) -> Image.Image:
    """What is at the top, often sky."""
    return image.crop((0, 0, image.width, image.height // 3))


Change = Callable[[Random, Image.Image], Image.Image]
CHANGES: dict[str, Change] = {
    change.__name__: change
    for change in (
        *(plain, plain, plain, grey, sepia, dark, night, bright, faint, fog, blurred, grainy, sharpened, squeezed),
        *(
            instant,
            barred,
            collage,
            badly_compressed,
            cropped,
            close,
            flattest,
            mirrored,
            turned,
            tinted,
            vivid,
            framed,
            cut_out,
            shallow,
            dated,
        ),
    )
}
HELD_OUT_CHANGES: dict[str, Change] = {
    change.__name__: change for change in (swirled, moved, two_tones, against_the_light, halved_light, upper_third)
}
