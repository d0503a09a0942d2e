"""`fastcap gradio` over the wire, by Gradio's own client; and that the page speaks to nobody else."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import picture

from fastcap.cli import main
from fastcap.errors import needs
from fastcap.runtime.captioner import Captioner

needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="no Gradio here: the extra `gradio`"
)

USUAL = {"length": "normal", "candidates": 1, "neutral": False, "decode": "parallel", "no_memory": False, "beams": 3}


@pytest.fixture(scope="module")
def page(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a page, and the folder in which it keeps its own."""
    folder = tmp_path_factory.mktemp("temporary")
    process = subprocess.Popen(
        [sys.executable, "-m", "fastcap", "gradio", "--port", "0", "--model", str(tiny_bundle), "--threads", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith("tiny on http://127.0.0.1:"), process.communicate()
    yield line.split()[-1], folder
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert not list(folder.glob("fastcap-*"))  # nobody's pictures stay behind


@pytest.fixture(scope="module")
def client(page):
    from gradio_client import Client

    return Client(page[0], verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 60})


@pytest.fixture
def upload(tmp_path: Path):
    """Pictures by colour, as the page's gallery takes them; anything but a colour is a file of that text."""
    from gradio_client import handle_file

    def gallery(*colours: str) -> list[dict]:
        items = []
        for colour in colours:
            path = tmp_path / f"{colour}.jpg"
            path.write_bytes(picture(colour) if colour in ("red", "blue", "lime") else colour.encode())
            items.append({"image": handle_file(path), "caption": None})
        return items

    return gallery


@needs_gradio
@pytest.mark.slow
def test_captions_are_the_captioners(client, upload, tiny_bundle):
    captioner = Captioner.open(tiny_bundle)
    for options in (USUAL, USUAL | {"length": "7", "candidates": 3, "neutral": True}):
        shown, table = client.predict(upload("red", "blue"), *options.values(), api_name="/caption")
        length = int(options["length"]) if options["length"].isdecimal() else options["length"]
        expected = captioner.caption([picture("red"), picture("blue")], **options | {"length": length})
        assert [each["caption"] for each in shown] == [caption.text for caption in expected]
        assert table["headers"] == ["picture", "caption", "confidence"]
        assert table["data"] == [
            [name, each.text, round(each.confidence, 4)]
            for name, caption in zip(("red.jpg", "blue.jpg"), expected, strict=True)
            for each in caption.candidates
        ]


@needs_gradio
@pytest.mark.slow
def test_scores_are_the_captioners(client, upload, tiny_bundle):
    texts = ["a red barn", "a blue boat"]
    table = client.predict(upload("red", "blue"), "a red barn\n\n a blue boat \n", api_name="/score")
    captioner = Captioner.open(tiny_bundle)
    assert table["data"] == [
        [f"{colour}.jpg", text, round(score, 4)]
        for colour in ("red", "blue")
        for text, score in zip(texts, captioner.score(picture(colour), texts), strict=True)
    ]


@needs_gradio
@pytest.mark.slow
def test_a_bad_picture_is_a_row_and_the_others_are_captioned(client, upload):
    shown, table = client.predict(upload("hello", "red"), *USUAL.values(), api_name="/caption")
    name, told, *_ = table["data"][0]
    assert name == "hello.jpg"
    assert told.startswith("hello.jpg: holds text, not an image; allowed are JPEG, PNG, WebP, GIF, BMP")
    assert shown[1]["caption"] == table["data"][1][1] == "A red barn stands."


@needs_gradio
@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"length": "shrot"}, "did you mean 'short'"),
        ({"length": "99"}, "a number of words from 4 to 24"),
    ],
)
def test_what_is_out_of_range_is_an_error_that_says_what_is_allowed(client, upload, change, reason):
    from gradio_client.exceptions import AppError

    with pytest.raises((AppError, ValueError), match=reason):
        client.predict(upload("red"), *(USUAL | change).values(), api_name="/caption")


@needs_gradio
@pytest.mark.slow
def test_the_number_of_pictures_and_texts_is_bounded(client, upload):
    from gradio_client.exceptions import AppError

    for pictures in ([], upload("red") * 17):
        with pytest.raises(AppError, match=f"{len(pictures)} pictures; allowed are 1 to 16"):
            client.predict(pictures, *USUAL.values(), api_name="/caption")
    for texts in ("", "\n".join("x" * 65), "x" * 1001):
        with pytest.raises(AppError, match="allowed are 1 to 64, one a line, of at most 1000 bytes"):
            client.predict(upload("red"), texts, api_name="/score")


@needs_gradio
@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(page):
    answer = httpx.get(page[0], timeout=60)
    assert answer.headers["content-security-policy"].startswith("default-src 'self' ")
    assert "http" not in answer.headers["content-security-policy"]
    assert "fonts.googleapis.com" not in answer.text
    config = httpx.get(f"{page[0]}/config", timeout=60).json()
    assert config["analytics_enabled"] is False
    assert "@import" not in answer.text + httpx.get(f"{page[0]}/theme.css", timeout=60).text


@needs_gradio
@pytest.mark.slow
def test_uploads_lie_in_a_folder_of_their_own(client, upload, page):
    client.predict(upload("red"), *USUAL.values(), api_name="/caption")
    assert [path.name for path in page[1].glob("fastcap-*/*/red.jpg")] == ["red.jpg"]


@needs_gradio
@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "/captions"])
def test_behind_a_proxy_the_page_asks_below_its_prefix(prefix, tiny_bundle):
    from fastapi.testclient import TestClient

    from fastcap.runtime.captioner import Captioner
    from fastcap.serve.gradio import create_app

    client = TestClient(create_app(Captioner.open(tiny_bundle), prefix=prefix), base_url="http://proxy.example")
    assert client.get("/config").json()["root"] == f"http://proxy.example{prefix}"


def test_wrong_usage_and_a_missing_extra_are_one_line(tiny_bundle, capsys, monkeypatch, wrong_usage):
    for line, reason in ((["--port", "65536"], "0 to 65535"), (["--threads", "0"], "1 to 64"), (["--model", "x"], "x")):
        assert reason in wrong_usage("gradio", *line)
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "fastcap.serve.gradio", raising=False)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    assert main(["gradio", "--model", str(tiny_bundle)]) == 1
    assert capsys.readouterr().err == f"fastcap: error: 'fastcap gradio' {needs('gradio', 'gradio')}\n"
