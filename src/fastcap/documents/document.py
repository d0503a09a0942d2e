"""One document: its pictures with what is to be reported of them, and captions written into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeAlias

from fastcap.documents.judge import Verdict, is_picture, judged, target
from fastcap.documents.places import Finder, Reader
from fastcap.documents.text import FRONT_MATTER, Lines, Source, blanked
from fastcap.documents.tree import Builder, Edit, Node
from fastcap.errors import DataError

__all__ = ["FORMATS", "Document", "Reported"]

_Read: TypeAlias = Callable[[str, Builder], None]


def _html(text: str, builder: Builder, xml: bool = False) -> None:
    from fastcap.documents.html import read_html

    if front := FRONT_MATTER.match(text):  # of a site generator
        text = blanked(text, 0, front.end())
    read_html(text, builder, xml=xml or text.lstrip("\ufeff").startswith("<?xml"))


def _xhtml(text: str, builder: Builder) -> None:
    _html(text, builder, xml=True)


def _markdown(text: str, builder: Builder) -> None:
    from fastcap.documents.markdown import read_markdown

    read_markdown(text, builder)


def _rst(text: str, builder: Builder) -> None:
    from fastcap.documents.rst import read_rst

    read_rst(text, builder)


def _asciidoc(text: str, builder: Builder) -> None:
    from fastcap.documents.asciidoc import read_asciidoc

    read_asciidoc(text, builder)


FORMATS: Mapping[str, _Read] = {
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd", ".mkdn", ".qmd", ".rmd"), _markdown),
    **dict.fromkeys((".html", ".htm"), _html),
    **dict.fromkeys((".xhtml", ".xht"), _xhtml),
    **dict.fromkeys((".rst", ".rest"), _rst),
    **dict.fromkeys((".adoc", ".asciidoc", ".asc"), _asciidoc),
}
"""What reads a document, by the ending of its name."""


@dataclass(frozen=True)
class Reported:
    """A picture whose words are missing, empty or poor. `line`: where it begins, from 1."""

    line: int
    target: str
    verdict: Verdict
    node: Node


class Document:
    """A document in memory.

    `name`: by whose ending its format is known. `read`: gives the pictures that it shows.

    Raises DataError for bytes that are not in the encoding that they state.
    """

    def __init__(self, data: bytes, name: str, read: Reader, neutral: bool = False) -> None:
        self._name, self._neutral, self._read = name, neutral, read
        self._parse = FORMATS[PurePath(name).suffix.lower()]
        self._source = Source.decoded(data, name, markup=self._parse in (_html, _xhtml))
        self._pictures = self._read_tree(self._source.text)
        by_id = {node.attrs["id"]: node for node in reversed(self._nodes) if "id" in node.attrs}
        base = next((node.attrs["href"] for node in self._nodes if node.tag == "base" and "href" in node.attrs), "")
        self.finder = Finder(read, base)
        lines = Lines(self._source.text)
        self.reported = [
            Reported(lines.at(node.at), node.shown or target(node), verdict, node)
            for node in self._pictures
            if (verdict := judged(node, self.finder.place, by_id, neutral))
        ]

    def source(self, item: Reported) -> bytes | Path:
        """The picture of what was reported, where there is one."""
        return self.finder.source(target(item.node))

    def written(self, captions: list[tuple[Reported, str]]) -> bytes:
        """The document with captions in their places, all else as it was.

        Raises DataError if a caption would not read as itself there, as may happen in broken markup.
        """
        edits: list[Edit] = [item.node.write(caption) for item, caption in captions if item.node.write]
        pieces, at = [], 0
        for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
            pieces += [self._source.text[at:start], new]
            at = end
        text = "".join([*pieces, self._source.text[at:]])
        self._check(text, {id(item.node): caption for item, caption in captions})
        try:
            return Source(text, self._source.encoding).encoded()
        except UnicodeError:
            raise DataError(f"{self._name}: {self._source.encoding} lacks letters of a caption") from None

    def _read_tree(self, text: str) -> list[Node]:
        builder = Builder()
        self._parse(text, builder)
        self._nodes = builder.nodes
        return [node for node in builder.nodes if is_picture(node)]

    def _check(self, text: str, captions: dict[int, str]) -> None:
        """Read the new text again: the pictures are the same, and say what they said, or their captions."""
        pictures = self._read_tree(text)
        if len(pictures) == len(self._pictures):
            for before, after in zip(self._pictures, pictures, strict=True):
                words = captions.get(id(before))
                same = target(before) == target(after) and before.tag == after.tag
                spoken = after.attrs.get("aria-label") or after.attrs.get("alt")
                if not same or (spoken != words if words else before.attrs.get("alt") != after.attrs.get("alt")):
                    break
            else:
                return
        raise DataError(f"{self._name}: left as it is: captions would change more than alternative texts")
