"""What git and make do in a clone in which somebody works."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def git(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    return done


@pytest.mark.parametrize(
    "path",
    [
        "data/flickr8k/captions.txt",
        "data/mine/a photo.jpg",
        "models/mine/model.onnx",
        "models/mine.bits.json",
        "runs/fastcap-base/best/model.safetensors",
        "parts/efficientnet-lite0/model.safetensors",
        "cache/pixels.npy",
        "dist/fastcap.whl",
        ".venv/bin/fastcap",
        ".venv-runtime/.stamp",
        "web/vendor/ort.wasm.min.mjs",
        "src/fastcap/data/__pycache__/readers.pyc",
    ],
)
def test_what_people_make_is_ignored(path):
    assert git("check-ignore", "--no-index", "-q", path).returncode == 0


@pytest.mark.parametrize(
    "path",
    [
        "src/fastcap/data/new.py",
        "src/fastcap/models/new.py",
        "src/fastcap/runs/new.py",
        "src/fastcap/bundled/fastcap-base/model.onnx",
        "src/fastcap/parts.py",
        "tests/data/new.py",
        "tests/models/new.py",
        "docs/data/new.md",
        "web/models/new.js",
        "configs/runs/new.yaml",
    ],
)
def test_code_is_not_ignored(path):
    assert git("check-ignore", "--no-index", "-q", path).returncode == 1


def test_no_file_of_the_repository_is_ignored():
    assert git("ls-files", "--cached", "--ignored", "--exclude-standard").stdout == ""


# make caption


NAMES = [
    "photo.jpg",
    "a b  c.jpg",
    "trailing .jpg ",
    "$(shell touch called).jpg",
    "$(open.jpg",
    "a$",
    "$HOME.jpg",
    "price $5, $$5 and $(whoami).jpg",
    "${PATH}.jpg",
    "it's.jpg",
    'say "hi".jpg',
    "`whoami`.jpg",
    "back\\slash.jpg",
    "-leading.jpg",
    "--json",
    "größe über 北京 🎈.jpg",
    "gro\u0308sse.jpg",  # as macOS writes an umlaut
    "a;b&c|d<e>f.jpg",
    "[a]*?.jpg",
    "#hash.jpg",
    "50%.jpg",
    "a=b.jpg",
    "a,b:c@d!e~f.jpg",
    "line\nbreak.jpg",
    "tab\there.jpg",
]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with our Makefile and a `fastcap` that writes down its arguments."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    clone = tmp_path / "clone"
    (clone / ".venv-runtime" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", clone)
    (clone / "pyproject.toml").touch()
    fake = clone / ".venv-runtime" / "bin" / "fastcap"
    fake.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" >called\nexit ${STATUS:-0}\n")
    fake.chmod(0o755)
    (clone / ".venv-runtime" / ".stamp").touch()
    return clone


def make(clone: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *words], cwd=clone, env=variables | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", NAMES)
def test_make_caption_takes_any_name_as_it_is(clone, name):
    done = make(clone, "caption", f"IMAGE={name}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (clone / "called").read_text("utf-8").split("\0") == ["caption", "--", name, ""]


@pytest.mark.parametrize("name", NAMES)
def test_make_caption_takes_the_name_from_the_environment_too(clone, name):
    done = make(clone, "caption", IMAGE=name)
    assert (done.returncode, done.stderr) == (0, "")
    assert (clone / "called").read_text("utf-8").split("\0") == ["caption", "--", name, ""]


def test_make_caption_knows_the_home_folder_where_the_shell_does_not(clone):
    assert make(clone, "caption", "IMAGE=~/a b.jpg", HOME="/home/of mine").returncode == 0
    assert (clone / "called").read_text("utf-8").split("\0") == ["caption", "--", "/home/of mine/a b.jpg", ""]


def test_make_caption_without_a_name_says_what_to_type(clone):
    for words in (["caption"], ["caption", "IMAGE="]):
        done = make(clone, *words)
        assert done.returncode == 2
        assert done.stderr.splitlines()[0] == "Which photo? make caption IMAGE=path/to/photo.jpg"
        assert not (clone / "called").exists()


def test_make_caption_fails_where_the_caption_fails(clone):
    assert make(clone, "caption", "IMAGE=none.jpg", STATUS="1").returncode == 2  # make's own, for any failure
