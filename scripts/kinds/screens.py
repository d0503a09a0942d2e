# ruff: noqa: E501, E731
"""Screens: pages of the web, programs, desktops, phones, with and without photos in them."""

from __future__ import annotations

import numpy as np
from common import (
    Colour,
    Page,
    Random,
    between,
    chance,
    colour,
    css,
    family,
    font,
    number,
    photo,
    photo_url,
    pick,
    word,
    words,
)
from PIL import Image, ImageDraw

_SIZES = ((1280, 800), (1366, 768), (1024, 768), (1440, 900), (800, 600), (390, 844), (412, 915), (768, 1024))


def _colours(random: Random) -> tuple[Colour, Colour, Colour]:
    """Ground, text, accent; light or dark."""
    accent = colour(random, 20, 220)
    if chance(random, 0.3):
        shade = between(random, 8, 45)
        return (shade, shade, shade + 6), (225, 225, 230), accent
    return pick(random, [(255, 255, 255), (246, 247, 249), (250, 248, 242)]), (30, 32, 36), accent


def _page(
    random: Random,
    body: str,
    style: str = "",
    size: tuple[int, int] | None = None,
    faces: str = "DejaVu Sans,sans-serif",
) -> Page:
    ground, text, accent = _colours(random)
    width, height = size or pick(random, _SIZES)
    zoom = pick(random, [1, 1, 1, 1.25, 1.5])
    base = f"""<meta charset=utf-8><style>*{{box-sizing:border-box}}body{{margin:0;font:{between(random, 13, 17)}px {faces};
background:{css(ground)};color:{css(text)};zoom:{zoom}}}.a{{background:{css(accent)};color:#fff}}.b{{border:1px solid #8886;
border-radius:{between(random, 0, 14)}px;padding:10px;margin:8px}}.g{{display:grid;gap:12px;padding:12px}}.f{{display:flex;
gap:12px;align-items:center;padding:10px}}.s{{opacity:.6;font-size:85%}}img{{object-fit:cover;max-width:100%}}
input,button,select{{font:inherit;padding:7px 12px;border:1px solid #8888;border-radius:6px;margin:4px}}{style}</style>"""
    return Page(base + body, width, height)


def _many(random: Random, low: int, high: int, make) -> str:
    return "".join(make() for _ in range(between(random, low, high)))


def _picture(random: Random, width: str, height: str) -> str:
    if chance(random, 0.75):
        return f"<img src='{photo_url(random)}' style='width:{width};height:{height}'>"
    return f"<div style='width:{width};height:{height};background:{css(colour(random))}'></div>"


def _round(random: Random, side: int = 40) -> str:
    return f"<div style='flex:none;width:{side}px;height:{side}px;border-radius:50%;background:{css(colour(random))}'></div>"


@family("screen")
def article(random: Random) -> Page:
    links = _many(random, 3, 7, lambda: f"<span>{word(random)}</span>")
    paragraphs = _many(random, 2, 6, lambda: f"<p>{words(random, between(random, 25, 80))}</p>")
    shown = _picture(random, "100%", f"{between(random, 150, 380)}px") if chance(random, 0.7) else ""
    side = f"<div style='flex:1'>{_many(random, 2, 7, lambda: f'<div class=b><b>{words(random, 3)}</b><p class=s>{words(random, 12)}</p></div>')}</div>"
    body = f"<div style='flex:3;padding:20px'><h1>{words(random, 7)}</h1>{shown}{paragraphs}</div>{side if chance(random, 0.6) else ''}"
    return _page(random, f"<div class='f a'><b>{word(random)}</b>{links}</div><div style='display:flex'>{body}</div>")


@family("screen")
def dashboard(random: Random) -> Page:
    menu = _many(random, 5, 12, lambda: f"<div style='padding:10px'>{word(random)}</div>")
    cards = _many(
        random, 3, 6, lambda: f"<div class=b><div class=s>{word(random)}</div><h2>{number(random)}</h2></div>"
    )
    bars = _many(random, 6, 16, lambda: f"<div class=a style='flex:1;height:{between(random, 10, 160)}px'></div>")
    rows = _many(
        random,
        4,
        14,
        lambda: (
            f"<tr>{''.join(f'<td style=padding:7px>{pick(random, [word(random), number(random)])}</td>' for _ in range(5))}</tr>"
        ),
    )
    main = f"<div class=g style='grid-template-columns:repeat(4,1fr)'>{cards}</div><div class='b f' style='align-items:end'>{bars}</div><table style='width:100%'>{rows}</table>"
    return _page(
        random,
        f"<div style='display:flex'><div class=a style='width:180px;min-height:100vh'>{menu}</div><div style='flex:1'>{main}</div></div>",
    )


@family("screen")
def mailbox(random: Random) -> Page:
    row = lambda: (
        f"<div class=f style='border-bottom:1px solid #8884'>{_round(random, 32)}<b style='width:150px'>{words(random, 2)}</b><span>{words(random, 6)}</span><span class=s>{words(random, 9)}</span><span class=s>{between(random, 1, 23)}:{between(random, 10, 59)}</span></div>"
    )
    return _page(
        random,
        f"<div class=f><b>{word(random)}</b><input style='flex:1' value='{words(random, 2)}'></div>{_many(random, 8, 18, row)}",
    )


@family("screen")
def conversation(random: Random) -> Page:
    def bubble() -> str:
        own = chance(random, 0.5)
        side = "margin-left:30%" if own else "margin-right:30%;background:#8883"
        inner = _picture(random, "100%", "140px") if chance(random, 0.12) else words(random, between(random, 2, 30))
        return f"<div class='b {'a' if own else ''}' style='{side}'>{inner}<div class=s>{between(random, 1, 12)}:{between(random, 10, 59)}</div></div>"

    return _page(
        random,
        f"<div class='f a'>{_round(random)}<b>{words(random, 2)}</b></div>{_many(random, 4, 14, bubble)}",
        size=pick(random, [(390, 844), (412, 915), (900, 700)]),
    )


@family("screen")
def results(random: Random) -> Page:
    hit = lambda: (
        f"<div style='padding:9px 40px'><div class=s>{word(random)}.{word(random)[:3]} › {word(random)}</div><div style='color:#3366cc;font-size:120%'>{words(random, 6)}</div>{words(random, 24)}</div>"
    )
    return _page(
        random,
        f"<div class=f style='padding:20px 40px'><b style='font-size:150%'>{word(random)}</b><input style='width:50%' value='{words(random, 3)}'><button>{word(random)}</button></div>{_many(random, 5, 10, hit)}",
    )


@family("screen")
def preferences(random: Random) -> Page:
    def row() -> str:
        on = chance(random, 0.5)
        knob = f"<div style='margin-left:auto;flex:none;width:44px;height:24px;border-radius:12px;background:{'#36a85a' if on else '#999'};padding:2px'><div style='width:20px;height:20px;border-radius:50%;background:#fff;margin-left:{20 if on else 0}px'></div></div>"
        return f"<div class=f style='border-bottom:1px solid #8883'><div><div>{words(random, 3)}</div><div class=s>{words(random, 8)}</div></div>{knob if chance(random, 0.7) else ''}</div>"

    return _page(
        random,
        f"<h2 style='padding:0 12px'>{words(random, 2)}</h2>{_many(random, 6, 14, row)}",
        size=pick(random, [(390, 844), (412, 915), (1024, 768)]),
    )


@family("screen")
def shop(random: Random) -> Page:
    count = between(random, 2, 5)
    card = lambda: (
        f"<div class=b>{_picture(random, '100%', f'{between(random, 90, 190)}px')}<div>{words(random, 3)}</div><b>{number(random)}</b> <button class=a>{word(random)}</button></div>"
    )
    return _page(
        random,
        f"<div class=f><b>{word(random)}</b><input style='flex:1'><button>{word(random)}</button></div><div class=g style='grid-template-columns:repeat({count},1fr)'>{_many(random, 6, 15, card)}</div>",
    )


@family("screen")
def editor(random: Random) -> Page:
    tints = [css(colour(random, 110, 255)) for _ in range(5)]
    line = lambda: (
        f"<div style='white-space:pre'><span class=s>{between(random, 1, 400):>4} </span>{' ' * (4 * between(random, 0, 4))}{' '.join(f'<span style=color:{pick(random, tints)}>{word(random)}</span>' for _ in range(between(random, 0, 9)))}</div>"
    )
    files = _many(
        random, 8, 25, lambda: f"<div style='padding:2px 12px'>{word(random)}.{pick(random, ['py', 'js', 'md'])}</div>"
    )
    style = (
        "body{background:#1e1f29;color:#ccc;font-family:'DejaVu Sans Mono',monospace}"
        if chance(random, 0.7)
        else "body{font-family:monospace}"
    )
    return _page(
        random,
        f"<div style='display:flex'><div style='width:190px;background:#8882;min-height:100vh'>{files}</div><div style='flex:1'><div class=f>{word(random)}.py × &nbsp; {word(random)}.js</div>{_many(random, 20, 50, line)}</div></div>",
        style,
    )


@family("screen")
def terminal(random: Random) -> Page:
    line = lambda: (
        f"<div>{pick(random, ['<span style=color:#5f5>user@host</span>:~$ ', ''])}{words(random, between(random, 1, 14))}</div>"
    )
    return _page(
        random,
        _many(random, 8, 45, line),
        f"body{{background:{css(colour(random, 0, 40))};color:{css(colour(random, 170, 255))};font-family:monospace;padding:8px}}",
    )


@family("screen")
def sign_in(random: Random) -> Page:
    fields = _many(
        random,
        2,
        5,
        lambda: (
            f"<div>{word(random)}<br><input style='width:100%' value='{word(random) if chance(random, 0.5) else ''}'></div>"
        ),
    )
    ground = f"background-image:url({photo_url(random)});background-size:cover" if chance(random, 0.3) else ""
    return _page(
        random,
        f"<div style='height:100vh;display:flex;align-items:center;justify-content:center;{ground}'><div class=b style='width:340px;background:#fff;color:#222;padding:30px'><h2>{words(random, 2)}</h2>{fields}<button class=a style='width:100%'>{word(random)}</button></div></div>",
    )


@family("screen")
def feed(random: Random) -> Page:
    post = lambda: (
        f"<div class=b><div class=f>{_round(random)}<b>{words(random, 2)}</b><span class=s>{between(random, 1, 50)} h</span></div><p>{words(random, between(random, 3, 25))}</p>{_picture(random, '100%', f'{between(random, 180, 420)}px')}<div class=f>♥ {between(random, 1, 999)} &nbsp; ✉ {between(random, 1, 99)}</div></div>"
    )
    return _page(random, f"<div style='max-width:560px;margin:auto'>{_many(random, 1, 3, post)}</div>")


@family("screen")
def icons_of_a_phone(random: Random) -> Page:
    rows, ground = (
        between(random, 4, 7),
        f"background-image:url({photo_url(random)});background-size:cover"
        if chance(random, 0.5)
        else f"background:linear-gradient({css(colour(random))},{css(colour(random))})",
    )
    icon = lambda: (
        f"<div style='text-align:center;color:#fff;font-size:11px'><div style='width:56px;height:56px;margin:auto;border-radius:14px;background:{css(colour(random))};font-size:30px;line-height:56px'>{pick(random, list('☎✉♫☀⚙✂★☂♞⌂✈❤'))}</div>{word(random)}</div>"
    )
    return _page(
        random,
        f"<div style='height:100vh;{ground}'><div class=f style='color:#fff'>{between(random, 1, 23)}:{between(random, 10, 59)}</div><div class=g style='grid-template-columns:repeat(4,1fr);gap:22px'>{''.join(icon() for _ in range(4 * rows))}</div></div>",
        size=(390, 844),
    )


@family("screen")
def front_page(random: Random) -> Page:
    """A large picture or colour with a headline over it, then a row of arguments."""
    ground = (
        f"background-image:url({photo_url(random)});background-size:cover"
        if chance(random, 0.6)
        else f"background:linear-gradient(120deg,{css(colour(random))},{css(colour(random))})"
    )
    parts = _many(
        random,
        3,
        4,
        lambda: (
            f"<div class=b style='text-align:center'>{_round(random, 50)}<h3>{words(random, 2)}</h3>{words(random, 14)}</div>"
        ),
    )
    return _page(
        random,
        f"<div style='height:{between(random, 40, 75)}vh;{ground};color:#fff;padding:8vh 6vw'><div class=f><b>{word(random)}</b>{_many(random, 3, 5, lambda: f'<span>{word(random)}</span>')}</div><h1 style='font-size:44px'>{words(random, 5)}</h1><p>{words(random, 12)}</p><button class=a>{word(random)}</button></div><div class=g style='grid-template-columns:repeat(4,1fr)'>{parts}</div>",
    )


@family("screen")
def viewer(random: Random) -> Page:
    """A program that shows one photo: bars and buttons around it."""
    tools = _many(random, 4, 12, lambda: f"<span style='font-size:22px'>{pick(random, list('☰⚙✎✂⌂❤★✉▶◀❚'))}</span>")
    strip = _many(random, 4, 12, lambda: _picture(random, "90px", "64px")) if chance(random, 0.5) else ""
    bar = f"<div class=f style='background:#8883'>{tools}<span style='margin-left:auto'>{word(random)}.jpg</span></div>"
    shown = f"<div style='text-align:center;padding:{between(random, 0, 30)}px'><img src='{photo_url(random)}' style='height:{between(random, 50, 78)}vh;width:{between(random, 50, 100)}%'></div>"
    return _page(random, f"{bar}{shown}<div class=f>{strip or words(random, 8)}</div>")


# --- drawn, not rendered by a browser -------------------------------------------------------------------------


def _window(random: Random, draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
    """A window with a bar, its title and buttons; lines of text or rows of a list within."""
    x, y, right, bottom = box
    ground, text, accent = _colours(random)
    draw.rectangle(box, ground, (120, 120, 120))
    draw.rectangle([x, y, right, y + 26], accent)
    face = font(random, 13)
    draw.text((x + 8, y + 6), words(random, 2), (255, 255, 255), face)
    for at, tint in enumerate([(230, 80, 70), (240, 190, 60), (90, 190, 90)]):
        draw.ellipse([right - 18 - 20 * at, y + 7, right - 6 - 20 * at, y + 19], tint)
    row = y + 36
    while row < bottom - 18:
        if chance(random, 0.3):
            draw.rectangle([x + 10, row, x + 22, row + 12], colour(random))
        draw.text((x + 30, row), words(random, between(random, 1, 6))[: int((right - x - 40) / 8)], text, face)
        row += between(random, 17, 24)


@family("screen")
def desktop(random: Random) -> Image.Image:
    width, height = pick(random, _SIZES[:5])
    if chance(random, 0.4):
        image = photo(random).resize((width, height), Image.Resampling.BICUBIC)
    else:
        corners = random.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        image = Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for row in range(between(random, 2, 7)):
        draw.rectangle([18, 20 + row * 80, 62, 64 + row * 80], colour(random))
        draw.text((14, 68 + row * 80), word(random)[:9], (255, 255, 255), font(random, 11))
    for _ in range(between(random, 1, 3)):
        x, y = between(random, 80, width // 2), between(random, 10, height // 3)
        _window(
            random,
            draw,
            (x, y, min(x + between(random, 300, 800), width - 5), min(y + between(random, 200, 560), height - 45)),
        )
    draw.rectangle([0, height - 36, width, height], colour(random, 0, 80))
    for column in range(between(random, 3, 9)):
        draw.rectangle([10 + column * 46, height - 32, 44 + column * 46, height - 4], colour(random))
    return image


@family("screen")
def spreadsheet(random: Random) -> Image.Image:
    width, height = pick(random, _SIZES[:5])
    image = Image.new("RGB", (width, height), "white")
    draw, face = ImageDraw.Draw(image), font(random, 12)
    draw.rectangle([0, 0, width, 70], colour(random, 200, 245))
    for at in range(14):
        draw.rectangle([12 + at * 44, 34, 40 + at * 44, 60], colour(random, 120, 255), (150, 150, 150))
    wide, high = between(random, 60, 120), between(random, 18, 28)
    filled_columns, filled_rows = between(random, 2, 12), between(random, 4, 40)
    for row in range((height - 70) // high + 1):
        for column in range(width // wide + 1):
            x, y = 36 + column * wide, 70 + row * high
            draw.rectangle([x, y, x + wide, y + high], None, (210, 210, 210))
            if row <= filled_rows and column <= filled_columns and chance(random, 0.8):
                draw.text((x + 5, y + 3), number(random) if row and column else word(random)[:9], (20, 20, 20), face)
    draw.rectangle([0, 70, 36, height], (235, 235, 235))
    return image


@family("screen")
def message_box(random: Random) -> Image.Image:
    width, height = between(random, 320, 640), between(random, 150, 320)
    image = Image.new("RGB", (width + 60, height + 60), colour(random) if chance(random, 0.5) else (255, 255, 255))
    draw, face = ImageDraw.Draw(image), font(random, 15)
    draw.rectangle([30, 30, width + 30, height + 30], (240, 240, 240), (90, 90, 90))
    draw.rectangle([30, 30, width + 30, 58], colour(random, 30, 150))
    draw.text((40, 36), words(random, 2), (255, 255, 255), face)
    draw.ellipse([50, 80, 90, 120], pick(random, [(200, 30, 30), (230, 180, 40), (40, 90, 200)]))
    draw.text((105, 85), words(random, 6)[: (width - 100) // 8], (20, 20, 20), face)
    for at in range(between(random, 1, 3)):
        draw.rectangle(
            [width - 90 * at - 60, height - 15, width - 90 * at + 18, height + 15], (225, 225, 225), (120, 120, 120)
        )
        draw.text((width - 90 * at - 44, height - 10), word(random)[:6], (20, 20, 20), face)
    return image


# --- held out -------------------------------------------------------------------------------------------------

_OTHER = "'Liberation Sans','Liberation Serif',Arial"


@family("screen", held_out=True)
def calendar(random: Random) -> Page:
    day = lambda at: (
        f"<div style='border:1px solid #8885;min-height:88px;padding:4px'>{at}{_many(random, 0, 3, lambda: f'<div style=background:{css(colour(random, 60, 210))};color:#fff;border-radius:4px;margin:2px;padding:1px>{word(random)}</div>')}</div>"
    )
    return _page(
        random,
        f"<h2 style='padding:0 14px'>{word(random)} 20{between(random, 10, 40)}</h2><div style='display:grid;grid-template-columns:repeat(7,1fr)'>{''.join(map(day, range(1, 36)))}</div>",
        faces=_OTHER,
    )


@family("screen", held_out=True)
def videos(random: Random) -> Page:
    tile = lambda: (
        f"<div>{_picture(random, '100%', '150px')}<div><b>{words(random, 5)}</b></div><div class=s>{number(random)} · {word(random)}</div></div>"
    )
    return _page(
        random,
        f"<div class=f style='background:#8882'>☰ <b>{word(random)}</b><input style='margin:auto;width:40%'>{_round(random, 30)}</div><div class=g style='grid-template-columns:repeat({between(random, 2, 4)},1fr)'>{_many(random, 6, 12, tile)}</div>",
        faces=_OTHER,
    )


@family("screen", held_out=True)
def board(random: Random) -> Page:
    card = lambda: (
        f"<div style='background:#fff;color:#222;border-radius:6px;padding:10px;margin:8px;box-shadow:0 1px 3px #0006'><div style='height:6px;width:40px;background:{css(colour(random))}'></div>{words(random, between(random, 3, 12))}</div>"
    )
    column = lambda: (
        f"<div style='background:#ebecf0;border-radius:8px;flex:1;color:#222'><b style='padding:10px;display:block'>{words(random, 2)}</b>{_many(random, 1, 6, card)}</div>"
    )
    return _page(
        random,
        f"<div class=f style='background:{css(colour(random, 0, 140))};min-height:100vh;align-items:start'>{_many(random, 3, 5, column)}</div>",
        faces=_OTHER,
    )


@family("screen", held_out=True)
def player(random: Random) -> Page:
    row = lambda: (
        f"<div class=f style='padding:4px 20px'><span class=s>{between(random, 1, 20)}</span><span style='flex:1'>{words(random, 3)}</span><span class=s>{between(random, 1, 6)}:{between(random, 10, 59)}</span></div>"
    )
    body = f"<div class=f style='background:linear-gradient({css(colour(random))},#0000)'>{_picture(random, '170px', '170px')}<h1>{words(random, 3)}</h1></div>{_many(random, 5, 12, row)}<div class=f style='position:fixed;bottom:0;width:100%;background:#222;color:#eee'>◀ ❚❚ ▶ <div style='flex:1;height:4px;background:#666'><div style='width:{between(random, 5, 90)}%;height:4px;background:#fff'></div></div></div>"
    return _page(random, body, "body{background:#121212;color:#eee}", faces=_OTHER)


@family("screen", held_out=True)
def map_of_streets(random: Random) -> Page:
    streets = _many(
        random,
        12,
        30,
        lambda: (
            f"<line x1={between(random, -50, 1300)} y1={between(random, -50, 850)} x2={between(random, -50, 1300)} y2={between(random, -50, 850)} stroke={pick(random, ['#fff', '#ffe9a8', '#f6cf65'])} stroke-width={between(random, 3, 14)} />"
        ),
    )
    parks = _many(
        random,
        2,
        7,
        lambda: (
            f"<rect x={between(random, 0, 1200)} y={between(random, 0, 700)} width={between(random, 60, 300)} height={between(random, 60, 240)} fill={pick(random, ['#c5e8c5', '#aadaff', '#dfe3e8'])} />"
        ),
    )
    names = _many(
        random,
        8,
        20,
        lambda: (
            f"<text x={between(random, 0, 1200)} y={between(random, 0, 780)} font-size=14 fill='#555'>{word(random)}</text>"
        ),
    )
    return _page(
        random,
        f"<div class=b style='position:absolute;background:#fff;color:#222;width:300px'>{words(random, 3)}</div><svg width=1280 height=800 style='background:#eae6df'>{parks}{streets}{names}</svg>",
        size=(1280, 800),
        faces=_OTHER,
    )


@family("screen", held_out=True)
def old_program(random: Random) -> Image.Image:
    """Grey, with raised edges, as programs looked in 1995."""
    width, height = pick(random, [(640, 480), (800, 600)])
    image = Image.new("RGB", (width, height), (0, 128, 128))
    draw, face = ImageDraw.Draw(image), font(random, 13, True, "Sans-Regular")

    def raised(box: tuple[int, int, int, int], fill: Colour = (192, 192, 192)) -> None:
        draw.rectangle(box, fill, (64, 64, 64))
        draw.line([box[0], box[3], box[0], box[1], box[2], box[1]], (255, 255, 255), 2)

    x, y = between(random, 5, 80), between(random, 5, 60)
    right, bottom = width - between(random, 5, 80), height - between(random, 40, 90)
    raised((x, y, right, bottom))
    draw.rectangle([x + 3, y + 3, right - 3, y + 22], (0, 0, 128))
    draw.text((x + 8, y + 5), words(random, 3), (255, 255, 255), face)
    for at in range(6):
        draw.text((x + 10 + at * 60, y + 28), word(random)[:7], (0, 0, 0), face)
    for _ in range(between(random, 4, 12)):
        bx, by = between(random, x + 10, right - 130), between(random, y + 50, bottom - 30)
        raised((bx, by, bx + between(random, 60, 120), by + 24))
        draw.text((bx + 8, by + 4), word(random)[:10], (0, 0, 0), face)
    raised((0, height - 30, width, height))
    return image


@family("screen", held_out=True)
def thread(random: Random) -> Page:
    """An encyclopaedia's or a forum's page in a serif face: lists, quotes, a box at the right."""
    box = f"<div class=b style='float:right;width:240px;background:#8881'>{_picture(random, '100%', '170px')}{_many(random, 3, 8, lambda: f'<div class=f style=padding:2px><b>{word(random)}</b> {words(random, 2)}</div>')}</div>"
    parts = _many(
        random,
        3,
        8,
        lambda: pick(
            random,
            [
                f"<h3 style='border-bottom:1px solid #aaa'>{words(random, 2)}</h3>",
                f"<blockquote style='border-left:4px solid #aaa;padding-left:8px'>{words(random, 20)}</blockquote>",
                f"<p>{words(random, 50)}</p>",
                f"<ul>{_many(random, 2, 6, lambda: f'<li>{words(random, 6)}</li>')}</ul>",
            ],
        ),
    )
    return _page(
        random,
        f"<div style='padding:10px 30px'><h1 style='font-weight:normal'>{words(random, 2)}</h1>{box}{parts}</div>",
        faces=_OTHER.replace("'Liberation Sans',", ""),
    )


@family("screen", held_out=True)
def watch_or_dialler(random: Random) -> Page:
    keys = "".join(
        f"<div style='text-align:center;border-radius:50%;background:#8885;width:70px;height:70px;line-height:70px;font-size:28px;margin:auto'>{each}</div>"
        for each in "123456789*0#"
    )
    return _page(
        random,
        f"<div style='text-align:center;font-size:40px;padding:60px 0 20px'>{between(random, 10**6, 10**9)}</div><div class=g style='grid-template-columns:repeat(3,1fr)'>{keys}</div><div class=f style='justify-content:space-around'>{_many(random, 3, 5, lambda: f'<span>{word(random)}</span>')}</div>",
        size=(390, 844),
        faces=_OTHER,
    )
