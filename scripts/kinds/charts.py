# ruff: noqa: E501, E731
"""Charts and diagrams: matplotlib's and a few of Pillow's to train on, others in SVG held out."""

from __future__ import annotations

import itertools
import math

import numpy as np
from common import (
    Page,
    Random,
    between,
    canvas,
    chance,
    colour,
    css,
    family,
    font,
    ink,
    number,
    paper,
    pick,
    word,
    words,
)
from PIL import Image, ImageDraw

_STYLES = (
    "default",
    "classic",
    "ggplot",
    "bmh",
    "dark_background",
    "fivethirtyeight",
    "grayscale",
    "Solarize_Light2",
    "seaborn-v0_8-whitegrid",
    "seaborn-v0_8-darkgrid",
    "tableau-colorblind10",
)


def _figure(random: Random, plot, projection: str | None = None) -> Image.Image:
    """A figure in one of matplotlib's styles; `plot` draws into each of its axes."""
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.style.context(pick(random, _STYLES)):
        figure = Figure(figsize=(between(random, 4, 8), between(random, 3, 6)), dpi=between(random, 55, 100))
        rows, columns = pick(random, [(1, 1)] * 6 + [(1, 2), (2, 2), (2, 1)])
        for place in range(rows * columns):
            axes = figure.add_subplot(rows, columns, place + 1, projection=projection)
            plot(axes)
            if chance(random, 0.6):
                axes.set_title(words(random, between(random, 1, 5)))
            if projection is None and chance(random, 0.6):
                axes.set_xlabel(word(random))
                axes.set_ylabel(word(random))
            if projection is None and chance(random, 0.3):
                axes.grid(True)
            if chance(random, 0.1):
                axes.set_axis_off()
        surface = FigureCanvasAgg(figure)
        surface.draw()
        return Image.fromarray(np.asarray(surface.buffer_rgba())[..., :3].copy())


def _series(random: Random, length: int) -> np.ndarray:
    return pick(
        random,
        [
            np.cumsum(random.normal(0, 1, length)),
            np.sort(random.random(length)),
            np.sin(np.linspace(0, between(random, 2, 20), length)) + random.normal(0, 0.1, length),
        ],
    )


@family("chart")
def lines(random: Random) -> Image.Image:
    def plot(axes) -> None:
        for _ in range(between(random, 1, 6)):
            axes.plot(
                _series(random, between(random, 8, 200)),
                pick(random, ["-", "--", "-.", "o-", "s:", "-"]),
                label=word(random),
                lw=between(random, 1, 4),
            )
        if chance(random, 0.5):
            axes.legend()

    return _figure(random, plot)


@family("chart")
def bars(random: Random) -> Image.Image:
    def plot(axes) -> None:
        count = between(random, 3, 12)
        names, low = [f"{word(random)}{at}" for at in range(count)], np.zeros(count)
        across = chance(random, 0.4)
        for _ in range(pick(random, [1, 1, 2, 3])):
            values = random.random(count) + 0.05
            axes.barh(names, values, left=low) if across else axes.bar(names, values, bottom=low)
            low = low + values

    return _figure(random, plot)


@family("chart")
def points(random: Random) -> Image.Image:
    def plot(axes) -> None:
        for _ in range(between(random, 1, 4)):
            count = between(random, 10, 400)
            axes.scatter(
                random.normal(random.random() * 4, 1, count),
                random.normal(random.random() * 4, 1, count),
                s=random.random() * 90 + 4,
                alpha=0.4 + 0.6 * random.random(),
                marker=pick(random, list("o^sx+")),
            )

    return _figure(random, plot)


@family("chart")
def pie(random: Random) -> Image.Image:
    def plot(axes) -> None:
        shares = random.random(between(random, 2, 9)) + 0.05
        hole = {"wedgeprops": {"width": 0.4}} if chance(random, 0.25) else {}
        axes.pie(
            shares, labels=[word(random) for _ in shares], autopct="%1.0f%%" if chance(random, 0.5) else None, **hole
        )

    return _figure(random, plot)


@family("chart")
def distributions(random: Random) -> Image.Image:
    def plot(axes) -> None:
        data = [random.normal(random.random() * 3, 1, 200) for _ in range(between(random, 1, 6))]
        pick(
            random,
            [
                lambda: axes.hist(data[0], bins=between(random, 8, 50)),
                lambda: axes.boxplot(data),
                lambda: axes.violinplot(data),
                lambda: axes.hist(data[:3], alpha=0.6),
            ],
        )()

    return _figure(random, plot)


@family("chart")
def surfaces(random: Random) -> Image.Image:
    def plot(axes) -> None:
        x, y = np.meshgrid(np.linspace(-3, 3, 40), np.linspace(-3, 3, 40))
        z = np.sin(x * random.random() * 2 + y) + np.cos(y * random.random() * 3)
        shade = pick(random, ["viridis", "coolwarm", "Blues", "magma", "jet"])
        pick(
            random,
            [
                lambda: axes.contourf(x, y, z, cmap=shade),
                lambda: axes.contour(x, y, z),
                lambda: axes.imshow(random.random((between(random, 3, 14), between(random, 3, 14))), cmap=shade),
                lambda: axes.pcolormesh(z, cmap=shade),
            ],
        )()

    return _figure(random, plot)


@family("chart")
def areas(random: Random) -> Image.Image:
    def plot(axes) -> None:
        steps = np.arange(between(random, 10, 60))
        rows = np.abs([_series(random, len(steps)) for _ in range(between(random, 1, 5))])
        pick(
            random,
            [
                lambda: axes.stackplot(steps, rows),
                lambda: axes.fill_between(steps, rows[0]),
                lambda: axes.step(steps, rows[0]),
                lambda: axes.stem(rows[0]),
                lambda: axes.errorbar(steps, rows[0], 0.3, fmt="o"),
            ],
        )()

    return _figure(random, plot)


@family("chart")
def solid(random: Random) -> Image.Image:
    def plot(axes) -> None:
        x, y = np.meshgrid(np.linspace(-3, 3, 25), np.linspace(-3, 3, 25))
        pick(
            random,
            [
                lambda: axes.plot_surface(x, y, np.sin(x * y / 3), cmap="viridis"),
                lambda: axes.scatter(*random.normal(0, 1, (3, 80))),
                lambda: axes.plot_wireframe(x, y, np.cos(x) + y / 3),
            ],
        )()

    return _figure(random, plot, "3d")


@family("chart")
def round_the_clock(random: Random) -> Image.Image:
    def plot(axes) -> None:
        angles = np.linspace(0, 2 * np.pi, between(random, 5, 24), endpoint=False)
        axes.bar(angles, random.random(len(angles)), width=0.3) if chance(random, 0.5) else axes.plot(
            angles, random.random(len(angles))
        )

    return _figure(random, plot, "polar")


@family("chart")
def plain_bars(random: Random) -> Image.Image:
    """Bars as office programs draw them."""
    image, draw = canvas(random, paper(random), 400, 900)
    count, face = between(random, 3, 14), font(random, image.width / 40)
    left, bottom, top = image.width * 0.1, image.height * 0.85, image.height * 0.15
    draw.text((left, top * 0.3), words(random, 4), ink(random), font(random, image.width / 25))
    for row in range(6):
        y = bottom - row * (bottom - top) / 5
        draw.line([left, y, image.width * 0.95, y], (200, 200, 200))
        draw.text((4, y - face.size / 2), str(row * 20), (60, 60, 60), face)
    wide, fill = image.width * 0.85 / count, colour(random)
    for column in range(count):
        x = left + column * wide
        draw.rectangle(
            [x + wide * 0.15, bottom - random.random() * (bottom - top), x + wide * 0.85, bottom],
            fill if chance(random, 0.7) else colour(random),
        )
        draw.text((x + wide * 0.2, bottom + 5), word(random)[:6], (60, 60, 60), face)
    return image


@family("chart")
def boxes_and_arrows(random: Random) -> Image.Image:
    """A flow chart."""
    image, draw = canvas(random, paper(random), 400, 1000)
    columns, rows = between(random, 1, 4), between(random, 2, 6)
    wide, high = image.width / columns, image.height / rows
    face, fore = font(random, min(wide / 11, high / 5)), ink(random)
    centres = []
    for row in range(rows):
        for column in range(columns):
            if columns > 1 and chance(random, 0.25):
                continue
            x, y = (column + 0.5) * wide, (row + 0.5) * high
            box = [x - wide * 0.35, y - high * 0.28, x + wide * 0.35, y + high * 0.28]
            fill = colour(random, 150, 255) if chance(random, 0.6) else None
            shape = between(random, 0, 2)
            if shape == 0:
                draw.rounded_rectangle(box, high * 0.1, fill, fore, 2)
            elif shape == 1:
                draw.ellipse(box, fill, fore, 2)
            else:
                draw.polygon([(x, box[1]), (box[2], y), (x, box[3]), (box[0], y)], fill, fore)
            draw.text((x - wide * 0.2, y - face.size / 2), word(random), fore, face)
            centres.append((x, y))
    for first, second in itertools.pairwise(centres):
        x, y = second[0], second[1] - high * 0.28
        draw.line([first[0], first[1] + high * 0.28, x, y], fore, 2)
        draw.polygon([(x, y), (x - 6, y - 10), (x + 6, y - 10)], fore)
    return image


@family("chart")
def network(random: Random) -> Image.Image:
    """Circles joined by lines; a tree or anything else."""
    image, draw = canvas(random, paper(random), 400, 900)
    count = between(random, 6, 45)
    places = random.random((count, 2)) * [image.width * 0.9, image.height * 0.9] + [
        image.width * 0.05,
        image.height * 0.05,
    ]
    for at in range(1, count):
        for other in {between(random, 0, at - 1) for _ in range(between(random, 1, 2))}:
            draw.line([*places[at], *places[other]], (110, 110, 110), between(random, 1, 3))
    for x, y in places:
        size = between(random, 6, 24)
        draw.ellipse([x - size, y - size, x + size, y + size], colour(random), (40, 40, 40))
        if chance(random, 0.5):
            draw.text((x + size, y), word(random)[:6], (30, 30, 30), font(random, 13))
    return image


# --- held out: SVG --------------------------------------------------------------------------------------------


def _svg(random: Random, parts: str, width: int = 800, height: int = 560) -> Page:
    title = f"<text x=40 y=40 font-size=26 fill='#333'>{words(random, 4)}</text>" if chance(random, 0.7) else ""
    ground = css(paper(random)) if chance(random, 0.85) else "#20242c"
    return Page(
        f"<meta charset=utf-8><body style='margin:0'><svg width={width} height={height} style=\"background:{ground};font-family:'Liberation Sans'\">{title}{parts}</svg>",
        width,
        height,
    )


def _fill(random: Random) -> str:
    return css(colour(random, 30, 230))


@family("chart", held_out=True)
def rings(random: Random) -> Page:
    parts, start, total = "", 0.0, 0.0
    for share in random.dirichlet(np.ones(between(random, 3, 8))):
        total += share
        a, b = start * 2 * math.pi, total * 2 * math.pi
        large = int(share > 0.5)
        parts += f"<path d='M {400 + 190 * math.sin(a)} {300 - 190 * math.cos(a)} A 190 190 0 {large} 1 {400 + 190 * math.sin(b)} {300 - 190 * math.cos(b)} L {400 + 110 * math.sin(b)} {300 - 110 * math.cos(b)} A 110 110 0 {large} 0 {400 + 110 * math.sin(a)} {300 - 110 * math.cos(a)} Z' fill='{_fill(random)}'/>"
        start = total
    return _svg(random, parts + f"<text x=370 y=308 font-size=28 fill='#555'>{number(random)}</text>")


@family("chart", held_out=True)
def nested_boxes(random: Random) -> Page:
    def split(x: float, y: float, w: float, h: float, depth: int) -> str:
        if depth == 0 or w * h < 6000:
            return f"<rect x={x} y={y} width={w} height={h} fill='{_fill(random)}' stroke='#fff' stroke-width=3 /><text x={x + 8} y={y + 22} font-size=15 fill='#fff'>{word(random)}</text>"
        cut = 0.25 + 0.5 * random.random()
        if w > h:
            return split(x, y, w * cut, h, depth - 1) + split(x + w * cut, y, w * (1 - cut), h, depth - 1)
        return split(x, y, w, h * cut, depth - 1) + split(x, y + h * cut, w, h * (1 - cut), depth - 1)

    return _svg(random, split(20, 60, 760, 480, between(random, 2, 5)))


@family("chart", held_out=True)
def spider(random: Random) -> Page:
    count = between(random, 5, 9)
    around = [(math.sin(2 * math.pi * at / count), -math.cos(2 * math.pi * at / count)) for at in range(count)]
    polygon = lambda sizes, style: (
        f"<polygon points='{' '.join(f'{400 + x * size:.0f},{300 + y * size:.0f}' for (x, y), size in zip(around, sizes, strict=True))}' {style}/>"
    )
    parts = "".join(polygon([size] * count, "fill='none' stroke='#bbb'") for size in (50, 100, 150, 200))
    for _ in range(between(random, 1, 3)):
        shade = _fill(random)
        parts += polygon(
            random.random(count) * 150 + 50, f"fill='{shade}' fill-opacity=0.3 stroke='{shade}' stroke-width=3"
        )
    return _svg(
        random,
        parts
        + "".join(f"<text x={400 + x * 225} y={300 + y * 225} font-size=14>{word(random)}</text>" for x, y in around),
    )


@family("chart", held_out=True)
def plan_of_work(random: Random) -> Page:
    parts = "".join(f"<line x1={180 + at * 60} y1=60 x2={180 + at * 60} y2=540 stroke='#ddd' />" for at in range(11))
    for row in range(between(random, 5, 14)):
        parts += f"<text x=15 y={90 + row * 34} font-size=15>{words(random, 2)[:18]}</text><rect x={180 + between(random, 0, 400)} y={75 + row * 34} width={between(random, 40, 200)} height=20 rx=4 fill='{_fill(random)}' />"
    return _svg(random, parts)


@family("chart", held_out=True)
def candles(random: Random) -> Page:
    level, parts = 300.0, ""
    for at in range(between(random, 20, 60)):
        change = random.normal(0, 18)
        x, shade = 50 + at * 12, "#26a69a" if change < 0 else "#ef5350"
        low, high = sorted((level, level + change))
        parts += f"<line x1={x + 4} y1={low - random.random() * 20} x2={x + 4} y2={high + random.random() * 20} stroke='{shade}' /><rect x={x} y={low} width=8 height={high - low + 1} fill='{shade}' />"
        level += change
    return _svg(
        random,
        parts
        + "".join(f"<text x=750 y={100 + 80 * at} font-size=13 fill='#777'>{number(random)}</text>" for at in range(6)),
    )


@family("chart", held_out=True)
def bubbles(random: Random) -> Page:
    parts = "<line x1=60 y1=500 x2=760 y2=500 stroke='#444' /><line x1=60 y1=70 x2=60 y2=500 stroke='#444' />"
    for _ in range(between(random, 6, 40)):
        parts += f"<circle cx={between(random, 80, 740)} cy={between(random, 90, 480)} r={between(random, 5, 50)} fill='{_fill(random)}' fill-opacity=0.6 />"
    return _svg(random, parts)


@family("chart", held_out=True)
def smooth_lines(random: Random) -> Page:
    parts = "".join(
        f"<line x1=60 y1={100 + at * 80} x2=760 y2={100 + at * 80} stroke='#e2e2e2' /><text x=18 y={105 + at * 80} font-size=13 fill='#888'>{100 - 20 * at}</text>"
        for at in range(6)
    )
    for _ in range(between(random, 1, 4)):
        heights = np.clip(300 + np.cumsum(random.normal(0, 50, 8)), 90, 490)
        path = f"M 60 {heights[0]:.0f} " + " ".join(
            f"S {60 + 100 * at - 40} {each:.0f} {60 + 100 * at} {each:.0f}" for at, each in enumerate(heights) if at
        )
        shade = _fill(random)
        parts += f"<path d='{path}' fill='none' stroke='{shade}' stroke-width=4 />" + (
            f"<path d='{path} L 760 500 L 60 500 Z' fill='{shade}' fill-opacity=0.2 />" if chance(random, 0.4) else ""
        )
    return _svg(random, parts)


@family("chart", held_out=True)
def flows(random: Random) -> Page:
    """Bands from the left to the right, as wide as what flows."""
    parts, left, right = "", 70.0, 70.0
    for _ in range(between(random, 4, 9)):
        wide, shift, shade = between(random, 15, 60), between(random, -60, 60), _fill(random)
        parts += f"<path d='M 120 {left} C 400 {left} 400 {right + shift} 680 {right + shift} l 0 {wide} C 400 {right + shift + wide} 400 {left + wide} 120 {left + wide} Z' fill='{shade}' fill-opacity=0.6 /><text x=20 y={left + 20} font-size=15>{word(random)[:9]}</text>"
        left, right = left + wide + 12, right + wide + 12
    return _svg(random, parts)


@family("chart", held_out=True)
def ideas_around_one(random: Random) -> Page:
    parts, count = "", between(random, 4, 9)
    for at in range(count):
        x, y = 400 + 270 * math.sin(2 * math.pi * at / count), 300 - 190 * math.cos(2 * math.pi * at / count)
        parts += f"<path d='M 400 300 Q {x} 300 {x} {y}' stroke='#888' fill='none' stroke-width=3 /><rect x={x - 65} y={y - 22} width=130 height=44 rx=22 fill='{_fill(random)}' /><text x={x - 45} y={y + 6} font-size=16 fill='#fff'>{word(random)[:10]}</text>"
    return _svg(
        random,
        parts
        + f"<ellipse cx=400 cy=300 rx=100 ry=46 fill='{_fill(random)}' /><text x=350 y=306 font-size=20 fill='#fff'>{word(random)[:9]}</text>",
    )


@family("chart", held_out=True)
def dial(random: Random) -> Image.Image:
    image = Image.new("RGB", (500, 360), paper(random))
    draw = ImageDraw.Draw(image)
    for at, shade in enumerate([(80, 180, 90), (230, 200, 70), (220, 90, 70)]):
        draw.arc([60, 60, 440, 440], 180 + at * 60, 240 + at * 60, shade, 50)
    angle = math.pi * random.random()
    draw.line([250, 250, 250 - 150 * math.cos(angle), 250 - 150 * math.sin(angle)], (40, 40, 40), 8)
    draw.text((210, 290), number(random), (40, 40, 40), font(random, 36, True))
    return image
