"""The recipes of docs/recipes.md, run as they stand there; and the public API, as type checkers and readers see it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastcap

ROOT = Path(__file__).parents[1]
RECIPES = (ROOT / "docs" / "recipes.md").read_text("utf-8")


def recipe(heading: str, number: int = 0) -> str:
    """A block of Python below a heading."""
    section = RECIPES.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[number]


def cook(code: str) -> dict:
    namespace: dict = {}
    exec(code, namespace)
    return namespace


@pytest.fixture(scope="module")
def captioner() -> fastcap.Captioner:
    return fastcap.load_model()


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(path: Path, seed: int, size: tuple[int, int] = (320, 240)) -> Path:
    """A landscape of noise: no two are captioned from the same pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def fill_in(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    """Run the recipe as a script with options."""
    monkeypatch.setattr(sys, "argv", ["fill.py", *options])
    cook(recipe("Alternative texts for a static site"))


def test_a_site_gets_the_alternative_texts_that_it_lacks(kitchen, captioner, monkeypatch):
    site = kitchen / "site"
    text = captioner.caption(picture(site / "img" / "a b.jpg", 1)).text
    kept = '<IMG ALT="" src="/img/a%20b.jpg"><img src="https://elsewhere.example/x.jpg"><img src="none.jpg"><img>'
    (site / "index.html").write_text(
        f'<!-- <img src="x"> --><p>é<img\n src="img/a%20b.jpg">{kept}<img src=/img/a%20b.jpg />'
    )
    (site / "posts").mkdir()
    (site / "posts" / "one.md").write_text(
        "![](../img/a%20b.jpg) ![mine](x.jpg) ![ ](/img/a%20b.jpg 'title') ![](no.jpg)"
    )
    for _ in range(2):  # a second run changes nothing
        fill_in(monkeypatch, "--write")
        assert (site / "index.html").read_text("utf-8") == (
            f'<!-- <img src="x"> --><p>é<img alt="{text}"\n src="img/a%20b.jpg">{kept}'
            f'<img alt="{text}" src=/img/a%20b.jpg />'
        )
        assert (site / "posts" / "one.md").read_text("utf-8") == (
            f"![{text}](../img/a%20b.jpg) ![mine](x.jpg) ![{text}](/img/a%20b.jpg 'title') ![](no.jpg)"
        )


def test_a_dry_run_shows_what_would_be_written_and_writes_nothing(kitchen, captioner, monkeypatch, capsys):
    text = captioner.caption(picture(kitchen / "site" / "a.jpg", 1)).text
    pages = {"a.html": b'<img src="a.jpg"><img src="none.jpg">\r\n', "b.md": b"![](a.jpg)\n", "c.txt": b"![](a.jpg)"}
    for name, content in pages.items():
        (kitchen / "site" / name).write_bytes(content)
    for _ in range(2):
        fill_in(monkeypatch)
        assert capsys.readouterr().out.splitlines() == [
            f"{Path('site', 'a.html')}: a.jpg: {text}",
            f"{Path('site', 'b.md')}: a.jpg: {text}",
            "Nothing was written; --write writes.",
        ]
        assert {name: (kitchen / "site" / name).read_bytes() for name in pages} == pages
    fill_in(monkeypatch, "--write")
    assert "Nothing was written" not in capsys.readouterr().out
    assert (kitchen / "site" / "a.html").read_bytes().endswith(b'<img src="none.jpg">\r\n')  # the ends of lines, too
    assert (kitchen / "site" / "b.md").read_bytes() == f"![{text}](a.jpg)\n".encode()


LEFT_ALONE = {
    "a code span": "An image is `![](a.jpg)`.",
    "a code span of two ticks": "``a ` b ![](a.jpg)`` and `` ![](a.jpg) ``",
    "a code span over two lines": "a `b\n![](a.jpg)` c",
    "a fenced block": "```markdown\n![](a.jpg)\n```",
    "a fenced block of tildes": "~~~\n```\n![](a.jpg)\n~~~",
    "a fenced block in a longer fence": "````\n```\n![](a.jpg)\n```\n![](a.jpg)\n````",
    "a fenced block that never ends": "```\n![](a.jpg)\n",
    "a fenced block in a list": "- one\n\n    ```\n    ![](a.jpg)\n    ```\n- ```\n  ![](a.jpg)\n  ```",
    "a fenced block in a quotation": "> ```\n> ![](a.jpg)\n> ```",
    "a fenced block with ends of lines of Windows": "```\r\n![](a.jpg)\r\n```\r\n",
    "an indented block": "text\n\n    ![](a.jpg)\n\n\t![](a.jpg)",
    "a comment": "<!-- ![](a.jpg) <img src='a.jpg'> -->",
    "a comment over lines": "<!--\n![](a.jpg)\n\n<img src='a.jpg'>\n-->",
    "front matter": "---\nimage: ![](a.jpg)\nhtml: <img src='a.jpg'>\n---\ntext",
    "front matter of TOML": "+++\nimage = '![](a.jpg)'\n+++\ntext",
    "front matter after a mark of bytes": "\ufeff---\nimage: <img src='a.jpg'>\n---\n",
    "code in HTML": "<pre>![](a.jpg) <img src='a.jpg'></pre> <code>![](a.jpg)</code>",
    "a script": "<script>const html = '<img src=\"a.jpg\">';</script>",
    "a text field and a title": "<title><img src='a.jpg'></title><textarea><img src='a.jpg'></textarea>",
    "what is escaped": "\\![](a.jpg) and \\`![mine](a.jpg)",
    "a text that is there": "![mine](a.jpg) ![](none.jpg) ![][a.jpg] <img alt='mine' src='a.jpg'>",
    "decoration": "<img alt src='a.jpg'><img src='a.jpg' alt=\"\"><img src='a.jpg' ALT=''>",
    "other tags": "<img-zoom src='a.jpg'></img-zoom><image src='a.jpg'><img data-src='a.jpg'>",
    "other hosts": "![](https://example.org/a.jpg) ![](//example.org/a.jpg) <img src='http://[a.jpg'> ![](data:a.jpg)",
}


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        pytest.param(content, suffix, id=f"{name} in {suffix}")
        for name, content in LEFT_ALONE.items()
        for suffix in (["md", "html"] if "<" in content else ["md"])
    ],
)
def test_code_comments_and_front_matter_stay_as_they_are(content, suffix, kitchen, monkeypatch, capsys):
    picture(kitchen / "site" / "a.jpg", 1)
    page = kitchen / "site" / f"page.{suffix}"
    page.write_bytes(content.encode())
    fill_in(monkeypatch, "--write")
    assert capsys.readouterr().out == ""
    assert page.read_bytes() == content.encode()


FILLED_IN = {
    "after a code span": ("`code` ![](a.jpg)", "`code` ![TEXT](a.jpg)"),
    "a lonely tick": ("a ` b\n\n![](a.jpg)\n\nc ` d", "a ` b\n\n![TEXT](a.jpg)\n\nc ` d"),
    "ticks that do not match": ("`` a ` ![](a.jpg)", "`` a ` ![TEXT](a.jpg)"),
    "after a fenced block": ("```\n![](a.jpg)\n```\n![](a.jpg)", "```\n![](a.jpg)\n```\n![TEXT](a.jpg)"),
    "ticks that are no fence": ("```a```\n![](a.jpg)", "```a```\n![TEXT](a.jpg)"),
    "after front matter": ("---\na: b\n---\n![](a.jpg)\n---\n", "---\na: b\n---\n![TEXT](a.jpg)\n---\n"),
    "after a comment": ("<!-- ![](a.jpg) -->![](a.jpg)", "<!-- ![](a.jpg) -->![TEXT](a.jpg)"),
    "in a link": ("[![](a.jpg)](b.html)", "[![TEXT](a.jpg)](b.html)"),
    "in a list": ("- ![](a.jpg)\n  - ![](a.jpg)", "- ![TEXT](a.jpg)\n  - ![TEXT](a.jpg)"),
    "spaces in the name": ("![](<a b.jpg>) ![]( a%20b.jpg )", "![TEXT](<a b.jpg>) ![TEXT]( a%20b.jpg )"),
    "brackets in the name": ("![](a(1).jpg 'title')", "![TEXT](a(1).jpg 'title')"),
    "a tag": ("<img src='a.jpg'\n title='a > b'>", "<img alt=\"TEXT\" src='a.jpg'\n title='a > b'>"),
    "a tag with a query": ("<img src=a.jpg?x=1&amp;y#z />", '<img alt="TEXT" src=a.jpg?x=1&amp;y#z />'),
    "a tag beside the same in a comment": (
        "<!-- <img src='a.jpg'> --><img src='a.jpg'>",
        "<!-- <img src='a.jpg'> --><img alt=\"TEXT\" src='a.jpg'>",
    ),
    "the ends of lines of Windows": ("a\r\n![](a.jpg)\r\n", "a\r\n![TEXT](a.jpg)\r\n"),
}


@pytest.mark.parametrize(("before", "after"), FILLED_IN.values(), ids=FILLED_IN)
def test_what_is_no_code_is_filled_in(before, after, kitchen, captioner, monkeypatch):
    for name in ("a.jpg", "a b.jpg", "a(1).jpg"):
        text = captioner.caption(picture(kitchen / "site" / name, 1)).text
    page = kitchen / "site" / "page.md"
    page.write_bytes(before.encode())
    fill_in(monkeypatch, "--write")
    assert page.read_bytes().decode() == after.replace("TEXT", text)


def test_pages_in_other_encodings_keep_their_bytes(kitchen, captioner, monkeypatch):
    text = captioner.caption(picture(kitchen / "site" / "a.jpg", 1)).text
    (kitchen / "site" / "a.md").write_bytes(b"caf\xe9 ![](a.jpg)")
    (kitchen / "site" / "b.html").write_bytes("<img src='a.jpg'>".encode("utf-16"))
    fill_in(monkeypatch, "--write")
    assert (kitchen / "site" / "a.md").read_bytes() == b"caf\xe9 ![" + text.encode() + b"](a.jpg)"
    assert (kitchen / "site" / "b.html").read_bytes() == "<img src='a.jpg'>".encode("utf-16")


def test_captions_cannot_break_out_of_a_page(kitchen, monkeypatch):
    picture(kitchen / "site" / "a.jpg", 1)
    (kitchen / "site" / "a.html").write_text('<img src="a.jpg">')
    (kitchen / "site" / "a.md").write_text("![](a.jpg)")
    hostile = fastcap.Caption('"><script>[x](y)\\', 1.0, (), (), 0.0)
    monkeypatch.setattr(fastcap.Captioner, "caption", lambda *_: hostile)
    fill_in(monkeypatch, "--write")
    html = (kitchen / "site" / "a.html").read_text()
    assert html == '<img alt="&quot;&gt;&lt;script&gt;[x](y)\\" src="a.jpg">'
    markdown = (kitchen / "site" / "a.md").read_text()
    assert markdown == r"![&quot;&gt;&lt;script&gt;\[x\](y)\\](a.jpg)"


def test_a_hook_suggests_a_text_or_nothing(kitchen, captioner):
    suggest = cook(recipe("A hook of a content management system"))["suggest_alternative_text"]
    data = picture(kitchen / "a.jpg", 2).read_bytes()
    caption = captioner.caption(data, neutral=True)
    assert suggest(data) == (caption.text if caption.confidence > 0.4 else None)
    assert suggest(b"hello") is None


def test_a_hook_asks_the_server(kitchen, captioner):
    pytest.importorskip("fastapi", reason="needs the extra `serve`")
    sys.path.insert(0, str(ROOT / "tests" / "serve"))
    from serving import Server

    server = Server(captioner.bundle.folder)
    try:
        hook = cook(recipe("A hook of a content management system", 1))
        hook["suggest_alternative_text"].__globals__["SERVER"] = server.url
        data = picture(kitchen / "a.jpg", 2).read_bytes()
        assert hook["suggest_alternative_text"](data) == captioner.caption(data, neutral=True).text
        assert hook["suggest_alternative_text"](b"hello") is None
    finally:
        server.terminate()
        server.wait()
    assert hook["suggest_alternative_text"](data) is None  # nobody answers


def test_a_cell_shows_pictures_with_captions(kitchen, captioner):
    paths = [picture(kitchen / "photos" / f"{seed}.jpg", seed) for seed in range(3)]
    code = recipe("A notebook").rstrip().splitlines()
    code[-1] = f"shown = {code[-1]}"
    html = cook("\n".join(code))["shown"]._repr_html_()
    for caption in captioner.caption(paths):
        assert f">{caption.text}</div>" in html


def plain(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What fifteen lines without the package say of photo.jpg in a folder."""
    link = folder / "src"
    if not link.exists():
        link.symlink_to(ROOT / "src")
    cook(recipe("Without this package"))
    return capsys.readouterr().out.rstrip("\n")


def test_fifteen_lines_without_the_package_say_the_same(kitchen, captioner, capsys):
    code = recipe("Without this package")
    assert len(code.splitlines()) <= 15
    assert "fastcap import" not in code and "import fastcap" not in code
    for seed, size in enumerate([(320, 240), (2000, 1500), (100, 300)]):
        picture(kitchen / "photo.jpg", seed, size)
        assert plain(kitchen, capsys) == captioner.caption(kitchen / "photo.jpg").text


@pytest.mark.slow
def test_fifteen_lines_say_the_same_of_fifty_photos(kitchen, captioner, capsys, data_root):
    photos = sorted((data_root / "flickr8k" / "images").glob("*"))[::100][:50]
    if not photos:
        pytest.skip("no photos of flickr8k in the data folder")
    for photo in photos:
        (kitchen / "photo.jpg").write_bytes(photo.read_bytes())
        assert plain(kitchen, capsys) == captioner.caption(photo).text, photo


# The public API


@pytest.mark.parametrize("name", [name for name in fastcap.__all__ if name != "__version__"])
def test_every_public_name_is_documented_and_typed(name):
    thing = getattr(fastcap, name)
    assert inspect.getdoc(thing)
    members = vars(thing).items() if inspect.isclass(thing) else [(name, thing)]
    for member, value in members:
        function = getattr(value, "__func__", value)
        if member.startswith("_") or not inspect.isfunction(function):
            continue
        assert inspect.getdoc(function), f"{name}.{member}"
        parameters = [each for each in inspect.signature(function).parameters if each not in ("self", "cls")]
        assert {*parameters, "return"} <= set(function.__annotations__), f"{name}.{member}"


def test_the_package_says_that_it_is_typed():
    assert (Path(fastcap.__file__).parent / "py.typed").is_file()


USE = """
import fastcap
captioner = fastcap.load_model("fastcap-base", threads=2)
reveal_type(captioner.caption("photo.jpg", length=7, candidates=2))
reveal_type(captioner.caption(["a.jpg", b"..."]))
reveal_type(captioner.caption("photo.jpg").candidates[0].tokens[0].confidence)
reveal_type(captioner.score("photo.jpg", ["a dog"]))
reveal_type(fastcap.available_models())
reveal_type(fastcap.show("photo.jpg", captioner.caption("photo.jpg")).html)
fastcap.load_model(7)
"""


@pytest.mark.slow
def test_a_type_checker_sees_what_users_get(tmp_path):
    (tmp_path / "use.py").write_text(USE)
    line = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "use.py"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    revealed = re.findall(r'Revealed type is "([^"]+)"', done.stdout)
    assert [kind.replace("builtins.", "") for kind in revealed] == [
        "fastcap.runtime.captioner.Caption", "list[fastcap.runtime.captioner.Caption]", "float", "list[float]",
        "list[str]", "str",
    ]  # fmt: skip
    [error] = re.findall(r"use\.py:\d+: error: (.*)", done.stdout)
    assert error.startswith('Argument 1 to "load_model" has incompatible type "int"')
