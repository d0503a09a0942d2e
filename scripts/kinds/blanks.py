"""Pictures that show nothing: one colour, gradients, noise."""

from __future__ import annotations

import numpy as np
from common import Random, between, canvas, chance, colour, family, paper, pick
from PIL import Image, ImageFilter


def _field(random: Random) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates from 0 to 1 of a picture of some size."""
    height, width = between(random, 120, 700), between(random, 120, 700)
    return np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))


def _mixed(share: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    """Colours by a share (H, W) from 0 to 1, one after another."""
    stops = np.linspace(0, 1, len(colours))
    channels = [np.interp(np.clip(share, 0, 1), stops, [each[c] for each in colours]) for c in range(3)]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))


def _noisy(random: Random, image: Image.Image, most: float) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    return Image.fromarray(
        np.clip(pixels + random.normal(0, most * random.random(), pixels.shape), 0, 255).astype(np.uint8)
    )


@family("blank")
def one_colour(random: Random) -> Image.Image:
    shade = between(random, 0, 255)
    usual = [(255, 255, 255), (0, 0, 0), (shade, shade, shade), paper(random)]
    return canvas(random, pick(random, usual) if chance(random, 0.5) else colour(random))[0]


@family("blank")
def one_colour_with_noise(random: Random) -> Image.Image:
    return _noisy(random, canvas(random, colour(random), 150, 500)[0], 12)


@family("blank")
def black_frame(random: Random) -> Image.Image:
    """As of a covered lens: hardly any light, the noise of a sensor."""
    return _noisy(random, canvas(random, colour(random, 0, 10), 150, 500)[0], 6)


@family("blank")
def linear_gradient(random: Random) -> Image.Image:
    x, y = _field(random)
    angle = random.random() * 2 * np.pi if chance(random, 0.6) else pick(random, [0, np.pi / 2])
    share = x * np.cos(angle) + y * np.sin(angle)
    share = (share - share.min()) / np.ptp(share)
    image = _mixed(share, *[colour(random) for _ in range(pick(random, [2, 2, 2, 3, 4]))])
    return _noisy(random, image, 6) if chance(random, 0.3) else image


@family("blank")
def pale_gradient(random: Random) -> Image.Image:
    x, y = _field(random)
    first = np.array(colour(random))
    second = np.clip(first + random.integers(-60, 61, 3), 0, 255)
    return _mixed(pick(random, [x, y, (x + y) / 2]), tuple(first.tolist()), tuple(second.tolist()))


@family("blank")
def radial_gradient(random: Random) -> Image.Image:
    x, y = _field(random)
    share = np.hypot((x - random.random()) * (0.6 + random.random()), y - random.random())
    return _mixed(share / share.max(), *[colour(random) for _ in range(pick(random, [2, 2, 3]))])


@family("blank")
def white_noise(random: Random) -> Image.Image:
    height, width = between(random, 150, 600), between(random, 150, 600)
    channels = pick(random, [1, 3])
    values = random.normal(between(random, 60, 200), between(random, 15, 90), (height, width, channels))
    return Image.fromarray(np.clip(np.repeat(values, 3 // channels, 2), 0, 255).astype(np.uint8))


@family("blank")
def even_noise(random: Random) -> Image.Image:
    side = between(random, 100, 500)
    values = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((side * 2, side * 2), pick(random, [0, 2]))


@family("blank")
def salt_and_pepper(random: Random) -> Image.Image:
    image = np.array(canvas(random, colour(random), 150, 500)[0])
    share = random.random() * 0.3
    drawn = random.random(image.shape[:2])
    image[drawn < share] = 255
    image[drawn > 1 - share] = 0
    return Image.fromarray(image)


@family("blank")
def soft_blobs(random: Random) -> Image.Image:
    """Noise of few grains, made larger: no edge anywhere."""
    grains = random.integers(
        0, 256, (between(random, 2, 9), between(random, 2, 9), pick(random, [1, 3])), dtype=np.uint8
    )
    grains = np.repeat(grains, 3 // grains.shape[2], 2)
    return Image.fromarray(grains).resize((400, 300), Image.Resampling.BICUBIC)


@family("blank")
def framed_nothing(random: Random) -> Image.Image:
    image, draw = canvas(random, paper(random))
    inset = between(random, 0, image.width // 10)
    box = [inset, inset, image.width - 1 - inset, image.height - 1 - inset]
    draw.rectangle(box, outline=colour(random), width=between(random, 1, 12))
    return image


@family("blank")
def specks(random: Random) -> Image.Image:
    """An empty page with a mark or two."""
    image, draw = canvas(random, paper(random))
    for _ in range(between(random, 1, 5)):
        x, y, size = between(random, 0, image.width), between(random, 0, image.height), between(random, 1, 8)
        draw.ellipse([x, y, x + size, y + size], colour(random))
    return image


@family("blank", held_out=True)
def conic_gradient(random: Random) -> Image.Image:
    x, y = _field(random)
    share = (np.arctan2(y - random.random(), x - random.random()) / (2 * np.pi) + 0.5 + random.random()) % 1
    first = colour(random)
    return _mixed(share, first, *[colour(random) for _ in range(between(random, 1, 4))], first)


@family("blank", held_out=True)
def fractal_noise(random: Random) -> Image.Image:
    """Noise of several sizes, each half as strong as the larger one."""
    total = np.zeros((320, 320))
    for octave in range(between(random, 2, 6)):
        grains = Image.fromarray(random.random((2 + 2**octave, 2 + 2**octave)).astype(np.float32))
        total += np.asarray(grains.resize((320, 320), Image.Resampling.BICUBIC)) / 2**octave
    return _mixed((total - total.min()) / np.ptp(total), colour(random), colour(random))


@family("blank", held_out=True)
def television_static(random: Random) -> Image.Image:
    values = random.integers(0, 256, (240, 320)).astype(np.float32)
    values[::2] *= random.random()
    image = Image.fromarray(values.astype(np.uint8)).convert("RGB").resize((640, 480), Image.Resampling.NEAREST)
    return image.filter(ImageFilter.BoxBlur(random.random() * 1.5))


@family("blank", held_out=True)
def darker_to_the_rim(random: Random) -> Image.Image:
    x, y = _field(random)
    distance = np.hypot(x - 0.5, y - 0.5)
    first = colour(random, 60, 255)
    return _mixed(distance**2 * 2, first, tuple(int(each * 0.4) for each in first))


@family("blank", held_out=True)
def paper_grain(random: Random) -> Image.Image:
    image = canvas(random, colour(random, 170, 250), 300, 600)[0]
    fibres = np.asarray(
        Image.fromarray((random.random((image.height, image.width)) * 255).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(1)
        )
    )
    return Image.fromarray(
        np.clip(np.asarray(image, np.float32) + (fibres[..., None] - 127.0) * 0.3, 0, 255).astype(np.uint8)
    )


@family("blank", held_out=True)
def two_halves(random: Random) -> Image.Image:
    image, draw = canvas(random, colour(random))
    cut = random.random()
    box = [0, 0, image.width * cut, image.height] if chance(random, 0.5) else [0, 0, image.width, image.height * cut]
    draw.rectangle(box, colour(random))
    return image


@family("blank", held_out=True)
def plasma(random: Random) -> Image.Image:
    x, y = _field(random)
    waves = sum(
        np.sin(2 * np.pi * (random.normal(0, 1.5) * x + random.normal(0, 1.5) * y + random.random())) for _ in range(4)
    )
    return _mixed((waves - waves.min()) / np.ptp(waves), *[colour(random) for _ in range(3)])
