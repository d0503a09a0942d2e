"""What the families of made pictures share: their table, random words, fonts and colours.

A family is one procedure that makes pictures of one kind. Whole families are held out: the head never sees what they
make, and is measured on it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Random: TypeAlias = np.random.Generator
Colour: TypeAlias = tuple[int, int, int]


class Page(NamedTuple):
    """HTML that Chromium renders in a window of this size."""

    html: str
    width: int
    height: int


class Family(NamedTuple):
    """`kind`: what `Caption.kind` shall be of its pictures. `held_out`: measured on, never trained on."""

    kind: str
    held_out: bool
    make: Callable[[Random], Image.Image | Page]


FAMILIES: dict[str, Family] = {}
"""By name."""


def family(kind: str, held_out: bool = False) -> Callable[[Callable[[Random], Image.Image | Page]], Callable]:
    """Add a procedure to the table, under its own name."""

    def add(make: Callable[[Random], Image.Image | Page]) -> Callable:
        FAMILIES[make.__name__] = Family(kind, held_out, make)
        return make

    return add


def random_of(seed: int, name: str, index: int) -> Random:
    """The same numbers for the same picture, whatever else is made."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), index])


def chance(random: Random, share: float) -> bool:
    return bool(random.random() < share)


def between(random: Random, low: float, high: float) -> int:
    """A whole number, both ends included."""
    return int(random.integers(int(low), int(high) + 1))


def pick(random: Random, choices):
    """One of a sequence, as it is."""
    return choices[int(random.integers(len(choices)))]


# --- words ---------------------------------------------------------------------------------------------------

_LISTED = (
    "an be co de el fo ga hi in jo ka lo me no or pa qui re sa te un va we xi yo za ber con der ent for gra her "
    "ing ly men ness ous per ran sta tion ver wor sch ch ck th st ll e a o i"
)
_SYLLABLES = _LISTED.split()
SCRIPTS = {
    "latin": "",
    "accents": "aábcčdďeéěfghiíjklmnňoóprřsštťuúůvyýzžäöüßñçøåæ",
    "greek": "αβγδεζηθικλμνξοπρστυφχψω",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщыьэюя",
    "armenian": "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ",
    "georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
    "hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
}


def word(random: Random, script: str = "latin") -> str:
    letters = SCRIPTS[script]
    if letters:
        return "".join(pick(random, letters) for _ in range(between(random, 2, 9)))
    return "".join(pick(random, _SYLLABLES) for _ in range(between(random, 1, 4)))


def words(random: Random, count: int, script: str = "latin") -> str:
    """Running text: capitals and full stops now and then."""
    text, starts = [], True
    for _ in range(count):
        one = word(random, script)
        text.append(one.capitalize() if starts or chance(random, 0.04) else one)
        starts = chance(random, 0.1)
        if starts:
            text[-1] += "."
        elif chance(random, 0.06):
            text[-1] += ","
    return " ".join(text)


def number(random: Random) -> str:
    """As tables and bills have them."""
    return pick(random, [f"{random.random() * 1000:.2f}", str(between(random, 0, 99999)), f"{random.random():.1%}"])


# --- fonts and colours ---------------------------------------------------------------------------------------

_MATPLOTLIB = Path(matplotlib.get_data_path()) / "fonts/ttf"
_LIBERATION = Path("/usr/share/fonts/truetype/liberation")
TRAIN_FONTS = sorted(
    str(path)
    for pattern in ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "cmr10.ttf", "cmss10.ttf", "cmtt10.ttf", "cmb10.ttf")
    for path in _MATPLOTLIB.glob(pattern)
    if "Display" not in path.name
)
HELD_OUT_FONTS = sorted(
    [str(path) for path in _MATPLOTLIB.glob("STIXGeneral*.ttf")] + [str(path) for path in _LIBERATION.glob("*.ttf")]
)
UNICODE_FONTS = [str(_MATPLOTLIB / "DejaVuSans.ttf"), str(_MATPLOTLIB / "DejaVuSans-Bold.ttf")]


def font(random: Random, size: float, held_out: bool = False, like: str = "") -> ImageFont.FreeTypeFont:
    """One of the fonts, with `like` in its file's name. The held-out families have fonts of their own."""
    names = [name for name in (HELD_OUT_FONTS if held_out else TRAIN_FONTS) if like in Path(name).name]
    return ImageFont.truetype(pick(random, names), max(int(size), 4))


def script_font(random: Random, size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(pick(random, UNICODE_FONTS), max(int(size), 4))


def colour(random: Random, low: int = 0, high: int = 255) -> Colour:
    red, green, blue = random.integers(low, high + 1, 3).tolist()
    return red, green, blue


def paper(random: Random) -> Colour:
    """White, nearly white, or a pale colour."""
    if chance(random, 0.5):
        return (255, 255, 255)
    light = between(random, 225, 254)
    return (light, light, light) if chance(random, 0.4) else colour(random, 205, 255)


def ink(random: Random) -> Colour:
    return (0, 0, 0) if chance(random, 0.4) else colour(random, 0, 90)


def scheme(random: Random) -> tuple[Colour, Colour]:
    """Paper and ink; one in four is light on dark."""
    light, dark = paper(random), ink(random)
    return (dark, light) if chance(random, 0.25) else (light, dark)


def css(value: Colour) -> str:
    return f"rgb({value[0]},{value[1]},{value[2]})"


def canvas(
    random: Random, background: Colour, low: int = 240, high: int = 1400
) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty picture of some size and aspect."""
    width = between(random, low, high)
    height = int(width * pick(random, [0.5, 0.5625, 0.66, 0.75, 1.0, 1.0, 1.33, 1.41, 1.78]))
    image = Image.new("RGB", (width, height), background)
    return image, ImageDraw.Draw(image)


def lines_of(draw: ImageDraw.ImageDraw, text: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """A text broken into lines by a mean width of its letters: fast, and as uneven as text is."""
    each = max(draw.textlength("abcdefghijklmnop", face) / 16, 1)
    room, lines, line = max(int(width / each), 6), [], ""
    for part in text.split():
        if len(line) + len(part) >= room and line:
            lines.append(line)
            line = ""
        line = f"{line} {part}".strip()
    return [*lines, line]


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    face,
    fill: Colour,
    width: float,
    bottom: float,
    gap: float = 1.3,
) -> float:
    """A paragraph from a corner on, cut off at the bottom; returns where it ends."""
    x, y = at
    for line in lines_of(draw, text, face, width):
        if y + face.size > bottom:
            break
        draw.text((x, y), line, fill, face)
        y += face.size * gap
    return y


# --- photos, as parts of other pictures -----------------------------------------------------------------------

PHOTOS: list[Path] = []
"""Of the split that pictures are made for; pages show some of them."""


def photo(random: Random) -> Image.Image:
    """One of the photos; a pattern of soft colours where there are none."""
    if PHOTOS:
        return Image.open(pick(random, PHOTOS)).convert("RGB")
    return Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((224, 224), 3)


def photo_url(random: Random) -> str:
    """A photo, to stand in a page."""
    import base64
    from io import BytesIO

    file = BytesIO()
    photo(random).save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
