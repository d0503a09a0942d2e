# ruff: noqa: E501
"""Pages of text: many scripts and fonts, print, typewriter and handwriting, forms, formulas, codes."""

from __future__ import annotations

import numpy as np
from common import (
    SCRIPTS,
    Page,
    Random,
    between,
    canvas,
    chance,
    colour,
    family,
    font,
    ink,
    number,
    paper,
    pick,
    scheme,
    script_font,
    word,
    words,
    write,
)
from PIL import Image, ImageDraw, ImageFilter, ImageFont


def _page(random: Random, script: str = "latin", small: bool = False) -> Image.Image:
    """A heading and paragraphs."""
    back, fore = scheme(random)
    image, draw = canvas(random, back, 300, 1100)
    size = image.width / between(random, 40 if small else 14, 75 if small else 45)
    face = font(random, size) if script == "latin" else script_font(random, size)
    margin = image.width * (0.03 + 0.1 * random.random())
    y, width, bottom = margin, image.width - 2 * margin, image.height - margin * random.random()
    if chance(random, 0.5):
        head = font(random, size * 1.8) if script == "latin" else script_font(random, size * 1.8)
        y = write(draw, (margin, y), words(random, between(random, 2, 7), script), head, fore, width, bottom) + size
    until = bottom if chance(random, 0.7) else image.height * (0.2 + 0.7 * random.random())
    while y < until - size:
        y = (
            write(draw, (margin, y), words(random, between(random, 15, 90), script), face, fore, width, until)
            + size * random.random()
        )
    return image


@family("text")
def printed_page(random: Random) -> Image.Image:
    return _page(random)


@family("text")
def small_print(random: Random) -> Image.Image:
    return _page(random, small=True)


@family("text")
def other_scripts(random: Random) -> Image.Image:
    return _page(random, pick(random, [*SCRIPTS][1:]))


@family("text")
def columns(random: Random) -> Image.Image:
    image, draw = canvas(random, paper(random), 500, 1200)
    count, fore = between(random, 2, 4), ink(random)
    face = font(random, image.width / between(random, 45, 90))
    margin, gap = image.width * 0.05, image.width * 0.03
    width = (image.width - 2 * margin - (count - 1) * gap) / count
    for column in range(count):
        x = margin + column * (width + gap)
        write(draw, (x, margin), words(random, 400), face, fore, width, image.height - margin, 1.2)
    return image


@family("text")
def few_large_words(random: Random) -> Image.Image:
    """A sign, a slide, a poster."""
    back, fore = (colour(random), colour(random)) if chance(random, 0.5) else scheme(random)
    image, draw = canvas(random, back)
    face = font(random, image.width / between(random, 5, 14))
    top = image.height * random.random() * 0.5
    write(
        draw,
        (image.width * 0.06, top),
        words(random, between(random, 1, 14)),
        face,
        fore,
        image.width * 0.9,
        image.height,
    )
    return image


@family("text")
def words_on_a_gradient(random: Random) -> Image.Image:
    first, second = np.array(colour(random)), np.array(colour(random))
    share = np.linspace(0, 1, 500)[:, None, None]
    image = Image.fromarray(np.broadcast_to(first * (1 - share) + second * share, (500, 500, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    fore = (255, 255, 255) if first.mean() + second.mean() < 255 else (20, 20, 20)
    write(
        draw,
        (40, 60 + 150 * random.random()),
        words(random, between(random, 5, 30)),
        font(random, between(random, 22, 60)),
        fore,
        420,
        460,
    )
    return image


@family("text")
def strokes_in_squares(random: Random) -> Image.Image:
    """Signs of a few strokes each, in rows, as Chinese and Japanese are set."""
    back, fore = scheme(random)
    image, draw = canvas(random, back, 300, 900)
    side = image.width / between(random, 10, 40)
    glyphs = [[random.random(4) for _ in range(between(random, 3, 9))] for _ in range(60)]
    thick = max(1, round(side / 12))
    for row in range(int(image.height / (side * 1.25)) - 1):
        for column in range(int(image.width / side) - 2):
            if chance(random, 0.05):
                continue
            x, y = (column + 1) * side, (row + 0.6) * side * 1.25
            for a, b, c, d in pick(random, glyphs):
                if abs(a - c) > abs(b - d):
                    d = b
                else:
                    c = a
                points = [x + a * side * 0.85, y + b * side * 0.85, x + c * side * 0.85, y + d * side * 0.85]
                draw.line(points, fore, thick)
    return image


@family("text")
def handwriting(random: Random) -> Image.Image:
    back, fore = paper(random), pick(random, [(20, 20, 60), (10, 10, 10), (30, 40, 140)])
    image, draw = canvas(random, back, 400, 900)
    rows = between(random, 4, 16)
    if chance(random, 0.4):
        for row in range(rows + 1):
            y = (row + 0.85) * image.height / (rows + 1)
            draw.line([0, y, image.width, y], (180, 200, 230), 1)
    for row in range(rows):
        x, y = image.width * 0.06, (row + 0.8) * image.height / (rows + 1)
        high = image.height / (rows + 1) * 0.5
        while x < image.width * (0.6 + 0.35 * random.random()):
            steps = between(random, 8, 40)
            xs = x + np.cumsum(random.random(steps) * high * 0.25 - high * 0.04)
            ys = y - np.abs(random.normal(0, 0.4, steps)) * high * np.where(np.arange(steps) % 2, 1, 0.1)
            draw.line(list(zip(xs.tolist(), ys.tolist(), strict=True)), fore, max(1, image.width // 350), "curve")
            x = float(xs[-1]) + high * 0.6
    return image


@family("text")
def listing(random: Random) -> Image.Image:
    """Lines of a program on paper or a dark ground, numbered or not."""
    back, fore = scheme(random)
    image, draw = canvas(random, back, 400, 1000)
    face = font(random, image.width / between(random, 28, 70), like="Mono")
    y, depth, line = face.size, 0, 1
    while y < image.height - face.size:
        depth = max(0, min(6, depth + between(random, -1, 1)))
        text = f"{word(random)}{pick(random, [' = ', '(', '.', ' == ', ': '])}{word(random)}{pick(random, ['', ')', ';', ' {'])}"
        draw.text(
            (face.size, y),
            f"{line:3d}  " + "    " * depth + text,
            fore if chance(random, 0.9) else colour(random),
            face,
        )
        y += face.size * 1.35
        line += 1
    return image


@family("text")
def scanned(random: Random) -> Image.Image:
    """A page that was copied: turned a little, grey, uneven light."""
    image = _page(random, small=chance(random, 0.5)).convert("L")
    image = image.rotate(random.normal(0, 1.2), Image.Resampling.BILINEAR, fillcolor=between(random, 200, 255))
    image = image.filter(ImageFilter.GaussianBlur(random.random() * 1.2))
    pixels = np.asarray(image, np.float32)
    light = 1 - 0.25 * random.random() * np.linspace(0, 1, pixels.shape[1])[None] * pick(random, [-1, 1])
    pixels = pixels * light * (0.85 + 0.15 * random.random()) + random.normal(0, 7 * random.random(), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB")


@family("text")
def form(random: Random) -> Image.Image:
    image, draw = canvas(random, paper(random), 400, 900)
    face, fore = font(random, image.width / between(random, 30, 55)), ink(random)
    y = face.size * 2
    draw.text((face.size, y), words(random, 4), fore, font(random, face.size * 1.6))
    while (y := y + face.size * (1.8 + random.random())) < image.height - face.size * 2:
        draw.text((face.size, y), word(random) + ":", fore, face)
        x = image.width * (0.25 + 0.2 * random.random())
        if chance(random, 0.5):
            draw.rectangle([x, y - 3, image.width * 0.92, y + face.size * 1.2], outline=fore)
        else:
            draw.line([x, y + face.size * 1.2, image.width * 0.92, y + face.size * 1.2], fore)
        if chance(random, 0.4):
            draw.text((x + 6, y), words(random, 3), (30, 40, 130), face)
    return image


@family("text")
def table_of_numbers(random: Random) -> Image.Image:
    back, fore = scheme(random)
    image, draw = canvas(random, back, 400, 1000)
    rows, count = between(random, 5, 30), between(random, 3, 9)
    high, wide = image.height / (rows + 1), image.width / (count + 0.4)
    face = font(random, min(high * 0.55, wide * 0.22))
    ruled = chance(random, 0.6)
    for row in range(rows):
        for column in range(count):
            x, y = wide * (column + 0.2), high * (row + 0.5)
            if ruled:
                draw.rectangle([x, y, x + wide, y + high], outline=fore)
            text = word(random) if not row or not column else number(random)
            draw.text((x + 4, y + high * 0.2), text, fore, face)
    return image


@family("text")
def formulas(random: Random) -> Image.Image:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), dpi=90)
    parts = [
        r"\int_0^{%d} x^%d dx",
        r"\sum_{i=%d}^{n} \frac{a_i}{%d}",
        r"\sqrt{\alpha^%d + \beta_%d}",
        r"e^{-%d t} \cos(%d\omega)",
    ]
    for row in range(between(random, 1, 7)):
        text = " = ".join(
            pick(random, parts) % (between(random, 0, 9), between(random, 1, 9)) for _ in range(between(random, 1, 2))
        )
        figure.text(0.08, 0.88 - 0.13 * row, f"${text}$", fontsize=between(random, 12, 24))
    return _drawn(figure)


def _drawn(figure) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    surface = FigureCanvasAgg(figure)
    surface.draw()
    return Image.fromarray(np.asarray(surface.buffer_rgba())[..., :3].copy())


@family("text")
def square_code(random: Random) -> Image.Image:
    cells = between(random, 21, 57)
    grid = random.random((cells, cells)) < 0.5
    for row, column in ((0, 0), (0, cells - 7), (cells - 7, 0)):
        grid[row : row + 7, column : column + 7] = True
        grid[row + 1 : row + 6, column + 1 : column + 6] = False
        grid[row + 2 : row + 5, column + 2 : column + 5] = True
    code = Image.fromarray(np.where(grid, 0, 255).astype(np.uint8)).resize((cells * 8, cells * 8), 0).convert("RGB")
    rim = between(random, 0, 120)
    image = Image.new("RGB", (code.width + 2 * rim, code.height + 2 * rim), "white")
    image.paste(code, (rim, rim))
    return image


@family("text")
def bar_code(random: Random) -> Image.Image:
    image, draw = canvas(random, (255, 255, 255), 300, 800)
    x = image.width * 0.1
    while x < image.width * 0.9:
        wide = between(random, 1, 4) * image.width / 300
        draw.rectangle([x, image.height * 0.15, x + wide, image.height * 0.75], (0, 0, 0))
        x += wide + between(random, 1, 4) * image.width / 300
    draw.text(
        (image.width * 0.2, image.height * 0.8),
        str(between(random, 10**11, 10**12)),
        (0, 0, 0),
        font(random, image.height / 9),
    )
    return image


@family("text")
def sheet_music(random: Random) -> Image.Image:
    image, draw = canvas(random, paper(random), 500, 900)
    systems = between(random, 3, 9)
    for system in range(systems):
        top, gap = (system + 0.3) * image.height / systems, image.height / systems / 14
        for line in range(5):
            draw.line([20, top + line * gap, image.width - 20, top + line * gap], (0, 0, 0))
        for x in np.arange(50, image.width - 40, image.width / between(random, 14, 40)):
            y = top + random.integers(0, 9) * gap / 2
            draw.ellipse([x, y, x + gap * 1.3, y + gap], (0, 0, 0))
            draw.line([x + gap * 1.3, y, x + gap * 1.3, y - gap * 3], (0, 0, 0), 2)
    return image


@family("text", held_out=True)
def newspaper(random: Random) -> Image.Image:
    image, draw = canvas(random, pick(random, [(255, 255, 255), (236, 230, 214)]), 600, 1100)
    margin, y = image.width * 0.04, image.width * 0.03
    draw.text((margin, y), words(random, 2).upper(), (0, 0, 0), font(random, image.width / 13, True, "Serif-Bold"))
    y += image.width / 10
    draw.line([margin, y, image.width - margin, y], (0, 0, 0), 3)
    y = write(
        draw,
        (margin, y + 8),
        words(random, 6),
        font(random, image.width / 20, True, "Serif-Bold"),
        (0, 0, 0),
        image.width * 0.9,
        image.height,
    )
    count = between(random, 3, 5)
    face, width = font(random, image.width / 75, True, "Serif-Regular"), image.width * 0.92 / count
    for column in range(count):
        x, top = margin + column * width, y + 10
        if chance(random, 0.4):
            shade = colour(random, 90, 190)
            draw.rectangle([x, top, x + width * 0.93, top + width * 0.7], shade)
            top += width * 0.75
        write(draw, (x, top), words(random, 500), face, (20, 20, 20), width * 0.93, image.height - 10, 1.15)
    return image


@family("text", held_out=True)
def receipt(random: Random) -> Image.Image:
    width = between(random, 220, 400)
    image = Image.new("RGB", (width, int(width * (1 + 1.5 * random.random()))), (250, 250, 248))
    draw, face = ImageDraw.Draw(image), font(random, width / 24, True, "Mono")
    y = 12.0
    draw.text((width * 0.2, y), words(random, 3).upper(), (40, 40, 40), face)
    while (y := y + face.size * 1.3) < image.height - 20:
        draw.text((12, y), f"{words(random, 2)[:18]:<19}{between(random, 1, 9999) / 100:>8.2f}", (40, 40, 40), face)
    return image


@family("text", held_out=True)
def business_card(random: Random) -> Image.Image:
    back, fore = scheme(random)
    image = Image.new("RGB", (700, 400), back)
    draw, x = ImageDraw.Draw(image), pick(random, [40, 200, 330])
    draw.text((x, 90), words(random, 2).title(), fore, font(random, between(random, 32, 54), True))
    for row in range(between(random, 2, 5)):
        draw.text((x, 180 + row * 34), pick(random, [words(random, 3), number(random)]), fore, font(random, 22, True))
    if chance(random, 0.5):
        draw.rectangle([0, 0, between(random, 10, 160), 400], colour(random))
    return image


@family("text", held_out=True)
def contents(random: Random) -> Image.Image:
    image, draw = canvas(random, paper(random), 400, 900)
    face = font(random, image.width / between(random, 28, 45), True)
    draw.text((image.width * 0.1, face.size), word(random).title(), ink(random), font(random, face.size * 1.8, True))
    y = face.size * 4
    while (y := y + face.size * 1.5) < image.height * 0.95:
        x = image.width * (0.1 + pick(random, [0, 0, 0.05]))
        title = words(random, between(random, 2, 5))
        draw.text((x, y), title, (0, 0, 0), face)
        draw.text((x + draw.textlength(title, face) + 6, y), "." * 90, (120, 120, 120), face)
        draw.rectangle([image.width * 0.86, y - 2, image.width, y + face.size * 1.2], image.getpixel((0, 0)))
        draw.text((image.width * 0.88, y), str(between(random, 1, 400)), (0, 0, 0), face)
    return image


@family("text", held_out=True)
def letter_in_a_browser(random: Random) -> Page:
    face = pick(random, ["Liberation Serif", "Liberation Sans", "serif", "sans-serif", "monospace"])
    body = "".join(f"<p>{words(random, between(random, 20, 80))}</p>" for _ in range(between(random, 2, 7)))
    style = f"margin:{between(random, 30, 110)}px;font:{between(random, 13, 24)}px '{face}';line-height:{1.2 + random.random() * 0.8:.2f};text-align:{pick(random, ['left', 'justify'])}"
    return Page(
        f"<body style=\"{style}\"><p style='text-align:right'>{words(random, 3)}</p><h2>{words(random, 4)}</h2>{body}",
        800,
        between(random, 500, 1130),
    )


@family("text", held_out=True)
def code_with_colours(random: Random) -> Image.Image:
    """A program as Pygments draws it."""
    from pygments import highlight
    from pygments.formatters import ImageFormatter
    from pygments.lexers import PythonLexer

    lines = []
    for _ in range(between(random, 8, 40)):
        lines.append(
            pick(
                random,
                [
                    "def {}({}):",
                    "    return {} + {}",
                    "    # {} {}",
                    "import {}",
                    "    {} = '{}'",
                    "class {}:",
                    "",
                    "    if {} > 3:",
                ],
            ).format(word(random), word(random))
        )
    style = pick(random, ["default", "monokai", "vim", "friendly", "xcode"])
    data = highlight(
        "\n".join(lines),
        PythonLexer(),
        ImageFormatter(
            style=style,
            font_name="Liberation Mono",
            font_size=between(random, 12, 20),
            line_numbers=chance(random, 0.5),
        ),
    )
    from io import BytesIO

    return Image.open(BytesIO(data)).convert("RGB")


@family("text", held_out=True)
def crossword(random: Random) -> Image.Image:
    cells, side = between(random, 9, 17), 30
    image = Image.new("RGB", (cells * side, cells * side), "white")
    draw, face = ImageDraw.Draw(image), ImageFont.truetype(font(random, 18, True).path, 17)
    for row in range(cells):
        for column in range(cells):
            box = [column * side, row * side, (column + 1) * side, (row + 1) * side]
            draw.rectangle(box, (0, 0, 0) if chance(random, 0.22) else (255, 255, 255), (0, 0, 0))
            if chance(random, 0.4):
                draw.text((box[0] + 8, box[1] + 5), chr(65 + between(random, 0, 25)), (20, 20, 20), face)
    return image
