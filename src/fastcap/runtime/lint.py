"""What makes alternative text poor, by the published advice.

The rules are those on which W3C's Images Tutorial (WAI, "Tips and Tricks"), WebAIM's "Alternative Text" and the GOV.UK
content guide agree: say what matters, briefly, in words that can be read aloud, and not that it is a picture.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from fastcap.runtime.neutral import gendered_words

__all__ = ["LONGEST", "RULES", "Finding", "lint"]

LONGEST = 150  # characters; advice ranges from 100 to 150, after which some screen readers pause or skip
_FILE = re.compile(r"\S+\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg|heic|avif)$", re.IGNORECASE)
_CAMERA = re.compile(r"(?:img|dsc[nf]?|pxl|mvimg|screenshot|image|photo|picture)?[\s_-]*\d[\d\s_().-]*$", re.IGNORECASE)
_PLACEHOLDERS = frozenset(
    text.strip()
    for text in """
    alt, alt text, alternative text, image, img, photo, photograph, picture, pic, graphic, icon, logo, banner, chart,
    screenshot, untitled, spacer, placeholder, null, none, undefined, n/a, tbd, todo, test, description, caption,
    no description, image may contain, may be an image
    """.split(",")  # noqa: SIM905 (a text a line buries the file)
)
_PREAMBLE = re.compile(
    r"^(?:this is |here is |there is |it is )?(?:an? |the |this )?"
    r"(?:(?:black[- ]and[- ]white|colou?r|close-?up|aerial|blurry|old|vintage|stock|digital|cropped|large|small) )*"
    r"(?:image|picture|photo|photograph|graphic|screenshot|illustration|snapshot|pic) (?:taken )?"
    r"(?:of|showing|depicting|shows|depicts|contains|features|(?:that|which) shows)\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"<[a-z/!][^>]*>|&[a-z]+;|&#\d+;|\[[^\]]*\]\([^)]*\)", re.IGNORECASE)
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE)
_EMOJI = re.compile(r"[\U0001F000-\U0001FAFF\u2600-\u27BF]")


class Finding(NamedTuple):
    """A rule that a text breaks, and what to do about it."""

    rule: str
    advice: str


def _repeats(text: str) -> bool:
    """Whether a run of 1 to 3 words follows itself; names may (Bora Bora)."""
    words = re.findall(r"\w+", text)
    keys = [word.casefold() for word in words]
    return any(
        keys[i : i + n] == keys[i + n : i + 2 * n] and not all(word[0].isupper() for word in words[i : i + 2 * n])
        for n in (1, 2, 3)
        for i in range(len(keys) - 2 * n + 1)
    )


RULES: dict[str, tuple[Callable[[str], object], str]] = {
    "empty": (
        lambda text: not re.search(r"\w", text),
        'say what the picture shows; only decoration has no text, and then alt=""',
    ),
    "file name": (lambda text: _FILE.search(text) or _CAMERA.fullmatch(text), "describe the picture, not its file"),
    "placeholder": (lambda text: text.casefold().strip(" .:") in _PLACEHOLDERS, "say what the picture shows"),
    "preamble": (lambda text: _PREAMBLE.match(text), "leave out that it is a picture: screen readers have said so"),
    "too long": (
        lambda text: len(text) > LONGEST,
        f"keep to {LONGEST} characters; put the rest into the text around the picture",
    ),
    "too short": (
        lambda text: len(re.findall(r"\w+", text)) == 1,
        "one word seldom says what matters; say what happens",
    ),
    "capitals": (
        lambda text: text.isupper() and len(re.findall(r"\w+", text)) > 2,
        "write it in sentence case: capitals may be spelt letter by letter",
    ),
    "repeat": (_repeats, "say it once"),
    "markup": (_MARKUP.search, "use plain text: tags and entities are read aloud"),
    "address": (_ADDRESS.search, "leave out addresses: they are read letter by letter"),
    "emoji": (_EMOJI.search, "use words: an emoji is read as its full name"),
    "line break": (lambda text: "\n" in text.strip(), "write one line"),
}
"""Rule by name: does a text break it, and the advice then."""

_NEUTRAL = "say only what can be seen: a picture does not tell who somebody is"


def lint(text: str, *, neutral: bool = False) -> list[Finding]:
    """The rules that an alternative text breaks, in a fixed order; none is a good sign, no proof of a good text.

    Args:
        neutral: flag gendered words too.
    """
    text = text.strip()
    found = [Finding(rule, advice) for rule, (breaks, advice) in RULES.items() if breaks(text)]
    if found and found[0].rule == "empty":
        return found[:1]
    if neutral and (words := gendered_words(text)):
        found.append(Finding("gendered", f"{_NEUTRAL} ({', '.join(dict.fromkeys(words))})"))
    return found
