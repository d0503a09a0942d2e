"""Captioned pictures out of shards: what a pattern stands for, what a sample is, in what order a stream reads."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from fastcap.data.shards import BadSamples, Cursor, Sample, find_shards, first_captions, read_shard, stream
from fastcap.errors import ConfigError, DataError


def tar(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def numbered(numbers: range) -> bytes:
    """A tar of samples whose captions are numbers."""
    return tar({f"{n:03}.{kind}": b"%d" % n for n in numbers for kind in ("jpg", "txt")})


@pytest.fixture
def uneven(tmp_path: Path) -> list[tuple[str, str]]:
    """Three shards of 7, 1 and 4 samples: 0 to 11."""
    for index, numbers in enumerate((range(7), range(7, 8), range(8, 12))):
        (tmp_path / f"{index:06}.tar").write_bytes(numbered(numbers))
    return find_shards("webdataset", str(tmp_path / "{000000..000002}.tar"))


def read(shards: list[tuple[str, str]], count: int, cursor: Cursor | None = None, **settings: Any) -> list[int]:
    found = stream(shards, settings.get("seed", [0]), settings.get("buffer", 5), cursor)
    return [int(sample.captions[0]) for sample, _ in itertools.islice(found, count)]


# What a pattern stands for


@pytest.mark.parametrize("pattern", ["{000000..000002}.tar", "*.tar", "00000[0-2].tar", "{000000,000001,000002}.tar"])
def test_a_pattern_stands_for_shards_here_and_behind_a_url(uneven, tmp_path, pattern):
    assert find_shards("webdataset", f"{tmp_path}/{pattern}") == uneven
    by_url = find_shards("webdataset", f"file://{tmp_path}/{pattern}")
    assert [path for _, path in by_url] == [f"file://{path}" for _, path in uneven]
    assert sorted(read(by_url, 12)) == list(range(12))


def test_shards_are_read_from_any_file_system_that_fsspec_knows():
    fsspec.filesystem("memory").pipe("/shards/0.tar", numbered(range(3)))
    assert sorted(read(find_shards("webdataset", "memory://shards/*.tar"), 3)) == [0, 1, 2]


@pytest.mark.parametrize("pattern", ["gone/*.tar", "{0..3}.tar", "000000.zip"])
def test_a_pattern_without_shards_is_an_error(uneven, tmp_path, pattern):
    with pytest.raises(DataError, match="no shard"):
        find_shards("webdataset", f"{tmp_path}/{pattern}")


def test_an_unknown_kind_of_url_is_an_error():
    with pytest.raises(ConfigError, match="nosuch"):
        find_shards("webdataset", "nosuch://bucket/*.tar")


# What a sample is


def test_the_files_of_one_name_are_a_sample(tmp_path):
    members = {
        "a/0.jpg": b"picture", "a/0.txt": b"A bus.\n Two buses. \n", "a/0.seg.png": b"other", "a/._0.jpg": b"system",
        "a/1.json": json.dumps({"caption": "A cat", "width": 3}).encode(), "a/1.PNG": b"cat",
        "a/2.webp": b"dog", "a/2.json": json.dumps({"captions": ["A dog", "Dogs"]}).encode(),
    }  # fmt: skip
    path = tmp_path / "0.tar"
    path.write_bytes(tar(members))
    assert list(read_shard(("webdataset", str(path)))) == [
        Sample(f"{path}#a/0.jpg", b"picture", ("A bus.", "Two buses.")),
        Sample(f"{path}#a/1.PNG", b"cat", ("A cat",)),
        Sample(f"{path}#a/2.webp", b"dog", ("A dog", "Dogs")),
    ]


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"0.txt": b"A bus"}, "no picture"),
        ({"0.jpg": b"", "0.txt": b"A bus"}, "no picture"),
        ({"0.jpg": b"x"}, "no caption"),
        ({"0.jpg": b"x", "0.txt": b" \n"}, "no caption"),
        ({"0.jpg": b"x", "0.txt": b"\xff"}, "0.txt cannot be read: 'utf-8'"),
        ({"0.jpg": b"x", "0.json": b"{"}, "0.json cannot be read: Expecting"),
        ({"0.jpg": b"x", "0.json": b'{"caption": 3}'}, "the caption is int, not text"),
    ],
)
def test_what_is_wrong_with_a_sample_is_said(tmp_path, members, problem):
    (tmp_path / "0.tar").write_bytes(tar(members))
    [sample] = read_shard(("webdataset", str(tmp_path / "0.tar")))
    assert sample.problem.startswith(problem)


def test_shards_that_webdataset_writes_are_read_as_it_reads_them(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "%06d.tar"), maxcount=3, verbose=0) as writer:
        for n in range(8):
            writer.write({"__key__": f"part.{n // 4}/{n:04}", "jpg": b"%d" % n, "txt": f"number {n}", "json": {"n": n}})
    pattern = str(tmp_path / "{000000..000002}.tar")
    theirs = webdataset.WebDataset(pattern, shardshuffle=False)
    ours = [sample for shard in find_shards("webdataset", pattern) for sample in read_shard(shard)]
    assert [(each.image, each.captions[0].encode()) for each in ours] == [(row["jpg"], row["txt"]) for row in theirs]
    assert len(ours) == 8


@pytest.mark.parametrize("captions", ["caption", "captions", "text"])
def test_the_rows_of_a_table_are_samples(tmp_path, captions):
    rows = [{"bytes": b"one"}, {"bytes": b"two"}, {"bytes": None}]
    texts = [["A bus", " Two"], ["A cat"], ["A dog"]] if captions == "captions" else ["A bus", None, "A dog"]
    path = str(tmp_path / "0.parquet")
    parquet.write_table(pa.table({"image": rows, captions: texts, "id": [1, 2, 3]}), path, row_group_size=2)
    one, two, three = read_shard(("parquet", path))
    assert one == Sample(f"{path}#0", b"one", ("A bus", "Two") if captions == "captions" else ("A bus",))
    assert two.problem == ("" if captions == "captions" else "no caption")
    assert three.problem == "no picture"
    assert [list(read_shard(("parquet", path), start)) for start in (1, 2, 3)] == [[two, three], [three], []]


def test_a_table_without_captions_names_its_columns(tmp_path):
    parquet.write_table(pa.table({"image": [b"x"], "alt": ["A bus"]}), tmp_path / "0.parquet")
    with pytest.raises(ConfigError, match=r"no column of captions; allowed: captions, .*; its columns are image, alt"):
        list(read_shard(("parquet", str(tmp_path / "0.parquet"))))


@pytest.mark.parametrize("damage", ["cut", "nonsense", "gone"])
def test_a_damaged_shard_is_an_error_whatever_is_done_about_bad_samples(uneven, damage):
    path = Path(uneven[0][1])
    data = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(data[:2000] if damage == "cut" else b"nonsense" * 500)
    with pytest.raises(DataError, match=r"shard .*000000\.tar: (cannot be read|no such file)"):
        list(read_shard(uneven[0]))


def test_the_first_captions_are_read_without_pictures(uneven):
    assert list(first_captions(uneven, 9)) == [str(n) for n in range(9)]
    assert [sample.image for sample in read_shard(uneven[1], pictures=False)] == [b""]


# In what order a stream reads


@pytest.mark.parametrize("buffer", [2, 5, 100])
def test_an_epoch_has_every_sample_once_however_unequal_the_shards(uneven, buffer):
    found = read(uneven, 36, buffer=buffer)
    epochs = [found[:12], found[12:24], found[24:]]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert found == read(uneven, 36, buffer=buffer) != read(uneven, 36, buffer=buffer, seed=[1])


def test_no_more_than_the_buffer_is_read_ahead(uneven):
    order = read(uneven, 12, buffer=5)
    in_a_row = read(uneven, 12, buffer=1)  # in the order of the shards
    assert [sorted(order[i : i + 5]) for i in (0, 5, 10)] == [sorted(in_a_row[i : i + 5]) for i in (0, 5, 10)]


@pytest.mark.parametrize("buffer", [1, 5, 100])
def test_a_stream_goes_on_from_any_place(uneven, buffer):
    settings = {"seed": [3], "buffer": buffer}
    whole = read(uneven, 40, **settings)
    for n, (_, cursor) in enumerate(itertools.islice(stream(uneven, [3], buffer), 26), 1):
        assert read(uneven, 40 - n, cursor, **settings) == whole[n:]


def test_shards_without_samples_are_an_error(tmp_path):
    (tmp_path / "0.tar").write_bytes(tar({}))
    with pytest.raises(DataError, match="no samples in 1 shard, of which"):
        next(stream([("webdataset", str(tmp_path / "0.tar"))], [0], 5))


# What is done about bad samples

BAD = Sample("0.tar#7.jpg", b"", ("A bus",), "no picture")


def test_a_bad_sample_is_an_error_unless_told_otherwise():
    with pytest.raises(DataError, match=r"0\.tar#7\.jpg: no picture; on_bad_data=skip or quarantine leaves"):
        BadSamples("raise").note(BAD, BAD.problem)


def test_bad_samples_are_counted_and_kept_once(tmp_path):
    bad = BadSamples("quarantine", tmp_path / "cache" / "bad.jsonl")
    for _ in range(2):
        bad.note(BAD, BAD.problem)
    [row] = map(json.loads, (tmp_path / "cache" / "bad.jsonl").read_text().splitlines())
    assert row == {"where": "0.tar#7.jpg", "image": "0.tar#7.jpg", "caption": "A bus", "problem": "no picture"}
    assert bad.n_bad == 2


def test_too_many_bad_samples_are_an_error():
    bad = BadSamples("skip")
    bad.n_seen = 200
    for _ in range(20):
        bad.note(BAD, BAD.problem)
    told = r"21 of 200 samples are bad, more than max_bad_share=0\.1 allows; the last: 0\.tar#7\.jpg"
    with pytest.raises(DataError, match=told):
        bad.note(BAD, BAD.problem)
