"""What a document shows, whatever its format: a tree of elements as HTML has them, with the place of every picture.

Readers of other formats build the elements that their syntax stands for: a figure with its caption, a link around its
picture. So one set of rules judges all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeAlias

__all__ = ["Builder", "Edit", "Node"]

Edit: TypeAlias = tuple[int, int, str]
"""Start and end of a range of the document, and what shall stand there."""

_VOID_NAMES = """
    area base br col embed hr img input link meta param source track wbr"""
VOID = frozenset(_VOID_NAMES.split())
_FOREIGN = frozenset(("svg", "math"))
_BLOCK_NAMES = """
    address article aside blockquote center details dialog dir div dl dd dt fieldset figcaption figure footer form
    h1 h2 h3 h4 h5 h6 header hgroup hr li main menu nav ol p pre search section summary table ul"""
_ENDS_PARAGRAPH = frozenset(_BLOCK_NAMES.split())
_ENDS_LIKE = {
    "li": {"li"},
    "dd": {"dd", "dt"},
    "dt": {"dd", "dt"},
    "td": {"td", "th"},
    "th": {"td", "th"},
    "tr": {"tr", "td", "th"},
    "a": {"a"},
    "button": {"button"},
    "option": {"option"},
}
_SCOPE_NAMES = """
    ul ol dl table body html figure button td th blockquote object"""
_SCOPES = frozenset(_SCOPE_NAMES.split())  # an implied end stops here
_DEEPEST = 512  # elements in one another, as in browsers; hostile pages nest more


class Node:
    """An element. `at`: where it begins in the document, -1 where that does not matter.

    `write`: makes a caption an edit of the document; None where the syntax has no place for one.
    `markup`: the syntax it was written in, "markdown" or "html" and so on. `index`: its place among its siblings.
    `shown`: the address of a picture as it is written, where that is not its `src`.
    """

    __slots__ = ("at", "attrs", "children", "index", "markup", "parent", "shown", "tag", "write")

    def __init__(self, tag: str, attrs: dict[str, str], parent: Node | None, at: int = -1) -> None:
        self.tag, self.attrs, self.parent, self.at = tag, attrs, parent, at
        self.index = len(parent.children) if parent else 0
        self.children: list[Node | str] = []
        self.write: Callable[[str], Edit] | None = None
        self.markup, self.shown = "html", ""

    def above(self) -> Iterator[Node]:
        """The elements around it, the nearest first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def below(self) -> Iterator[Node | str]:
        """Elements and texts inside, in the order of the document."""
        stack: list[Node | str] = list(reversed(self.children))
        while stack:
            item = stack.pop()
            yield item
            if isinstance(item, Node):
                stack.extend(reversed(item.children))

    def text(self, but: Node | None = None, with_pictures: bool = True) -> str:
        """Words inside that are read out, alternative texts of pictures other than `but` included if wanted."""
        words: list[str] = []
        stack: list[Node | str] = list(reversed(self.children))
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                words.append(item)
            elif item is not but and item.attrs.get("aria-hidden", "").lower() != "true":
                if with_pictures:
                    words.append(item.attrs.get("aria-label") or item.attrs.get("alt", ""))
                stack.extend(reversed(item.children))
        return " ".join("".join(words).split())


class Builder:
    """Puts elements together in the order of a document, mending what is not closed as browsers do."""

    def __init__(self) -> None:
        self.root = Node("", {}, None)
        self.nodes: list[Node] = []
        self._open = [self.root]
        self._counts: Counter[str] = Counter()  # of open elements by tag: most pages need no look for them

    def add(self, tag: str, attrs: dict[str, str], at: int = -1, empty: bool = False) -> Node:
        """Begin an element; `empty`: nothing can be inside, as in an `<img>`."""
        if tag in _ENDS_PARAGRAPH:
            self._end_implied({"p"})
        if tag in _ENDS_LIKE:
            self._end_implied(_ENDS_LIKE[tag])
        node = Node(tag, attrs, self._open[-1], at)
        self._open[-1].children.append(node)
        self.nodes.append(node)
        if not empty and tag not in VOID and len(self._open) < _DEEPEST:
            self._open.append(node)
            self._counts[tag] += 1
        return node

    def end(self, tag: str) -> None:
        """End the innermost open element of that name, and those in it; without one, nothing."""
        if self._counts[tag]:
            self._close(next(depth for depth in range(len(self._open) - 1, 0, -1) if self._open[depth].tag == tag))

    def text(self, text: str) -> None:
        self._open[-1].children.append(text)

    @property
    def in_foreign(self) -> bool:
        """Whether an SVG or a formula is open, where other rules of closing hold."""
        return any(self._counts[tag] for tag in _FOREIGN)

    def _end_implied(self, tags: set[str]) -> None:
        if not any(self._counts[tag] for tag in tags):
            return
        for depth in range(len(self._open) - 1, 0, -1):
            if self._open[depth].tag in tags:
                self._close(depth)
                return
            if self._open[depth].tag in _SCOPES:
                return

    def _close(self, depth: int) -> None:
        """End the open elements from a depth on."""
        self._counts.subtract(node.tag for node in self._open[depth:])
        del self._open[depth:]
