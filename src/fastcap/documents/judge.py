"""When a picture needs words, and when it must be left alone: the states of docs/alt.md, the first that holds.

A picture inside code, comments, front matter or formulas never gets here: readers build no element for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fastcap.documents.html import TEMPLATE
from fastcap.documents.tree import Node
from fastcap.runtime.lint import RULES, Finding, lint

__all__ = ["ADVICE", "Place", "Verdict", "is_picture", "judged", "says_nothing", "target"]

ADVICE = {
    "remote": "a picture of another host, which is not fetched",
    "not_found": "no picture there",
    "linked": "say where the link or button leads, which the picture does not tell",
    "missing": "no alternative text",
    "empty": "an empty alternative text",
    "poor": "a poor alternative text",
}
"""What is reported, by its rule."""

_SAYS_NOTHING = ("empty", "file name", "placeholder", "preamble", "emoji")  # rules of the linter
_SAME = Finding("same", "say something else than the text beside the picture, which is read out as well")
_PICTURE_FILE = re.compile(r"\.(?:jpe?g|png|gif|webp|svg|bmp|tiff?|avif)$", re.IGNORECASE)
_BLOCK_NAMES = """
    address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure
    footer form h1 h2 h3 h4 h5 h6 header hr legend li main nav ol p pre section summary table td th tr ul"""
_BLOCKS = frozenset(_BLOCK_NAMES.split())


class Place(NamedTuple):
    """What lies where a picture points: `kind` is "remote", "none" or "picture"; `told` says why there is none.

    `key` is the same for the same picture; `is_dot`: it is 1 x 1, as pictures are that count visitors.
    """

    kind: str
    key: str = ""
    told: str = ""
    is_dot: bool = False


class Verdict(NamedTuple):
    """`rule`: one of `ADVICE`. `findings`: what the linter says of the words. `may_write`: a caption may stand."""

    rule: str
    findings: list[Finding]
    place: Place
    may_write: bool


def is_picture(node: Node) -> bool:
    """Whether an element is a picture that wants words; what lies within one is part of it."""
    attrs = node.attrs
    if node.tag == "input":
        wants = attrs.get("type", "").strip().lower() == "image"
    elif node.tag == "object":
        wants = attrs.get("type", "").lower().startswith("image/") or bool(
            _PICTURE_FILE.search(attrs.get("data", "").partition("?")[0])
        )
    else:
        wants = node.tag in ("img", "svg") or (node.tag == "area" and "href" in attrs) or "img" in _roles(node)
    return wants and not any(each.tag == "svg" or "img" in _roles(each) for each in node.above())


def judged(node: Node, find: Callable[[str], Place], by_id: dict[str, Node], neutral: bool = False) -> Verdict | None:
    """What is to be reported of a picture, or None.

    `find`: what lies at a target. `by_id`: elements by their ids. `neutral`: words that state a gender are a fault.
    """
    words = _words(node, by_id)
    if _is_decorative(node, words) or (not words and _caption(node)):
        return None
    findings = _faults(node, words, neutral) if words else []
    if words and not findings:
        return None
    link = _lonely_link(node)
    is_functional = link is not None or node.tag in ("input", "area")
    if words == "" and node.markup != "markdown" and not is_functional:
        return None  # whoever wrote it may mean that the picture is decoration
    place = _place(node, find)
    if place.is_dot:
        return None
    rule = {None: "missing", "": "empty"}.get(words, "poor")
    may_write = rule != "poor" or any(says_nothing(finding, words or "") for finding in findings)
    if place.kind != "picture":
        rule, may_write = {"remote": "remote", "none": "not_found"}.get(place.kind, rule), False
    if rule not in ("remote", "not_found") and is_functional and not _leads_to_itself(link, place, find):
        rule, may_write = "linked", False
    may_write = may_write and node.write is not None and "aria-labelledby" not in node.attrs  # which is read instead
    return Verdict(rule, findings, place, may_write)


def target(node: Node) -> str:
    """The address of a picture as the document has it; "" for what has none."""
    attrs = node.attrs
    source = attrs.get({"object": "data", "area": "href"}.get(node.tag, "src"), "").strip()
    later = attrs.get("data-src", "").strip()  # filled in by a script once the picture is in sight
    if later and (not source or source.startswith("data:")):
        return later
    if not source and node.tag == "img" and attrs.get("srcset", "").strip():
        return attrs["srcset"].split()[0].rstrip(",")
    return source


def _place(node: Node, find: Callable[[str], Place]) -> Place:
    has_source = node.tag in ("img", "input") or (node.tag == "object" and "data" in node.attrs)
    return find(target(node)) if has_source else Place("inline")


def _roles(node: Node) -> list[str]:
    return node.attrs.get("role", "").lower().split()


def _words(node: Node, by_id: dict[str, Node]) -> str | None:
    """The words that are read out for a picture; "" for an empty text, None for none at all."""
    attrs = node.attrs
    named = (by_id[name].text() for name in attrs.get("aria-labelledby", "").split() if name in by_id)
    spoken = attrs.get("aria-label") or " ".join(named)
    if node.tag in ("img", "input", "area"):
        words = spoken if spoken.strip() else attrs.get("alt")
    else:
        inside = "" if "img" in _roles(node) and node.tag != "svg" else node.text()
        words = spoken or inside or None
    return None if words is None else " ".join(words.split())


def _is_decorative(node: Node, words: str | None) -> bool:
    attrs = node.attrs
    if {"none", "presentation"} & set(_roles(node)) or "decorative" in attrs.get("class", "").lower().split():
        return True
    if any(each.attrs.get("aria-hidden", "").lower() == "true" for each in (node, *node.above())):
        return True
    if all(_is_dot(node, side) for side in ("width", "height")):
        return True
    link = _link(node)
    return words == "" and link is not None and bool(_name(link) or link.text(but=node))


def _is_dot(node: Node, side: str) -> bool:
    styled = re.search(rf"(?:^|[;\s]){side}\s*:\s*[01](?:px)?\s*(?:;|!|$)", node.attrs.get("style", ""), re.IGNORECASE)
    return bool(styled or re.fullmatch(r"\s*[01](?:px)?\s*", node.attrs.get(side, "")))


def _link(node: Node) -> Node | None:
    """The link or button that a picture is in."""
    for each in node.above():
        if (each.tag == "a" and "href" in each.attrs) or each.tag == "button" or {"link", "button"} & set(_roles(each)):
            return each
    return None


def _name(link: Node) -> str:
    return (link.attrs.get("aria-label") or link.attrs.get("aria-labelledby") or "").strip()


def _lonely_link(node: Node) -> Node | None:
    """The link or button of which a picture is the only content."""
    link = _link(node)
    return link if link is not None and not link.text(but=node) else None


def _leads_to_itself(link: Node | None, place: Place, find: Callable[[str], Place]) -> bool:
    """Whether a link leads to the very picture that it holds, which then tells where."""
    if link is None or place.kind != "picture" or "href" not in link.attrs:
        return False
    there = find(link.attrs["href"])
    return there.kind == "picture" and there.key == place.key


def _caption(node: Node) -> str:
    """The caption of the figure around a picture."""
    figure = next((each for each in node.above() if each.tag == "figure"), None)
    if figure is None:
        return ""
    for item in figure.below():
        if isinstance(item, Node) and item.tag == "figcaption":
            return item.text(but=node)
    return ""


def _faults(node: Node, words: str, neutral: bool) -> list[Finding]:
    """What the linter says of words, and whether they stand beside the picture already."""
    if TEMPLATE.search(words):
        return []
    findings = lint(words, neutral=neutral)
    if _plain(words) and "aria-labelledby" not in node.attrs and _plain(words) in map(_plain, _beside(node)):
        findings.append(_SAME)
    return findings


def says_nothing(finding: Finding, words: str) -> bool:
    """Whether a finding means that its words are no loss; others are faults of words that tell something."""
    is_bare_address = finding.rule == "address" and len(words.split()) == 1
    return finding is _SAME or finding.rule in _SAYS_NOTHING or is_bare_address


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]+", " ", text).split()).casefold()


def _beside(node: Node) -> Iterator[str]:
    """The texts that are read out next to a picture: its caption, its link, what comes before and after."""
    yield _caption(node)
    if link := _link(node):
        yield link.text(but=node, with_pictures=False)
    before, after = _run(node, forward=False), _run(node, forward=True)
    yield before
    yield after
    yield f"{before} {after}"


def _run(node: Node, forward: bool) -> str:
    """The text that follows a picture, or comes before it, up to the end of its block or another picture."""
    words: list[str] = []
    for item in _leaves(node, forward):
        if isinstance(item, str):
            words.append(item)
        elif item.tag in ("img", "svg") or (item.tag in _BLOCKS and any(map(str.strip, words))):
            break
    return "".join(words if forward else reversed(words))


def _leaves(node: Node, forward: bool) -> Iterator[Node | str]:
    """Texts and elements after a node or, backwards, before it; an element also where it ends."""
    at: Node = node
    while (parent := at.parent) is not None:
        for index in range(at.index + 1, len(parent.children)) if forward else range(at.index - 1, -1, -1):
            stack: list[Node | str] = [parent.children[index]]
            while stack:
                item = stack.pop()
                yield item
                if isinstance(item, Node) and item.children:
                    stack.append(Node(item.tag if item.tag in _BLOCKS else "", {}, None))
                    stack.extend(reversed(item.children) if forward else item.children)
        yield parent
        at = parent


assert set(_SAYS_NOTHING) <= set(RULES)
