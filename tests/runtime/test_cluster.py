"""The job on a cluster of Ray: the rows of the job on one machine, each once, whatever dies."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from fastcap.cli import main
from fastcap.errors import ConfigError, FastcapError
from fastcap.runtime.bulk.cluster import caption_on_cluster, check_address

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no Ray here: the extra `ray`")
ENVIRONMENT = {  # as fastcap sets it for a cluster of its own; and its workers are not to wait for everybody else
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_worker_niceness": "0",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of one CPU, to which this process is connected."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        import ray

        ray.init("local", num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


def rows_of(path: Path) -> dict[str, dict]:
    """By picture; each has one."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    by_picture = {row["image"]: row for row in rows}
    assert len(by_picture) == len(rows)
    for row in rows:
        assert row.pop("milliseconds", 1) > 0
    return by_picture


def pictures(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    paths = [folder / f"{number:03}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (64, 48), ("red", "lime", "blue")[number % 3]).save(path)
    return list(map(str, paths))


@pytest.fixture
def sources(photos: Path) -> list[str]:
    """A folder with a bad picture in it, a shard, a table and a URL."""
    (photos / "damaged.jpg").write_bytes((photos / "b_red.jpg").read_bytes()[:300])
    odd = os.fsdecode(os.fsencode(photos) + b"/caf\xff.jpg")
    Image.new("RGB", (64, 48), "red").save(odd)
    data = (photos / "b_red.jpg").read_bytes()
    with tarfile.open(photos.parent / "00.tar", "w") as tar:
        for number in range(20):
            member = tarfile.TarInfo(f"{number:03}.jpg")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    parquet.write_table(pa.table({"photo": [data, None, b"hello"]}), photos.parent / "00.parquet")
    return [str(photos), str(photos.parent / "00.tar"), str(photos.parent / "00.parquet"), str(photos / "none.jpg")]


# What needs no Ray


@pytest.mark.parametrize("address", ["nonsense", "ray://host:10001", "host:", ":6379", "host:123456", "ho st:1", ""])
def test_an_address_that_cannot_be_one_is_wrong_usage(tiny_bundle, photos, tmp_path, wrong_usage, address):
    with pytest.raises(ConfigError, match="allowed are HOST:PORT and auto"):
        check_address(address)
    out = tmp_path / "c.jsonl"
    line = ["caption", photos, "--out", out, "--engine", "ray", "--ray-address", address]
    assert "allowed are HOST:PORT and auto" in wrong_usage(*line, "--model", tiny_bundle)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--ray-address", "auto", "--out", "c.jsonl"], "--ray-address needs --engine ray"),
        (["--engine", "ray"], "--engine ray needs --out, --sidecar or --write"),
        (["--engine", "spark", "--out", "c.jsonl"], "--engine: got 'spark'; allowed are local, ray"),
        (["--engine", "ray", "--out", "c.jsonl", "--workers", "0"], "--workers: got '0'; allowed are whole numbers"),
    ],
)
def test_wrong_usage_says_so(tiny_bundle, photos, tmp_path, monkeypatch, wrong_usage, options, reason):
    monkeypatch.chdir(tmp_path)
    assert reason in wrong_usage("caption", photos, *options, "--model", tiny_bundle)
    assert not list(tmp_path.glob("c.*"))


def test_a_cluster_that_nobody_runs_and_a_missing_extra_are_one_line(tiny_bundle, photos, monkeypatch):
    image = [photos / "b_red.jpg"]
    with pytest.raises(FastcapError, match=r"^127\.0\.0\.1:1: no Ray cluster can be reached: .*refused"):
        next(caption_on_cluster(image, model=tiny_bundle, address="127.0.0.1:1"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
    with pytest.raises(FastcapError, match=r"^127\.0\.0\.1:2: no Ray cluster"):
        next(caption_on_cluster(image, model=tiny_bundle))
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FastcapError, match=r'^the engine ray needs ray: pip install -e ".*\[ray\]"$'):
        next(caption_on_cluster(image, model=tiny_bundle))


def test_options_are_refused_before_ray_is_asked(tiny_bundle, photos):
    with pytest.raises(ConfigError, match="did you mean 'short'"):
        next(caption_on_cluster([photos / "b_red.jpg"], model=tiny_bundle, length="shrot"))
    with pytest.raises(ConfigError, match="workers is 65"):
        caption_on_cluster([], workers=65)
    assert list(caption_on_cluster([], model=tiny_bundle)) == []


# With a real one


@needs_ray
@pytest.mark.slow
def test_both_engines_write_the_same_rows_from_every_kind_of_source(cluster, sources, tiny_bundle, tmp_path, capsys):
    line = ["caption", *sources, "--recursive", "--image-column", "photo", "--candidates", "2", "--length", "short"]
    line += ["--model", str(tiny_bundle), "--workers", "1", "--out"]
    for engine in ("local", "ray"):
        assert main([*line, str(tmp_path / f"{engine}.jsonl"), "--engine", engine]) == 1
    ray, local = rows_of(tmp_path / "ray.jsonl"), rows_of(tmp_path / "local.jsonl")
    assert ray == local
    assert len(ray) == 5 + 20 + 3 + 1
    assert sum("error" in row for row in ray.values()) == 4
    # Each continues what the other began: the rows are the same.
    assert main([*line, str(tmp_path / "local.jsonl"), "--engine", "ray"]) == 1
    assert "29 pictures: 0 captioned, 29 done before, 4 failed" in capsys.readouterr().err
    url = f"file://{sources[0]}/b_red.jpg"
    out = tmp_path / "url.csv"
    assert main(["caption", url, "--out", str(out), "--engine", "ray", "--model", str(tiny_bundle)]) == 0
    assert f"{url},A red barn stands." in out.read_text("utf-8")


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_picture_that_kills_its_worker_twice_is_an_error_row_and_its_neighbours_are_captioned(
    cluster, tiny_bundle, tmp_path
):
    """The hostile picture is a pipe: while a worker reads it, the test kills that worker."""
    images = pictures(tmp_path / "p", 20)
    hostile = str(tmp_path / "hostile.jpg")
    os.mkfifo(hostile)
    images.insert(4, hostile)
    done = threading.Event()

    def kill_who_reads() -> None:
        while not done.wait(0.05):
            try:
                writer = os.open(hostile, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads
                continue
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "spawn_main" in " ".join(child.cmdline()):
                        child.kill()
                        child.wait(10)
            os.close(writer)

    killer = threading.Thread(target=kill_who_reads, daemon=True)
    killer.start()
    rows = list(caption_on_cluster(images, model=tiny_bundle, workers=1))
    done.set()
    killer.join(20)
    assert sorted(row["image"] for row in rows) == sorted(images)
    [failed] = [row for row in rows if "error" in row]
    assert failed == {"image": hostile, "error": f"{hostile}: a worker process died on it, twice (signal 9)"}


@needs_ray
@pytest.mark.slow
def test_a_cluster_is_found_by_its_address(cluster, tiny_bundle, tmp_path):
    images = pictures(tmp_path / "p", 3)
    line = [sys.executable, "-m", "fastcap", "caption", *images, "--out", str(tmp_path / "c.jsonl"), "--engine", "ray"]
    settings = {"env": {**os.environ, "RAY_ADDRESS": cluster}, "capture_output": True, "text": True, "timeout": 240}
    done = subprocess.run([*line, "--model", str(tiny_bundle)], check=False, **settings)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1].startswith("3 pictures: 3 captioned")
    assert sorted(rows_of(tmp_path / "c.jsonl")) == images


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Ray's processes end with their parent on Linux")
def test_a_killed_job_continues_and_its_cluster_spoke_to_nobody_else(tiny_bundle, tmp_path):
    images = pictures(tmp_path / "p", 200)
    out = tmp_path / "c.csv"
    journal = tmp_path / "c.csv.jsonl"
    environment = {**os.environ, "RAY_worker_niceness": "0"}
    environment.pop("RAY_ADDRESS", None)

    def start() -> subprocess.Popen:
        line = [sys.executable, "-m", "fastcap", "caption", str(tmp_path / "p"), "--out", str(out), "--engine", "ray"]
        return subprocess.Popen(
            [*line, "--workers", "1", "--model", str(tiny_bundle)], stderr=subprocess.PIPE, text=True, env=environment
        )

    process = start()
    while not journal.exists() or not journal.stat().st_size:
        time.sleep(0.01)
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGSTOP)  # while we look
    family = psutil.Process(process.pid).children(recursive=True)
    sockets = [each for member in family for each in member.net_connections("inet")]
    assert sockets
    for each in sockets:
        for end in (each.laddr, each.raddr):
            assert not end or end.ip.removeprefix("::ffff:") in ("127.0.0.1", "::1"), each
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=180)  # two helpers of Ray look for their parent now and then
    assert not [member for member in alive if member.status() != psutil.STATUS_ZOMBIE]
    before = journal.read_bytes()
    done = len(rows_of(journal))
    assert 0 < done < 200
    process = start()
    assert process.wait(240) == 0, process.stderr.read()
    assert f"200 pictures: {200 - done} captioned" in process.stderr.read()
    assert journal.read_bytes().startswith(before)
    assert sorted(rows_of(journal)) == images
    assert len(out.read_text("utf-8").splitlines()) == 201
