# ruff: noqa: E501
"""Drawings by code: clip art, cartoons, line art, icons, patterns; other procedures are held out."""

from __future__ import annotations

import math

import numpy as np
from common import (
    UNICODE_FONTS,
    Colour,
    Page,
    Random,
    between,
    canvas,
    chance,
    colour,
    css,
    family,
    font,
    paper,
    photo,
    pick,
    word,
)
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps


def _ground(random: Random) -> Colour:
    return paper(random) if chance(random, 0.6) else colour(random)


def _blob(
    random: Random, x: float, y: float, size: float, corners: int = 9, wild: float = 0.3
) -> list[tuple[float, float]]:
    """An uneven outline around a point."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = size * (1 + wild * random.normal(0, 1, corners))
    return [(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(angles, radii.tolist(), strict=True)]


def _smooth(points: list[tuple[float, float]], times: int = 3) -> list[tuple[float, float]]:
    """Corners cut again and again (Chaikin): a polygon becomes a curve."""
    for _ in range(times):
        ring = np.array([*points, points[0]])
        points = (
            np.stack([0.75 * ring[:-1] + 0.25 * ring[1:], 0.25 * ring[:-1] + 0.75 * ring[1:]], 1)
            .reshape(-1, 2)
            .tolist()
        )
    return [tuple(point) for point in points]


@family("drawing")
def shapes(random: Random) -> Image.Image:
    image, draw = canvas(random, _ground(random), 300, 700)
    for _ in range(between(random, 1, 25)):
        x, y, size = (
            between(random, 0, image.width),
            between(random, 0, image.height),
            between(random, 10, image.width // 3),
        )
        outline = (0, 0, 0) if chance(random, 0.4) else None
        kind = between(random, 0, 3)
        if kind == 0:
            draw.ellipse([x, y, x + size, y + size * (0.4 + random.random())], colour(random), outline)
        elif kind == 1:
            draw.rectangle([x, y, x + size, y + size * (0.4 + random.random())], colour(random), outline)
        elif kind == 2:
            draw.regular_polygon(
                (x, y, size / 2), between(random, 3, 8), between(random, 0, 90), colour(random), outline
            )
        else:
            draw.polygon(_smooth(_blob(random, x, y, size / 2)), colour(random), outline)
    return image


@family("drawing")
def one_figure(random: Random) -> Image.Image:
    """A single flat shape with a few details, as clip art and logos are."""
    image, draw = canvas(random, _ground(random), 300, 600)
    x, y, size = image.width / 2, image.height / 2, min(image.size) * (0.25 + 0.15 * random.random())
    line = between(random, 0, 8)
    draw.polygon(
        _smooth(_blob(random, x, y, size, between(random, 5, 12))), colour(random), (0, 0, 0) if line else None, line
    )
    for _ in range(between(random, 0, 6)):
        dx, dy = random.normal(0, size / 3, 2)
        draw.polygon(
            _smooth(_blob(random, x + dx, y + dy, size * 0.25)), colour(random), (0, 0, 0) if line else None, line // 2
        )
    if chance(random, 0.3):
        draw.text(
            (x - size * 0.8, y + size * 1.1), word(random).upper(), colour(random, 0, 120), font(random, size / 3)
        )
    return image


@family("drawing")
def face(random: Random) -> Image.Image:
    image, draw = canvas(random, _ground(random), 300, 600)
    x, y, size = image.width / 2, image.height / 2, min(image.size) * 0.35
    skin, line = (
        pick(random, [(255, 220, 90), (245, 205, 175), (150, 100, 70), colour(random, 100, 255)]),
        between(random, 2, 7),
    )
    draw.ellipse([x - size, y - size * (0.9 + 0.3 * random.random()), x + size, y + size], skin, (20, 20, 20), line)
    if chance(random, 0.6):
        draw.pieslice([x - size * 1.05, y - size * 1.3, x + size * 1.05, y + size * 0.4], 180, 360, colour(random))
    for side in (-1, 1):
        eye = size * (0.1 + 0.12 * random.random())
        ex, ey = x + side * size * 0.38, y - size * 0.15
        draw.ellipse([ex - eye, ey - eye, ex + eye, ey + eye], (255, 255, 255), (20, 20, 20), 2)
        draw.ellipse([ex - eye / 2, ey - eye / 2, ex + eye / 2, ey + eye / 2], colour(random, 0, 90))
        if chance(random, 0.3):
            draw.polygon(
                [
                    (x + side * size * 0.9, y - size * 0.6),
                    (x + side * size * 0.95, y - size * 1.3),
                    (x + side * size * 0.4, y - size * 0.9),
                ],
                skin,
                (20, 20, 20),
            )
    draw.arc(
        [x - size * 0.5, y, x + size * 0.5, y + size * 0.6],
        pick(random, [0, 20, 180]),
        pick(random, [180, 160, 360]),
        (150, 20, 40),
        line,
    )
    return image


@family("drawing")
def landscape(random: Random) -> Image.Image:
    """Sky, hills, sun, a house, trees, as a picture book has them."""
    image, draw = canvas(random, colour(random, 120, 255), 400, 800)
    width, height = image.size
    draw.ellipse([width * 0.75, height * 0.08, width * 0.75 + height * 0.18, height * 0.26], (255, 220, 60))
    for row in range(between(random, 1, 4)):
        y = height * (0.45 + 0.15 * row)
        heights = y + 30 * np.sin(np.linspace(0, between(random, 2, 9), 40) + random.random() * 6) * (
            1 + random.random()
        )
        hill = list(zip(np.linspace(0, width, 40).tolist(), heights.tolist(), strict=True))
        draw.polygon([*hill, (width, height), (0, height)], colour(random, 30, 200))
    for _ in range(between(random, 0, 8)):
        x, y, size = between(random, 0, width), between(random, height // 2, height), between(random, 15, 60)
        draw.rectangle([x - size / 8, y - size, x + size / 8, y], (110, 70, 40))
        draw.ellipse([x - size / 2, y - size * 1.7, x + size / 2, y - size * 0.6], colour(random, 20, 180))
    if chance(random, 0.6):
        x, y, size = between(random, 30, width - 120), height * 0.8, between(random, 50, 130)
        draw.rectangle([x, y - size, x + size, y], colour(random), (30, 30, 30))
        draw.polygon(
            [(x - 10, y - size), (x + size + 10, y - size), (x + size / 2, y - size * 1.6)],
            colour(random),
            (30, 30, 30),
        )
        draw.rectangle([x + size * 0.4, y - size * 0.5, x + size * 0.65, y], colour(random))
    for _ in range(between(random, 0, 4)):
        x, y = between(random, 0, width), between(random, 10, height // 4)
        for at in range(4):
            draw.ellipse([x + at * 18, y - 12 * (at % 2), x + at * 18 + 34, y + 22], (255, 255, 255))
    return image


@family("drawing")
def outlines(random: Random) -> Image.Image:
    """Lines without a fill: a colouring book, a doodle."""
    image, draw = canvas(random, paper(random), 300, 700)
    line, tint = between(random, 1, 7), (0, 0, 0) if chance(random, 0.7) else colour(random, 0, 120)
    for _ in range(between(random, 2, 18)):
        x, y, size = (
            between(random, 0, image.width),
            between(random, 0, image.height),
            between(random, 15, image.width // 3),
        )
        points = _smooth(_blob(random, x, y, size, between(random, 3, 14), random.random() * 0.6))
        draw.line([*points, points[0]], tint, line, "curve")
    return image


@family("drawing")
def scribble(random: Random) -> Image.Image:
    image, draw = canvas(random, paper(random), 300, 700)
    for _ in range(between(random, 1, 5)):
        steps = random.normal(0, image.width / 30, (between(random, 20, 200), 2))
        path = np.cumsum(steps, 0) + np.array([image.width / 2, image.height / 2])
        draw.line([tuple(point) for point in path.tolist()], colour(random, 0, 160), between(random, 1, 9), "curve")
    return image


@family("drawing")
def stick_people(random: Random) -> Image.Image:
    image, draw = canvas(random, paper(random), 400, 700)
    line, tint = between(random, 2, 8), (0, 0, 0) if chance(random, 0.6) else colour(random, 0, 150)
    for at in range(between(random, 1, 5)):
        x, y, size = (at + 0.5) * image.width / 5, image.height * (0.4 + 0.2 * random.random()), image.height * 0.1
        draw.ellipse([x - size / 2, y - size * 2, x + size / 2, y - size], outline=tint, width=line)
        draw.line([x, y - size, x, y + size], tint, line)
        for side in (-1, 1):
            draw.line([x, y - size * 0.6, x + side * size, y + random.normal(0, size / 2)], tint, line)
            draw.line([x, y + size, x + side * size * 0.7, y + size * 2.2], tint, line)
    draw.line([0, image.height * 0.85, image.width, image.height * 0.85], tint, line)
    return image


@family("drawing")
def curves(random: Random) -> Image.Image:
    """What a spirograph draws."""
    image, draw = canvas(random, _ground(random), 300, 600)
    a, b, c = between(random, 20, 60), between(random, 5, 40), between(random, 5, 60)
    t = np.linspace(0, 2 * np.pi * between(random, 5, 40), 3000)
    xs, ys = (a - b) * np.cos(t) + c * np.cos((a - b) / b * t), (a - b) * np.sin(t) - c * np.sin((a - b) / b * t)
    scale = min(image.size) * 0.45 / max(np.abs(xs).max(), np.abs(ys).max())
    points = np.stack([xs * scale + image.width / 2, ys * scale + image.height / 2], 1)
    draw.line([tuple(point) for point in points.tolist()], colour(random), between(random, 1, 4))
    return image


@family("drawing")
def maze(random: Random) -> Image.Image:
    cells, side = between(random, 8, 30), 16
    image = Image.new("RGB", (cells * side + 2, cells * side + 2), paper(random))
    draw, tint, line = ImageDraw.Draw(image), colour(random, 0, 100), between(random, 1, 4)
    for row in range(cells):
        for column in range(cells):
            x, y = column * side, row * side
            draw.line([x, y, x + side, y] if chance(random, 0.5) else [x, y, x, y + side], tint, line)
    return image


@family("drawing")
def mosaic(random: Random) -> Image.Image:
    """The cells around random points, each of one colour."""
    size, count = 300, between(random, 6, 120)
    seeds, tints = random.random((count, 2)) * size, random.integers(0, 256, (count, 3))
    y, x = np.mgrid[:size, :size]
    nearest, best = np.zeros((size, size), int), np.full((size, size), np.inf)
    for at, (sx, sy) in enumerate(seeds):
        distance = (x - sx) ** 2 + (y - sy) ** 2
        nearest[distance < best] = at
        best = np.minimum(best, distance)
    image = Image.fromarray(tints[nearest].astype(np.uint8))
    if chance(random, 0.5):
        edges = np.asarray(image.filter(ImageFilter.FIND_EDGES).convert("L")) > 8
        image = Image.fromarray(np.where(edges[..., None], 20, np.asarray(image)).astype(np.uint8))
    return image.resize((600, 600), Image.Resampling.NEAREST if chance(random, 0.5) else Image.Resampling.BICUBIC)


@family("drawing")
def triangles(random: Random) -> Image.Image:
    """A plane of triangles whose colours change slowly: low poly."""
    image, draw = canvas(random, (0, 0, 0), 400, 700)
    cells, (first, second) = between(random, 5, 16), (np.array(colour(random)), np.array(colour(random)))
    xs, ys = np.meshgrid(np.linspace(0, image.width, cells + 1), np.linspace(0, image.height, cells + 1))
    step = image.width / cells
    xs[:, 1:-1] += random.normal(0, step / 5, xs[:, 1:-1].shape)
    ys[1:-1] += random.normal(0, step / 5, ys[1:-1].shape)
    for row in range(cells):
        for column in range(cells):
            corners = [(xs[row + i, column + j], ys[row + i, column + j]) for i, j in ((0, 0), (0, 1), (1, 1), (1, 0))]
            for part in (corners[:3], [*corners[2:], corners[0]]):
                share = (row + column) / (2 * cells) + random.normal(0, 0.08)
                draw.polygon(part, tuple(np.clip(first * (1 - share) + second * share, 0, 255).astype(int).tolist()))
    return image


@family("drawing")
def sprites(random: Random) -> Image.Image:
    """Small figures of large pixels, mirrored, as of old games."""
    rows, columns = pick(random, [(1, 1), (1, 1), (2, 2), (3, 4)])
    ground, sheet = _ground(random), []
    for _ in range(rows):
        line = []
        for _ in range(columns):
            half = random.random((12, 6)) < 0.5
            cell = np.where(np.concatenate([half, half[:, ::-1]], 1)[..., None], colour(random), ground)
            detail = random.random((12, 6)) < 0.15
            cell[np.concatenate([detail, detail[:, ::-1]], 1)] = colour(random)
            line.append(
                np.pad(cell, ((2, 2), (2, 2), (0, 0)), constant_values=255 if ground == (255, 255, 255) else ground[0])
            )
        sheet.append(np.concatenate(line, 1))
    image = Image.fromarray(np.concatenate(sheet, 0).astype(np.uint8))
    return image.resize((image.width * 20, image.height * 20), Image.Resampling.NEAREST)


@family("drawing")
def symbols(random: Random) -> Image.Image:
    """Large signs of a font: chess pieces, weather, hands, stars."""
    image, draw = canvas(random, _ground(random), 300, 600)
    signs = "☀☁☂☃☎☕☘☠☢☮☯☸☹☺♔♕♖♗♘♙♚♛♜♝♞♟♠♣♥♦♨♪♫♻⚀⚓⚔⚖⚙⚛⚡⚽✂✈✉✌✎✓✗❀❄❤➔★☆✿❁⌂⌚"
    count = pick(random, [1, 1, 2, 3, 4])
    for row in range(count):
        for column in range(count):
            size = min(image.size) / count
            face_ = ImageFont.truetype(UNICODE_FONTS[0], max(int(size * 0.8), 8))
            at = (column * image.width / count + size * 0.1, row * image.height / count)
            draw.text(at, pick(random, signs), colour(random, 0, 200), face_)
    return image


@family("drawing")
def tiling(random: Random) -> Image.Image:
    """A pattern that repeats: wallpaper, cloth, tiles."""
    side = between(random, 24, 110)
    tile = Image.new("RGB", (side, side), _ground(random))
    draw = ImageDraw.Draw(tile)
    for _ in range(between(random, 1, 5)):
        x, y, size = between(random, 0, side), between(random, 0, side), between(random, 4, side)
        pick(random, [draw.ellipse, draw.rectangle])([x, y, x + size, y + size], colour(random))
    if chance(random, 0.4):
        draw.line([0, 0, side, side], colour(random), between(random, 1, 8))
    image = Image.new("RGB", (side * between(random, 3, 9), side * between(random, 3, 9)))
    for x in range(0, image.width, side):
        for y in range(0, image.height, side):
            image.paste(tile, (x, y))
    return image


@family("drawing")
def stripes_and_checks(random: Random) -> Image.Image:
    y, x = np.mgrid[:400, :400]
    wide, tilt = between(random, 6, 90), random.random() * 3
    share = pick(random, [(x + tilt * y) // wide, x // wide + y // wide, y // wide, np.hypot(x - 200, y - 200) // wide])
    tints = random.integers(0, 256, (between(random, 2, 4), 3))
    return Image.fromarray(tints[share.astype(int) % len(tints)].astype(np.uint8))


@family("drawing")
def plant(random: Random) -> Image.Image:
    image, draw = canvas(random, _ground(random), 300, 600)
    tint, spread = colour(random, 0, 150), 0.25 + random.random() * 0.5

    def branch(x: float, y: float, angle: float, length: float) -> None:
        if length < 5:
            return
        to = (x + length * math.cos(angle), y + length * math.sin(angle))
        draw.line([x, y, *to], tint, max(1, int(length / 10)))
        for side in (-1, 1):
            branch(*to, angle + side * spread + random.normal(0, 0.1), length * (0.66 + 0.1 * random.random()))

    branch(image.width / 2, image.height, -math.pi / 2, image.height * 0.24)
    return image


@family("drawing")
def pencil(random: Random) -> Image.Image:
    """The lines of a photo, as a pencil draws them."""
    grey = photo(random).convert("L").resize((448, 448), Image.Resampling.BICUBIC)
    soft = grey.filter(ImageFilter.GaussianBlur(between(random, 3, 12)))
    dodged = np.clip(np.asarray(grey, np.float32) * 255 / np.maximum(np.asarray(soft, np.float32), 1), 0, 255)
    if chance(random, 0.4):
        dodged = np.where(dodged < between(random, 190, 235), 0, 255)
    return Image.fromarray(dodged.astype(np.uint8)).convert("RGB")


@family("drawing")
def comic_panels(random: Random) -> Image.Image:
    image, draw = canvas(random, (255, 255, 255), 400, 800)
    rows, columns = between(random, 1, 3), between(random, 1, 3)
    for row in range(rows):
        for column in range(columns):
            x, y = column * image.width / columns + 6, row * image.height / rows + 6
            right, bottom = x + image.width / columns - 12, y + image.height / rows - 12
            draw.rectangle([x, y, right, bottom], colour(random, 80, 255), (0, 0, 0), 3)
            for _ in range(between(random, 1, 4)):
                cx, cy, size = (
                    x + random.random() * (right - x),
                    y + (0.5 + random.random() / 2) * (bottom - y),
                    (right - x) * 0.12,
                )
                draw.polygon(_smooth(_blob(random, cx, cy, size)), colour(random), (0, 0, 0), 3)
            draw.ellipse([x + 8, y + 8, x + (right - x) * 0.6, y + (bottom - y) * 0.3], (255, 255, 255), (0, 0, 0), 2)
            draw.text(
                (x + 24, y + (bottom - y) * 0.12), word(random), (0, 0, 0), font(random, max((right - x) / 14, 8))
            )
    return image


@family("drawing")
def shaded_balls(random: Random) -> Image.Image:
    """Balls with light on them over a plane: the first thing that a renderer shows."""
    y, x = np.mgrid[:320, :320] / 320
    pixels = np.where(
        y[..., None] < 0.5, np.array(colour(random)) * (0.6 + 0.4 * y[..., None]), np.array(colour(random))
    )
    if chance(random, 0.5):
        pixels = np.where(
            ((x * 8 / (y + 0.1)).astype(int) + (4 / (y - 0.49).clip(0.01)).astype(int))[..., None]
            % 2
            * (y[..., None] >= 0.5),
            pixels * 0.6,
            pixels,
        )
    for _ in range(between(random, 1, 6)):
        cx, cy, size, tint = (
            random.random(),
            0.3 + 0.5 * random.random(),
            0.05 + 0.2 * random.random(),
            np.array(colour(random)),
        )
        dx, dy = (x - cx) / size, (y - cy) / size
        z = np.sqrt(np.clip(1 - dx**2 - dy**2, 0, None))
        light = np.clip(-0.5 * dx - 0.6 * dy + 0.62 * z, 0.08, 1)[..., None]
        pixels = np.where((dx**2 + dy**2 < 1)[..., None], tint * light + 255 * light**24, pixels)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).resize((640, 640), Image.Resampling.BICUBIC)


# --- held out -------------------------------------------------------------------------------------------------


def _svg(parts: str, ground: str, width: int = 600, height: int = 600) -> Page:
    return Page(
        f"<meta charset=utf-8><body style='margin:0'><svg width={width} height={height} viewBox='0 0 600 600' style='background:{ground}'>{parts}</svg>",
        width,
        height,
    )


def _fill(random: Random, low: int = 20, high: int = 240) -> str:
    return css(colour(random, low, high))


@family("drawing", held_out=True)
def skyline(random: Random) -> Page:
    parts, x = (
        f"<circle cx={between(random, 60, 540)} cy={between(random, 60, 200)} r=45 fill='{_fill(random, 180)}' />",
        0,
    )
    while x < 600:
        wide, high, shade = between(random, 40, 110), between(random, 120, 430), _fill(random, 10, 150)
        lights = "".join(
            f"<rect x={x + 8 + 20 * c} y={600 - high + 12 + 30 * r} width=10 height=16 fill='#fd8' />"
            for c in range(wide // 22)
            for r in range(high // 34)
            if chance(random, 0.6)
        )
        parts += f"<rect x={x} y={600 - high} width={wide} height={high} fill='{shade}' />{lights}"
        x += wide
    return _svg(parts, f"linear-gradient({_fill(random)},{_fill(random)})", 800, 600)


@family("drawing", held_out=True)
def robot(random: Random) -> Page:
    body, dark, light = _fill(random, 80), _fill(random, 0, 100), _fill(random, 150)
    parts = f"<rect x=200 y=130 width=200 height=150 rx={between(random, 5, 70)} fill='{body}' stroke='{dark}' stroke-width=8 /><circle cx=255 cy=200 r={between(random, 14, 30)} fill='{light}' /><circle cx=345 cy=200 r={between(random, 14, 30)} fill='{light}' /><rect x=240 y=240 width=120 height={between(random, 6, 22)} fill='{dark}' /><line x1=300 y1=130 x2=300 y2=80 stroke='{dark}' stroke-width=8 /><circle cx=300 cy=70 r=16 fill='{_fill(random)}' /><rect x=180 y=300 width=240 height=180 rx=20 fill='{body}' stroke='{dark}' stroke-width=8 /><rect x=110 y=310 width=50 height=150 rx=25 fill='{dark}' /><rect x=440 y=310 width=50 height=150 rx=25 fill='{dark}' /><rect x=220 y=490 width=50 height=90 fill='{dark}' /><rect x=330 y=490 width=50 height=90 fill='{dark}' />"
    return _svg(parts, _fill(random) if chance(random, 0.5) else "#fff")


@family("drawing", held_out=True)
def under_water(random: Random) -> Page:
    parts = ""
    for _ in range(between(random, 2, 8)):
        x, y, size, shade = between(random, 80, 520), between(random, 60, 540), between(random, 25, 80), _fill(random)
        parts += f"<g stroke='#123' stroke-width=3 fill='{shade}'><path d='M {x} {y} l {-size * 1.6} {-size * 0.6} l {size * 0.3} {size * 0.6} l {-size * 0.3} {size * 0.6} Z' /><ellipse cx={x} cy={y} rx={size} ry={size * 0.6} /></g><circle cx={x + size * 0.5} cy={y - 6} r=7 fill='#fff' /><circle cx={x + size * 0.55} cy={y - 6} r=3 />"
    parts += "".join(
        f"<path d='M {x} 600 q -20 -60 0 -120 q 20 -60 0 -{between(random, 60, 160)}' stroke='#2a7' stroke-width=12 fill='none' />"
        for x in range(20, 600, between(random, 50, 150))
    )
    return _svg(parts, f"linear-gradient({_fill(random, 120)},{_fill(random, 0, 140)})")


@family("drawing", held_out=True)
def floor_plan(random: Random) -> Page:
    def rooms(x: float, y: float, w: float, h: float, depth: int) -> str:
        if depth == 0:
            return f"<rect x={x} y={y} width={w} height={h} fill='none' stroke='#222' stroke-width=6 /><text x={x + 10} y={y + h / 2} font-size=16 font-family='Liberation Sans'>{word(random)}</text><path d='M {x + 20} {y} a 40 40 0 0 1 40 40' fill='none' stroke='#222' />"
        cut = 0.3 + 0.4 * random.random()
        if w > h:
            return rooms(x, y, w * cut, h, depth - 1) + rooms(x + w * cut, y, w * (1 - cut), h, depth - 1)
        return rooms(x, y, w, h * cut, depth - 1) + rooms(x, y + h * cut, w, h * (1 - cut), depth - 1)

    return _svg(rooms(40, 40, 520, 520, between(random, 1, 3)), "#fff")


@family("drawing", held_out=True)
def flag(random: Random) -> Page:
    parts, count = "", between(random, 2, 4)
    for at in range(count):
        shade = _fill(random, 0, 255)
        parts += (
            f"<rect x={600 / count * at} y=0 width={600 / count} height=600 fill='{shade}' />"
            if chance(random, 0.5)
            else f"<rect x=0 y={600 / count * at} width=600 height={600 / count} fill='{shade}' />"
        )
    parts += pick(
        random,
        [
            "",
            f"<circle cx=300 cy=300 r=130 fill='{_fill(random)}' />",
            f"<path d='M 300 150 L 345 270 L 470 270 L 370 345 L 405 465 L 300 390 L 195 465 L 230 345 L 130 270 L 255 270 Z' fill='{_fill(random)}' />",
        ],
    )
    return _svg(parts, "#fff", 750, 500)


@family("drawing", held_out=True)
def flowers(random: Random) -> Page:
    parts = ""
    for _ in range(between(random, 1, 9)):
        x, y, size, petals, shade = (
            between(random, 80, 520),
            between(random, 80, 520),
            between(random, 25, 100),
            between(random, 5, 12),
            _fill(random, 90),
        )
        parts += f"<path d='M {x} {y} Q {x + 30} 500 {x} 600' stroke='#393' stroke-width=8 fill='none' />"
        parts += "".join(
            f"<ellipse cx={x} cy={y - size * 0.6} rx={size * 0.25} ry={size * 0.5} fill='{shade}' transform='rotate({360 / petals * at} {x} {y})' />"
            for at in range(petals)
        )
        parts += f"<circle cx={x} cy={y} r={size * 0.25} fill='#fc3' />"
    return _svg(parts, pick(random, ["#fff", _fill(random, 180)]))


@family("drawing", held_out=True)
def truchet(random: Random) -> Page:
    side, tint = pick(random, [30, 50, 60, 100]), _fill(random)
    parts = "".join(
        f"<path d='M {x + side / 2} {y} A {side / 2} {side / 2} 0 0 1 {x} {y + side / 2} M {x + side} {y + side / 2} A {side / 2} {side / 2} 0 0 0 {x + side / 2} {y + side}' transform='rotate({90 * between(random, 0, 1)} {x + side / 2} {y + side / 2})' fill='none' stroke='{tint}' stroke-width={side / 6} />"
        for x in range(0, 600, side)
        for y in range(0, 600, side)
    )
    return _svg(parts, _fill(random, 0, 255))


@family("drawing", held_out=True)
def chess_board(random: Random) -> Page:
    light, dark = _fill(random, 180, 255), _fill(random, 40, 150)
    parts = "".join(
        f"<rect x={75 * c} y={75 * r} width=75 height=75 fill='{dark if (r + c) % 2 else light}' />"
        for r in range(8)
        for c in range(8)
    )
    parts += "".join(
        f"<text x={75 * between(random, 0, 7) + 8} y={75 * between(random, 1, 8) - 12} font-size=64>{pick(random, '♔♕♖♗♘♙♚♛♜♝♞♟')}</text>"
        for _ in range(between(random, 4, 26))
    )
    return _svg(parts, "#fff")


@family("drawing", held_out=True)
def hatching(random: Random) -> Image.Image:
    """Shades of a made scene by strokes alone."""
    image = Image.new("L", (500, 500), 255)
    draw = ImageDraw.Draw(image)
    centres = random.random((between(random, 2, 5), 3)) * [500, 500, 180]
    for _ in range(between(random, 2500, 6000)):
        x, y = random.random(2) * 500
        depth = sum(math.hypot(x - cx, y - cy) < size + 20 for cx, cy, size in centres)
        if depth and chance(random, 0.35 * depth):
            length = between(random, 8, 24)
            draw.line([x, y, x + length, y + length * (0.4 if depth % 2 else -0.7)], between(random, 0, 90))
    return image.convert("RGB")


@family("drawing", held_out=True)
def fractal(random: Random) -> Image.Image:
    """A Julia set."""
    y, x = np.mgrid[-1.4:1.4:300j, -1.4:1.4:300j]
    z, c = x + 1j * y, complex(-0.9 + random.random(), 0.2 + 0.5 * random.random())
    count = np.zeros(z.shape)
    for _ in range(40):
        inside = np.abs(z) < 4
        z[inside] = z[inside] ** 2 + c
        count += inside
    tints = random.integers(0, 256, (41, 3)) if chance(random, 0.3) else np.linspace(colour(random), colour(random), 41)
    return Image.fromarray(tints[count.astype(int)].astype(np.uint8)).resize((600, 600), Image.Resampling.BICUBIC)


@family("drawing", held_out=True)
def blueprint(random: Random) -> Image.Image:
    image = Image.new("RGB", (700, 500), pick(random, [(20, 60, 140), (255, 255, 255)]))
    draw = ImageDraw.Draw(image)
    tint = (230, 240, 255) if image.getpixel((0, 0))[2] == 140 else (20, 20, 20)
    for _ in range(between(random, 3, 9)):
        x, y, size = between(random, 60, 560), between(random, 60, 400), between(random, 20, 110)
        pick(random, [draw.ellipse, draw.rectangle])([x - size, y - size, x + size, y + size], outline=tint, width=2)
        draw.line([x - size, y + size + 14, x + size, y + size + 14], tint)
        draw.text((x - 10, y + size + 18), str(between(random, 5, 400)), tint, font(random, 13, True))
    return ImageOps.expand(image, 12, tint)
