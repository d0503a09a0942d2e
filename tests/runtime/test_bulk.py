"""Bulk jobs: every picture gets exactly one row, whatever happens to the pictures, the workers, the job or the disk."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest
from PIL import Image
from pyarrow import parquet

from fastcap.cli import main
from fastcap.errors import ConfigError, DataError, FastcapError, ImageError, needs
from fastcap.runtime.bulk.journal import Journal
from fastcap.runtime.bulk.pool import caption_files, check_workers
from fastcap.runtime.bulk.sidecar import sidecar_path
from fastcap.runtime.rows import caption_row

COLOURS = ("red", "lime", "blue")


def make_pictures(folder: Path, count: int, size: tuple[int, int] = (64, 48)) -> list[str]:
    """`count` JPEGs in three colours, all but three of them links."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if number < len(COLOURS):
            Image.new("RGB", size, COLOURS[number]).save(path)
        else:
            os.link(paths[number % len(COLOURS)], path)
    return [str(path) for path in paths]


@pytest.fixture
def caption(tiny_bundle, capsys):
    """Run `fastcap caption ...` with one worker on the tiny model; gives status and lines on stderr."""

    def run(*arguments: object) -> tuple[int, list[str]]:
        status = main(["caption", *map(str, arguments), "--workers", "1", "--model", str(tiny_bundle)])
        out, err = capsys.readouterr()
        assert out == ""
        return status, err.splitlines()

    return run


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def children(pid: int | None = None) -> list[psutil.Process]:
    """The workers of a process, without the helper that multiprocessing starts."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if any("spawn_main" in word for word in child.cmdline()):
                    found.append(child)
    return found


# The generator of rows


def test_rows_equal_what_the_captioner_says(captioner, tiny_bundle, photos, monkeypatch):
    monkeypatch.chdir(photos)
    (photos / "damaged.jpg").write_bytes((photos / "b_red.jpg").read_bytes()[:300])
    images = ["b_red.jpg", "deeper/green.webp", "damaged.jpg", "none.jpg", "a_blue.PNG"]
    options = {"length": 24, "candidates": 2, "neutral": True}
    expected = []
    for image in images:
        try:
            expected.append(caption_row(image, captioner.caption(image, **options), 2))
        except ImageError as error:
            expected.append(caption_row(image, error))
    rows = list(caption_files(images, model=tiny_bundle, workers=2, **options))
    for row in rows + expected:
        assert row.pop("milliseconds", 1) > 0
    assert sorted(rows, key=lambda row: row["image"]) == sorted(expected, key=lambda row: row["image"])


def test_images_are_read_as_they_are_needed_and_closing_ends_the_workers(tiny_bundle, photos):
    drawn = []

    def endless() -> Iterator[Path]:
        while True:
            drawn.append(photos / "b_red.jpg")
            yield drawn[-1]

    rows = caption_files(endless(), model=tiny_bundle, workers=1)
    assert [next(rows)["caption"] for _ in range(10)] == ["A red barn stands."] * 10
    assert len(drawn) < 20
    assert len(children()) == 1
    rows.close()
    assert children() == []


def test_options_are_refused_before_the_first_row(tiny_bundle, photos):
    for workers in (0, 65, 1.0, True):
        with pytest.raises(ConfigError, match="allowed are whole numbers from 1 to 64"):
            caption_files([], workers=workers)
    with pytest.raises(ConfigError, match="did you mean 'short'"):
        next(caption_files([photos / "b_red.jpg"], model=tiny_bundle, workers=1, length="shrot"))
    assert check_workers(None) >= 1


def test_a_model_that_is_damaged_is_the_end_at_once(own_bundle, photos):
    (own_bundle / "tokenizer.json").unlink()
    with pytest.raises(FastcapError, match=r"tokenizer\.json: missing"):
        next(caption_files([photos / "b_red.jpg"], model=own_bundle, workers=1))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_picture_that_kills_its_worker_twice_is_an_error_row_and_its_neighbours_are_captioned(
    tiny_bundle, tmp_path, caplog
):
    """The hostile picture is a pipe: while a worker reads it, the test kills that worker."""
    caplog.set_level("WARNING")
    images = make_pictures(tmp_path / "p", 9)
    hostile = str(tmp_path / "hostile.jpg")
    os.mkfifo(hostile)
    images.insert(4, hostile)

    def kill_who_reads() -> None:
        for _ in range(2):
            while True:
                time.sleep(0.01)
                with contextlib.suppress(OSError):  # until somebody reads
                    writer = os.open(hostile, os.O_WRONLY | os.O_NONBLOCK)
                    break
            [worker] = children()
            worker.kill()
            while psutil.pid_exists(worker.pid):  # until its parent has noticed
                time.sleep(0.01)
            os.close(writer)

    killer = threading.Thread(target=kill_who_reads, daemon=True)
    killer.start()
    rows = list(caption_files(images, model=tiny_bundle, workers=1))
    killer.join(10)
    assert sorted(row["image"] for row in rows) == sorted(images)
    [failed] = [row for row in rows if "error" in row]
    assert failed == {"image": hostile, "error": f"{hostile}: a worker process died on it, twice (signal 9)"}
    assert [record.getMessage() for record in caplog.records] == [
        "a worker process died (signal 9); another takes its place"
    ] * 2


def test_a_worker_that_is_killed_costs_no_picture(tiny_bundle, tmp_path):
    images = make_pictures(tmp_path / "p", 60)
    rows = caption_files(images, model=tiny_bundle, workers=2)
    found = [next(rows) for _ in range(5)]
    children()[0].kill()
    found += rows
    assert sorted(row["image"] for row in found) == images
    assert not any("error" in row for row in found)


# The output


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_each_output_holds_every_picture_once_and_a_second_run_adds_nothing(caption, photos, tmp_path, kind):
    (photos / "damaged.jpg").write_bytes((photos / "b_red.jpg").read_bytes()[:300])
    out = tmp_path / f"captions.{kind}"
    line = (photos, photos / "b_red.jpg", "--recursive", "--out", out, "--candidates", 2)
    status, err = caption(*line)
    assert status == 1
    assert err[-1].startswith("4 pictures: 3 captioned (")
    assert err[-1].endswith("a second), 1 failed")
    first = out.read_bytes()
    if kind == "jsonl":
        rows = rows_of(out)
    elif kind == "csv":
        rows = list(csv.DictReader(io.StringIO(out.read_text("utf-8"))))
    else:
        rows = parquet.read_table(out).to_pylist()
    by_name = {Path(row["image"]).name: row for row in rows}
    assert len(rows) == len(by_name) == 4
    assert by_name["b_red.jpg"]["caption"] == "A red barn stands."
    assert float(by_name["b_red.jpg"]["confidence"]) == pytest.approx(0.9231)
    assert "damaged or cut short JPEG" in by_name["damaged.jpg"]["error"]
    assert not by_name["damaged.jpg"].get("caption")
    candidates = by_name["b_red.jpg"]["candidates"]
    candidates = json.loads(candidates) if kind == "csv" else candidates
    assert [candidate["caption"] for candidate in candidates] == [
        "A red barn stands.",
        "A red barn stands under some tall old trees.",
    ]
    assert {row["made_with"] for row in rows} == {"tiny candidates=2"}
    # The status tells of the whole output, not of the run alone.
    assert caption(*line) == (1, ["4 pictures: 0 captioned, 4 done before, 1 failed"])
    if kind != "parquet":
        assert out.read_bytes() == first
    assert not list(tmp_path.glob("*.part"))


def test_new_pictures_are_added_to_what_is_there(caption, photos, tmp_path):
    out = tmp_path / "captions.csv"
    caption(photos, "--out", out)
    shutil.copy(photos / "b_red.jpg", photos / "c_red.jpg")
    status, err = caption(photos, "--out", out)
    assert status == 0
    assert err[-1].startswith("3 pictures: 1 captioned")
    names = [Path(row["image"]).name for row in csv.DictReader(io.StringIO(out.read_text("utf-8")))]
    assert names == ["a_blue.PNG", "b_red.jpg", "c_red.jpg"]


def test_file_names_need_not_be_unicode(caption, tiny_bundle, tmp_path):
    (tmp_path / "p").mkdir()
    odd = os.fsencode(tmp_path / "p") + b"/caf\xff\xc3\xa9.jpg"
    Image.new("RGB", (64, 48), "red").save(os.fsdecode(odd))
    for kind in ("jsonl", "csv", "parquet"):
        out = tmp_path / f"c.{kind}"
        assert caption(tmp_path / "p", "--out", out, "--sidecar", "txt")[0] == 0
        assert caption(tmp_path / "p", "--out", out)[1] == ["1 picture: 0 captioned, 1 done before"]
    assert rows_of(tmp_path / "c.jsonl")[0]["image"] == os.fsdecode(odd)
    assert parquet.read_table(tmp_path / "c.parquet").to_pylist()[0]["image"].endswith("caf\\udcffé.jpg")


def test_a_folder_without_pictures_is_a_row(caption, tmp_path):
    (tmp_path / "empty").mkdir()
    assert caption(tmp_path / "empty", "--out", tmp_path / "c.jsonl") == (1, ["1 picture: 0 captioned, 1 failed"])
    assert "a folder without images" in rows_of(tmp_path / "c.jsonl")[0]["error"]


# The journal


def row(number: int) -> dict:
    return {"image": f"{number}.jpg", "caption": "A dög."}


def test_a_line_cut_at_any_byte_is_dropped_and_written_anew(tmp_path):
    whole = tmp_path / "whole.jsonl"
    with Journal(whole, "tiny") as journal:
        for number in range(3):
            journal.append(row(number))
    data = whole.read_bytes()
    ends = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    cut = tmp_path / "cut.jsonl"
    for at in range(len(data) + 1):
        cut.write_bytes(data[:at] + bytes(at % 3))  # after a power cut the end may be zeros
        with Journal(cut, "tiny") as journal:
            assert len(journal.done) == sum(end <= at for end in ends)
            for number in range(len(journal.done), 3):
                journal.append(row(number))
        assert cut.read_bytes() == data


@pytest.mark.parametrize(
    "content",
    [
        "hello",
        "hello\n",
        "[1]\n",
        '{"image": "a.jpg", "text": "mine"}\n',
        '{"image": "a", "made_with": "tiny"}\n',
        '{"image": ["a"], "caption": "A dog.", "made_with": "tiny"}\n',
        '{"image": "a", "caption": null, "made_with": "tiny"}\n',
        "\n",
        "\0" * 2**20,
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "notes.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match="line 1 is no row of a caption job"):
        Journal(path, "tiny")
    assert path.read_text() == content


def test_other_options_cannot_continue_a_job(caption, photos, tmp_path):
    out = tmp_path / "captions.jsonl"
    caption(photos, "--out", out, "--length", "short")
    before = out.read_bytes()
    status, err = caption(photos, "--out", out, "--neutral")
    assert status == 1
    assert "made with 'tiny length=short', this run is 'tiny neutral=True'; continue with the same" in err[0]
    assert out.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="no lock on Windows")
def test_two_runs_cannot_write_to_one_file(tmp_path):
    path = tmp_path / "captions.jsonl"
    with Journal(path, "tiny"), pytest.raises(FastcapError, match="another run is writing to it"):
        Journal(path, "tiny")
    with Journal(path, "tiny"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_full_disk_ends_the_run_in_one_line_and_a_later_one_continues(tiny_bundle, tmp_path):
    import resource

    make_pictures(tmp_path / "p", 20)
    out = tmp_path / "captions.jsonl"
    process = start(
        tmp_path / "p",
        out,
        tiny_bundle,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY)),
    )
    assert process.wait(60) == 1
    assert process.stderr.read() == f"fastcap: error: {out}: No space left on device\n"
    assert len(out.read_bytes()) == 1000
    process = start(tmp_path / "p", out, tiny_bundle)
    assert process.wait(60) == 0
    assert len({row["image"] for row in rows_of(out)}) == len(rows_of(out)) == 20


# Sidecars


def test_a_text_sidecar_is_named_as_training_tools_expect(caption, photos):
    assert caption(photos / "b_red.jpg", photos / "deeper", "--sidecar", "txt")[0] == 0
    assert (photos / "b_red.txt").read_text() == "A red barn stands.\n"
    assert (photos / "deeper" / "green.txt").is_file()
    assert sidecar_path("photo", "txt") == "photo.txt"
    assert sidecar_path("jpeg.txt", "txt") == "jpeg.txt.txt"  # never the picture itself


def test_a_json_sidecar_holds_the_row(caption, photos):
    caption(photos / "b_red.jpg", "--sidecar", "json", "--candidates", 2)
    row = json.loads((photos / "b_red.jpg.json").read_text("utf-8"))
    assert set(row) == {"caption", "confidence", "milliseconds", "candidates"}
    assert row["caption"] == "A red barn stands."


def test_an_xmp_sidecar_says_it_as_description_and_as_alt_text(caption, photos):
    caption(photos / "b_red.jpg", "--sidecar", "xmp")
    tree = ElementTree.parse(photos / "b_red.jpg.xmp")
    names = {
        "x": "adobe:ns:meta/",
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "dc": "http://purl.org/dc/elements/1.1/",
        "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    }
    assert tree.getroot().tag == "{adobe:ns:meta/}xmpmeta"
    for name in ("dc:description", "Iptc4xmpCore:AltTextAccessibility"):
        [item] = tree.findall(f"rdf:RDF/rdf:Description/{name}/rdf:Alt/rdf:li", names)
        assert item.text == "A red barn stands."
        assert item.attrib == {"{http://www.w3.org/XML/1998/namespace}lang": "x-default"}


def test_existing_sidecars_are_left_unless_asked(caption, photos, tmp_path):
    mine, out = photos / "b_red.txt", tmp_path / "captions.jsonl"
    mine.write_text("mine")
    # Without rows there is nothing left to do for such a picture; with rows it gets one, unless it is skipped.
    status, err = caption(photos, "--sidecar", "txt")
    assert status == 0
    assert err[-1].startswith("2 pictures: 1 captioned")
    assert err[-1].endswith("1 have a sidecar")
    assert caption(photos, "--sidecar", "txt", "--skip-existing")[1] == ["2 pictures: 0 captioned, 2 have a sidecar"]
    assert caption(photos, "--sidecar", "txt", "--skip-existing", "--out", out)[1][-1].endswith("2 have a sidecar")
    assert rows_of(out) == []
    caption(photos, "--sidecar", "txt", "--out", out)
    assert len(rows_of(out)) == 2
    assert mine.read_text() == "mine"
    caption(photos, "--sidecar", "txt", "--overwrite")
    assert mine.read_text() == "A red barn stands.\n"
    assert not list(photos.glob("*.part"))


def test_two_pictures_cannot_share_a_sidecar(caption, photos):
    shutil.copy(photos / "b_red.jpg", photos / "a_blue.jpg")
    for _ in range(2):
        status, err = caption(photos, "--sidecar", "txt")
        assert status == 1
        assert err[0] == (
            f"fastcap: error: {photos}/a_blue.jpg: its sidecar {photos}/a_blue.txt is that of {photos}/a_blue.PNG"
        )
        assert (photos / "a_blue.txt").read_text() == "A blue boat floats.\n"


def test_a_bad_picture_has_no_sidecar_and_one_that_cannot_be_written_is_an_error(caption, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    long = tmp_path / f"{'a' * 250}.jpg"
    Image.new("RGB", (64, 48), "red").save(long)
    status, err = caption(tmp_path, "--sidecar", "xmp")
    assert status == 1
    assert sorted("holds text" in line for line in err[:2]) == [False, True]
    assert any("cannot be written: File name too long" in line for line in err)
    assert sorted(path.name for path in tmp_path.iterdir()) == [long.name, "text.jpg"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_without_room_for_a_sidecar_ends_the_run_and_a_later_one_writes_it(
    caption, photos, tmp_path, monkeypatch, number
):
    out, told = tmp_path / "captions.jsonl", os.strerror(number)
    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", lambda self, *_, **__: (self.touch(), _raise(OSError(number, told))))
        status, err = caption(photos, "--out", out, "--sidecar", "txt")
    assert (status, err) == (1, [f"fastcap: error: {photos}/a_blue.txt: {told}"])
    assert rows_of(out) == []
    assert not list(photos.glob("*.part"))
    assert caption(photos, "--out", out, "--sidecar", "txt")[0] == 0
    assert (photos / "a_blue.txt").read_text() == "A blue boat floats.\n"


def _raise(error: OSError) -> None:
    raise error


# The command line


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--workers", "2"], "--workers, --skip-existing and --overwrite need --out, --sidecar or --write"),
        (["--skip-existing"], "need --out, --sidecar or --write"),
        (["--overwrite"], "need --out, --sidecar or --write"),
        (["--out", "c.jsonl", "--overwrite"], "--overwrite replaces sidecars or texts: it needs --sidecar or --write"),
        (["--sidecar", "txt", "--overwrite", "--skip-existing"], "exclude each other; allowed is one of them"),
        (["--sidecar", "doc"], "--sidecar: got 'doc'; allowed are txt, json, xmp"),
        (["--out", "c.txt"], "c.txt: allowed endings are .jsonl, .csv, .parquet"),
        (["--out", "c.jsonl", "--workers", "0"], "--workers: got '0'; allowed are whole numbers from 1 to 64"),
        (["--out", "c.jsonl", "--json"], "--json prints"),
        (["--out", "c.jsonl", "--threads", "2"], "one thread a worker"),
        (["--out", "c.jsonl", "--length", "shrot"], "did you mean 'short'"),
        (["--out", "c.jsonl", "-"], "a bulk job takes files and folders only"),
    ],
)
def test_wrong_usage_says_so_and_writes_nothing(
    tiny_bundle, photos, tmp_path, monkeypatch, wrong_usage, options, reason
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert reason in wrong_usage("caption", *options, photos, "--model", tiny_bundle)
    assert not list(Path().iterdir())


def test_a_missing_folder_and_a_missing_pyarrow_are_one_line(caption, photos, tmp_path, monkeypatch):
    out = tmp_path / "none" / "c.jsonl"
    assert caption(photos, "--out", out) == (1, [f"fastcap: error: {out}: its folder does not exist"])
    (tmp_path / "d.csv").mkdir()
    told = f"fastcap: error: {tmp_path / 'd.csv'}: a folder, not a file to write"
    assert caption(photos, "--out", tmp_path / "d.csv") == (1, [told])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = tmp_path / "c.parquet"
    assert caption(photos, "--out", out) == (
        1,
        [f"fastcap: error: {out}: .parquet {needs('pyarrow', 'bulk')}"],
    )
    assert not list(tmp_path.glob("c.*"))


def test_the_bar_shows_the_rate(monkeypatch):
    from fastcap.cli.progress import progress_bar

    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(100, 40) as advance:
        for _ in range(20):
            advance()
    assert "60/100" in stream.getvalue()
    assert "/s" in stream.getvalue()


# Ended from outside


def start(folder: Path, out: Path, model: Path, *options: str, **settings: object) -> subprocess.Popen:
    line = [sys.executable, "-m", "fastcap", "caption", str(folder), "--out", str(out), "--workers", "2"]
    return subprocess.Popen(
        [*line, "--model", str(model), *options], stderr=subprocess.PIPE, text=True, start_new_session=True, **settings
    )


def whole_lines(path: Path) -> bytes:
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=60)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def kill_again_and_again(folder: Path, tmp_path: Path, model: Path, kills: int, seed: int) -> None:
    """Kill jobs at random moments and continue them; begin another when one is done."""
    chance, job, killed = random.Random(seed), 0, 0
    pictures = len(list(folder.glob("*.jpg")))
    while killed < kills:
        job += 1
        out = tmp_path / f"{job}.csv"
        journal = out.with_name(out.name + ".jsonl")
        while True:
            before = whole_lines(journal)
            process = start(folder, out, model, "--sidecar", "json")
            if chance.random() < 0.7:  # the others come while the job still starts
                while process.poll() is None and whole_lines(journal) == before:
                    time.sleep(0.01)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0, 0.5))
            workers = children(process.pid)
            if process.poll() is None and killed < kills:
                process.kill()
                killed += 1
            assert process.wait(120) in (0, -signal.SIGKILL), process.stderr.read()
            assert gone(workers)
            assert whole_lines(journal).startswith(before)  # nothing that was finished is lost
            if out.exists():  # then it is whole, even if the kill came right after it
                rows = list(csv.DictReader(io.StringIO(out.read_text("utf-8"))))
                assert len(rows) == pictures
            if process.returncode == 0:
                break
        assert len({row["image"] for row in rows}) == len(rows) == pictures
        assert {row["caption"].split()[1] for row in rows} == {"red", "green", "blue"}
        for row in rows:
            assert json.loads(Path(row["image"] + ".json").read_text("utf-8"))["caption"] == row["caption"]
        for sidecar in folder.glob("*.json"):
            sidecar.unlink()


def test_a_killed_job_loses_nothing_and_continues(tiny_bundle, tmp_path):
    make_pictures(tmp_path / "p", 60, (1600, 1200))
    kill_again_and_again(tmp_path / "p", tmp_path, tiny_bundle, kills=2, seed=0)


@pytest.mark.slow
def test_fifty_kills(tiny_bundle, tmp_path):
    make_pictures(tmp_path / "p", 300, (1600, 1200))
    kill_again_and_again(tmp_path / "p", tmp_path, tiny_bundle, kills=50, seed=1)


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups")
@pytest.mark.parametrize("rows_before", [0, 20])
def test_an_interrupt_is_one_line_and_the_same_command_continues(tiny_bundle, tmp_path, rows_before):
    make_pictures(tmp_path / "p", 200, (2400, 1800))
    out = tmp_path / "captions.jsonl"
    process = start(tmp_path / "p", out, tiny_bundle)
    while len(whole_lines(out).splitlines()) < rows_before or not children(process.pid):
        time.sleep(0.01)
        assert process.poll() is None
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    assert process.wait(60) == 130
    assert process.stderr.read() == "fastcap: interrupted; the same command continues\n"
    assert gone(workers)
    done = len(whole_lines(out).splitlines())
    assert rows_before <= done < 200
    process = start(tmp_path / "p", out, tiny_bundle)
    assert process.wait(60) == 0
    assert f"200 pictures: {200 - done} captioned" in process.stderr.read()
    assert len({row["image"] for row in rows_of(out)}) == len(rows_of(out)) == 200


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_pictures(tiny_bundle, tmp_path):
    images = make_pictures(tmp_path / "p", 10_000, (640, 480))
    resident = {}
    with Journal(tmp_path / "captions.jsonl", "tiny") as journal:
        for count, row in enumerate(caption_files(images, model=tiny_bundle, workers=2), 1):
            journal.append(row)
            if count in (1_000, 9_990):  # at the very end the workers have gone
                resident[count] = sum(process.memory_info().rss for process in (psutil.Process(), *children()))
    assert len({row["image"] for row in rows_of(tmp_path / "captions.jsonl")}) == 10_000
    assert resident[9_990] - resident[1_000] < 20e6
