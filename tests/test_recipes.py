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
    for seed, size in enumerate([(320, 240), (2000, 1500), (300, 100)]):
        picture(kitchen / "photo.jpg", seed, size)
        assert plain(kitchen, capsys) == captioner.caption(kitchen / "photo.jpg", no_memory=True).text


@pytest.mark.slow
def test_fifteen_lines_say_the_same_of_fifty_photos(kitchen, captioner, capsys, data_root):
    photos = sorted((data_root / "flickr8k" / "images").glob("*"))[::100][:50]
    if not photos:
        pytest.skip("no photos of flickr8k in the data folder")
    for photo in photos:
        (kitchen / "photo.jpg").write_bytes(photo.read_bytes())
        assert plain(kitchen, capsys) == captioner.caption(photo, no_memory=True).text, photo


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
        "fastcap.runtime.captions.Caption", "list[fastcap.runtime.captions.Caption]", "float", "list[float]",
        "list[str]", "str",
    ]  # fmt: skip
    [error] = re.findall(r"use\.py:\d+: error: (.*)", done.stdout)
    assert error.startswith('Argument 1 to "load_model" has incompatible type "int"')
