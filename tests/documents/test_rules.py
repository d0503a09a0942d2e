"""When a picture of a document needs words, and when it must be left alone: every state, in every format.

`⟦before|after⟧` marks what --fix changes; TEXT is the caption. Everything else must stay as it is.
"""

# ruff: noqa: E501
from __future__ import annotations

import base64
import io
import re

import pytest
from mending import RED
from PIL import Image


def data_url(size: tuple[int, int] = (8, 8), kind: str = "PNG") -> str:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
LONG = "A dog runs through the grass beside a river " * 5

# name: (ending, document, what is reported as "line rule target")
CASES: dict[str, tuple[str, str, list[str]]] = {
    # No picture where it stands.
    "md code": (
        "md",
        "`![](a.jpg)` ``x ` ![](a.jpg)``\n\n    ![](a.jpg)\n\n```\n![](a.jpg)\n```\n\n> ~~~\n> ![](a.jpg)\n> ~~~\n",
        [],
    ),
    "md no pictures": (
        "md",
        "---\nimage: ![](a.jpg)\n---\n\n<!-- ![](a.jpg) <img src=a.jpg> -->\n\n\\![](a.jpg) !\\[](a.jpg) ![][no] ![no]\n"
        "\nx <script> ![](a.jpg)\n\n![](a.jpg) </script>\n\n<b>\n<!-- \n\n![](a.jpg) <img src=a.jpg>\n\n<b>\n-->\n"
        "\n$![](a.jpg)$ and\n\n$$\nx\n\n![](a.jpg)\n$$\n\n<script>\n'![](a.jpg) <img src=a.jpg>'\n</script>\n",
        [],
    ),
    "md prices are no formula": ("md", "$5 ![⟦|TEXT⟧](a.jpg) and $6\n\n7$ ![⟦|TEXT⟧](a.jpg) 8$\n", ["1 empty a.jpg", "3 empty a.jpg"]),
    "html no pictures": (
        "html",
        "---\na: <img src=a.jpg>\n---\n<!-- <img src=a.jpg> --><!--[if IE]><img src=a.jpg><![endif]-->\n"
        "<script>'<img src=a.jpg>'</script><style><img src=a.jpg></style><title><img src=a.jpg></title>"
        "{# <img src=a.jpg> #}{{!-- <img src=a.jpg> --}}{{/* <img src=a.jpg> */}}{% comment %}<img src=a.jpg>{% endcomment %}"
        "<textarea><img src=a.jpg></textarea>&lt;img src=a.jpg&gt;<img-zoom src=a.jpg></img-zoom>",
        [],
    ),
    "html pictures in pre are pictures": ("html", "<pre><img⟦| alt=\"TEXT\"⟧ src=a.jpg></pre>", ["1 missing a.jpg"]),
    "rst no pictures": (
        "rst",
        "Text::\n\n   .. image:: a.jpg\n\n.. code-block:: rst\n\n   .. image:: a.jpg\n\n..\n   .. image:: a.jpg\n\n"
        ".. a comment\n   .. image:: a.jpg\n\nA paragraph\n.. image:: a.jpg\n\n.. math::\n\n   .. image:: a.jpg\n\n"
        "Quoted::\n\n> .. image:: a.jpg\n\n.. image: a.jpg\n\n\\.. image:: a.jpg\n",
        [],
    ),
    "adoc no pictures": (
        "adoc",
        "----\nimage::a.jpg[]\n----\n\n....\nimage::a.jpg[]\n....\n\n////\nimage::a.jpg[]\n////\n\n// image::a.jpg[]\n\n"
        "[source]\nimage::a.jpg[]\n\n image::a.jpg[]\n\n`image:a.jpg[]` +image:a.jpg[]+ \\image:a.jpg[] pass:[image:a.jpg[]]"
        "\n\n++++\nimage::a.jpg[]\n++++\n\n```\nimage::a.jpg[]\n```\n\nstem:[image:a.jpg[\\⟧\n\ntext\nimage::a.jpg[]\n",
        [],
    ),
    # Decoration.
    "html decoration": (
        "html",
        '<img role="presentation" src=a.jpg><img role=none src=a.jpg><img aria-hidden=true src=a.jpg><div aria-hidden="true">'
        '<p><img src=a.jpg></p></div><img class="big Decorative" src=a.jpg><div style="background:url(a.jpg)"></div>'
        '<img width=1 height=1 src="https://count.example/x"><img width="1px" height="1px" src=a.jpg><img src=dot.gif>'
        f'<img src="{PIXEL}"><a href=x><img src=a.jpg alt=""> Home</a><button><img src=a.jpg alt>Save</button>'
        '<a href=x aria-label="Home"><img src=a.jpg alt=""></a>',
        [],
    ),
    "md decoration": (
        "md",
        '[![](a.jpg) Home](x.html) ![](dot.gif) ![](a.jpg){.decorative} <span aria-hidden="true">![](a.jpg)</span>\n\n'
        '<div aria-hidden="true">\n\n![](a.jpg)\n\n</div>\n',
        [],
    ),
    "rst decoration": (
        "rst",
        ".. image:: a.jpg\n   :class: decorative\n\n.. image:: a.jpg\n   :width: 1\n   :height: 1px\n\n.. image:: dot.gif\n",
        [],
    ),
    "adoc decoration": (
        "adoc",
        "image::a.jpg[role=decorative]\n\n[.decorative]\nimage::a.jpg[]\n\nimage::a.jpg[,1,1]\n\nimage:dot.gif[] x\n\n"
        'link:x.html[image:a.jpg[""] Home]\n',
        [],
    ),
    "html aria-hidden must be true": (
        "html",
        '<p aria-hidden="false"><img⟦| alt="TEXT"⟧ src=a.jpg></p><p aria-hidden="true">x<p><img⟦| alt="TEXT"⟧ src=a.jpg>',
        ["1 missing a.jpg"] * 2,
    ),
    # Captions.
    "html captions": (
        "html",
        '<figure><img src=a.jpg><figcaption>Our barn</figcaption></figure><figure><figcaption>Our barn</figcaption>'
        '<a href=x><img src=a.jpg alt=""></a></figure>'
        '<figure><img⟦| alt="TEXT"⟧ src=a.jpg><figcaption> </figcaption></figure>',
        ["1 missing a.jpg"],
    ),
    "md captions": (
        "md",
        "<figure>\n\n![](a.jpg)\n\n<figcaption>Our *barn*</figcaption>\n</figure>\n\n![⟦|TEXT⟧](a.jpg 'Our barn')\n",
        ["8 empty a.jpg"],
    ),
    "rst captions": (
        "rst",
        ".. figure:: a.jpg\n\n   Our barn\n\n.. figure:: a.jpg\n   :alt:\n\n   Our barn\n\n.. figure:: a.jpg⟦|\n   :alt: TEXT⟧\n",
        ["10 missing a.jpg"],
    ),
    "adoc captions": ("adoc", '.Our barn\nimage::a.jpg[]\n\nimage::a.jpg[title="Our barn"]\n', []),
    # Good words.
    "html good": (
        "html",
        '<img src=a.jpg alt="A red barn"><img src=a.jpg aria-label="A red barn"><img src=a.jpg alt="{{ page.title }}">'
        '<img src=a.jpg :alt="title"><img src=a.jpg alt="<?php echo $x > 1 ?>"><img src=a.jpg alt={alt}>'
        '<b id=n>A red barn</b><img aria-labelledby=n src=a.jpg><img src="https://x.example/a.jpg" alt="A red barn">',
        [],
    ),
    "md good": (
        "md",
        "![A red barn](a.jpg) ![A [red] barn](no.jpg) ![{{ title }}](a.jpg) ![A *red* barn][r] ![A red barn]\n\n"
        "[r]: a.jpg\n[a red barn]: a.jpg\n",
        [],
    ),
    "rst good": ("rst", ".. image:: a.jpg\n   :alt: A red barn\n\n.. |A red barn| image:: a.jpg\n", []),
    "adoc good": ("adoc", 'image::a.jpg[A red barn]\n\nx image:a.jpg[alt="A red barn"]\n\nimage::a.jpg[{alt}]\n', []),
    # Other hosts.
    "html remote": (
        "html",
        '<img src="https://x.example/a.jpg"><img src=//x.example/a.jpg alt=photo><img src=ftp://x/a.jpg>'
        '<a href=x><img src=HTTP://x.example/a.jpg></a><img src="https://x.example/a.jpg" alt="">',
        ["1 remote https://x.example/a.jpg", "1 remote //x.example/a.jpg", "1 remote ftp://x/a.jpg", "1 remote HTTP://x.example/a.jpg"],
    ),
    "html base": (
        "html",
        '<base href="https://x.example/"><img src="a.jpg">',
        ["1 remote a.jpg"],
    ),
    "md remote": ("md", "![](https://x.example/a.jpg)\n![image](//x.example/a.jpg)\n", ["1 remote https://x.example/a.jpg", "2 remote //x.example/a.jpg"]),
    "rst remote": ("rst", ".. image:: https://x.example/a.jpg\n", ["1 remote https://x.example/a.jpg"]),
    "adoc remote": ("adoc", "image::https://x.example/a.jpg[]\n", ["1 remote https://x.example/a.jpg"]),
    # No picture there.
    "html not found": (
        "html",
        '<img src=none.jpg><img src=img><img src=notes.txt><img src="data:image/png;base64,AAAA"><img src=cut.jpg>'
        '<img src="{{ src }}"><img><img src=no.jpg alt="A red barn"><img src=no.jpg alt="">',
        ["1 not_found none.jpg", "1 not_found img", "1 not_found notes.txt", "1 not_found data:image/png;base64,AAAA",
         "1 not_found cut.jpg", "1 not_found {{ src }}", "1 not_found "],
    ),
    "md not found": ("md", "![](none.jpg) [![](none.jpg)](x) ![]() ![IMG_1](img/)\n", ["1 not_found none.jpg", "1 not_found none.jpg", "1 not_found ", "1 not_found img/"]),
    "rst not found": ("rst", ".. image:: none.jpg\n", ["1 not_found none.jpg"]),
    "adoc not found": ("adoc", "image::none.jpg[]\n", ["1 not_found none.jpg"]),
    "found": (
        "md",
        "![⟦|TEXT⟧](<a b.jpg>) ![⟦|TEXT⟧](a%20b.jpg) ![⟦|TEXT⟧](a(1).jpg?x=1#y) ![⟦|TEXT⟧](/img/c.jpg) ![⟦|TEXT⟧](./img/../ä.jpg)\n"
        f"![⟦|TEXT⟧]({data_url()})\n",
        ["1 empty a b.jpg", "1 empty a%20b.jpg", "1 empty a(1).jpg?x=1#y", "1 empty /img/c.jpg", "1 empty ./img/../ä.jpg", f"2 empty {data_url()}"],
    ),
    # The only content of a link.
    "html linked": (
        "html",
        '<a href=x><img src=a.jpg></a><button><img src=a.jpg alt="IMG_1.jpg"></button><a href=x> <b><img src=a.jpg alt=""></b></a>'
        '<input type=image src=a.jpg><map><area href=x><area shape=rect></map><div role=button><img src=a.jpg></div>\n'
        '<a href="a.jpg"><img⟦| alt="TEXT"⟧ src="./a.jpg"></a><a href=x><img⟦| alt="TEXT"⟧ src=a.jpg> Home</a>'
        '<a name=x><img⟦| alt="TEXT"⟧ src=a.jpg></a><a href=x><img src=a.jpg alt="A red barn"></a>',
        ["1 linked a.jpg"] * 4 + ["1 linked x", "1 linked a.jpg", "2 missing ./a.jpg"] + ["2 missing a.jpg"] * 2,
    ),
    "md linked": (
        "md",
        "[![](a.jpg)](x.html) [![logo][r]](x.html)\n<a href=x>![](a.jpg)</a> [![⟦|TEXT⟧](a.jpg)](a.jpg) [![⟦logo|TEXT⟧](a.jpg) Home](x)\n\n[r]: a.jpg\n",
        ["1 linked a.jpg", "1 linked a.jpg", "2 linked a.jpg", "2 empty a.jpg", "2 poor a.jpg"],
    ),
    "rst linked": (
        "rst",
        ".. image:: a.jpg\n   :target: x.html\n\n.. image:: a.jpg⟦|\n   :alt: TEXT⟧\n   :target: a.jpg\n\n.. image:: a.jpg\n   :alt:\n   :target: x.html\n",
        ["1 linked a.jpg", "4 missing a.jpg", "7 linked a.jpg"],
    ),
    "adoc linked": (
        "adoc",
        'image::a.jpg[link=x.html]\n\nimage::a.jpg[⟦|TEXT,⟧link=a.jpg]\n\nx link:x.html[image:a.jpg[]] y\n',
        ["1 linked a.jpg", "3 missing a.jpg", "5 linked a.jpg"],
    ),
    # No words at all.
    "html missing": (
        "html",
        '<p><img⟦| alt="TEXT"⟧ src="a.jpg">\n<IMG⟦| alt="TEXT"⟧ SRC=\'a.jpg\' Title="a > b"\n/><img src=a.jpg/>'
        '<img⟦| alt="TEXT"⟧\tsrc=a.jpg data-alt="x"><picture><source srcset=b.png><img⟦| alt="TEXT"⟧ srcset="a.jpg 1x"></picture>',
        ["1 missing a.jpg", "2 missing a.jpg", "3 not_found a.jpg/", "3 missing a.jpg", "3 missing a.jpg"],
    ),
    "md missing": ("md", 'x <img⟦| alt="TEXT"⟧ src=a.jpg> y\n\n> - <img⟦| alt="TEXT"⟧\n>   src="a.jpg">\n', ["1 missing a.jpg", "3 missing a.jpg"]),
    "rst missing": (
        "rst",
        ".. image:: a.jpg⟦|\n   :alt: TEXT⟧\n\n- .. image:: a.jpg⟦|\n     :alt: TEXT⟧\n\n.. |x| image:: a.jpg⟦|\n   :alt: TEXT⟧\n\n.. figure::\n     a.jpg⟦|\n     :alt: TEXT⟧\n     :width: 3\n",
        ["1 missing a.jpg", "3 missing a.jpg", "5 missing a.jpg", "7 missing a.jpg"],
    ),
    "adoc missing": (
        "adoc",
        ":imagesdir: img\n\nimage::c.jpg[⟦|TEXT⟧]\n\n* x image:c.jpg[⟦|TEXT⟧] y\n+\nimage::c.jpg[⟦|TEXT⟧,300]\n\n== T\nimage::c.jpg[⟦|TEXT,⟧width=3]\n",
        ["3 missing c.jpg", "5 missing c.jpg", "7 missing c.jpg", "10 missing c.jpg"],
    ),
    # Empty words.
    "md empty": (
        "md",
        "![⟦|TEXT⟧](a.jpg)\n![⟦ |TEXT⟧][r] ![⟦|TEXT⟧](a.jpg \"title\")\n\n# ![⟦|TEXT⟧](a.jpg)\n\n- > ![⟦|TEXT⟧](\n  >  a.jpg)\n\n[r]: <a b.jpg>\n",
        ["1 empty a.jpg", "2 empty a b.jpg", "2 empty a.jpg", "4 empty a.jpg", "6 empty a.jpg"],
    ),
    "html empty": ("html", '<img src=a.jpg alt=""><img src=a.jpg alt><img src=a.jpg ALT=\' \'>', []),
    "rst empty": ("rst", ".. image:: a.jpg\n   :alt:\n\n.. image:: a.jpg\n   :alt: \"\"\n", []),
    "adoc empty": ("adoc", 'image::a.jpg[""]\n\nimage::a.jpg[alt=""]\n', []),
    # Words that say nothing.
    "html poor": (
        "html",
        '<img src=a.jpg alt=⟦"IMG_1234.jpg"|"TEXT"⟧><img alt=⟦\'photo\'|\'TEXT\'⟧ src=a.jpg><IMG SRC=a.jpg ALT=⟦image|"TEXT"⟧><img src=a.jpg alt="⟦Picture of a barn|TEXT⟧">'
        '<img src=a.jpg alt="⟦😀|TEXT⟧"><img src=a.jpg aria-label="⟦image|TEXT⟧">\n<figure><img src=a.jpg alt="⟦Our red barn|TEXT⟧"><figcaption>Our red barn.</figcaption></figure>'
        '<p><img src=a.jpg alt="⟦Our old barn|TEXT⟧"> Our old barn</p>',
        ["1 poor a.jpg"] * 6 + ["2 poor a.jpg"] * 2,
    ),
    "md poor": (
        "md",
        "![⟦IMG_1.jpg|TEXT⟧](a.jpg) ![⟦alt *text*|TEXT⟧](a.jpg) ![⟦image\nof|TEXT⟧](a.jpg) ⟦![logo]|![TEXT][logo]⟧ ![⟦logo][]|TEXT][logo]⟧\n![⟦photo|TEXT⟧][ Logo ]\n\n"
        "![⟦Our red barn|TEXT⟧](a.jpg)\n\nOur red barn\n\n[logo]: a.jpg\n",
        ["1 poor a.jpg", "1 poor a.jpg", "1 poor a.jpg", "2 poor a.jpg", "2 poor a.jpg", "3 poor a.jpg", "5 poor a.jpg"],
    ),
    "rst poor": (
        "rst",
        ".. image:: a.jpg\n   :alt: ⟦a.jpg|TEXT⟧\n\n.. figure:: a.jpg\n   :alt: ⟦Our\n     barn|TEXT⟧\n\n   Our barn.\n",
        ["1 poor a.jpg", "4 poor a.jpg"],
    ),
    "adoc poor": (
        "adoc",
        'image::a.jpg[⟦image|TEXT⟧]\n\n.Our barn\nimage::a.jpg[⟦"Our barn"|TEXT⟧,300]\n\nx image:a.jpg[alt=⟦"photo"|TEXT⟧,width=3] y\n',
        ["1 poor a.jpg", "4 poor a.jpg", "6 poor a.jpg"],
    ),
    # Words that say something, badly.
    "html style": (
        "html",
        f'<img src=a.jpg alt="A RED BARN STANDS"><img src=a.jpg alt="{LONG}"><img src=a.jpg alt="Salt &amp;amp; pepper mills">',
        ["1 poor a.jpg"] * 3,
    ),
    "md style": ("md", f"![A RED BARN STANDS](a.jpg) ![{LONG}](a.jpg) ![Salt &amp;amp; pepper](a.jpg)\n", ["1 poor a.jpg"] * 3),
    "rst style": ("rst", ".. image:: a.jpg\n   :alt: A RED BARN STANDS\n\n.. image:: a.jpg\n   :alt: Salt &amp; pepper\n", ["1 poor a.jpg", "4 poor a.jpg"]),
    "adoc style": ("adoc", "image::a.jpg[A RED BARN STANDS]\n\nimage::a.jpg[Salt &amp;amp; pepper]\n", ["1 poor a.jpg", "3 poor a.jpg"]),
    # What has no alt attribute.
    "html no attribute": (
        "html",
        '<svg><path/></svg><div role="img" style="x"></div><object data=a.jpg type=image/jpeg></object>\n<svg><title>A blue boat</title></svg>'
        '<svg aria-hidden=true></svg><div role=img aria-label="A red barn"><svg></svg></div><object data=a.jpg>A green tree</object>',
        ["1 missing ", "1 missing ", "1 missing a.jpg"],
    ),
    # Bytes.
    "md line ends": (
        "md",
        "\ufeff![⟦|TEXT⟧](a.jpg)\r\n\x0c\r\na\u2028b\x0cc\x0b\x85 ![⟦|TEXT⟧](a.jpg)\r\n> ![⟦|TEXT⟧](a.jpg)\r\n",
        ["1 empty a.jpg", "3 empty a.jpg", "4 empty a.jpg"],
    ),
    "md spaces that end no line": (
        "md",
        "\x0c\n![⟦|TEXT⟧](a.jpg)\n\u2028\n\n> \x1c\n> ![⟦|TEXT⟧](\n> a.jpg)\n\n# \xa0![⟦|TEXT⟧](a.jpg)\x85\n",
        ["2 empty a.jpg", "6 empty a.jpg", "9 empty a.jpg"],
    ),
    "html line ends": (
        "html",
        '\ufeff<p>\u2028\x0c\r\n<img⟦| alt="TEXT"⟧ src="a.jpg"\r\n>\x85\x1c\n<img⟦| alt="TEXT"⟧ src=a.jpg>',
        ["2 missing a.jpg", "4 missing a.jpg"],
    ),
    "rst line ends": ("rst", "\ufeff.. image:: a.jpg⟦|\r\n   :alt: TEXT⟧\r\n\r\na\u2028\x0c\r\n\r\n.. image:: a.jpg⟦|\r\n   :alt: TEXT⟧", ["1 missing a.jpg", "5 missing a.jpg"]),
    "adoc line ends": ("adoc", "\ufeffimage::a.jpg[⟦|TEXT⟧]\r\n\r\na\u2028\x0c image:a.jpg[⟦|TEXT⟧]\r\n", ["1 missing a.jpg", "3 missing a.jpg"]),
}  # fmt: skip


def sides(document: str) -> tuple[bytes, bytes]:
    """The document before and after."""
    marks = re.compile(r"⟦([^⟧|]*)\|([^⟧]*)⟧")
    before, after = marks.sub(r"\1", document), marks.sub(lambda match: match[2].replace("TEXT", RED), document)
    return before.encode(), after.encode()


@pytest.mark.parametrize(("ending", "document", "reported"), CASES.values(), ids=CASES)
def test_each_state_is_reported_and_written_as_the_table_says(ending, document, reported, folder, check, fix):
    before, after = sides(document)
    page = folder / f"page.{ending}"
    page.write_bytes(before)
    assert [f"{row['line']} {row['rule']} {row['target']}" for row in check()] == reported
    assert page.read_bytes() == before
    rows = fix()
    assert page.read_bytes().decode() == after.decode()
    assert sum(row["written"] for row in rows) == document.count("⟦")
