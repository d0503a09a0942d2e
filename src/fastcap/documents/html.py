"""HTML and XHTML: tags with the exact places of their attributes, by the tokenizer of the HTML standard (13.2.5)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import NamedTuple

from fastcap.documents.tree import Builder, Edit

__all__ = ["TEMPLATE", "escaped", "read_html"]

_SPACE = " \t\n\f\r"  # what HTML calls whitespace; Python's \s means more
_RAW_NAMES = """
    script style textarea title xmp iframe noembed noframes"""
_RAW = frozenset(_RAW_NAMES.split())  # no tags inside
_MARKUP = re.compile(
    r"""<!--(?:-?>|.*?(?:--!?>|\Z))
      | <!\[CDATA\[.*?(?:\]\]>|\Z)
      | <\?(?:(?:(?!<\?).)*?\?>|[^>]*(?:>|\Z))
      | <%(?:(?!<%).)*?%>
      | \{\#(?:(?!\{\#).){0,2000}?\#\} | \{\{!--(?:(?!\{\{!--).)*?--\}\} | \{\{-?/\*(?:(?!\{\{).)*?\*/-?\}\}
      | \{%-?\s*comment\b[^%]*%\}(?:(?!\{%-?\s*comment\b).)*?\{%-?\s*endcomment\s*-?%\}
      | <[!/](?![a-zA-Z])[^>]*(?:>|\Z) | <![^>]*(?:>|\Z)
      | (?P<open><(?P<close>/?)(?P<name>[a-zA-Z][^\ \t\n\f\r/>]*))""",
    re.DOTALL | re.VERBOSE,
)
_PIECE = r"\{\{.{0,500}?\}\}|\{%.{0,500}?%\}|<\?.{0,500}?\?>|<%.{0,500}?%>"  # of a template, within a tag
_NAME = re.compile(rf"(?:{_PIECE}|=?[^ \t\n\f\r/>=]*)", re.DOTALL)
_BARE = re.compile(rf"(?:{_PIECE}|\{{[^{{}}>]*\}}|[^ \t\n\f\r>])*", re.DOTALL)

TEMPLATE = re.compile(rf"{_PIECE}|[$#]\{{.*?\}}|^\{{.*\}}$", re.DOTALL)
"""A value that a template or a program fills in."""

_BOUND = re.compile(
    r"(?::|v-bind:|x-bind:|bind:|th:|ng-attr-|ng-)(\w[\w-]*)|\[(?:attr\.)?(\w[\w-]*)\]|data-(?:th-)?bind:(\w+)"
)


class _Attribute(NamedTuple):
    """`value` as it reads, without its quotes, which its place includes; `quote` is "" for a value without any."""

    value: str
    start_of_value: int
    end_of_value: int
    quote: str


def read_html(text: str, builder: Builder, place: Callable[[int], int] = lambda at: at, xml: bool = False) -> str:
    """Read a piece of HTML into a tree. Returns what it leaves open: the name of a script or the like, "!--" for a
    comment, or "".

    `place`: the place in the document of an offset into `text`. `xml`: XHTML, where any element may close itself.
    """
    at = 0
    quotes = _Quotes(text)
    while match := _MARKUP.search(text, at):
        if match.start() > at:
            builder.text(html.unescape(text[at : match.start()]))
        at = match.end()
        if match["open"] is None:
            if match[0].startswith("<!--") and not match[0].endswith(("-->", "--!>")):
                return "!--"
            if xml and match[0].startswith("<![CDATA["):
                builder.text(match[0][9:].removesuffix("]]>"))
            continue
        name = match["name"].lower()
        attributes, end, closes_itself = _attributes(text, at, quotes)
        if end < 0:  # the document ends within the tag, which is then none
            return ""
        at = end
        if match["close"]:
            builder.end(name)
            continue
        foreign = builder.in_foreign
        empty = closes_itself and (xml or foreign or name == "svg")
        _add(builder, name, attributes, match, place, empty)
        if name in _RAW and not empty and not foreign:
            inside = re.compile(rf"</{name}(?=[ \t\n\f\r/>])", re.IGNORECASE).search(text, at)
            if inside is None:
                return name
            at = inside.start()
    if at < len(text):
        builder.text(html.unescape(text[at:]))
    return ""


class _Quotes:
    """Finds the end of quoted values; a quote that never ends is looked for once, not once for every tag."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._none_from = dict.fromkeys("\"'", len(text) + 1)

    def end(self, quote: str, start: int) -> int:
        if start >= self._none_from[quote]:
            return -1
        found = self._text.find(quote, start)
        if found < 0:
            self._none_from[quote] = start
        return found


def _attributes(text: str, at: int, quotes: _Quotes) -> tuple[dict[str, _Attribute], int, bool]:
    """The attributes of a tag whose name ends at `at`, the end of the tag or -1, and whether it ends in "/>"."""
    found: dict[str, _Attribute] = {}
    slash = False
    while at < len(text):
        if text[at] == ">":
            return found, at + 1, slash
        if text[at] in _SPACE or text[at] == "/":
            slash = text[at] == "/"
            at += 1
            continue
        slash = False
        match = _NAME.match(text, at)
        assert match
        name, at = match[0].lower(), match.end()
        attribute = _Attribute("", at, at, "")
        equals = at
        while equals < len(text) and text[equals] in _SPACE:
            equals += 1
        if text[equals : equals + 1] == "=":
            start = equals + 1
            while start < len(text) and text[start] in _SPACE:
                start += 1
            quote = text[start : start + 1]
            if quote in ('"', "'"):
                end = quotes.end(quote, start + 1)
                if end < 0:
                    return found, -1, False
                at = end + 1
                value = text[start + 1 : end]
            else:
                bare = _BARE.match(text, start)
                assert bare
                at, value, quote = bare.end(), bare[0], ""
            attribute = _Attribute(html.unescape(value), start, at, quote)
        elif at == match.start():  # nothing that could be a name: a lonely "="
            at += 1
        found.setdefault(name, attribute)
    return found, -1, False


def _add(
    builder: Builder,
    name: str,
    attributes: dict[str, _Attribute],
    tag: re.Match[str],
    place: Callable[[int], int],
    empty: bool,
) -> None:
    attrs = {key: attribute.value for key, attribute in attributes.items()}
    for key in list(attrs):
        if bound := _BOUND.fullmatch(key):
            attrs.setdefault(bound[1] or bound[2] or bound[3], "{{ }}")
        elif re.match(r"\{\{|\{\.\.\.|<\?|<%", key):  # may well hold the alternative text
            attrs.setdefault("alt", "{{ }}")
    node = builder.add(name, attrs, place(tag.start()), empty)
    if name == "img":
        node.write = _writer(attributes, tag.end(), place)


def _writer(attributes: dict[str, _Attribute], end_of_name: int, place: Callable[[int], int]) -> Callable[[str], Edit]:
    """What puts a caption into an `<img>`: in place of the value that is read out, or as a new attribute."""
    spoken = attributes.get("aria-label")
    attribute = spoken if spoken and spoken.value.strip() else attributes.get("alt")

    def write(caption: str) -> Edit:
        if attribute is None:
            after = place(end_of_name - 1) + 1
            return after, after, f' alt="{escaped(caption)}"'
        quote = attribute.quote or '"'
        start, end = place(attribute.start_of_value), place(attribute.end_of_value - 1) + 1
        return start, end, quote + escaped(caption, quote) + quote

    return write


def escaped(caption: str, quote: str = '"') -> str:
    """A caption within the quotes of an attribute."""
    caption = caption.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return caption.replace(quote, "&quot;" if quote == '"' else "&#39;")
