"""AsciiDoc: block and inline image macros, where Asciidoctor would see them, and their attributes."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import NamedTuple

from fastcap.documents.text import FRONT_MATTER, blanked
from fastcap.documents.tree import Builder, Edit

__all__ = ["read_asciidoc"]

_BLOCK = re.compile(r"image::(?P<target>\S|\S.*?\S)\[(?P<attributes>.*)\][ \t]*$")
_INLINE = re.compile(
    r"(?<![\w\\])image:(?P<target>[^:\s\[](?:[^\n\[]{0,2000}[^\s\[])?)\[(?P<attributes>(?:\\.|[^\]\\]){0,2000})\]",
    re.DOTALL,
)
# What stands in a line as it is: no macro is seen there. Monospace would let one through; nobody means that.
_VERBATIM = re.compile(
    r"`[^`\n]+`|\+\+\+.*?\+\+\+|\+\+.*?\+\+|(?<!\w)\+(?! )[^+\n]*?(?<! )\+(?!\w)|\$\$.*?\$\$"
    r"|(?:pass|stem|latexmath|asciimath):\w*(?:,\w+)*\[.*?(?<!\\)\]"
)
_LINK = re.compile(r"(?:link:(?P<link>\S*?)|xref:(?P<xref>\S*?)|(?P<url>https?://[^\s\[]+))\[(?=[^\]]*image:)")
_FENCE = re.compile(r"(?P<mark>-{4,}|\.{4,}|\+{4,}|/{4,}|={4,}|\*{4,}|_{4,}|[|,:!]={3,}|--|`{3,}(?=[\w,-]*$))[\w,-]*$")
_VERBATIM_FENCES = ("-", ".", "+", "/", "`")
_LEFT_OUT = re.compile(r"//(?!/)|(?:ifn?def|ifeval|endif|include)::.*\[.*\]$")  # comments, and what is done before
_ONE_LINE = re.compile(r"(?:={1,6}|#{1,6})[ \t]+[^ \t]|'{3}$|---$|<<<|\w+::\S*\[.*\]$")
_STYLE_NAMES = """
    source listing literal stem latexmath asciimath pass comment verse"""
_STYLES = frozenset(_STYLE_NAMES.split())
_ENTRY = re.compile(r":(?P<name>\w[\w-]*):(?:[ \t]+(?P<value>.*))?$")
_TITLE = re.compile(r"\.(?P<title>[^ \t.].*)$")
_ITEM = re.compile(r"[ \t]*(?:[*.]{1,5}|-|\d+\.|\w\.|<(?:\d+|\.)>)[ \t]+\S|[ \t]*\S.*?:{2,4}(?:[ \t]|$)")
_LABEL = re.compile(r"(?P<name>[\w-]+)[ \t]*=[ \t]*")


class _Attribute(NamedTuple):
    """`start`, `end`: where its value lies in the list, quotes included."""

    value: str
    start: int
    end: int


def read_asciidoc(text: str, builder: Builder) -> None:
    """Read a document into a tree."""
    if front := FRONT_MATTER.match(text):
        text = blanked(text, 0, front.end())
    _Reader(builder).read(text)


class _Reader:
    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._entries: dict[str, str] = {}  # attributes of the document, as far as it was read
        self._title = ""  # of the block that comes next, as what follows
        self._above: dict[str, str] = {}
        self._styled = False
        self._paragraph: list[tuple[int, str]] = []

    def read(self, text: str) -> None:
        at, fence, in_literal, in_header = 0, "", False, True
        for raw in text.split("\n"):
            line, start = raw.removesuffix("\r"), at
            at += len(raw) + 1
            bare = line.lstrip("\ufeff").rstrip()
            if fence:
                fence = "" if bare == fence else fence
            elif not bare:
                self._end_paragraph()
                in_literal = in_header = False
            elif in_literal or _LEFT_OUT.match(bare):
                continue
            elif in_header and (entry := _ENTRY.match(bare)):
                self._enter(entry)
            elif not self._paragraph and self._styled and not _fence_of(bare) and not _is_about_block(bare):
                in_literal = True
                self._forget()
            elif (kind := _fence_of(bare)) and not self._is_underline(bare):
                self._end_paragraph()
                # An example, a sidebar, a quotation, a table hold what documents hold.
                if kind in _VERBATIM_FENCES or (kind == "--" and self._styled):
                    fence = "```" if kind == "`" else bare
                self._forget()
            elif self._paragraph:
                self._within(line, start)
            else:
                in_literal = self._begin(line, bare, start)
        self._end_paragraph()

    def _is_underline(self, line: str) -> bool:
        """Whether a line makes a heading of the line above it."""
        return len(self._paragraph) == 1 and abs(len(line) - len(self._paragraph[0][1].rstrip())) <= 1

    def _begin(self, line: str, bare: str, start: int) -> bool:
        """The first line of a block; whether that is a literal one, by its indent."""
        if entry := _ENTRY.match(bare):
            self._enter(entry)
        elif title := _TITLE.match(bare):
            self._title = title["title"]
        elif re.match(r"\[.*\]$", bare):
            self._attribute_line(bare[1:-1])
        elif macro := _BLOCK.match(line, int(line.startswith("\ufeff"))):
            self._add_block(macro, start)
        elif line[:1] in (" ", "\t") and not _ITEM.match(line):
            self._forget()
            return True
        else:
            self._within(line, start)
            if _ONE_LINE.match(bare):
                self._end_paragraph()
        return False

    def _within(self, line: str, start: int) -> None:
        bare = line.rstrip()
        is_heading = self._is_underline(bare) and re.fullmatch(r"([=~^+-])\1+", bare)
        # A lonely plus joins a block to an item; "a|" begins a cell of a table that holds blocks.
        if is_heading or bare == "+" or re.fullmatch(r"[^|]*\ba\|", bare):
            self._end_paragraph()
        else:
            self._paragraph.append((start, line))

    def _enter(self, entry: re.Match[str]) -> None:
        self._entries[entry["name"].lower()] = self._filled(entry["value"] or "")

    def _attribute_line(self, text: str) -> None:
        attributes = _attributes(text)
        style = attributes["1"].value if "1" in attributes else ""
        self._styled = self._styled or re.split(r"[#.%]", style)[0] in _STYLES
        roles = re.findall(r"\.([\w-]+)", style)
        self._above.update({name: each.value for name, each in attributes.items() if not name.isdigit()})
        if roles:
            self._above["role"] = " ".join([self._above.get("role", ""), *roles])

    def _forget(self) -> None:
        self._title, self._above, self._styled = "", {}, False

    def _add_block(self, macro: re.Match[str], start: int) -> None:
        attributes = _attributes(macro["attributes"])
        named = self._above | {name: each.value for name, each in attributes.items()}
        title = named.get("title") or self._title
        self._builder.add("figure", {})
        write = _writer(macro["attributes"], attributes, start + macro.start("attributes"), inline=False)
        self._add_image(macro["target"], named, start + macro.start(), write)
        if title:
            self._builder.add("figcaption", {})
            self._builder.text(title)
        self._builder.end("figure")
        self._forget()

    def _end_paragraph(self) -> None:
        """Read the lines of a paragraph, of which a macro may take several."""
        if not self._paragraph:
            return
        self._builder.add("p", {})
        text = "\n".join(line for _, line in self._paragraph)
        starts, offset = [], 0
        for start, line in self._paragraph:
            starts.append((offset, start))
            offset += len(line) + 1
        self._read_inline(text, lambda at: next(start + at - begin for begin, start in reversed(starts) if begin <= at))
        self._builder.end("p")
        self._paragraph = []
        self._forget()

    def _read_inline(self, text: str, place: Callable[[int], int]) -> None:
        hidden = text
        for match in _VERBATIM.finditer(text):
            hidden = blanked(hidden, *match.span())
        macros, at = list(_INLINE.finditer(hidden)), 0
        for link in _LINK.finditer(hidden):
            end = _end_of_link(hidden, link.end())
            inside = [macro for macro in macros if link.end() <= macro.start() < end]
            if link.start() < at or not inside:
                continue
            before = [macro for macro in macros if at <= macro.start() < link.start()]
            self._add_images(before, text, at, link.start(), place)
            self._builder.add("a", {"href": link["link"] or link["xref"] or link["url"]})
            self._add_images(inside, text, link.end(), end, place)
            self._builder.end("a")
            at = end + 1
        self._add_images([macro for macro in macros if macro.start() >= at], text, at, len(text), place)
        self._builder.text("\n")

    def _add_images(
        self, macros: list[re.Match[str]], text: str, at: int, end: int, place: Callable[[int], int]
    ) -> None:
        """The inline macros of a piece of text, and the text around them."""
        for macro in macros:
            self._builder.text(text[at : macro.start()])
            attributes = _attributes(macro["attributes"])
            named = {name: each.value for name, each in attributes.items()}
            write = _writer(macro["attributes"], attributes, place(macro.start("attributes")), inline=True)
            self._add_image(macro["target"], named, place(macro.start()), write)
            at = macro.end()
        self._builder.text(text[at:end])

    def _add_image(self, path: str, named: dict[str, str], at: int, write: Callable[[str], Edit]) -> None:
        attrs: dict[str, str] = {
            name: named[name] for name in ("width", "height", "aria-hidden", "aria-label") if name in named
        }
        attrs |= {name: named[number] for number, name in (("2", "width"), ("3", "height")) if number in named}
        attrs["class"] = attrs["role"] = named.get("role", "")
        attrs["src"] = self._address(self._filled(path))
        words = named.get("alt", named.get("1"))
        if words is not None:
            words = html.unescape(self._filled(words))
            attrs["alt"] = "{{ }}" if re.search(r"\{[\w-]+\}", words) else words
        link = named.get("link", "")
        if link:
            self._builder.add("a", {"href": attrs["src"] if link == "self" else link})
        node = self._builder.add("img", attrs, at, empty=True)
        node.markup, node.shown, node.write = "asciidoc", path, write
        if link:
            self._builder.end("a")

    def _address(self, path: str) -> str:
        folder = self._entries.get("imagesdir", "")
        if not folder or re.match(r"/|[a-z][a-z0-9+.-]+:", path, re.IGNORECASE):
            return path
        return f"{folder.rstrip('/')}/{path}"

    def _filled(self, text: str) -> str:
        return re.sub(r"\{([\w-]+)\}", lambda match: self._entries.get(match[1].lower(), match[0]), text)


def _fence_of(line: str) -> str:
    """The kind of fence that a line is, or "": "--", else the mark of which it has four or more."""
    match = _FENCE.match(line)
    if not match or (match["mark"] != line and match["mark"][0] != "`"):
        return ""
    return line if line == "--" else line[0]


def _is_about_block(line: str) -> bool:
    """A title or attributes above a block."""
    return bool(_TITLE.match(line) or re.match(r"\[.*\]$", line))


def _end_of_link(text: str, start: int) -> int:
    """Where the "]" of a link's text stands; macros inside have brackets of their own."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] == "[":
            depth += 1
        elif text[at] == "]" and text[at - 1] != "\\":
            if depth == 0:
                return at
            depth -= 1
    return len(text)


def _attributes(text: str) -> dict[str, _Attribute]:
    """The attributes of a macro, by their names or, from "1", their numbers. An empty unquoted one is left out."""
    found: dict[str, _Attribute] = {}
    at, number = 0, 0
    while at <= len(text):
        while at < len(text) and text[at] in " \t":
            at += 1
        label = _LABEL.match(text, at)
        if label:
            at = label.end()
        else:
            number += 1
        start, quote = at, text[at : at + 1]
        quoted = (
            re.compile(r'"((?:\\.|[^"\\])*)"|\'((?:\\.|[^\'\\])*)\'', re.DOTALL).match(text, at)
            if quote in "\"'"
            else None
        )
        if quoted:
            at = quoted.end()
            value = re.sub(r"\\([\"'\]])", r"\1", quoted[1] if quoted[1] is not None else quoted[2])
            end = at
            at = text.find(",", at) if "," in text[at:] else len(text)
        else:
            at = text.find(",", at) if "," in text[at:] else len(text)
            value, end = text[start:at].strip().replace("\\]", "]"), at
        if label or quoted or value:
            found.setdefault(label["name"].lower() if label else str(number), _Attribute(value, start, end))
        at += 1
    return found


def _writer(text: str, attributes: dict[str, _Attribute], offset: int, inline: bool) -> Callable[[str], Edit]:
    """What puts a caption into a macro whose attributes `text` begins at `offset` of the document."""

    def write(caption: str) -> Edit:
        new = caption
        if re.search(r"""[,="'{\\]""", caption):
            new = '"' + caption.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if inline:
            new = new.replace("]", "\\]")
        attribute = attributes.get("alt") or attributes.get("1")
        if attribute:
            return offset + attribute.start, offset + attribute.end, new
        is_named = bool(attributes) and bool(_LABEL.match(text.lstrip()))
        return offset, offset, new + "," * is_named

    return write
