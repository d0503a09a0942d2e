"""A thousand documents, made and found: captions come where they belong, and every other byte stays.

Made ones are put together from pieces whose result is known. Found ones are compared, before and after, by readers that
are not ours: all but the alternative texts is the same.
"""

from __future__ import annotations

import random
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from mending import RED
from test_rules import sides

from fastcap.documents.document import Document
from fastcap.errors import DataError

ROOT = Path(__file__).parents[2]
WORDS = ["a", "café", "日本", "x_y", "*b*", "“q”", "50%", "&", "©", "naïve\u2028line\xa0sp", "\x0cff", "c\x1dd", "é"]

HTML_PIECES = [
    "<p>{w}</p>",
    '<img⟦| alt="TEXT"⟧ src="a.jpg">',
    "<IMG⟦| alt=\"TEXT\"⟧ SRC='a.jpg' Width=5 />",
    '<img src=a.jpg alt=⟦photo|"TEXT"⟧>',
    '<img alt="⟦IMG_1.jpg|TEXT⟧" src="a.jpg">',
    '<img src="a.jpg" alt="A man &amp; a d&oacute;g walk"/>',
    "<!-- <img src=a.jpg> {w} -->",
    "<script>if (a < b) '<img src=a.jpg>'</script>",
    "<pre>{w} <b>&lt;img src=a.jpg></pre>",
    "<figure><img src=a.jpg><figcaption>{w}</figcaption></figure>",
    '<a href=x><img src="a.jpg"></a>',
    "<textarea><img src=a.jpg></textarea>",
    "<img src='a.jpg' alt=''>",
    '<div title="a > b <img src=a.jpg>">{w}</div>',
    "<p>{w} <br> &nbsp; <b>{w}",
]
MARKDOWN_PIECES = [
    "{w} {w}",
    "{w} ![⟦|TEXT⟧](a.jpg) {w}",
    "{w} `![](a.jpg)` ![⟦photo|TEXT⟧](<a.jpg> 'title') ``` ` ![](a.jpg) ``` x",
    "![⟦|TEXT⟧][photo] ![⟦photo]|TEXT][photo]⟧ ![⟦Photo][]|TEXT][Photo]⟧ ![no] ![][no]",
    "[![](a.jpg)](b.html) [![⟦image|TEXT⟧](a.jpg) {w}](b.html)",
    "![a [nested] [b]{w}](a.jpg) ![⟦*picture*|TEXT⟧](a.jpg)",
    "\\![](a.jpg) !\\[](a.jpg)",
    "```\n![](a.jpg)\n```",
    "~~~ md\n![](a.jpg)\n\n![](a.jpg)\n~~~",
    "{w}\n\n    ![](a.jpg)\n    {w}",
    "# {w} ![⟦|TEXT⟧](a.jpg) #",
    "{w} ![⟦|TEXT⟧](a.jpg)\n===",
    "<!-- ![](a.jpg)\n\n<img src=a.jpg> -->",
    '{w} <img⟦| alt="TEXT"⟧ src="a.jpg"> <b>{w}</b>',
    '<div>\n<img⟦| alt="TEXT"⟧ src=a.jpg>\n![](a.jpg)\n</div>',
    "<script>\n![](a.jpg) '<img src=a.jpg>'\n</script>",
    "$x ![](a.jpg)$ and ![⟦|TEXT⟧](a.jpg)",
    "$$\n![](a.jpg)\n$$",
    "{w}\n![⟦|TEXT⟧](\na.jpg)",
    "|{w}|{w}|\n|---|---|\n|![⟦|TEXT⟧](a.jpg)|{w}|",
]
RST_PIECES = [
    "{w} {w}",
    ".. image:: a.jpg⟦|\n   :alt: TEXT⟧",
    ".. image:: a.jpg⟦|\n   :alt: TEXT⟧\n   :width: 50%",
    ".. image:: a.jpg\n   :width: 5\n   :alt:⟦ photo| TEXT⟧",
    ".. figure:: a.jpg\n\n   {w} {w}",
    "- .. image:: a.jpg⟦|\n     :alt: TEXT⟧",
    "{w}::\n\n  .. image:: a.jpg",
    ".. code-block:: rst\n\n   .. image:: a.jpg",
    ".. {w}\n   .. image:: a.jpg",
    "{w}\n.. image:: a.jpg",
    ".. note:: {w}\n\n   .. image:: a.jpg⟦|\n      :alt: TEXT⟧",
    "{w}{w}{w}\n----------------\n.. image:: a.jpg⟦|\n   :alt: TEXT⟧",
    "Term\n   .. image:: a.jpg⟦|\n      :alt: TEXT⟧",
]
ASCIIDOC_PIECES = [
    "{w} {w}",
    "image::a.jpg[⟦|TEXT⟧]",
    "image::a.jpg[⟦|TEXT,⟧width=50]",
    'image::a.jpg[⟦"photo"|TEXT⟧,50]',
    ".{w} title\nimage::a.jpg[]",
    "{w} image:a.jpg[⟦|TEXT⟧] {w}\nimage:a.jpg[⟦picture|TEXT⟧]",
    "----\nimage::a.jpg[]\n----",
    "[source]\nimage::a.jpg[]",
    " image::a.jpg[]",
    "{w}\nimage::a.jpg[]",
    "// image::a.jpg[]",
    "* {w}\n+\nimage::a.jpg[⟦|TEXT⟧]",
    "`image:a.jpg[]` +image:a.jpg[]+ \\image:a.jpg[]",
    "====\nimage::a.jpg[⟦|TEXT⟧]\n====",
    "== {w}\nimage::a.jpg[⟦|TEXT⟧]",
]
PIECES = {"html": HTML_PIECES, "md": MARKDOWN_PIECES, "rst": RST_PIECES, "adoc": ASCIIDOC_PIECES}


def made(seed: int) -> tuple[str, str]:
    """A document of random pieces, and its ending."""
    rng = random.Random(seed)
    ending = rng.choice([*PIECES, "md"])
    pieces = []
    for _ in range(rng.randint(1, 12)):
        piece = re.sub(r"\{w\}", lambda _: rng.choice(WORDS), rng.choice(PIECES[ending]))
        if ending == "md" and not piece.startswith("<") and rng.random() < 0.3:
            before = rng.choice(["> ", "- ", "1. ", "> - ", "- > "])
            after = "".join("> "[letter != ">"] if letter in "> " else " " for letter in before)
            piece = before + piece.replace("\n", "\n" + after)
        pieces.append(piece)
    front = rng.choice(["", "", "---\ntitle: ![](a.jpg) <img src=a.jpg>\n---\n\n"])
    joined = "\n\n".join(pieces)
    end = "\n\n[photo]: a.jpg" if ending == "md" else ""
    text = front + joined + end + rng.choice(["", "\n"])
    text = rng.choice(["", "\ufeff"]) + (text.replace("\n", "\r\n") if rng.random() < 0.3 else text)
    return text, ending


def mended(data: bytes, name: str, picture: Path) -> tuple[bytes, int]:
    """A document with a caption wherever one may be written, every local target being a picture."""
    document = Document(data, name, lambda path: None if path in ("x", "b.html") else (path, picture))
    captions = [(item, RED) for item in document.reported if item.verdict.may_write]
    return document.written(captions), len(captions)


@pytest.mark.parametrize("part", range(10))
def test_made_documents_get_captions_where_they_belong_and_nothing_else(part, folder):
    for seed in range(100 * part, 100 * part + 100):
        text, ending = made(seed)
        before, after = sides(text)
        result, count = mended(before, f"a.{ending}", folder / "a.jpg")
        assert result.decode() == after.decode(), seed
        assert count == text.count("⟦"), seed
        assert mended(result, f"a.{ending}", folder / "a.jpg") == (result, 0), seed


# Documents that others have written


class Events(HTMLParser):
    """All that a page holds, but the alternative texts of its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self.seen: list[object] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        names = ("alt", "aria-label") if tag == "img" else ()
        self.seen.append((tag, [each for each in attrs if each[0] not in names]))

    def handle_endtag(self, tag):
        self.seen.append(tag)

    def handle_data(self, data):
        self.seen.append(data)

    handle_comment = handle_decl = handle_pi = handle_entityref = handle_charref = handle_data


def seen(data: bytes, ending: str) -> list[object]:
    text = data.decode("utf-8", "replace").lstrip("\ufeff")
    return Events(MarkdownIt("commonmark").render(text) if ending == ".md" else text).seen


def found() -> list[Path]:
    """Documents of this repository and of the packages that are installed."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("web/**/*.html")]
    for place in map(Path, sys.path):
        if place.name == "site-packages":
            pages += sorted(path for ending in ("md", "html") for path in place.rglob(f"*.{ending}"))[:400]
    return [page for page in pages if page.stat().st_size < 500_000]


def test_found_documents_change_in_their_alternative_texts_alone(folder):
    pages = found()
    assert len(pages) > 30
    for page in pages:
        before = page.read_bytes()
        after, count = mended(before, page.name, folder / "a.jpg")
        assert (after == before) == (count == 0), page
        assert seen(after, page.suffix) == seen(before, page.suffix), page
        assert mended(after, page.name, folder / "a.jpg")[1] == 0, page


def test_docutils_sees_the_same_pictures_with_captions(folder):
    core = pytest.importorskip("docutils.core", reason="docutils is not installed")
    for seed in range(2000):
        text, ending = made(seed)
        if ending != "rst":
            continue
        text = re.sub("[\x0c\x1d\u2028]", "z", text)  # which end lines for docutils alone
        before, after = (side.decode().removeprefix("\ufeff") for side in sides(text))
        trees = [
            core.publish_doctree(side.replace("\r\n", "\n"), settings_overrides={"report_level": 5, "halt_level": 5})
            for side in (before, after)
        ]
        images = [[node.get("alt") for node in tree.findall() if node.tagname == "image"] for tree in trees]
        assert images[1].count(RED) - images[0].count(RED) == text.count("⟦"), seed
        assert len(images[0]) == len(images[1]), seed


CAPTIONS = (
    'A "red" barn & a dog\'s <b>bowl</b>.',
    "A [barn] (red), `code` *star* _u_ ~~x~~ $5 and $6.",
    "A barn, with = signs | pipes \\ and ] {x} #.",
    "Ünïcode 日本 – dash!",
    "&amp; twice &lt;",
    "A ](x) [y] ![z](w) \\] end\\",
)
PLACES = {
    "md": (
        "![](a.jpg)",
        "![photo]\n\n[photo]: a.jpg",
        "|![](a.jpg)|\n|--|",
        "<img src=a.jpg>",
        "[![photo](a.jpg) x](x)",
    ),
    "html": (
        "<img src=a.jpg>",
        "<img src=a.jpg alt='photo'>",
        '<img alt="photo" src=a.jpg>',
        "<img src=a.jpg alt=photo>",
    ),
    "rst": (".. image:: a.jpg", ".. image:: a.jpg\n   :alt: photo", ".. figure:: a.jpg\n   :width: 5"),
    "adoc": ("image::a.jpg[]", "image::a.jpg[photo,300]", "x image:a.jpg[] y", 'image::a.jpg["photo"]'),
}


@pytest.mark.parametrize(("ending", "text"), [(ending, text) for ending, texts in PLACES.items() for text in texts])
def test_captions_of_any_letters_read_as_themselves_or_are_not_written(ending, text, folder):
    document = Document(text.encode(), f"a.{ending}", lambda path: (path, folder / "a.jpg"))
    [item] = document.reported
    for caption in CAPTIONS:
        try:
            after = document.written([(item, caption)])
        except DataError as error:
            assert ending == "adoc", error  # whose attributes cannot hold every letter
            continue
        assert all(piece in after.decode() for piece in ("a.jpg", *re.findall(r":width: 5|300|\| *--", text)))
        if ending in ("md", "html"):
            page = MarkdownIt("commonmark").render(after.decode()) if ending == "md" else after.decode()
            assert alternative_texts(page) == [caption]


def alternative_texts(page: str) -> list[str]:
    found: list[str] = []

    class Images(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.extend([dict(attrs)["alt"]] if tag == "img" else [])

    Images().feed(page)
    return found
