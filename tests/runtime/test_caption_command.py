"""`fastcap caption` and `fastcap models`, as a user types them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from fastcap import cli
from fastcap.cli import VERBS, main
from fastcap.errors import needs
from fastcap.runtime import bundle as bundle_module


@pytest.fixture
def caption(tiny_bundle, capsys):
    """Run `fastcap caption ...` on the tiny model; gives status, lines on stdout, lines on stderr."""

    def run(*arguments: object) -> tuple[int, list[str], list[str]]:
        status = main(["caption", *map(str, arguments), "--model", str(tiny_bundle)])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run


# What is captioned


def test_one_image_prints_its_caption_alone(caption, photos):
    assert caption(photos / "b_red.jpg") == (0, ["A red barn stands."], [])


def test_several_images_print_path_and_caption(caption, photos):
    red, blue = photos / "b_red.jpg", photos / "a_blue.PNG"
    assert caption(red, blue) == (0, [f"{red}\tA red barn stands.", f"{blue}\tA blue boat floats."], [])


def test_a_folder_stands_for_its_images_sorted_and_recursive_goes_deeper(caption, photos):
    status, out, err = caption(photos)
    assert (status, err) == (0, [])
    assert [Path(line.split("\t")[0]).name for line in out] == ["a_blue.PNG", "b_red.jpg"]
    _, out, _ = caption(photos, "--recursive")
    assert [Path(line.split("\t")[0]).name for line in out] == ["a_blue.PNG", "b_red.jpg", "green.webp"]


def test_a_glob_that_the_shell_left_alone_is_expanded(caption, photos):
    status, out, _ = caption(photos / "*.jpg", photos / "**" / "*.webp")
    assert status == 0
    assert [Path(line.split("\t")[0]).name for line in out] == ["b_red.jpg", "green.webp"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(caption, photos):
    shutil.copy(photos / "b_red.jpg", photos / "b[1]*.jpg")
    assert caption(photos / "b[1]*.jpg") == (0, ["A red barn stands."], [])


def test_a_dash_reads_stdin(caption, photos, monkeypatch):
    data = (photos / "b_red.jpg").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert caption("-") == (0, ["A red barn stands."], [])


# What is printed


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        ("stdin", "-: standard input is closed"),
        ("stdout", "standard output is closed; --out writes captions to a file"),
    ],
)
def test_a_closed_stream_is_one_clear_line(tiny_bundle, photos, stream, told):
    line = [sys.executable, "-m", "fastcap", "caption", "-" if stream == "stdin" else photos, "--model", tiny_bundle]
    process = subprocess.run(
        line, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.close(("stdin", "stdout").index(stream))
    )
    assert (process.returncode, process.stderr) == (1, f"fastcap: error: {told}\n")


def test_json_prints_one_object_a_line(caption, photos):
    status, out, err = caption(photos, "--json")
    rows = [json.loads(line) for line in out]
    assert (status, err) == (0, [])
    assert [row["image"] for row in rows] == [str(photos / "a_blue.PNG"), str(photos / "b_red.jpg")]
    assert [row["caption"] for row in rows] == ["A blue boat floats.", "A red barn stands."]
    assert all(set(row) == {"image", "caption", "confidence", "milliseconds"} for row in rows)
    assert all(0 <= row["confidence"] <= 1 and row["milliseconds"] > 0 for row in rows)


def test_candidates_are_listed_best_first(caption, photos):
    _, out, _ = caption(photos / "b_red.jpg", "--json", "--candidates", 3)
    row = json.loads(out[0])
    assert [candidate["caption"] for candidate in row["candidates"]] == [
        "A red barn stands.",
        "A red barn stands under some tall old trees.",
    ]  # the third, "A red barn stands under.", is no sentence
    assert row["caption"] == row["candidates"][0]["caption"]
    _, out, _ = caption(photos / "b_red.jpg", "--candidates", 2)
    assert out == ["0.92\tA red barn stands.", "0.84\tA red barn stands under some tall old trees."]


@pytest.mark.parametrize(("length", "words"), [("short", 4), ("long", 14), ("9", 9)])
def test_length_by_name_or_in_words(caption, photos, length, words):
    _, out, _ = caption(photos / "b_red.jpg", "--length", length)
    assert len(out[0].split()) == words


# What goes wrong


def test_neutral_wording_is_an_option(caption, photos):
    blue = photos / "a_blue.PNG"
    assert "women" in caption(blue, "--length", "24")[1][0]
    assert "women" not in caption(blue, "--length", "24", "--neutral")[1][0]


def test_bad_images_are_rows_and_do_not_stop_the_rest(caption, photos):
    (photos / "b_damaged.jpg").write_bytes((photos / "b_red.jpg").read_bytes()[:300])
    (photos / "c_empty.png").touch()
    (photos / "d_text.gif").write_text("hello")
    status, out, err = caption(photos, photos / "none.jpg", photos / "b_red.jpg", "--json")
    rows = [json.loads(line) for line in out]
    assert (status, err) == (1, [])
    assert ["error" in row for row in rows] == [False, True, False, True, True, True, False]
    for row, reason in zip(
        (row for row in rows if "error" in row),
        ("damaged or cut short JPEG", "empty (0 bytes)", "holds text", "no such file"),
        strict=True,
    ):
        assert set(row) == {"image", "error"}
        assert row["error"].startswith(row["image"])
        assert reason in row["error"]


def test_errors_in_text_mode_go_to_stderr(caption, photos):
    red = photos / "b_red.jpg"
    status, out, err = caption(photos / "none.jpg", red)
    assert status == 1
    assert out == [f"{red}\tA red barn stands."]
    assert err == [f"fastcap: error: {photos}/none.jpg: no such file"]


def test_a_folder_without_images_is_one_clear_line(caption, tmp_path):
    (tmp_path / "empty").mkdir()
    status, out, err = caption(tmp_path / "empty")
    assert (status, out, len(err)) == (1, [], 1)
    assert err[0] == f"fastcap: error: {tmp_path}/empty: a folder without images; --recursive looks deeper"
    status, out, err = caption(tmp_path / "empty", "--json")
    assert (status, err) == (1, [])
    assert "a folder without images" in json.loads(out[0])["error"]


def test_a_glob_without_a_match_is_one_clear_line(caption, tmp_path):
    assert caption(tmp_path / "*.jpg") == (1, [], [f"fastcap: error: {tmp_path}/*.jpg: no file matches"])


def test_damaged_pictures_add_no_warnings_of_other_libraries(tiny_bundle, photos):
    data = (photos / "b_red.jpg").read_bytes()
    exif = b"\xff\xe1\x00\x1eExif\0\0II*\0\x08\0\0\0\x02\0\x12\x01" + bytes(8)
    (photos / "warns.jpg").write_bytes(data[:2] + exif + data[2:])
    done = command("caption", photos / "warns.jpg", "--model", tiny_bundle)
    assert done.stderr == b""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ["--length", "shrot"],
            "did you mean 'short'?); allowed are short, normal, long or a number of words",
        ),
        (["--length", "99"], "a number of words from 4 to 24"),
        (["--length", "-3"], "a number of words from 4 to 24"),
        (["--length", "+-3"], "allowed are short, normal, long or a number of words"),
        (["--candidates", "9"], "allowed are whole numbers from 1 to 8"),
        (["--candidates", "x"], "got 'x'; allowed are whole numbers"),
        (["--threads", "0"], "allowed are whole numbers from 1 to 64"),
    ],
)
def test_an_option_out_of_range_is_a_usage_error_with_the_range(wrong_usage, tiny_bundle, photos, options, reason):
    assert reason in wrong_usage("caption", photos, "--model", tiny_bundle, *options)


def test_an_unknown_model_and_an_unknown_option_are_usage_errors(wrong_usage, photos):
    assert "unknown model 'none'" in wrong_usage("caption", photos, "--model", "none")
    assert "unknown option '--jsn' (did you mean '--json'?)" in wrong_usage("caption", photos, "--jsn")
    assert "PATH" in wrong_usage("caption")


def test_a_damaged_model_is_one_line_and_status_1(capsys, own_bundle, photos):
    (own_bundle / "model.onnx").unlink()
    assert main(["caption", str(photos), "--model", str(own_bundle)]) == 1
    assert capsys.readouterr().err == (
        f"fastcap: error: model directory {own_bundle} is damaged: model.onnx: missing\n"
    )


# The command itself


def command(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "fastcap", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, timeout=60, check=False, **options)


def test_the_process_captions_bytes_from_a_pipe(tiny_bundle, photos):
    data = (photos / "a_blue.PNG").read_bytes()
    done = command("caption", "-", "--json", "--model", tiny_bundle, input=data)
    assert done.returncode == 0
    assert json.loads(done.stdout)["image"] == "-"
    assert json.loads(done.stdout)["caption"] == "A blue boat floats."


def test_file_names_need_not_be_unicode_nor_the_pipe_utf_8(tiny_bundle, photos):
    odd = os.fsencode(photos) + b"/caf\xff\xc3\xa9.jpg"
    shutil.copy(photos / "b_red.jpg", odd)
    line = [sys.executable, "-m", "fastcap", "caption", odd, "--json", "--model", os.fsencode(tiny_bundle)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(line, capture_output=True, check=False, env=environment)
    assert done.returncode == 0
    assert json.loads(done.stdout)["caption"] == "A red barn stands."


def test_a_reader_that_leaves_ends_the_run_quietly(tiny_bundle, photos):
    line = [sys.executable, "-m", "fastcap", "caption", *[str(photos)] * 5, "--model", str(tiny_bundle)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


def test_an_interrupt_exits_with_130(monkeypatch, tiny_bundle, photos):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastcap.cli.caption._caption", interrupt)
    assert main(["caption", str(photos), "--model", str(tiny_bundle)]) == 130


def test_version_help_and_unknown_verbs(capsys, wrong_usage):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("fastcap 0.")
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"{verb:13} {each.summary}\n" in shown for verb, each in VERBS.items())
    assert "unknown verb 'captoin' (did you mean 'caption'?)" in wrong_usage("captoin")
    assert "VERB" in wrong_usage()


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch, capsys):
    monkeypatch.setattr(
        cli.importlib, "import_module", lambda _: (_ for _ in ()).throw(ModuleNotFoundError(name="torch"))
    )
    assert main(["train"]) == 1
    assert capsys.readouterr().err == f"fastcap: error: 'fastcap train' {needs('torch', 'train')}\n"


# fastcap models


def test_models_shows_quality_and_speed_as_measured(monkeypatch, capsys, tiny_bundle):
    monkeypatch.setattr(bundle_module, "_MODELS", tiny_bundle.parent)
    assert main(["models"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "tiny: 0.0 MB, Apache-2.0",
        "  Names the strongest colour.",
        "  quality: cider 45.25",
        "  speed: milliseconds p50 9.5",
    ]
    assert main(["models", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["quality"] == {"cider": 45.25, "command": "fastcap evaluate"}
    assert shown["speed"] == {"milliseconds": {"p50": 9.5}}


def test_models_says_when_there_are_none(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bundle_module, "_MODELS", tmp_path)
    assert main(["models"]) == 0
    assert capsys.readouterr().out.startswith("No model is bundled")


def test_progress_is_drawn_only_while_captions_go_elsewhere(monkeypatch):
    """On a terminal the captions are the progress; without a terminal nobody looks."""
    from fastcap.cli.caption import _progress

    def drawn(errors_shown: bool, captions_shown: bool, total: int) -> bool:
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda: errors_shown)
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: captions_shown))
        with _progress(total) as advance:
            advance()
        return bool(stream.getvalue())

    assert drawn(errors_shown=True, captions_shown=False, total=50)
    assert not drawn(errors_shown=True, captions_shown=True, total=50)
    assert not drawn(errors_shown=False, captions_shown=False, total=50)
    assert not drawn(errors_shown=True, captions_shown=False, total=5)


def test_an_image_mode_the_network_never_saw_is_still_captioned(caption, tmp_path):
    Image.new("CMYK", (64, 48), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    assert caption(tmp_path / "print.jpg") == (0, ["A red barn stands."], [])
