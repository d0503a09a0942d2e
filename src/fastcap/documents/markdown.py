"""Markdown: CommonMark as markdown-it reads it, with the place in the document of every picture and tag."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.html_inline import html_inline
from markdown_it.rules_inline.image import image
from markdown_it.token import Token

from fastcap.documents.html import read_html
from fastcap.documents.text import FRONT_MATTER, blanked
from fastcap.documents.tree import Builder, Edit

__all__ = ["read_markdown"]

_LINE_END = re.compile(r"\r\n?|\n")  # of CommonMark; line numbers count line feeds alone
_ESCAPED = re.compile(r"([\\`*_\[\]<>&$|~{}])")
_FORMULA = re.compile(r"(?<![\w$])(?:\$\$(?:\\.|[^\\$])+\$\$|\$(?![\s$])(?:\\.|[^\\$])*?(?<!\s)\$(?![\d$]))", re.DOTALL)
# kramdown and Pandoc: ![](a.jpg){.decorative width=1}
_ATTRIBUTES = re.compile(r"\{:?([^{}\n]*)\}")
_ATTRIBUTE = re.compile(r"""\.([\w-]+)|([\w-]+)=(?:"([^"]*)"|'([^']*)'|(\S+))""")
_INSTEAD = re.compile(  # Jekyll: code and comments of its own
    r"\{%-?\s*(highlight|raw|comment)\b.*?%\}.*?\{%-?\s*end\1\s*-?%\}", re.DOTALL
)


def read_markdown(text: str, builder: Builder) -> None:
    """Read a document into a tree."""
    if front := FRONT_MATTER.match(text):
        text = blanked(text, 0, front.end())
    for match in _INSTEAD.finditer(text):
        text = blanked(text, *match.span())
    starts = [int(text.startswith("\ufeff")), *(match.end() for match in _LINE_END.finditer(text))]
    lines = [text[start:end].rstrip("\r\n") for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    _Reader(text, starts, lines, builder).read(_parser().parse("\n".join(lines).replace("\0", "\ufffd")))


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark")
    # Addresses stay as they are written, whatever their kind: what may be read is not decided here.
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    parser.inline.ruler.at("image", _image)
    parser.inline.ruler.at("html_inline", _html)
    parser.inline.ruler.before("escape", "math", _math)
    parser.block.ruler.before("fence", "math", _math_block, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    return parser


def _image(state: StateInline, silent: bool) -> bool:
    """The rule of markdown-it, and the offsets of a picture's "![", of its "]" and of its end."""
    start, is_new = state.pos, not silent and state.src.startswith("![", state.pos)
    label_end = state.md.helpers.parseLinkLabel(state, start + 1, False) if is_new else -1
    if not image(state, silent):
        return False
    if is_new:
        state.tokens[-1].meta["span"] = start, label_end, state.pos
    return True


def _html(state: StateInline, silent: bool) -> bool:
    start = state.pos
    if not html_inline(state, silent):
        return False
    if not silent:
        state.tokens[-1].meta["span"] = start, start, state.pos
    return True


def _math(state: StateInline, silent: bool) -> bool:
    """`$x$`, by Pandoc's rules: no space after the first, none before the last, no digit after it; or `$$ x $$`."""
    match = _FORMULA.match(state.src, state.pos, state.posMax)
    if not match:
        return False
    if not silent:
        state.push("math", "math", 0).content = match[0]
    state.pos = match.end()
    return True


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """From a line that begins with `$$` to one that ends with it; empty lines may lie between."""
    if state.is_code_block(start):
        return False
    line = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    if not line.startswith("$$"):
        return False
    last, rest = start, line[2:].rstrip()
    if rest.endswith("$$"):
        if "$$" in rest[:-2]:  # two formulas and what lies between
            return False
    else:
        for last in range(start + 1, end):
            line = state.src[state.bMarks[last] : state.eMarks[last]].strip()
            if line.endswith("$$"):
                break
            if line.startswith(("```", "~~~")):  # a lonely "$$" shall not turn code inside out
                return False
        else:
            return False
    if not silent:
        state.line = last + 1
        state.push("math_block", "math", 0).map = [start, last + 1]
    return True


class _Reader:
    """Turns markdown-it's tokens into elements. `starts`: where each of the `lines` begins in `text`."""

    def __init__(self, text: str, starts: list[int], lines: list[str], builder: Builder) -> None:
        self._text, self._starts, self._lines, self._builder = text, starts, lines, builder
        self._script = ""  # the name of a script that is open, or "!--"; in there browsers see no picture

    def read(self, tokens: list[Token]) -> None:
        for token in tokens:
            if token.type == "inline":
                assert token.map and token.children is not None
                self._read_inline(token.children, self._place(token.content, token.map[0]))
            elif token.type == "html_block":
                assert token.map
                self._read_html(token.content, self._place(token.content, token.map[0]))
            elif token.type in ("fence", "code_block"):
                self._builder.add("pre", {})
                self._builder.text(token.content)
                self._builder.end("pre")
            else:
                self._nest(token)

    def _read_html(self, content: str, place: Callable[[int], int]) -> None:
        start = 0
        if self._script:
            last = "-->" if self._script == "!--" else rf"</{self._script}(?=[ \t\n\f\r/>])"
            end = re.search(last, content, re.IGNORECASE)
            if end is None:
                return
            start, self._script = end.end() if last == "-->" else end.start(), ""
        self._script = read_html(content[start:], self._builder, lambda at: place(start + at))

    def _nest(self, token: Token) -> None:
        if token.nesting > 0:
            self._builder.add(token.tag, {key: str(value) for key, value in token.attrs.items()})
        elif token.nesting < 0:
            self._builder.end(token.tag)

    def _place(self, content: str, first: int) -> Callable[[int], int]:
        """The place in the document of an offset into the content of a block, whose lines lost marks and indents."""
        offsets, places, offset = [], [], 0
        lines = content.split("\n")
        # markdown-it strips what Python calls space, so a line with a form feed alone is gone from the content.
        while first + 1 < len(self._lines) and lines[0].strip() not in self._lines[first].replace("\0", "\ufffd"):
            first += 1
        for number, line in enumerate(lines, first):
            source = self._lines[number].replace("\0", "\ufffd") if number < len(self._lines) else ""
            bare = line.lstrip(" \t")
            at = source.rfind(bare) if bare else len(source)
            offsets.append(offset)
            places.append(self._starts[min(number, len(self._starts) - 1)] + max(at, 0) - (len(line) - len(bare)))
            offset += len(line) + 1

        def place(at: int) -> int:
            index = bisect_right(offsets, at) - 1
            return places[index] + at - offsets[index]

        return place

    def _read_inline(self, tokens: list[Token], place: Callable[[int], int]) -> None:
        for number, token in enumerate(tokens):
            if token.type == "image":
                if not self._script:
                    self._add_image(token, tokens[number + 1 : number + 2], place)
            elif token.type == "html_inline":
                start = token.meta["span"][0]
                self._read_html(token.content, lambda at, start=start: place(start + at))  # type: ignore[misc]
            elif token.type in ("softbreak", "hardbreak"):
                self._builder.text("\n")
            elif token.nesting:
                self._nest(token)
            elif token.type != "math":
                self._builder.text(token.content)

    def _add_image(self, token: Token, after: list[Token], place: Callable[[int], int]) -> None:
        start, label_end, end = token.meta["span"]
        attrs = {"src": str(token.attrs["src"]), "alt": _plain(token.children or [])}
        if after and after[0].type == "text" and (stated := _ATTRIBUTES.match(after[0].content)):
            for name, key, *values in _ATTRIBUTE.findall(stated[1]):
                value = "".join(values) or name
                attrs[key or "class"] = f"{attrs.get('class', '')} {value}" if name else value
        node = self._builder.add("img", attrs, place(start), empty=True)
        node.markup = "markdown"
        label = place(start + 1) + 1, place(label_end)
        node.write = _writer(label, self._text, place(end - 1) + 1)


def _plain(tokens: list[Token]) -> str:
    """The words of a label, as they become an alternative text: without marks, with the words of pictures inside."""
    words = []
    for token in tokens:
        if token.type == "image":
            words.append(_plain(token.children or []))
        elif token.type in ("text", "text_special", "code_inline", "math"):
            words.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            words.append("\n")
    return "".join(words)


def _writer(label: tuple[int, int], text: str, end: int) -> Callable[[str], Edit]:
    start, stop = label
    shortcut = end == stop + 1  # ![label], where the label is the text as well
    collapsed = text[stop + 1 : end] == "[]"

    def write(caption: str) -> Edit:
        new = _ESCAPED.sub(r"\\\1", caption)
        if shortcut or collapsed:
            return start, end, f"{new}][{text[start:stop]}]"
        return start, stop, new

    return write
