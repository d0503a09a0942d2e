"""reStructuredText: the directives `image` and `figure`, where docutils would see them, and their options."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastcap.documents.text import FRONT_MATTER, blanked
from fastcap.documents.tree import Builder, Edit
from fastcap.runtime.lint import lint

__all__ = ["read_rst"]

_EXPLICIT = re.compile(r"\.\.(?:[ ]+|$)")
_DIRECTIVE = re.compile(
    r"\.\.[ ]+(?:\|(?P<name>[^|\s](?:[^|]*[^|\s])?)\|[ ]+)?(?P<kind>[\w:.+-]*\w)[ ]?::(?:[ ]+(?P<argument>.*))?$"
)
_TARGET = re.compile(r"\.\.[ ]+(?:_|__[ ]|\[)")
_BULLET = re.compile(
    r"(?:[-*+•‣⁃]|\(?(?:\d+|[a-zA-Z]|#|[ivxlcdmIVXLCDM]+)[.)])(?:[ ]+|$)|:(?![: ])[^:\n]*(?<![ ]):(?:[ ]+|$)"
)
_OPTION = re.compile(r":(?P<name>[^:\s][^:]*):(?:[ ]+(?P<value>.*))?$")
_UNDERLINE = re.compile(r"([!-/:-@\[-`{-~])\1+[ ]*$")
# Directives whose content is no text of the document.
_LITERAL_NAMES = """
    code code-block sourcecode literalinclude parsed-literal math raw prompt doctest testcode testoutput testsetup
    testcleanup graphviz graph digraph mermaid plantuml uml productionlist jupyter-execute ipython plot aafig
    include highlight unicode replace date csv-table meta toctree index command-output program-output code-cell"""
_LITERAL = frozenset(_LITERAL_NAMES.split())


def read_rst(text: str, builder: Builder) -> None:
    """Read a document into a tree."""
    if front := FRONT_MATTER.match(text):
        text = blanked(text, 0, front.end())
    _Reader(text, builder).read()


class _Line:
    """A line without its end. `at`: where it begins; `indent`: columns before its first letter, tabs being eight."""

    __slots__ = ("at", "bare", "end", "indent", "text")

    def __init__(self, at: int, text: str) -> None:
        self.at, self.text = at, text
        self.bare = text.strip(" \t\ufeff")
        self.end = at + len(text)
        columns = text.removeprefix("\ufeff").expandtabs(8)
        self.indent = len(columns) - len(columns.lstrip(" "))


class _Reader:
    """Goes through the lines, each once, and knows from the lines before whether one may begin a directive."""

    def __init__(self, text: str, builder: Builder) -> None:
        self._text, self._builder = text, builder
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._lines: list[_Line] = []
        at = 0
        for line in text.split("\n"):
            self._lines.append(_Line(at, line.removesuffix("\r")))
            at += len(line) + 1
        self._in_list = False

    def read(self) -> None:
        number, may_begin, literal_below = 0, True, -1
        while number < len(self._lines):
            line = self._lines[number]
            if not line.bare:
                number, may_begin = number + 1, True
                continue
            if literal_below >= 0:
                number, literal_below = self._skip_literal(number, literal_below), -1
                continue
            start, indent = self._after_bullets(line)
            begins = may_begin or (start > 0 and self._in_list)
            if begins:
                self._in_list = start > 0
            if begins and _EXPLICIT.match(line.bare[start:]):
                number, may_begin = self._explicit(number, line.bare[start:], indent), True
                continue
            if begins:
                self._builder.add("p", {})
            self._builder.text(line.bare[start:] + "\n")
            if line.bare.endswith("::"):
                literal_below = indent
            # The definition of a term begins in the line below it, the text of a section below its heading.
            below = self._lines[number + 1] if number + 1 < len(self._lines) else line
            may_begin = bool(_UNDERLINE.match(line.bare)) or (begins and bool(below.bare) and below.indent > indent)
            number += 1

    def _after_bullets(self, line: _Line) -> tuple[int, int]:
        """Where the content of a list item begins, in letters of `line.bare`, and in columns."""
        start = 0
        while (match := _BULLET.match(line.bare, start)) and match.end() > start:
            start = match.end()
        return start, line.indent + start

    def _skip_literal(self, number: int, indent: int) -> int:
        """The line after a literal block, which is indented, or whose lines all begin with the same mark."""
        first = self._lines[number]
        if first.indent > indent:
            return self._after_block(number, indent)
        mark = first.bare[0]
        if mark.isalnum() or ord(mark) > 126:
            return number  # nothing literal there, which docutils would say
        while number < len(self._lines) and self._lines[number].bare.startswith(mark):
            number += 1
        return number

    def _after_block(self, number: int, indent: int) -> int:
        """The first line that is not indented by more than `indent`."""
        while number < len(self._lines) and (not self._lines[number].bare or self._lines[number].indent > indent):
            number += 1
        return number

    def _explicit(self, number: int, markup: str, indent: int) -> int:
        """A directive, comment, target or footnote; the number of the line at which reading goes on."""
        match = _DIRECTIVE.match(markup)
        if match is None:
            if _TARGET.match(markup):
                return number + 1
            following = self._lines[number + 1 : number + 2]
            if not markup[2:].strip() and not (following and following[0].bare):
                return number + 1  # an empty comment, which takes nothing
            return self._after_block(number + 1, indent)
        kind = match["kind"].lower()
        if kind in ("image", "figure"):
            return self._picture(number, match, kind, indent)
        if kind in _LITERAL:
            return self._after_block(number + 1, indent)
        number += 1
        while number < len(self._lines) and self._lines[number].bare and self._lines[number].indent > indent:
            if not _OPTION.match(self._lines[number].bare):
                break
            number += 1
        return number

    def _picture(self, number: int, match: re.Match[str], kind: str, indent: int) -> int:
        line = self._lines[number]
        path, last, number = [match["argument"] or ""], number, number + 1
        options: dict[str, tuple[str, int, int]] = {}
        option_indent = ""
        while number < len(self._lines) and self._lines[number].bare and self._lines[number].indent > indent:
            current = self._lines[number]
            option = _OPTION.match(current.bare)
            if option:
                option_indent = option_indent or current.text[: len(current.text) - len(current.text.lstrip(" \t"))]
                start = current.at + current.text.index(current.bare) + len(option["name"]) + 2
                name, value, end = option["name"].lower(), option["value"] or "", current.end
                while (more := self._continued(number + 1, current.indent)) is not None:
                    value, end, number = f"{value} {more.bare}", more.end, number + 1
                options.setdefault(name, (value.strip(), start, end))
            elif not options:
                path.append(current.bare)
                last = number
            else:
                break
            number += 1
        attrs = {"src": "".join("".join(path).split())}
        for option_name, attribute in {"class": "class", "width": "width", "height": "height", "alt": "alt"}.items():
            if option_name in options:
                attrs[attribute] = options[option_name][0]
        if attrs.get("alt") in ('""', "''"):  # which docutils would read out as two quotes; nobody means that
            attrs["alt"] = ""
        name = match["name"]
        if "alt" not in attrs and name and not lint(name):
            attrs["alt"] = name  # as docutils does
        column = " " * (indent + 3)
        write = self._writer(options.get("alt"), self._lines[last].end, option_indent or column)
        caption, number = self._caption(number, indent) if kind == "figure" else ("", number)
        self._add(attrs, options, name, caption, line.at + line.text.index(".."), write)
        return number

    def _continued(self, number: int, indent: int) -> _Line | None:
        """The line, if it goes on with the value of an option above it."""
        line = self._lines[number] if number < len(self._lines) else None
        return line if line and line.bare and line.indent > indent else None

    def _caption(self, number: int, indent: int) -> tuple[str, int]:
        """The first paragraph in a figure, and the line after it."""
        start = number
        while start < len(self._lines) and not self._lines[start].bare:
            start += 1
        words = []
        end = start
        while end < len(self._lines) and self._lines[end].bare and self._lines[end].indent > indent:
            words.append(self._lines[end].bare)
            end += 1
        if not words or _EXPLICIT.match(words[0]):
            return "", number
        return " ".join(words), end

    def _add(
        self,
        attrs: dict[str, str],
        options: dict[str, tuple[str, int, int]],
        name: str | None,
        caption: str,
        at: int,
        write: Callable[[str], Edit],
    ) -> None:
        builder = self._builder
        builder.add("figure", {})
        link = options["target"][0] if "target" in options else ""
        if (
            name
            and f"|{name}|_" in self._text
            and not re.search(rf"\|{re.escape(name)}\|(?!_)(?![ ]+image::)", self._text)
        ):
            link = link or name
        if link:
            builder.add("a", {"href": link})
        node = builder.add("img", attrs, at, empty=True)
        node.markup, node.write = "rst", write
        if link:
            builder.end("a")
        if caption:
            builder.add("figcaption", {})
            builder.text(caption)
        builder.end("figure")

    def _writer(self, alt: tuple[str, int, int] | None, end_of_argument: int, indent: str) -> Callable[[str], Edit]:
        def write(caption: str) -> Edit:
            if alt:
                return alt[1], alt[2], f" {caption}"
            return end_of_argument, end_of_argument, f"{self._newline}{indent}:alt: {caption}"

        return write
