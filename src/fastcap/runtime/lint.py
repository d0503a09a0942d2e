"""What makes alternative text poor, by the published advice.

The rules are those on which W3C's Images Tutorial (its decision tree, "Tips and Tricks"), WebAIM's "Alternative Text",
the GOV.UK content guide, axe and GitHub's linters agree: say what matters, briefly, in words that can be read aloud,
and not that it is a picture. docs/lint/ has a page for each rule.
"""

from __future__ import annotations

import html.entities
import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from fastcap.errors import one_text
from fastcap.runtime.neutral import gendered_words, neutral_wording

__all__ = ["LONGEST", "RULES", "Finding", "lint", "without_preamble"]

LONGEST = 150  # characters; advice ranges from 100 to 150, after which some screen readers pause or skip


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


# File names: with an ending, or as cameras, phones and programs write them, in any spelling.
_FILE = _any_of(
    r"\S\.(?:jpe?g|jpe|jfif|a?png|gif|webp|bmp|tiff?|svg|ico|hei[cf]|avif|jxl|psd|raw|cr2|nef|dng|pdf)(?:[?#]\S*)?$"
)
_DATE = r"[\d\s_.,:@x-]*(?:(?:at|um|à|alle|om|a las) [\d\s_.,:-]*)?(?:[ap]\.?m\.?)?"
_DEVICE = _any_of(
    r"(?![a-z]+ \d+ of \d)[\s_]*(?:thumb(?:nail)?[_-]|copy of |edited[_-])?"
    r"(?:img|dsc[nf]?|dcim|pxl|mvimg|vid|gopr?|dji|fb_img|imgp|cimg"
    r"|sam|mg|pict|hpim|burst|pano|received|signal|snapchat|inshot|picsart|collage|scan|p|r|images?|photo|picture|pic|foto"
    r"|bild|unnamed|download)[\s_-]*e?\d[\d\s_-]*(?:[._-]*[a-z]+[\d\s_-]*)?(?:[~(\[]\d+[)\]]?)?[\s.]*",
    r"(?:screen[\s_-]*shots?|clean[\s_-]*shot|screen[\s_-]*capture|bildschirmfoto|schermafbeelding|schermata"
    r"|capture d.[eé]cran|captura de (?:pantalla|ecrã|tela)|снимок экрана"
    r"|(?:whatsapp|telegram) image)[\s_-]*(?:from |du |de |vom )?" + _DATE,
    r"(?:photo|image|picture)-\d{6,}(?:-\w+)*",
    r"\d[\d\s_.()-]*",
    r"[0-9a-f]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    r"\w*_\w[\w-]*|\w+(?:-\w+)*-(?:v?\d+|\d+x\d+)|\w+(?:-\w+){3,}",  # my_dog, logo-300x200, hero-banner-final-v2
)

_PICTURE = (
    r"(?:images?|pictures?|photos?|photographs?|pics?|graphics?|screenshots?|illustrations?|snapshots?|thumbnails?"
    r"|renderings?)"
)
_QUALITY = (
    r"(?:(?:black[- ]and[- ]white|b&w|monochrome|sepia|colou?r(?:ed)?|close[- ]?up|aerial|blurr(?:y|ed)|old|vintage"
    r"|stock|digital|cropped|large|small|high[- ]\w+|beautiful|nice|candid|overhead|underwater|panoramic|wide[- ]angle"
    r"|single|following|above|first|second|attached|\d{4}) )*"
)
_SHOWS = r"(?:show|depict|display|contain|featur|captur|represent|illustrat)(?:s|es|ing)"
_PREAMBLE = _any_of(
    r"(?:(?:this|that|here|there|it)(?: is|['’]s) |here (?:we|you) (?:see|have) |(?:we|you) (?:can )?see )?"
    rf"(?:an? |the |this |these |some |two )?{_QUALITY}{_PICTURE}(?: (?:that was )?(?:taken|shot))?"
    rf"(?: from (?:above|below|behind))? (?:of|with|where|in which|about|(?:(?:that|which) )?{_SHOWS})\b",
    rf"(?:here |shown |seen |we see )?in (?:the|this|that) {_QUALITY}{_PICTURE}\b",
    r"(?:pictured|depicted|shown|photographed)(?: here| above| below)?(?::| is\b| are\b)",
    rf"this {_QUALITY}{_PICTURE} (?:is|was|may|might|can|could|has|appears|seems)\b",
    rf"(?:{_PICTURE} )?may contain\b|may be an? {_QUALITY}{_PICTURE}\b",
    r"(?:une? |ein |una? |uma |een )?(?:imagen|foto|fotograf[ií]a|bild|fotografie|afbeelding|immagine|imagem|image"
    r"|photo(?:graphie)?) (?:(?:de|del|von|eine[rs]?|van|di|da|do|que muestra|montrant|mit)\b|d['’])",
    r"(?:изображение|фотография|фото|картинка) |.*(?:图片|照片|の写真|の画像)$",
)
_ON_A_WALL = re.compile(
    r"\b(?:hangs?|hung|hanging|is displayed|are displayed|on display)\b", re.IGNORECASE
)  # is content

# What stands where a text should be: these words and no others, perhaps counted.
_STAND_IN = (
    r"(?:alt|alt(?:ernative|ernate)? ?text|images?|img|photo(?:graph)?s?|pictures?|pics?|graphics?|icons?|logos?"
    r"|banners?|charts?|graphs?|figures?|diagrams?|screenshots?|thumb(?:nail)?s?|avatars?|hero|header|featured|cover"
    r"|backgrounds?|bullets?|arrows?|divider|separator|line|button|untitled|unnamed|unknown|spacer|blank|placeholders?"
    r"|dummy|default|sample|example|null|nil|none|nan|undefined|n/?a|tbd|tba|to ?do|fix ?me|xxx+|test"
    r"|descriptions?|captions?|titles?"
    r"|clip ?art|media|attachment|file|slide|page|item|product|gallery|decorative)"
)
_LABEL = (
    r"(?:alt(?: ?text)?|image|img|photo(?:graph)?|picture|pic|graphic|icon|screenshot|thumbnail|caption|description"
    r"|placeholder)"
)
_PLACEHOLDER = _any_of(
    rf"(?:(?:insert|add|enter|your|my|the|this|an?|some|new|free|stock) )*{_STAND_IN}(?:[\s_:#-]+{_STAND_IN})*"
    r"(?: (?:here|goes here|of|text))*[\s_#:-]*\(?\d*\)?",
    rf"{_STAND_IN} \d+ ?(?:of|/) ?\d+",  # Image 1 of 5
    r"no (?:alt(?: text)?|description|caption|image|photo|picture)(?: (?:available|provided|found|yet))?",
    r"(?:image|photo|picture) (?:not )?(?:found|available|missing|may contain)|may be an image|lorem ipsum.*",
    rf"(?:{_LABEL}|todo|fixme|tbd|placeholder)(?: ?\d+)?(?:\s*:| [-–—|] )\s*\S.*",  # Alt text: a boat
    r"(?:click|tap|read|learn|see|view) (?:here|more|image|photo|picture)|untitled[\s_-]*\d*(?: copy)?",
    r"(?:todo|fixme|tbd)\b[:\s-]*(?:add|write|insert|fill|describe|alt|caption|description|text|image|photo|picture)\b.*",
    rf"\[{_LABEL}\].*|.*\S\s?(?:[-–—|,] |\(|\[){_LABEL}[)\]]?",  # A boat on a lake (image)
    r".*\bstock (?:photo(?:graphy)?|image|picture|illustration|vector)s?",
    r"(?!an? |the )[\w'’]+(?: [\w'’]+)? (?:image|img|photo|photograph|picture|pic|graphic|thumbnail)",  # Dog photo
)

_MARKUP = _any_of(r"</?[a-z][^<>]*>|<!--|&#(?:\d+|x[0-9a-f]+);|!?\[[^\]]*\]\([^)]*\)|\*\*\S|`[^`]+`|\{\{.*?\}\}")
_ENTITY = re.compile(r"&([a-z][a-z0-9]*;)", re.IGNORECASE)
_ADDRESS = _any_of(
    r"\b(?:https?|ftps?|file)://\S+|\bdata:\w+/\S+|\bmailto:|\bwww\.\S+",
    r"\w@[\w-]{1,63}\.[a-z]{2,}\b|\w\.(?:com|org|net)/\S",
)
_EMOJI = _any_of(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u231a\u231b\u23e9-\u23fa\u20e3\ufe0f]",
    r"(?<![\w:]):[a-z][a-z0-9_+-]+:(?![\w:])|(?<!\w)[:;]-?[()DP](?!\w)",  # :smile:  :-)
)
_INVISIBLE = "\ufeff\u200b\u200e\u200f\u2060\u00ad"
_NO_SPACES = re.compile(  # Thai, Lao, Burmese, Khmer, Kana, Han
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_NEVER_IN_A_COMPOUND = frozenset(
    {"a", "an", "the", "and", "or", "in", "on", "at", "of", "with", "by", "to", "from", "for", "near", "over", "under"}
    | {"beside", "behind", "is", "are", "was", "has", "that", "who", "which"}
)
_SAID_TWICE = frozenset({"had", "that", "bye", "choo", "cha", "chow", "pom", "tuk", "knock", "can", "night", "so"})


class Finding(NamedTuple):
    """A rule that a text breaks, and what to do about it."""

    rule: str
    advice: str


def _words(text: str) -> list[str]:
    """Words as they stand between spaces, without the marks around them: "yo-yo" and "10:10" are one."""
    words = (word.strip("".join(letter for letter in set(word) if _is_mark(letter))) for word in text.split())
    return [word for word in words if word]


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter)[0] not in "LMN"


def _is_short(text: str) -> bool:
    """Whether a text is a single word; of a script without spaces, fewer than four letters."""
    without_spaces = len(_NO_SPACES.findall(text))
    return without_spaces < 4 if without_spaces else len(_words(text)) == 1


def _begins_a_compound(last: str, again: str, rest: list[str]) -> bool:
    """Whether a list goes on with a compound of what it has just named: "a dog, a dog toy and a ball".

    `last`, `again`: the last word of a run and of its repetition, with the marks around them; `rest`: what follows.
    """
    is_listed = last.endswith(",") and again[-1:].isalnum() and not {"and", "or"}.isdisjoint(rest[1:])
    return is_listed and rest[0] not in _NEVER_IN_A_COMPOUND


def _repeats(text: str) -> bool:
    """Whether a run of 1 to 3 words follows itself; names may (Bora Bora), and the digits of a number (1 000 000)."""
    words = _words(text)
    keys = [word.casefold() for word in words]
    marked = [word for word in text.split() if not all(map(_is_mark, word))]
    for n in (1, 2, 3):
        for i in range(len(keys) - 2 * n + 1):
            run = keys[i : i + n]
            repeated = run == keys[i + n : i + 2 * n]
            names = all(word[0].isupper() for word in words[i : i + 2 * n])
            if not repeated or names or all(key.isdigit() or key in _SAID_TWICE for key in run):
                continue
            if not _begins_a_compound(marked[i + n - 1], marked[i + 2 * n - 1], keys[i + 2 * n : i + 2 * n + 9]):
                return True
    return False


def _has_markup(text: str) -> bool:
    return bool(_MARKUP.search(text)) or any(name in html.entities.html5 for name in _ENTITY.findall(text))


RULES: dict[str, tuple[Callable[[str], object], str]] = {
    "empty": (
        lambda text: not any(map(str.isalnum, text)),
        'say what the picture shows; only decoration has no text, and then alt=""',
    ),
    "file name": (lambda text: _FILE.search(text) or _DEVICE.fullmatch(text), "describe the picture, not its file"),
    "placeholder": (
        lambda text: any(map(_PLACEHOLDER.fullmatch, (text.rstrip(" .:…"), text.strip(" .:…()[]<>*_-")))),
        "say what the picture shows",
    ),
    "preamble": (
        lambda text: _PREAMBLE.match(text) and not _ON_A_WALL.search(text),
        "leave out that it is a picture: screen readers have said so",
    ),
    "too long": (
        lambda text: len(text) > LONGEST,
        f"keep to {LONGEST} characters; put the rest into the text around the picture",
    ),
    "too short": (_is_short, "one word seldom says what matters; say what happens"),
    "capitals": (
        lambda text: text.isupper() and len(_words(text)) > 2,
        "write it in sentence case: capitals may be spelt letter by letter",
    ),
    "repeat": (_repeats, "say it once"),
    "markup": (_has_markup, "use plain text: tags and entities are read aloud"),
    "address": (_ADDRESS.search, "leave out addresses: they are read letter by letter"),
    "emoji": (_EMOJI.search, "use words: an emoji is read as its full name"),
    "line break": (lambda text: len(text.splitlines()) > 1, "write one line"),
}
"""Rule by name: does a text break it, and the advice then."""


def without_preamble(text: str) -> str:
    """A text without "A photo of" and the like before it; as it is where there is none."""
    match = _PREAMBLE.match(text) if RULES["preamble"][0](text) else None
    rest = text[match.end() :].strip() if match else text
    return rest[:1].upper() + rest[1:]


_NEUTRAL = "say only what can be seen: a picture does not tell who somebody is"


def lint(text: str, *, neutral: bool = False) -> list[Finding]:
    """The rules that an alternative text breaks, in a fixed order; none is a good sign, no proof of a good text.

    A byte order mark, and spaces and line ends around the text, are no part of it.

    Args:
        neutral: flag gendered words too.

    Raises ConfigError for what is no text.
    """
    text = one_text(text, "the text").strip(_INVISIBLE + " \t\r\n\f\v\u00a0\u2028\u2029")
    findings = [Finding(rule, advice) for rule, (breaks, advice) in RULES.items() if breaks(text)]
    if findings and findings[0].rule == "empty":
        return findings[:1]
    if neutral and (words := gendered_words(text)):
        wording = neutral_wording(text)
        proposal = f"{wording.text!r}" if not wording.left else "reword it; no rule is certain of its grammar"
        findings.append(Finding("gendered", f"{_NEUTRAL} ({', '.join(dict.fromkeys(words))}): {proposal}"))
    return findings
